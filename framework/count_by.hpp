// Bad input is dropped, and the reason must be seen afterwards: one counter for each enumerator of an enum
// that runs from 0 to Last without gaps.
//
//     enum class drop : std::uint8_t { too_short, bad_checksum };
//     tapir::count_by<drop, drop::bad_checksum> dropped;
//     ++dropped[drop::too_short];
#pragma once

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>

namespace tapir {

template <class Reason, Reason Last>
class count_by {
  public:
    static constexpr std::size_t size = static_cast<std::size_t>(Last) + 1;

    constexpr std::uint64_t& operator[](Reason r) { return count_[index(r)]; }
    constexpr std::uint64_t operator[](Reason r) const { return count_[index(r)]; }

    std::uint64_t total() const {
        std::uint64_t sum = 0;
        for (const std::uint64_t c : count_) sum += c;
        return sum;
    }

    /// Calls f(reason, count) for every reason, in the order of the enum.
    template <class F>
    void for_each(F f) const {
        for (std::size_t i = 0; i < size; ++i) f(static_cast<Reason>(i), count_[i]);
    }

    bool operator==(const count_by&) const = default;

  private:
    static constexpr std::size_t index(Reason r) {
        const auto i = static_cast<std::size_t>(r);
        assert(i < size);
        return i;
    }
    std::array<std::uint64_t, size> count_{};
};

} // namespace tapir
