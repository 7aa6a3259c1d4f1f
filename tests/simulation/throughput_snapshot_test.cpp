// How fast a transfer is, over loss x round trip x queue, as a table that is committed. Whatever changes how
// TCP sends changes some row of it, and whoever reviews the change sees which, and in what direction. It says
// what is, not what ought to be: tests by requirement are elsewhere.
//
// A row is 6 MB from one host to another, as many times as there are seeds; random loss hits segments with
// data only, so that neither ARP nor a lost SYN (a second each) drowns what is measured. Rates are those of
// `./run bench recovery`: 320, 100 and 40 Mbit/s.
//
//     ./run tests --accept-snapshot        # after a change that is meant: writes the table anew
#include <tapir/framework/scope.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tests/simulation/topology.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

constexpr const char* snapshot = TAPIR_SOURCE_DIR "/tests/simulation/throughput_snapshot.txt";
constexpr std::uint16_t port = 5001;
constexpr std::uint64_t transfer = 6'000'000; ///< bytes
constexpr std::size_t frame_bytes = 1514;

struct path_kind {
    duration rtt;
    std::uint64_t rate; ///< bytes a second
};
constexpr std::array paths{path_kind{1ms, 40'000'000}, path_kind{20ms, 12'500'000},
                           path_kind{100ms, 5'000'000}};
constexpr std::array<std::uint32_t, 4> losses{0, 1'000, 10'000, 30'000}; ///< parts per million
constexpr std::array<std::size_t, 2> queues{4, 1};                       ///< quarters of a BDP
constexpr std::uint64_t seeds = 3;                                       ///< for each row with loss

struct outcome {
    duration took{0};
    std::uint32_t again = 0; ///< segments
    std::uint32_t timeouts = 0;
};

struct run_state {
    run_state(topology& net) : t(&net) {}
    topology* t;
    outcome out;
};

task<> receive_all(tcp::listener* listening) {
    auto accepted = co_await listening->accept();
    REQUIRE(accepted);
    tcp::connection peer = std::move(*accepted);
    std::uint64_t got = 0;
    for (;;) {
        const auto some = co_await peer.read();
        REQUIRE(some);
        if (some->empty()) break;
        got += some->size();
    }
    CHECK(got == transfer);
    peer.abort();
}

task<> send_all(run_state* r) {
    topology& t = *r->t;
    const instant began = t.on().now();
    auto connected = co_await t.first().host().connect(t.last().at(port));
    REQUIRE(connected);
    tcp::connection c = std::move(*connected);
    const std::vector<std::byte> all(transfer);
    const auto written = co_await c.write(all);
    CHECK(written);
    (void)co_await c.finish();
    const tcp::info last = c.info();
    r->out.took = t.on().now() - began;
    r->out.again = last.retransmits;
    r->out.timeouts = last.rto_fired;
    c.abort();
}

task<> transfer_once(run_state* r) {
    auto l = r->t->last().host().listen(r->t->last().at(port));
    REQUIRE(l);
    tcp::listener listening = std::move(*l);
    auto both = [&](scope& in) -> task<> {
        in.spawn(receive_all, &listening);
        co_await send_all(r);
    };
    co_await with_scope(both);
}

outcome one(const path_kind& p, std::uint32_t loss_ppm, std::size_t quarters, std::uint64_t seed) {
    const std::size_t bdp =
        static_cast<std::size_t>(p.rate) * static_cast<std::size_t>(p.rtt / 1us) / 1'000'000;
    topology t{seed_run(seed)};
    t.host("sender");
    t.link(to_right(rate(p.rate), tail_drop_queue(std::max(bdp * quarters / 4, 4 * frame_bytes)),
                    loss(loss_ppm)),
           delay(p.rtt / 2));
    t.host("receiver");
    t.start();
    constexpr std::size_t headers = 100; // bytes: more than those of an ACK, less than with any data of ours
    t.link_at(0).path().spare(direction::out, [](bytes f) { return f.size() <= headers; });
    run_state r(t);
    t.run(transfer_once(&r));
    CHECK(t.wrong() == "");
    return r.out;
}

std::string row(const path_kind& p, std::uint32_t loss_ppm, std::size_t quarters) {
    duration took{0};
    std::uint32_t again = 0;
    std::uint32_t timeouts = 0;
    const std::uint64_t runs = loss_ppm == 0 ? 1 : seeds;
    for (std::uint64_t seed = 1; seed <= runs; ++seed) {
        const outcome o = one(p, loss_ppm, quarters, seed);
        took += o.took;
        again += o.again;
        timeouts += o.timeouts;
    }
    const auto us = static_cast<std::uint64_t>(took / 1us);
    char line[120];
    std::snprintf(line, sizeof line, "%3lld ms  %4.1f %%  %s  %8llu kbit/s  %5u again  %2u timeouts\n",
                  static_cast<long long>(p.rtt / 1ms), loss_ppm / 10'000.0, quarters == 4 ? "1  " : "1/4",
                  static_cast<unsigned long long>(transfer * runs * 8'000 / us), again, timeouts);
    return line;
}

std::string table() {
    std::string out = "RTT      loss  queue  goodput         segments sent again, timeouts (of all seeds)\n";
    for (const path_kind& p : paths)
        for (const std::uint32_t loss_ppm : losses)
            for (const std::size_t quarters : queues) out += row(p, loss_ppm, quarters);
    return out;
}

} // namespace

TEST_CASE("throughput over loss x round trip x queue is what the committed table says") {
    const std::string now = table();
    if (std::getenv("TAPIR_ACCEPT_SNAPSHOT") != nullptr) {
        std::ofstream to(snapshot);
        to << now;
        REQUIRE_MESSAGE(to.flush(), "cannot write ", snapshot);
        return;
    }
    std::ifstream from(snapshot);
    const std::string committed{std::istreambuf_iterator<char>(from), std::istreambuf_iterator<char>()};
    CHECK_MESSAGE(
        now == committed,
        "throughput has changed. If that is meant: ./run tests --accept-snapshot, and say in the commit "
        "which rows moved and why.\ncommitted:\n"
            << committed << "now:\n"
            << now);
}
