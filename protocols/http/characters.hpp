// Which characters may stand where, by one look each: every byte of every request is asked for.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace tapir::http {

/// A set of bytes, made when compiled.
class character_set {
  public:
    template <class F>
    constexpr explicit character_set(F contains) {
        for (std::size_t c = 0; c < holds_.size(); ++c) holds_[c] = contains(static_cast<char>(c));
    }
    constexpr bool has(char c) const { return holds_[static_cast<unsigned char>(c)]; }
    /// Looks at all of it: hardly any text fails, and a branch for each byte costs more.
    constexpr bool has_all(std::string_view text) const {
        bool all = true;
        for (const char c : text) all &= has(c);
        return all;
    }

  private:
    std::array<bool, 256> holds_{};
};

/// How many bytes at the front are neither controls (a tab is one here) nor DEL.
inline std::size_t printable_prefix(std::string_view text) {
    constexpr std::uint64_t each = 0x0101010101010101;
    std::size_t n = 0;
    for (; text.size() - n >= 8; n += 8) {
        std::uint64_t eight = 0;
        std::memcpy(&eight, text.data() + n, 8);
        const std::uint64_t del = eight ^ 0x7f * each;
        // The high bit of a byte below 0x20, or of one that is 0x7f; behind the first, of others too.
        const std::uint64_t found = (((eight - 0x20 * each) & ~eight) | ((del - each) & ~del)) & 0x80 * each;
        if (found != 0 && std::endian::native == std::endian::little)
            return n + static_cast<std::size_t>(std::countr_zero(found)) / 8;
        if (found != 0) break;
    }
    while (n < text.size() && static_cast<unsigned char>(text[n]) >= 0x20 && text[n] != 0x7f) ++n;
    return n;
}

/// Other than tabs. [RFC 9110 5.5]
inline bool has_controls(std::string_view text) {
    for (;;) {
        text.remove_prefix(printable_prefix(text));
        if (text.empty()) return false;
        if (text.front() != '\t') return true;
        text.remove_prefix(1);
    }
}

} // namespace tapir::http
