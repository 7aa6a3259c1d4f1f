// Whether the answer to a frame that goes alone is there as soon as it has been written.
//
// A peer on our CPU runs when the write wakes it, and mostly before the write returns. Then a system call
// that reads at once is the cheapest way to its answer: a read that waits in the ring, or a poll, has to be
// woken, to say so in the ring, and to be asked about. A guess that is wrong costs a read in vain.
#pragma once

#include <cstdint>

namespace tapir {

class answer_guess {
  public:
    /// After each frame that went alone, and after others with `at_once` false.
    void answered(bool at_once) {
        if (at_once) {
            if (score_ != enough && ++score_ == enough) at_once_ = true;
        } else {
            score_ = score_ > late ? static_cast<std::uint8_t>(score_ - late) : std::uint8_t{0};
            if (score_ == 0) at_once_ = false;
        }
    }
    /// What is guessed: true after 16 answers that were there at once, or more with late ones between; false
    /// when more than a third of them are late. It clings to what it is, since a change costs something, too.
    bool at_once() const { return at_once_; }
    /// Asked with each answer; true with each 16th: time to look whether there is more to read than answers.
    bool to_be_doubted() { return ++answers_ % 16 == 0; }

  private:
    static constexpr std::uint8_t enough = 16;
    static constexpr std::uint8_t late = 2; ///< one that was not at once outweighs so many that were
    std::uint8_t score_ = 0;
    std::uint8_t answers_ = 0;
    bool at_once_ = false;
};

} // namespace tapir
