// Networks step by step: what a link, a router or a host does in the middle of a transfer, and what TCP makes
// of it. Each test is a topology and a story.

#include <tapir/framework/scope.hpp>
#include <tapir/framework/sleep.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/simulation/networks.hpp"
#include "tests/simulation/pattern.hpp"
#include "tests/simulation/topology.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

constexpr std::uint16_t port = 9000;

seed_run kept(std::uint64_t seed = 1) {
    seed_run run(seed);
    run.keep = true;
    return run;
}

host_config for_round_trips_of(duration rtt) {
    host_config c;
    suit(c.tcp, rtt);
    suit(c.arp, rtt);
    return c;
}

task<> take(topology* t, std::uint64_t bytes_expected) {
    tcp::listen_options options;
    options.accepted = t->last().host().tcp().configuration().connections;
    auto listening = t->last().host().listen(t->last().at(port), options);
    REQUIRE(listening);
    auto peer = co_await listening->accept();
    REQUIRE(peer);
    const pattern sent(1);
    std::uint64_t got = 0;
    std::vector<std::byte> buffer(16'384);
    for (;;) {
        const auto n = co_await peer->read(buffer);
        REQUIRE(n);
        if (*n == 0) break;
        CHECK(sent.matches(got, bytes(buffer).first(*n)));
        got += *n;
    }
    CHECK(got == bytes_expected);
    const auto closed = co_await peer->close();
    REQUIRE(closed);
    CHECK(closed->how == ending::orderly);
}

task<> give(topology* t, std::uint64_t size, duration pause) {
    auto c = co_await t->first().host().connect(t->last().at(port));
    REQUIRE(c);
    CHECK(co_await sleep_for(pause));
    for (std::uint64_t sent = 0; sent < size;) {
        const bytes piece = pattern(1).at(sent, size - sent);
        REQUIRE(co_await c->write(piece));
        sent += piece.size();
    }
    const auto closed = co_await c->close();
    REQUIRE(closed);
    CHECK(closed->how == ending::orderly);
}

/// From the first host to the last, whole and in order, `pause` after connecting; returns how long it took.
duration transfer(topology& t, std::uint64_t size, duration pause = duration{0}) {
    t.start();
    const instant begun = t.on().now();
    auto both = [&](scope& s) -> task<> {
        s.spawn(take, &t, size);
        s.spawn(give, &t, size, pause);
        co_return;
    };
    t.run(with_scope(both));
    return t.on().now() - begun;
}

std::uint64_t faults(topology& t, fault_kind k) {
    std::uint64_t n = 0;
    for (std::size_t i = 0; i < t.links(); ++i) n += t.link_at(i).path().faults()[k];
    return n;
}

} // namespace

