// Whether the answer to a frame that goes alone is there as soon as it has been written.
//
// A peer on our CPU runs when the write wakes it, and mostly before the write returns. Then a system call
// that reads at once is the cheapest way to its answer: a read that waits in the ring, or a poll, has to be
// woken, to say so in the ring, and to be asked about. A guess that is wrong costs a read in vain.
#pragma once

#include <algorithm>
#include <cstdint>

namespace tapir {

class answer_guess {
  public:
    /// After each frame that went alone, and after others with `at_once` false.
    void answered(bool at_once) {
        if (at_once_) {
            good_ = std::min(good_ + at_once, steady);
            score_ = at_once ? std::min(score_ + 1, enough) : score_ - late;
            if (score_ <= 0) was_wrong();
        } else {
            score_ = at_once ? score_ + 1 : std::max(score_ - late, 0);
            if (score_ >= needed_) begin();
        }
    }
    /// What is guessed: true after 16 answers that were there at once, or more with late ones between; false
    /// when more than a third of them are late. It clings to what it is, since a change costs something, too.
    bool at_once() const { return at_once_; }
    /// The guess ends. One that has not been right for long needs twice as many answers the next time, up to
    /// 1024.
    void was_wrong() {
        needed_ = good_ < steady ? std::min(2 * needed_, most) : enough;
        score_ = 0;
        at_once_ = false;
    }
    /// Asked with each answer; true with each 16th: time to look whether there is more to read than answers.
    bool to_be_doubted() { return ++answers_ % 16 == 0; }

  private:
    void begin() {
        score_ = enough;
        good_ = 0;
        at_once_ = true;
    }

    static constexpr int enough = 16;
    static constexpr int most = 1024;
    static constexpr int late = 2; ///< one that was not at once outweighs so many that were
    static constexpr int steady = 64;
    int needed_ = enough;
    int score_ = 0;
    int good_ = 0; ///< answers at once since it was guessed so
    std::uint8_t answers_ = 0;
    bool at_once_ = false;
};

} // namespace tapir
