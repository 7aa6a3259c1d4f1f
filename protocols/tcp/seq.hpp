// Sequence numbers live on a circle of 2^32: "less" means "at most half a circle behind", and a plain
// integer comparison is a bug that shows after 4 GiB. So they are a type.
// [RFC 9293 3.4]
#pragma once

#include <cstdint>

namespace tapir::tcp {

class seq {
  public:
    constexpr seq() = default;
    constexpr explicit seq(std::uint32_t value) : value_(value) {}

    constexpr std::uint32_t value() const { return value_; }

    constexpr seq& operator+=(std::uint32_t n) {
        value_ += n;
        return *this;
    }
    constexpr seq& operator-=(std::uint32_t n) {
        value_ -= n;
        return *this;
    }
    friend constexpr seq operator+(seq a, std::uint32_t n) { return seq(a.value_ + n); }
    friend constexpr seq operator-(seq a, std::uint32_t n) { return seq(a.value_ - n); }
    /// How far `a` is ahead of `b`; meaningful when it is not behind.
    friend constexpr std::uint32_t operator-(seq a, seq b) { return a.value_ - b.value_; }

    friend constexpr bool operator==(seq, seq) = default;
    friend constexpr bool operator<(seq a, seq b) {
        return static_cast<std::int32_t>(a.value_ - b.value_) < 0;
    }
    friend constexpr bool operator>(seq a, seq b) { return b < a; }
    friend constexpr bool operator<=(seq a, seq b) { return !(b < a); }
    friend constexpr bool operator>=(seq a, seq b) { return !(a < b); }

  private:
    std::uint32_t value_ = 0;
};

constexpr seq later(seq a, seq b) {
    return a < b ? b : a;
}
constexpr seq earlier(seq a, seq b) {
    return b < a ? b : a;
}

/// Whether `s` lies in [begin, begin + length).
constexpr bool in_range(seq s, seq begin, std::uint32_t length) {
    return s - begin < length;
}

} // namespace tapir::tcp
