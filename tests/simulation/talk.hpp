// What programs share that talk with each other over networks drawn from a seed, for as long as it takes.
#pragma once

#include <tapir/framework/task.hpp>
#include <tapir/protocols/tcp/connection.hpp>

#include <algorithm>
#include <cstdint>

#include "tests/simulation/networks.hpp"
#include "tests/simulation/topology.hpp"

namespace tapir::test {

struct talk {
    talk(topology& over, const drawn_network& n) : t(&over), patience(n.patience()), rtt(n.rtt) {}

    topology* t;
    duration patience; ///< for what must come in the end
    duration rtt;

    duration up_to(duration most) const {
        return duration(
            static_cast<std::int64_t>(t->rng().next() % static_cast<std::uint64_t>(most.count())));
    }
};

/// Ends notice when the other has vanished, and no buffer is smaller than `least`: answers that take a
/// thousand round trips are bulk's matter.
inline void suit_talk(drawn_network& n, duration keepalive_idle, std::uint32_t least) {
    for (tcp::config* c : {&n.client, &n.server}) {
        c->connections.keepalive_idle = keepalive_idle + 4 * n.rtt;
        c->connections.keepalive_interval = 75s + 2 * n.rtt;
        c->connections.keepalive_probes =
            30; // nine lost, or held back by reordering, in a row are no failure of TCP
        for (std::uint32_t* buffer : {&c->connections.receive_buffer, &c->connections.send_buffer})
            if (*buffer != 0) *buffer = std::max(*buffer, least);
        c->first_buffer = std::max(c->first_buffer, least);
    }
}

/// All of `to`, or an error, or the end (errc::closed).
inline task<result<std::size_t>> read_exactly(tcp::connection* c, mutable_bytes to) {
    std::size_t got = 0;
    while (got < to.size()) {
        const auto n = co_await c->read(to.subspan(got));
        if (!n) co_return n.error();
        if (*n == 0) co_return errc::closed;
        got += *n;
    }
    co_return got;
}

} // namespace tapir::test
