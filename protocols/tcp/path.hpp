// Where segments of one connection go, as far as TCP has to know: two addresses, the largest packets out and
// in, and what the pseudo-header adds to the checksum. Whoever routes fills it in, so that TCP serves IPv4
// and IPv6 alike without naming either.
#pragma once

#include <tapir/protocols/ip/address.hpp>

#include <cstdint>

namespace tapir::tcp {

/// The largest payload of a packet of `mtu` bytes: options of either header are not subtracted.
/// [RFC 9293 3.7.1 MUST-67] [RFC 6691 2]
constexpr std::uint16_t mss_of(std::uint16_t mtu, std::uint16_t network_header) {
    const unsigned headers = network_header + 20u;
    return static_cast<std::uint16_t>(mtu > headers ? mtu - headers : 0);
}

struct path {
    path() = default;
    /// Over a link of the path's own MTU; `link_mtu` is for whoever knows better.
    path(const ip::address& local_address, const ip::address& remote_address, std::uint16_t pseudo_sum,
         std::uint16_t mtu_bytes = 1500, std::uint16_t network_header_bytes = 20)
        : local(local_address), remote(remote_address), pseudo_header_sum(pseudo_sum), mtu(mtu_bytes),
          link_mtu(mtu_bytes), network_header(network_header_bytes) {}

    ip::address local;
    ip::address remote;
    /// Folded ones' complement sum of the pseudo-header *without* the TCP length: both addresses and the
    /// protocol number, not complemented. See ip::pseudo_header_sum().
    std::uint16_t pseudo_header_sum = 0;
    std::uint16_t mtu = 1500; ///< bytes of one packet to the peer, network header included
    /// The same of the link alone that leads there: bytes of one packet that reaches us in one piece. Routers
    /// tell how narrow the way to the peer is, and anybody can forge that: it says nothing of the way back.
    std::uint16_t link_mtu = 1500;
    std::uint16_t network_header = 20; ///< bytes of the network header without options

    /// What we ask the peer to send at most. [RFC 9293 3.7.1 MUST-67] [RFC 1191 3.1]
    std::uint16_t receive_mss() const { return mss_of(link_mtu, network_header); }
    bool operator==(const path&) const = default;
};

} // namespace tapir::tcp
