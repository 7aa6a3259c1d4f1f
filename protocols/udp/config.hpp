// Every limit of UDP, in one place, with its unit and the reason for its default.
#pragma once

#include <tapir/protocols/ip/flow_share.hpp>

#include <cstddef>
#include <cstdint>

namespace tapir::udp {

/// What may differ between the sockets of one host.
struct socket_options {
    socket_options() = default;

    /// Datagrams that have come and were not received yet; the next one is dropped and counted.
    std::size_t receive_datagrams = 1024;
    /// The same in bytes of memory: each datagram is charged what it keeps alive (256 bytes at least), so
    /// that empty ones are not free. 256 KiB hold two datagrams of the largest size and then some.
    std::size_t receive_bytes = 256 * 1024;
    /// Without it nothing is sent to broadcast addresses, and what comes to one is dropped and counted: a
    /// service that answers broadcasts lets one forged datagram draw answers from a whole network. A socket
    /// bound to one address never gets any.
    bool broadcast = false;
    /// Errors that ICMP reports become the next call's, though the socket is not connected to one peer. Off,
    /// because one client that is gone must not break the loop of a server for all.
    bool report_errors = false;
    std::uint8_t ttl = 64;            ///< of what is sent; at least 1 [RFC 1122 4.1.4 MUST]
    std::uint8_t type_of_service = 0; ///< DSCP in the upper six bits [RFC 1122 4.1.4 MUST]
};

struct config {
    config() = default;

    /// The ports that this stack has, of a host that is split over several: it binds no others.
    ip::flow_share share;
    std::size_t max_sockets = 4096; ///< bound at the same time; past it errc::no_memory
    /// Over all sockets, charged like socket_options::receive_bytes: many sockets that nobody reads must not
    /// take the memory of those that somebody does.
    std::size_t max_queued_bytes = std::size_t{16} << 20;
    /// Datagrams sent in one turn of the loop, all sockets together; more wait for the next. A sender never
    /// has to wait for a window, so without this one could keep everybody else from running.
    std::size_t max_sent_per_turn = 64;
    std::uint16_t first_ephemeral_port = 49152; ///< [RFC 6335 6]
    std::uint16_t last_ephemeral_port = 65535;
};

} // namespace tapir::udp