TEST_CASE("topology: a transfer fills a tail-drop queue, loses what does not fit, and arrives whole") {
    topology t(kept());
    t.host("client");
    t.link(rate(1'000'000), tail_drop_queue(20'000), random_delay(10ms, 12ms));
    t.host("server");
    const duration took = transfer(t, 500'000);
    CHECK(faults(t, fault_kind::tail_drop) > 0);
    CHECK(took > 500ms); // what the rate allows
    CHECK(took < 5s);
    CHECK(t.quiet() == "");
}

TEST_CASE("topology: a path whose ways differ by a factor of a hundred, one of them lossy") {
    topology t(kept());
    t.host("client");
    t.link(to_right(delay(3ms)), to_left(delay(300ms), loss(100'000), reordering(100'000)));
    t.host("server");
    transfer(t, 100'000);
    CHECK(t.quiet() == "");
}

TEST_CASE("topology: through two routers, over three links") {
    topology t(kept());
    t.host("client");
    t.link(delay(5ms));
    t.router("r1");
    t.link(delay(20ms), loss(20'000));
    t.router("r2");
    t.link(delay(5ms));
    t.host("server");
    transfer(t, 100'000);
    CHECK(t["r1"].host().forwarding_counters().forwarded > 50);
    CHECK(t["r2"].host().forwarding_counters().forwarded > 50);
    CHECK(t.quiet() == "");
}

TEST_CASE("topology: the MTU behind a router shrinks in mid-transfer, and the transfer completes") {
    topology t(kept());
    t.host("client");
    t.link(delay(5ms), rate(200'000));
    t.router("r");
    t.link(delay(20ms), at(1s, mtu(900)));
    t.host("server");
    const duration took = transfer(t, 500'000);
    CHECK(took > 2s); // it was under way when the MTU changed
    CHECK(took < 20s);
    CHECK(t["client"].host().tcp().counted().path_mtu_lowered == 1);
    CHECK(t["r"].host().forwarding_counters().forwarded > 100);
    CHECK(t.quiet() == "");
}

TEST_CASE("topology: the MTU of the sender's own link shrinks in mid-transfer, and the transfer completes") {
    topology t(kept());
    t.host("client");
    t.link(delay(5ms), rate(200'000), at(1s, mtu(900)));
    t.host("server");
    const duration took = transfer(t, 500'000);
    CHECK(took > 2s);
    CHECK(took < 20s);
    CHECK(t.quiet() == "");
}

TEST_CASE("topology: a link shrinks below what any path may under a connection, and the transfer completes") {
    for (const duration pause : {0s, 2s}) { // in the middle of it, and before its first byte
        topology t(kept());
        t.host("client");
        t.link(delay(5ms), rate(200'000), at(1s, mtu(300)));
        t.host("server");
        const duration took = transfer(t, 500'000, pause);
        CHECK(took > 2s);
        CHECK(took < 20s);
        // A first flight is cut; from then on segments are as large as the link takes. [RFC 9293 3.7.2]
        const auto& sent = t["client"].host().output().count();
        CHECK(sent.too_large == 0);
        CHECK(sent.fragmented == (pause == 0s ? 0 : 10));
        CHECK(t["client"].host().tcp().counted().path_mtu_lowered == 1);
        CHECK(t.quiet() == "");
    }
}

TEST_CASE("topology: TCP over links of 300 bytes, and of the 68 that every link has") { // [RFC 791 3.2]
    for (const std::size_t bytes : {300u, 68u}) {
        topology t(kept());
        t.host("client");
        t.link(delay(5ms), mtu(bytes), loss(20'000)); // so that there are SACK blocks, too
        t.host("server");
        INFO("MTU ", bytes);
        CHECK(transfer(t, 20'000) < 60s);
        for (const char* who : {"client", "server"}) {
            const auto& sent = t[who].host().output().count();
            CHECK(sent.too_large == 0);
            CHECK((sent.fragmented > 0) == (bytes == 68)); // which holds no segment with all its options
        }
        CHECK(t.quiet() == "");
    }
}

TEST_CASE("topology: a link goes down in mid-transfer and comes up again: the transfer goes on") {
    topology t(kept());
    t.host("client");
    t.link(delay(5ms), rate(200'000), at(1s, down()), at(10s, up()));
    t.host("server");
    const duration took = transfer(t, 500'000);
    CHECK(took > 11s);
    CHECK(took < 40s); // the next retransmission, backed off, finds it up
    CHECK(t.quiet() == "");
}

TEST_CASE("topology: a cable of ten microseconds") {
    topology t(kept());
    t.host("client");
    t.link(delay(5us));
    t.host("server");
    CHECK(transfer(t, 1'000'000) < 100ms);
    CHECK(t["client"].host().tcp().counted().retransmits == 0);
    CHECK(t.quiet() == "");
}

TEST_CASE("topology: a round trip of an hour, with losses, and times that suit it") {
    topology t(kept());
    t.host("client", for_round_trips_of(1h));
    t.link(delay(30min), loss(50'000));
    t.host("server", for_round_trips_of(1h));
    const duration took = transfer(t, 200'000);
    CHECK(took > 5h);
    CHECK(faults(t, fault_kind::loss) > 0);
    CHECK(t["client"].host().tcp().counted().retransmits > 0);
    CHECK(t.quiet(200h) == "");
}

TEST_CASE("topology: with an hour's round trip and no losses nothing is sent twice") {
    topology t(kept());
    t.host("client", for_round_trips_of(1h));
    t.link(delay(30min));
    t.host("server", for_round_trips_of(1h));
    transfer(t, 200'000);
    CHECK(t["client"].host().tcp().counted().retransmits == 0);
    CHECK(t["server"].host().tcp().counted().retransmits == 0);
    CHECK(t.quiet(200h) == "");
}

// --- hosts that lose their memory [RFC 9293 3.5.1]
// ------------------------------------------------------------

namespace {

struct two_ends {
    tcp::listener listening;
    tcp::connection client;
    tcp::connection server;

    task<> open(topology* t, std::uint16_t client_port) {
        auto l = t->last().host().listen(t->last().at(port));
        REQUIRE(l);
        listening = std::move(*l);
        auto c = co_await t->first().host().connect(t->last().at(port), {}, client_port);
        REQUIRE(c);
        client = std::move(*c);
        auto s = co_await listening.accept();
        REQUIRE(s);
        server = std::move(*s);
    }
};

task<std::error_code> read_error(tcp::connection* c) {
    std::array<std::byte, 100> buffer;
    for (;;) {
        const auto n = co_await c->read(buffer);
        if (!n) co_return n.error();
        if (*n == 0) co_return std::error_code();
    }
}

} // namespace

TEST_CASE("restart: a server that has forgotten all answers the client's next segment with a RST") {
    topology t(kept());
    t.host("client");
    t.link(delay(10ms));
    t.host("server");
    auto story = [&]() -> task<> {
        two_ends e;
        co_await e.open(&t, 0);
        t["server"].restart();
        CHECK(e.server.error() == errc::host_stopped);
        (void)co_await sleep_for(1s);
        CHECK(e.client.state() == tcp::state::established); // power failed: nobody said anything
        REQUIRE(co_await e.client.write("are you there?"));
        CHECK(co_await read_error(&e.client) == errc::reset);
    };
    t.run(story());
    CHECK(t.quiet() == "");
}

TEST_CASE("restart: a client that comes back on the same port gets a new connection, after a challenge ACK") {
    topology t(kept());
    t.host("client");
    t.link(delay(10ms));
    t.host("server");
    auto story = [&]() -> task<> {
        two_ends before;
        co_await before.open(&t, 4000);
        t["client"].restart();
        auto again = co_await t["client"].host().connect(t["server"].at(port), {}, 4000);
        REQUIRE(again);
        CHECK(before.server.error() == errc::reset); // the RST that the challenge drew
        auto accepted = co_await before.listening.accept();
        REQUIRE(accepted);
        REQUIRE(co_await again->write("hello again"));
        std::array<std::byte, 100> buffer;
        const auto n = co_await accepted->read(buffer);
        REQUIRE(n);
        CHECK(as_text(bytes(buffer).first(*n)) == "hello again");
        CHECK(t["server"].host().tcp().counted().challenge_acks == 1);
        again->abort();
        (void)co_await sleep_for(1s);
    };
    t.run(story());
    CHECK(t.quiet() == "");
}

TEST_CASE(
    "restart: old segments under way to a host that has restarted harm neither it nor its new connection") {
    topology t(kept());
    t.host("client");
    t.link(to_right(delay(300ms)), to_left(delay(10ms)));
    t.host("server");
    auto story = [&]() -> task<> {
        two_ends before;
        co_await before.open(&t, 4000);
        REQUIRE(co_await before.client.write(std::string(20'000, 'o'))); // arrives after the restart
        (void)co_await sleep_for(50ms);
        t["server"].restart();
        auto listening = t["server"].host().listen(t["server"].at(port));
        REQUIRE(listening);
        CHECK(co_await read_error(&before.client) == errc::reset);
        auto again = co_await t["client"].host().connect(t["server"].at(port), {}, 4000);
        REQUIRE(again);
        auto accepted = co_await listening->accept();
        REQUIRE(accepted);
        REQUIRE(co_await again->write("new"));
        (void)again->finish();
        std::string all;
        std::array<std::byte, 100> buffer;
        for (;;) {
            const auto n = co_await accepted->read(buffer);
            REQUIRE(n);
            if (*n == 0) break;
            all += as_text(bytes(buffer).first(*n));
        }
        CHECK(all == "new");
        (void)co_await accepted->close();
        (void)co_await again->close();
    };
    t.run(story());
    CHECK(t.quiet() == "");
}

TEST_CASE("restart: who only listens learns of a peer that is gone by its keepalive") {
    tcp::config asks;
    asks.connections.keepalive_idle = 2h;
    for (const bool comes_back : {true, false}) {
        topology t(kept());
        t.host("client", asks);
        t.link(delay(10ms));
        t.host("server");
        auto story = [&]() -> task<> {
            auto l = t.last().host().listen(t.last().at(port));
            REQUIRE(l);
            auto c = co_await t.first().host().connect(t.last().at(port));
            REQUIRE(c);
            (void)co_await sleep_for(1s); // nothing is under way
            const instant begun = t.on().now();
            t["server"].vanish();
            if (comes_back) t["server"].start();
            CHECK(co_await read_error(&*c) == (comes_back ? errc::reset : errc::timed_out));
            const duration took = t.on().now() - begun;
            CAPTURE(took.count());
            CHECK(took >= 2h - 2s);
            CHECK(took < (comes_back ? 2h + 1s : 2h + 10 * 75s + 1s));
        };
        t.run(story());
        CHECK(t.quiet() == "");
    }
}
