// Whole hosts and a path that swallows large packets without a word: transfers complete, in both modes of
// the search, and segments become as large as the path takes. [RFC 4821] [RFC 8899]
#include <tapir/framework/scope.hpp>
#include <tapir/framework/sleep.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

#include "tests/simulation/pattern.hpp"
#include "tests/simulation/topology.hpp"

using namespace tapir;
using namespace tapir::test;
using tcp::mtu_probing;

namespace {

constexpr std::uint16_t port = 9000;
constexpr mtu_probing both_modes[] = {mtu_probing::black_hole, mtu_probing::always};

tcp::config with(mtu_probing mode) {
    tcp::config c;
    c.connections.path_mtu = mode;
    return c;
}

struct outcome {
    duration took{};
    tcp::info sender;
    tcp::counters counted;
};

/// `size` bytes from the first host to the last.
outcome transfer(topology& t, std::uint64_t size) {
    t.start();
    outcome o;
    bool done = false;
    auto listening = t.last().host().listen(t.last().at(port));
    REQUIRE(listening);
    auto take = [&]() -> task<> {
        auto peer = co_await listening->accept();
        REQUIRE(peer);
        std::uint64_t got = 0;
        std::vector<std::byte> buffer(65'536);
        while (got < size) {
            const auto n = co_await peer->read(buffer);
            REQUIRE(n);
            REQUIRE(*n != 0);
            CHECK(pattern(1).matches(got, bytes(buffer).first(*n)));
            got += *n;
        }
        done = true;
        const auto closed = co_await peer->close();
        REQUIRE(closed);
    };
    auto give = [&]() -> task<> {
        auto c = co_await t.first().host().connect(t.last().at(port));
        REQUIRE(c);
        const instant began = t.on().now();
        for (std::uint64_t sent = 0; sent < size;) {
            const bytes piece = pattern(1).at(sent, size - sent);
            const auto wrote = co_await c->write(piece);
            REQUIRE(wrote);
            sent += piece.size();
        }
        while (!done) (void)co_await sleep_for(1ms);
        o.took = t.on().now() - began;
        o.sender = c->info();
        const auto closed = co_await c->close();
        REQUIRE(closed);
    };
    auto all = [&](scope& s) -> task<> {
        s.spawn(take);
        s.spawn(give);
        co_return;
    };
    t.run(with_scope(all));
    listening->close();
    o.counted = t.first().host().tcp().counted();
    CHECK(t.quiet() == "");
    return o;
}

} // namespace

TEST_CASE("mtu discovery: a path that swallows large packets costs a second and a half, or nothing") {
    for (const mtu_probing mode : both_modes)
        for (const std::size_t carries : {1400u, 1280u, 1100u}) {
            CAPTURE(static_cast<int>(mode));
            CAPTURE(carries);
            topology t(seed_run(1));
            t.host("client", with(mode))
                .link(delay(10ms), rate(1'000'000), black_hole(carries))
                .host("server");
            const outcome o = transfer(t, 6'000'000);
            CHECK(o.took < (mode == mtu_probing::always ? 7s : 9s));
            CHECK(o.counted.black_holes_found == (mode == mtu_probing::always ? 0 : 1));
            CHECK(o.sender.path_mtu <= carries);
            CHECK(o.sender.path_mtu > carries - 8);
            // Probes come and go without a timeout, and nothing is learnt wrongly of the round trip.
            CHECK(o.counted.rto_fired == (mode == mtu_probing::always ? 0 : 3));
            CHECK(o.sender.min_rtt >= 20ms);
            CHECK(o.sender.srtt < 200ms); // the queue's
            CHECK(o.sender.backoff == 0);
        }
}

TEST_CASE("mtu discovery: where everything arrives the search is one probe, or none") {
    for (const mtu_probing mode : both_modes) {
        topology t(seed_run(1));
        t.host("client", with(mode)).link(delay(10ms)).host("server");
        const outcome o = transfer(t, 2'000'000);
        CHECK(o.counted.mtu_probes_sent == (mode == mtu_probing::always ? 1 : 0));
        CHECK(o.sender.path_mtu == 1500);
        CHECK(o.counted.retransmits == 0);
        CHECK(o.counted.tail_probes == 0);
    }
}

TEST_CASE("mtu discovery: a path that narrows in mid-transfer, and is wide again, is followed both ways") {
    for (const mtu_probing mode : both_modes) {
        CAPTURE(static_cast<int>(mode));
        topology t(seed_run(1));
        tcp::config c = with(mode);
        c.path_mtu_raise_after = 20s;
        t.host("client", c);
        t.link(delay(10ms), rate(500'000), tail_drop_queue(50'000), at(2s, black_hole(1200)),
               at(10s, black_hole(0)));
        t.host("server");
        const outcome narrow = transfer(t, 20'000'000); // at least 40 s
        CHECK(narrow.took < 60s);
        CHECK(narrow.counted.black_holes_found == 1);
        CHECK(narrow.sender.path_mtu == 1500);
    }
}

TEST_CASE("mtu discovery: random loss of 3 % keeps no segments small") {
    for (const mtu_probing mode : both_modes)
        for (std::uint64_t seed = 1; seed <= 5; ++seed) {
            CAPTURE(static_cast<int>(mode));
            CAPTURE(seed);
            topology t{seed_run(seed)};
            t.host("client", with(mode)).link(delay(10ms), loss(30'000)).host("server");
            const outcome o = transfer(t, 8'000'000);
            CHECK(o.sender.path_mtu == 1500);
            CHECK(o.counted.black_holes_found <= 1);
        }
}
