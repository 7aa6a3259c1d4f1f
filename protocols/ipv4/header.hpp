// The IPv4 header (RFC 791): a view that has been validated, and a struct to build one from.
//
//     auto ip = ipv4::view::parse(eth.payload());          // padding behind total_length is cut off
//     if (ip && ip->protocol() == ip::protocol::tcp) ... ip->payload() ...
//
//     ipv4::header h{.protocol = ip::protocol::tcp, .source = a, .destination = b, .payload_size = f.size()};
//     h.emit(f.push_front(ipv4::header::size));
#pragma once

#include <tapir/framework/bytes.hpp>
#include <tapir/protocols/ip/address.hpp>
#include <tapir/protocols/ip/ecn.hpp>

#include <cstddef>
#include <cstdint>
#include <expected>

namespace tapir::ipv4 {

enum class malformed : std::uint8_t {
    too_short,         ///< no room for a header
    bad_version,       ///< not 4
    bad_header_length, ///< under 5 words, or more than there is
    bad_total_length,  ///< shorter than its header, or longer than what was received
    bad_checksum,
};

class view {
  public:
    /// `packet` may be longer than the datagram (link padding); the view ends with the datagram.
    static std::expected<view, malformed> parse(bytes packet);
    /// The start of a datagram as an ICMP error quotes it: it may end anywhere behind its header, and its
    /// checksum is not checked (routers have changed the TTL, some without mending it).
    static std::expected<view, malformed> parse_quoted(bytes packet);

    std::size_t header_size() const { return std::size_t{4} * (load_u8(packet_, 0) & 0x0fu); }
    std::uint8_t type_of_service() const { return load_u8(packet_, 1); }
    std::uint8_t dscp() const { return static_cast<std::uint8_t>(type_of_service() >> 2); }
    ip::ecn ecn() const { return static_cast<ip::ecn>(type_of_service() & 0x03); }
    /// As the header says: of a quoted datagram more than is there.
    std::size_t total_length() const { return load_be16(packet_, 2); }
    std::uint16_t identification() const { return load_be16(packet_, 4); }
    bool dont_fragment() const { return (load_u8(packet_, 6) & 0x40) != 0; }
    bool more_fragments() const { return (load_u8(packet_, 6) & 0x20) != 0; }
    /// In bytes: a multiple of 8.
    std::size_t fragment_offset() const { return std::size_t{8} * (load_be16(packet_, 6) & 0x1fffu); }
    bool is_fragment() const { return more_fragments() || fragment_offset() != 0; }
    std::uint8_t ttl() const { return load_u8(packet_, 8); }
    ip::protocol protocol() const { return static_cast<ip::protocol>(load_u8(packet_, 9)); }
    ip::address source() const { return ip::address::v4(load_be32(packet_, 12)); }
    ip::address destination() const { return ip::address::v4(load_be32(packet_, 16)); }
    bytes options() const { return packet_.subspan(20, header_size() - 20); }
    bytes payload() const { return packet_.subspan(header_size()); }
    /// Header and payload, without padding.
    bytes datagram() const { return packet_; }

  private:
    explicit view(bytes packet) : packet_(packet) {}
    static std::expected<view, malformed> parse_header(bytes packet);
    bytes packet_;
};

struct header {
    /// Without options, which this host puts into nothing of its own.
    static constexpr std::size_t size = 20;
    static constexpr std::size_t max_total_length = 65535;

    std::uint8_t type_of_service = 0; ///< DSCP in the upper six bits, ECN in the lower two
    std::uint16_t identification = 0; ///< means nothing while dont_fragment is set [RFC 6864 4.1]
    bool dont_fragment = true;        ///< path MTU discovery [RFC 1191 3]
    bool more_fragments = false;
    std::uint16_t fragment_offset = 0; ///< in bytes, a multiple of 8
    std::uint8_t ttl = 64;             ///< the default of RFC 1700; never 0 [RFC 1122 3.2.1.7]
    ip::protocol protocol = ip::protocol::tcp;
    ip::address source{};
    ip::address destination{};
    std::size_t payload_size = 0; ///< at most max_total_length - size

    /// Without the view's options.
    static header of(const view& v);
    /// Writes `size` bytes with their checksum at the front of `out`.
    void emit(mutable_bytes out) const { emit(out, {}); }
    /// The same with options behind it: whole words, ten at most.
    void emit(mutable_bytes out, bytes options) const;

    bool operator==(const header&) const = default;
};

} // namespace tapir::ipv4
