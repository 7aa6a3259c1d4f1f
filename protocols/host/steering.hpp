// Which of several hosts that are one on the network has to have a frame that one of them was given:
//
//     TCP                     the owner of its 4-tuple
//     UDP                     the owner of its local port
//     ICMP errors             the owner of what they quote
//     fragments               host 0, which puts them together and passes on the whole datagram
//     ARP, but for questions  all: each has a cache of its own
//     everything else         whoever was given it: echo requests, questions of ARP, what is malformed
//
// A pure function of the frame: nothing is remembered.
#pragma once

#include <tapir/framework/bytes.hpp>
#include <tapir/protocols/ip/flow_share.hpp>

#include <cstdint>

namespace tapir {

struct steered {
    enum class kind : std::uint8_t { here, one, all };
    kind to = kind::here;
    std::uint32_t host = 0; ///< kind::one
    bool operator==(const steered&) const = default;
};

/// A whole Ethernet frame.
steered steer(bytes frame, const ip::flow_share& share);
/// From the IPv4 header on.
steered steer_packet(bytes packet, const ip::flow_share& share);

} // namespace tapir
