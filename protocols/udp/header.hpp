// The UDP header (RFC 768): a view that has been validated, and a struct to build one from.
//
//     auto d = udp::view::parse(ip.payload());               // what stands behind its length is cut off
//     if (d && d->checksum_ok(ip::pseudo_header_sum(source, destination, ip::protocol::udp))) ...
//
//     udp::header h{.source_port = 7, .destination_port = 40000};
//     h.emit(f.push_front(udp::header::size), sum, payload);
#pragma once

#include <tapir/framework/bytes.hpp>

#include <cstddef>
#include <cstdint>
#include <expected>

namespace tapir::udp {

enum class malformed : std::uint8_t {
    too_short,  ///< no room for a header
    bad_length, ///< the length field is less than a header, or more than has come
};

class view {
  public:
    /// `datagram` may be longer than its length field says (RFC 768 leaves the rest without a meaning).
    static std::expected<view, malformed> parse(bytes datagram);

    std::uint16_t source_port() const { return load_be16(datagram_, 0); } ///< 0: wants no answer
    std::uint16_t destination_port() const { return load_be16(datagram_, 2); }
    /// Header and payload.
    std::size_t length() const { return datagram_.size(); }
    std::uint16_t checksum() const { return load_be16(datagram_, 6); }
    bytes payload() const { return datagram_.subspan(8); }

    /// `pseudo_header_sum` is ip::pseudo_header_sum() of its addresses. A checksum of zero means that the
    /// sender made none. [RFC 768] [RFC 1122 4.1.3.4]
    bool checksum_ok(std::uint16_t pseudo_header_sum) const;

  private:
    explicit view(bytes datagram) : datagram_(datagram) {}
    bytes datagram_;
};

struct header {
    static constexpr std::size_t size = 8;
    /// Of one datagram: the length field and the one of IPv4 hold 65,535, headers included.
    static constexpr std::size_t max_payload = 65535 - 20 - size;

    std::uint16_t source_port = 0;
    std::uint16_t destination_port = 0;

    /// Writes `size` bytes at the front of `out`; the payload is to follow there. Its checksum is never
    /// absent: a sum of zero is sent as 0xffff, which is the same in ones' complement.
    void emit(mutable_bytes out, std::uint16_t pseudo_header_sum, bytes payload) const;

    bool operator==(const header&) const = default;
};

} // namespace tapir::udp
