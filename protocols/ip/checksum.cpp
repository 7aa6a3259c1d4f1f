#include <tapir/protocols/ip/checksum.hpp>

#include <bit>
#include <cstddef>
#include <cstring>

namespace tapir::ip {

// Words are loaded natively: the sum does not depend on the byte order in which it is taken, but for a swap
// of the result. [RFC 1071 2 (B)] Their halves go to separate 64-bit sums, which need no carry for the next
// 32 GiB and which compilers turn into vector additions.
std::uint16_t ones_complement_sum(bytes b) {
    const std::byte* at = b.data();
    std::size_t left = b.size();
    std::uint64_t low = 0;
    std::uint64_t high = 0;
    std::uint64_t word = 0;
    for (; left >= sizeof word; left -= sizeof word, at += sizeof word) {
        std::memcpy(&word, at, sizeof word);
        low += word & 0xffffffff;
        high += word >> 32;
    }
    // The rest in steps of fixed size: a copy of variable length is a call, dearer than a whole IPv4 header.
    const auto take = [&](auto part) {
        std::memcpy(&part, at, sizeof part);
        at += sizeof part;
        low += part;
    };
    if ((left & 4) != 0) take(std::uint32_t{});
    if ((left & 2) != 0) take(std::uint16_t{});
    if ((left & 1) != 0) {
        std::uint16_t last = 0; // in memory: the byte, then a zero
        std::memcpy(&last, at, 1);
        low += last;
    }
    const std::uint16_t sum = fold(std::uint64_t{fold(low)} + fold(high));
    if constexpr (std::endian::native == std::endian::big) return sum;
    return static_cast<std::uint16_t>((sum << 8) | (sum >> 8));
}

} // namespace tapir::ip
