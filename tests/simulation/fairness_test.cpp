// Who gets how much of a bottleneck that several flows share, when all of them always have more to send. The
// first seconds, in which each finds its place, do not count; every test says how many.
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "tests/simulation/bottleneck.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

/// Of an even share.
double least_share(const std::vector<flow_record>& flows) {
    double least = 1;
    for (const flow_record& f : flows)
        least = std::min(least, share_of(flows, [&](const flow_record& other) { return &other == &f; }));
    return least * static_cast<double>(flows.size());
}

/// Checks what holds for all: the link is used, and nobody starves.
std::vector<flow_record> shared(const bottleneck& b, duration settled, duration end) {
    const std::vector<flow_record> flows = b.run(settled, end);
    const double used = utilisation(b, flows, end - settled);
    std::printf(
        "%zu flows, queue %.2f BDP, %lld to %lld s: Jain's index %.3f, least of an even share %.2f, link "
        "used %.3f\n",
        flows.size(), b.queue, static_cast<long long>(settled / 1s), static_cast<long long>(end / 1s),
        jains_index(flows), least_share(flows), used);
    INFO(table_of(flows));
    CHECK(used > 0.9);
    CHECK(least_share(flows) > 0.25);
    return flows;
}

} // namespace

TEST_CASE("fairness: two CUBIC flows share evenly after ten seconds") {
    for (const double queue : {1.0, 0.25}) {
        bottleneck b;
        b.queue = queue;
        b.add(2);
        CHECK(jains_index(shared(b, 10s, 40s)) > 0.9);
    }
}

TEST_CASE("fairness: eight CUBIC flows share evenly after five seconds") {
    for (const double queue : {1.0, 0.25}) {
        bottleneck b;
        b.queue = queue;
        b.add(8);
        CHECK(jains_index(shared(b, 5s, 25s)) > 0.9);
    }
}

TEST_CASE("fairness: eight CUBIC flows share evenly with one that had everything before them") {
    bottleneck b;
    b.add(8);
    b.apart = 0ms;
    b.head_start = 5s;
    CHECK(jains_index(shared(b, 15s, 35s)) > 0.9);
}

TEST_CASE("fairness: 64 CUBIC flows, with five segments each in flight and as many in the queue") {
    bottleneck b;
    b.rate = 5'000'000;
    b.rtt = 100ms;
    b.add(64);
    CHECK(jains_index(shared(b, 10s, 25s)) > 0.9);
}

// Windows that lose equally are equal, and then rates are as one to the round trip, the queue's delay
// included. [RFC 9438 5.2] promises no more where CUBIC grows as Reno does, as it does on paths as short as
// these. Half of that is starving, twice that too much.
TEST_CASE("fairness: of flows with 10 and with 40 ms nobody starves: rates are as one to the round trip") {
    for (const double queue : {4.0, 1.0}) { // of the shorter one's BDP
        bottleneck b;
        b.rtt = 10ms;
        b.way_in = 30ms;
        b.queue = queue;
        b.add(2);
        b.add(2, flow_plan(true));
        const auto flows = shared(b, 10s, 30s);
        const double waiting = 10 * queue; // milliseconds, when the queue is full
        const double as_one_to = (10 + waiting) / (10 + waiting + 40 + waiting);
        const double far = share_of(flows, [](const flow_record& f) { return f.from_far; });
        std::printf("    those with 40 ms: %.3f of it, by their round trips %.3f\n", far, as_one_to);
        CHECK(far > as_one_to / 2);
        CHECK(far < as_one_to * 2);
    }
}

TEST_CASE("fairness: CUBIC beside NewReno on a short path: each gets 35 to 65 %") { // [RFC 9438 4.3]
    for (const double queue : {1.0, 0.25}) {
        bottleneck b;
        b.queue = queue;
        b.add(2);
        b.add(2, flow_plan(false, tcp::congestion_algorithm::new_reno));
        const auto flows = shared(b, 10s, 30s);
        const double reno = share_of(
            flows, [](const flow_record& f) { return f.congestion == tcp::congestion_algorithm::new_reno; });
        std::printf("    NewReno: %.3f\n", reno);
        CHECK(reno > 0.35);
        CHECK(reno < 0.65);
    }
}

// Spread over the round trip a flow meets the queue at every moment, in bursts only at some: pacing has its
// price where queues drop what they have no room for, and it must stay a small one. (Aggarwal, Savage,
// Anderson 2000)
TEST_CASE("fairness: a paced flow beside one in bursts gets 35 to 65 %") {
    for (const double queue : {1.0, 0.25}) {
        bottleneck b;
        b.queue = queue;
        b.add(1);
        b.add(1, flow_plan(false, tcp::congestion_algorithm::cubic, false));
        const auto flows = shared(b, 10s, 40s);
        const double paced = share_of(flows, [](const flow_record& f) { return f.paced; });
        std::printf("    paced: %.3f\n", paced);
        CHECK(paced > 0.35);
        CHECK(paced < 0.65);
    }
}
