// The Internet checksum (RFC 1071): the ones' complement of the ones' complement sum of 16-bit words. Sums of
// pieces add up to the sum of the whole, so that a segment can be summed where its parts lie: pseudo-header
// once per path, header, payload slices of any length.
//
//     ip::checksum sum(path_sum);               // pseudo-header without the length
//     sum.add_u16(tcp_length);
//     sum.add(header);
//     sum.add(payload);
//     store_be16(header, 16, sum.value());
//
// All 16-bit numbers here are in host order: what store_be16() takes and load_be16() gives.
#pragma once

#include <tapir/framework/bytes.hpp>
#include <tapir/protocols/ip/address.hpp>

#include <cstdint>
#include <span>

namespace tapir::ip {

/// Adds the carries back in until 16 bits remain.
constexpr std::uint16_t fold(std::uint64_t sum) {
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(sum);
}

/// The sum, not complemented, of `b` as big-endian 16-bit words; an odd last byte is padded with a zero.
std::uint16_t ones_complement_sum(bytes b);

/// A sum in progress. Pieces may have any length, odd ones too: the next piece goes on at the odd byte.
class checksum {
  public:
    constexpr checksum() = default;
    /// Goes on from a folded sum over an even number of bytes.
    constexpr explicit checksum(std::uint16_t sum) : sum_(sum) {}

    void add(bytes piece) {
        add_sum(ones_complement_sum(piece));
        odd_ ^= (piece.size() & 1) != 0;
    }
    constexpr void add_u16(std::uint16_t v) { add_sum(v); }
    constexpr void add_u32(std::uint32_t v) { add_sum(fold(v)); }

    /// Folded, not complemented.
    constexpr std::uint16_t sum() const { return fold(sum_); }
    /// What stands in the checksum field of a packet whose field was summed as zero.
    constexpr std::uint16_t value() const { return static_cast<std::uint16_t>(~sum()); }
    /// Whether the sum was taken over a packet with a correct checksum in it.
    constexpr bool valid() const { return sum() == 0xffff; }

  private:
    // A piece that starts at an odd byte contributes its sum with the bytes swapped [RFC 1071 2 (B)].
    constexpr void add_sum(std::uint16_t s) {
        sum_ += odd_ ? static_cast<std::uint16_t>((s << 8) | (s >> 8)) : s;
    }
    std::uint64_t sum_ = 0; ///< 2^48 pieces fit
    bool odd_ = false;
};

/// Sum of a TCP or UDP pseudo-header without its length: add that with add_u16(). Right for both families:
/// the ::ffff: of a mapped IPv4 address adds 0xffff, which is zero in ones' complement.
inline std::uint16_t pseudo_header_sum(const address& source, const address& destination, protocol p) {
    if (source.is_v4() && destination.is_v4()) // asked for with each segment
        return fold(std::uint64_t{source.v4_value()} + destination.v4_value() +
                    static_cast<std::uint64_t>(p));
    checksum sum;
    sum.add(std::as_bytes(std::span(source.octets())));
    sum.add(std::as_bytes(std::span(destination.octets())));
    sum.add_u16(static_cast<std::uint16_t>(p));
    return sum.sum();
}

} // namespace tapir::ip
