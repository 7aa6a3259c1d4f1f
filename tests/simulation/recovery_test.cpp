// Losses and delays as whole hosts meet them, with the configuration they have by default: how long a
// transfer takes is what tells whether a timeout was needed.

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/simulation/topology.hpp"
#include "tests/simulation/upload.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

seed_run numbered(std::uint64_t seed) {
    return seed_run(seed);
}

tcp::config with(bool sack, bool timestamps) {
    tcp::config c;
    c.use_sack = sack;
    c.use_timestamps = timestamps;
    return c;
}

} // namespace

TEST_CASE("recovery: one lost tail segment costs two round trips, not a timeout") { // [RFC 8985 7]
    constexpr duration rtt = 20ms;
    const auto time_with = [](duration one_way, bool tail_lost) {
        topology t(numbered(1));
        t.host("client").link(delay(one_way)).host("server");
        t.start();
        std::size_t full = 0;
        const auto is_tail = [&](bytes f) { return f.size() == 1514 && ++full == 6; };
        if (tail_lost) t.link_at(0).path().when(direction::out, is_tail, fault_kind::loss);
        upload x(t, 6 * 1448);
        x.run();
        CHECK(x.sent().tail_probes == (tail_lost ? 1 : 0));
        CHECK(x.sent().rto_fired == 0);
        return x.took;
    };
    const duration quiet = time_with(rtt / 2, false);
    const duration lossy = time_with(rtt / 2, true);
    // The ACK of the others comes a round trip after them, the probe two smoothed ones later: 37 ms each,
    // since the SYN waited for ARP.
    CHECK(lossy - quiet >= 2 * rtt);
    CHECK(lossy - quiet <= 4 * rtt);
}

TEST_CASE("recovery: 1 MB arrives through 10 % of loss each way, whatever the two ends agree upon") {
    for (const bool sack : {true, false})
        for (const bool timestamps : {true, false})
            for (std::uint64_t seed = 1; seed <= 3; ++seed) {
                CAPTURE(sack);
                CAPTURE(timestamps);
                CAPTURE(seed);
                topology t(numbered(seed));
                t.host("client", with(sack, timestamps));
                t.link(delay(10ms), loss(100'000));
                t.host("server");
                upload x(t, 1'000'000);
                x.run();
                CHECK(x.sender.sack_permitted == sack);
                CHECK(x.took < (sack ? 60s : 300s));
            }
}

TEST_CASE("recovery: a path that is slow once draws a timeout that is undone, and cwnd is what it was") {
    for (const bool timestamps : {true, false}) { // [RFC 3522] [RFC 4015] [RFC 5682] [RFC 9438 4.9]
        CAPTURE(timestamps);
        topology t(numbered(1));
        tcp::config client = with(true, timestamps);
        client.connections.send_buffer = 256 * 1024; // what is in flight, so that it lasts for seconds
        t.host("client", client);
        // For 100 ms what is sent takes a second; what follows stays behind it.
        impairment way;
        way.delay = 25ms;
        way.keep_order = true;
        impairment slow = way;
        slow.delay = 1s;
        t.link(to_right(impaired(way)), to_left(delay(25ms)), at(1s, to_right(impaired(slow))),
               at(1s + 100ms, to_right(impaired(way))));
        t.host("server");
        upload x(t, 8'000'000);
        x.look_every = 5ms;
        x.run();
        CHECK(x.sent().rto_fired >= 1);
        CHECK(x.sent().recoveries_undone == 1);
        // Before the timeout, and right behind the undo.
        std::size_t undone = 0;
        while (undone < x.seen.size() && x.seen[undone].recoveries_undone == 0) ++undone;
        REQUIRE(undone < x.seen.size());
        std::size_t fired = undone;
        while (fired > 0 && x.seen[fired].rto_fired != 0) --fired;
        CHECK(x.seen[fired + 1].cwnd < x.seen[fired].cwnd / 4);
        CHECK(x.seen[undone].cwnd >= x.seen[fired].cwnd);
        CHECK(x.seen[undone].ssthresh >= x.seen[fired].ssthresh);
        CHECK(x.sender.rto_fired == x.seen[undone].rto_fired);
    }
}

TEST_CASE("recovery: reordering by three packets costs nothing once it was learnt from") { // [RFC 8985 6.2]
    for (const bool timestamps : {true, false}) {
        CAPTURE(timestamps);
        topology t(numbered(3));
        t.host("client", with(true, timestamps));
        t.link(to_right(delay(20ms), rate(2'000'000), tail_drop_queue(1'000'000), reordering(20'000, 3)),
               to_left(delay(20ms)));
        t.host("server");
        upload x(t, 2'000'000);
        x.look_every = 10ms;
        x.run();
        CHECK(t.link_at(0).path().faults()[fault_kind::reorder] > 20);
        std::size_t learnt = 0;
        while (learnt < x.seen.size() && !x.seen[learnt].reordering_seen) ++learnt;
        REQUIRE(learnt < x.seen.size());
        CHECK(x.sender.retransmits == x.seen[learnt].retransmits);
        CHECK(x.sender.fast_retransmits <= 1);
        CHECK(x.sender.rto_fired == 0);
    }
}

TEST_CASE("recovery: a retransmission that is lost is sent again without a timeout") { // [RFC 8985 3.1]
    topology t(numbered(1));
    t.host("client").link(delay(20ms)).host("server");
    t.start();
    // One segment, the first three times it is sent.
    std::vector<std::byte> number;
    std::uint64_t frames = 0;
    t.link_at(0).path().when(
        direction::out,
        [&](bytes f) {
            if (f.size() < 1500) return false;
            const bytes its = f.subspan(14 + 20 + 4, 4);
            if (number.empty() && ++frames == 30) number.assign(its.begin(), its.end());
            return !number.empty() && std::equal(its.begin(), its.end(), number.begin());
        },
        fault_kind::loss, 3);
    upload x(t, 1'000'000);
    x.run();
    CHECK(x.sender.retransmits == 3);
    CHECK(x.sent().rto_fired == 0);
    CHECK(x.sent().fast_retransmits >= 1);
}

TEST_CASE("recovery: of an outage both ways all losses are found, though its timeouts are undone") {
    for (const bool timestamps : {true, false}) {
        CAPTURE(timestamps);
        topology t(numbered(1));
        tcp::config client = with(true, timestamps);
        client.connections.send_buffer = 256 * 1024;
        t.host("client", client);
        // What is under way to the server vanishes, and so do the ACKs of what had arrived: the timeout's
        // first segment is found to have come twice, and those behind it not to have come at all.
        t.link(delay(25ms), at(1s, loss(1'000'000)), at(2s, loss(0)));
        t.host("server");
        upload x(t, 8'000'000);
        x.run();
        CHECK(x.sender.retransmits > 40);
        if (timestamps) CHECK(x.sent().recoveries_undone >= 1);
        CHECK(x.sent().rto_fired <= 5); // two or three in the outage, and one behind it
        CHECK(x.took < 4s);
    }
}
