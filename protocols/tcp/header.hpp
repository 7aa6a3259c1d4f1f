// The TCP header on the wire and as a value. `parse` validates once and returns an owned `header`; nothing
// behind it looks at raw bytes again. `emit` writes one and fills the checksum.
//
//     auto h = tcp::parse(segment_bytes);             // result-like: header or the reason of the drop
//     auto room = frame.push_front(h.size());
//     tcp::emit(room, h, path.pseudo_header_sum, payload_parts);
//
// [RFC 9293 3.1, 3.2] [RFC 7323 2.2, 3.2] [RFC 2018 2, 3] [RFC 7413 4.1.1]
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/bytes.hpp>
#include <tapir/protocols/tcp/seq.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>

namespace tapir::tcp {

/// The control bits, as they stand in byte 13.
enum class flags : std::uint8_t {
    none = 0,
    fin = 0x01,
    syn = 0x02,
    rst = 0x04,
    psh = 0x08,
    ack = 0x10,
    urg = 0x20,
    ece = 0x40,
    cwr = 0x80,
};
constexpr flags operator|(flags a, flags b) {
    return static_cast<flags>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}
constexpr flags operator&(flags a, flags b) {
    return static_cast<flags>(static_cast<unsigned>(a) & static_cast<unsigned>(b));
}
constexpr flags& operator|=(flags& a, flags b) {
    return a = a | b;
}
/// Whether all bits of `wanted` are set in `f`.
constexpr bool has(flags f, flags wanted) {
    return (f & wanted) == wanted;
}

/// What an ECN-setup SYN has; an ECN-setup SYN|ACK has the first of the two alone. [RFC 3168 6.1.1]
inline constexpr flags ecn_setup = flags::ece | flags::cwr;

struct timestamps {
    std::uint32_t value = 0; ///< TSval: the sender's clock
    std::uint32_t echo = 0;  ///< TSecr: the clock value it saw last; meaningful with ACK only
    constexpr bool operator==(const timestamps&) const = default;
};

struct sack_block {
    seq begin;
    seq end; ///< one past the last byte
    constexpr bool operator==(const sack_block&) const = default;
};

/// Of a server that lets its clients send data in the SYN; see fast_open_cookies.hpp. [RFC 7413 4.1.1]
struct fast_open_cookie {
    static constexpr std::size_t least = 4;
    static constexpr std::size_t most = 16;
    std::uint8_t size = 0; ///< 0 asks for one; else `least` to `most`, and even
    std::array<std::byte, most> octets{};
    constexpr bool operator==(const fast_open_cookie&) const = default;
};

struct options {
    std::optional<std::uint16_t> mss{};
    std::optional<std::uint8_t> window_scale{}; ///< as sent; above 14 means 14 [RFC 7323 2.3]
    bool sack_permitted = false;
    std::optional<timestamps> ts{};
    std::optional<fast_open_cookie> fast_open{};
    std::uint8_t sack_count = 0;
    std::array<sack_block, 4> sack{};
    /// Options that were cut off or whose length cannot be; they and all behind them were skipped.
    bool malformed = false;

    /// Bytes on the wire, a multiple of 4, at most 40.
    std::size_t size() const;
    bool operator==(const options&) const = default;
};

struct header {
    std::uint16_t source_port = 0;
    std::uint16_t destination_port = 0;
    tcp::seq seq{};
    tcp::seq ack{};
    tcp::flags flags = flags::none;
    std::uint16_t window = 0; ///< as on the wire, not scaled
    std::uint16_t urgent = 0;
    tcp::options options{};

    bool syn() const { return has(flags, flags::syn); }
    bool fin() const { return has(flags, flags::fin); }
    bool rst() const { return has(flags, flags::rst); }
    bool has_ack() const { return has(flags, flags::ack); }

    std::size_t size() const { return 20 + options.size(); } ///< bytes on the wire
    bool operator==(const header&) const = default;
};

inline constexpr std::size_t header_size = 20;     ///< without options
inline constexpr std::size_t max_header_size = 60; ///< with 40 bytes of options

enum class header_error : std::uint8_t {
    truncated,       ///< shorter than its header says, or than 20 bytes
    bad_data_offset, ///< below 5
    zero_port,       ///< no connection can have it
};

struct parsed_header {
    tcp::header header;
    std::size_t size; ///< the payload begins here
};

/// `segment` is header and payload. Malformed options do not make a segment bad; see options::malformed.
std::expected<parsed_header, header_error> parse(bytes segment);
/// The same into a header as it is made. Returns where the payload begins.
std::expected<std::size_t, header_error> parse(bytes segment, header& into);

/// Whether the checksum of a segment is right, given the sum of its pseudo-header without the length.
bool checksum_ok(bytes segment, std::uint16_t pseudo_header_sum);

/// How much of the checksum to compute.
enum class checksum_mode : std::uint8_t {
    full,    ///< over pseudo-header, header and payload
    partial, ///< pseudo-header only: a link further down adds the rest (offload)
};

/// Writes `h` into exactly h.size() bytes. `payload` is what will follow, for the checksum and the length.
void emit(mutable_bytes room, const header& h, std::uint16_t pseudo_header_sum,
          std::span<const bytes> payload, checksum_mode mode = checksum_mode::full);
void emit(mutable_bytes room, const header& h, std::uint16_t pseudo_header_sum,
          std::span<const chunk> payload, checksum_mode mode = checksum_mode::full);

/// The smallest window scale with which 16 bits can offer all of `buffer`. [RFC 7323 2.2, 2.3]
constexpr std::uint8_t window_scale_for(std::uint32_t buffer) {
    std::uint8_t shift = 0;
    while (shift < 14 && (std::uint64_t{0xffff} << shift) < buffer) ++shift;
    return shift;
}

/// "SYN|ACK seq=1 ack=2 win=65535 <mss 1460, wscale 7>"
std::string to_string(const header& h);
std::string to_string(flags f);

} // namespace tapir::tcp
