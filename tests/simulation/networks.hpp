// Networks drawn from a seed: from a cable of ten microseconds to a path with an hour of round-trip time,
// with everything that a link can do to frames and that can happen to a link, and hosts that are set up for
// it.
//
//     const drawn_network n = draw_network(run.seed);
//     topology t(run, n.start);
//     n.build(t);               // "client" at the left, "server" at the right, perhaps routers between them
#pragma once

#include <tapir/framework/random.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/protocols/arp/cache.hpp>
#include <tapir/protocols/tcp/config.hpp>

#include <cstdint>
#include <vector>

#include "tests/simulation/elements.hpp"

namespace tapir::test {

class topology;

struct drawn_network {
    std::vector<link_plan> links;
    duration rtt{}; ///< the most that one round trip takes, without queues
    instant start{};
    tcp::config client;
    tcp::config server;
    arp::cache_config arp;
    std::uint32_t flood_one_in = 0; ///< frames, topology::floods()

    void build(topology& t) const;
    /// Without an answer for so long something hangs.
    duration patience() const { return 20min + 400 * rtt; }
    /// After it nothing may be left of any connection.
    duration settle() const { return 20min + 400 * rtt; }
};

drawn_network draw_network(std::uint64_t seed);

/// How either end finds losses and answers them: SACK or not, which congestion control, what of the rest.
void draw_recovery(random& draw, tcp::config& client, tcp::config& server);

/// Times that suit paths with such round trips: RFC values assume that none takes longer than a second.
void suit(tcp::config& c, duration rtt);
void suit(arp::cache_config& c, duration rtt);

/// Instants shortly before a clock of TCP wraps: timestamps in milliseconds (49.7 days), the 4-microsecond
/// clock of initial sequence numbers (4.77 hours).
inline constexpr instant timestamps_wrap{std::chrono::milliseconds(std::int64_t{1} << 32)};
inline constexpr instant sequence_clock_wraps{std::chrono::microseconds(4 * (std::int64_t{1} << 32))};

} // namespace tapir::test
