// Virtual time of weeks: every clock of TCP wraps, connections lie idle for longer than a timestamp lives,
// and go on as if nothing had been. [RFC 7323 5.5] [RFC 9293 3.8.4]

#include <tapir/framework/scope.hpp>
#include <tapir/framework/sleep.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/simulation/networks.hpp"
#include "tests/simulation/pattern.hpp"
#include "tests/simulation/seeds.hpp"
#include "tests/simulation/topology.hpp"
#include "tests/simulation/world.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

constexpr std::uint16_t port = 22;
constexpr duration day = 24h;

struct long_life {
    topology* t = nullptr;
    duration patience{};
    duration lasts{}; ///< in all
    duration longest_idle{};
    std::uint64_t exchanges = 0;
};

task<> echo(tcp::listener* l) {
    auto peer = co_await l->accept();
    if (!peer) co_return;
    std::vector<std::byte> buffer(4000);
    for (;;) {
        const auto n = co_await peer->read(buffer);
        if (!n || *n == 0) break;
        if (!co_await peer->write(bytes(buffer).first(*n))) break;
    }
    (void)co_await peer->close();
}

task<result<>> ask(tcp::connection* c, pattern p, std::uint64_t from, std::size_t size, bool* right) {
    for (std::uint64_t sent = 0; sent < size;) {
        const bytes piece = p.at(from + sent, size - sent);
        const auto written = co_await c->write(piece);
        if (!written) co_return written.error();
        sent += piece.size();
    }
    std::vector<std::byte> buffer(size);
    for (std::size_t got = 0; got < size;) {
        const auto n = co_await c->read(mutable_bytes(buffer).subspan(got));
        if (!n) co_return n.error();
        if (*n == 0) co_return errc::closed;
        got += *n;
    }
    *right = p.matches(from, buffer);
    co_return result<>();
}

task<> client(long_life* l) {
    result<tcp::connection> c = errc::cancelled;
    for (int attempt = 0; attempt < 20 && !c; ++attempt)
        c = co_await l->t->first().host().connect(l->t->last().at(port));
    if (!c) {
        l->t->fail("connect: " + c.error().message());
        co_return;
    }
    const instant end = l->t->on().now() + l->lasts;
    const pattern p(7);
    std::uint64_t offset = 0;
    while (l->t->on().now() < end) {
        const std::size_t size = 1 + l->t->rng().below(l->t->rng().below(4) == 0 ? 20'000 : 300);
        bool right = false;
        const auto answered = co_await with_timeout(l->patience, ask(&*c, p, offset, size, &right));
        if (!answered) {
            l->t->fail("after " + std::to_string(l->t->on().now().time_since_epoch() / 1h) +
                       " hours: " + answered.error().message());
            c->abort();
            co_return;
        }
        if (!right) l->t->fail("other bytes came back than were sent");
        ++l->exchanges;
        offset += size;
        // Mostly days, sometimes seconds.
        const duration most =
            l->t->rng().below(3) == 0 ? std::min<duration>(1min, l->longest_idle) : l->longest_idle;
        const auto idle = l->t->rng().next() % static_cast<std::uint64_t>(most.count());
        (void)co_await sleep_for(duration(static_cast<std::int64_t>(idle)));
    }
    (void)co_await c->close();
}

task<> live(long_life* l, tcp::connection_options accepted) {
    tcp::listen_options options;
    options.accepted = accepted;
    auto listening = l->t->last().host().listen(l->t->last().at(port), options);
    if (!listening) {
        l->t->fail("listen: " + listening.error().message());
        co_return;
    }
    auto both = [&](scope& s) -> task<> {
        s.spawn(echo, &*listening);
        co_await client(l);
        listening->close();
    };
    co_await with_scope(both);
}

seed_outcome fifty_days_over_a_bad_network(const seed_run& run) {
    world::options o = network_of(run.seed);
    tapir::random draw(run.seed * 43 + 17);
    if (draw.below(2) == 0) {
        for (tcp::config* c : {&o.client, &o.server}) {
            c->connections.keepalive_idle = 2h;
            // On the worst of these networks a fifth of the probes or their answers gets lost: nine in a row are,
            // once in some ten thousand seeds, and then it is right to give up.
            c->connections.keepalive_probes = 40;
        }
    }
    world w(run, o);
    long_life l;
    l.t = &w.net();
    l.patience = 20min;
    l.lasts = 50 * day;
    l.longest_idle = draw.below(2) == 0 ? 2 * day : 30 * day;
    w.run(live(&l, o.server.connections));
    w.net().check_quiet();
    return w.net().outcome();
}

} // namespace

TEST_CASE("fifty days over wires that lose, delay and reorder: what was idle for days goes on") {
    for_each_seed("fifty-days", seeds_per_run(), fifty_days_over_a_bad_network, 4);
}

TEST_CASE("long life: the clocks of timestamps and of initial sequence numbers wrap in mid-connection") {
    for (const instant wrap : {timestamps_wrap, sequence_clock_wraps}) {
        seed_run run(1);
        run.keep = true;
        topology t(run, wrap - 500ms);
        t.host("client");
        t.link(delay(10ms));
        t.host("server");
        long_life l;
        l.t = &t;
        l.patience = 1min;
        l.lasts = 1s;
        l.longest_idle = 30ms;
        t.run(live(&l, {}));
        CHECK(t.on().now() > wrap);
        CHECK(l.exchanges > 10);
        CHECK(t.wrong() == "");
        // Nothing was taken for old, and nothing had to be sent again.
        CHECK(t.first().host().tcp().counted().paws_rejected == 0);
        CHECK(t.last().host().tcp().counted().paws_rejected == 0);
        CHECK(t.first().host().tcp().counted().retransmits == 0);
        CHECK(t.last().host().tcp().counted().retransmits == 0);
        CHECK(t.quiet() == "");
    }
}

TEST_CASE("long life: after thirty silent days a timestamp that looks old is no reason to drop data") {
    // More than 2^31 ms: the peer's clock has gone half round.
    seed_run run(1);
    topology t(run);
    t.host("client");
    t.link(delay(10ms));
    t.host("server");
    long_life l;
    l.t = &t;
    l.patience = 1min;
    bool first = false;
    bool second = false;
    auto idle_between = [&]() -> task<> {
        auto listening = t.last().host().listen(t.last().at(port));
        REQUIRE(listening);
        auto both = [&](scope& s) -> task<> {
            s.spawn(echo, &*listening);
            auto c = co_await t.first().host().connect(t.last().at(port));
            REQUIRE(c);
            CHECK(co_await ask(&*c, pattern(1), 0, 100, &first));
            (void)co_await sleep_for(30 * day);
            CHECK(co_await with_timeout(1min, ask(&*c, pattern(1), 100, 100, &second)));
            CHECK(c->info().timestamps);
            (void)co_await c->close();
        };
        co_await with_scope(both);
    };
    t.run(idle_between());
    CHECK(first);
    CHECK(second);
    CHECK(t.last().host().tcp().counted().paws_rejected == 0);
    CHECK(t.quiet() == "");
}
