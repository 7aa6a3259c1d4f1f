// What became of datagrams, and why those that were dropped were.
#pragma once

#include <tapir/framework/count_by.hpp>
#include <tapir/framework/visit_counters.hpp>

#include <cstdint>
#include <string_view>

namespace tapir::udp {

enum class drop : std::uint8_t {
    too_short,       ///< no room for a header
    bad_length,      ///< the length field contradicts the datagram's
    bad_checksum,    ///< [RFC 1122 4.1.3.4 MUST]: silently
    bad_source,      ///< from an address that is not one host's [RFC 1122 4.1.3.6 MUST]
    no_port,         ///< nobody is bound there; answered with ICMP port unreachable if that may be
    broadcast,       ///< to a broadcast address, and the socket does not take them
    not_peer,        ///< the socket is connected, and not to the sender
    queue_full,      ///< socket_options::receive_datagrams
    queue_bytes,     ///< socket_options::receive_bytes
    all_queues_full, ///< config::max_queued_bytes
    closed,          ///< had come, and the socket was closed before anybody received it
};
std::string_view to_string(drop reason);

struct counters {
    std::uint64_t datagrams_in = 0; ///< all, dropped ones too
    std::uint64_t queued = 0;       ///< for a socket to receive
    std::uint64_t received = 0;     ///< by somebody
    std::uint64_t truncated = 0;    ///< of these: longer than the room for them
    std::uint64_t datagrams_out = 0;
    std::uint64_t send_waits = 0; ///< calls that had to wait for the link or for the next turn
    count_by<drop, drop::closed> dropped;
    std::uint64_t icmp_errors = 0;  ///< about something that one of our sockets sent
    std::uint64_t icmp_ignored = 0; ///< about nothing that a socket of ours remembers to have sent [RFC 5927]
    std::uint64_t icmp_replaced = 0; ///< of icmp_errors: not asked for before the next one came

    template <class Self, class F>
    static constexpr void visit(Self& c, F f) {
        f("datagrams_in", c.datagrams_in);
        f("queued", c.queued);
        f("received", c.received);
        f("truncated", c.truncated);
        f("datagrams_out", c.datagrams_out);
        f("send_waits", c.send_waits);
        f("dropped", c.dropped);
        f("icmp_errors", c.icmp_errors);
        f("icmp_ignored", c.icmp_ignored);
        f("icmp_replaced", c.icmp_replaced);
    }
};
static_assert(visits_every_counter<counters>());

} // namespace tapir::udp
