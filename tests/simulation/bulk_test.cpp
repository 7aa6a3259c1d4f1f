// Bytes both ways at once over networks of every kind: small buffers, tiny windows, slow readers, and ends
// that half-close, close or abort in an order that the seed chooses.

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

using namespace tapir;
using namespace tapir::test;

namespace {

constexpr std::uint16_t port = 5001;

enum class ending_order : std::uint8_t {
    each_when_done, ///< half-close when all is sent, then read to the end
    client_first,   ///< the server sends only when the client has finished: bulk in CLOSE_WAIT
    server_first,   ///< the other way round: bulk in FIN_WAIT_2's peer
    both_close,     ///< close() at both ends when all is sent and received: often at the same time
    client_aborts,  ///< in the middle
    server_aborts,
    client_leaves, ///< closes while bytes still come: they draw a RST [RFC 2525 2.17]
};
constexpr std::uint32_t orders = 7;

/// One end's part.
struct part {
    part(const char* who, std::uint64_t stream, std::uint64_t peer_stream)
        : name(who), own(stream), peers(peer_stream) {}
    std::string name;
    pattern own;
    pattern peers;
    std::uint64_t sends = 0;            ///< bytes
    std::uint64_t receives = 0;         ///< bytes, from the peer
    std::size_t piece = 0;              ///< most bytes in one write
    std::size_t gulp = 0;               ///< most bytes in one read
    duration nap{};                     ///< longest pause between two reads
    bool waits = false;                 ///< with sending, for the peer's FIN
    bool closes = false;                ///< instead of a half-close
    std::uint64_t aborts_after = never; ///< bytes received
    std::uint64_t leaves_after = never; ///< the same: closes, whatever else may come

    static constexpr std::uint64_t never = UINT64_MAX;
    bool leaves() const { return leaves_after != never; }
};

struct plan {
    topology* t = nullptr;
    duration patience{};
    part client{"client", 1, 2};
    part server{"server", 2, 1};
    bool orderly = true; ///< nobody aborts: every byte has to arrive
};

task<result<std::size_t>> read_some(tcp::connection* c, mutable_bytes to) {
    co_return co_await c->read(to);
}

void broken(plan* p, const part& me, const char* doing, std::error_code why) {
    if (p->orderly || why == errc::deadline_exceeded)
        p->t->fail(me.name + " " + doing + ": " + why.message());
}

task<> write_all(plan* p, part* me, tcp::connection* c) {
    if (me->waits) {
        const auto finished = co_await c->peer_finished();
        if (!finished) {
            broken(p, *me, "waits for the FIN", finished.error());
            co_return;
        }
    }
    for (std::uint64_t sent = 0; sent < me->sends;) {
        const std::size_t most = std::min<std::uint64_t>(
            me->sends - sent, 1 + p->t->rng().below(static_cast<std::uint32_t>(me->piece)));
        const bytes next = me->own.at(sent, most);
        const auto written = co_await c->write(next);
        if (!written) {
            broken(p, *me, "write", written.error());
            co_return;
        }
        sent += next.size();
        if (p->t->rng().below(20) == 0) (void)co_await sleep_for(duration(p->t->rng().below(100'000'000)));
    }
    if (me->closes) co_return;
    const auto finished = co_await c->finish();
    if (!finished) broken(p, *me, "finish", finished.error());
}

/// True when it has read what was to come.
task<bool> read_all(plan* p, part* me, tcp::connection* c) {
    std::vector<std::byte> buffer(me->gulp);
    std::uint64_t got = 0;
    // Who closes does not wait for the peer's FIN first.
    while (!me->closes || got < me->receives) {
        const auto n = co_await with_timeout(p->patience, read_some(c, buffer));
        if (!n) {
            broken(p, *me, "read", n.error());
            co_return false;
        }
        if (*n == 0) break;
        if (!me->peers.matches(got, bytes(buffer).first(*n)))
            p->t->fail(me->name + " got other bytes than were sent, behind byte " + std::to_string(got));
        got += *n;
        if (got > me->receives) p->t->fail(me->name + " got more bytes than were sent");
        if (got >= me->aborts_after) {
            c->abort();
            co_return false;
        }
        if (got >= me->leaves_after) co_return false;
        if (me->nap != duration::zero())
            (void)co_await sleep_for(duration(
                static_cast<std::int64_t>(p->t->rng().next() % static_cast<std::uint64_t>(me->nap.count()))));
    }
    if (p->orderly && got != me->receives)
        p->t->fail(me->name + " got " + std::to_string(got) + " of " + std::to_string(me->receives) +
                   " bytes");
    co_return true;
}

task<> play(plan* p, part* me, tcp::connection c) {
    bool read_to_the_end = false;
    auto both = [&](scope& s) -> task<> {
        s.spawn(write_all, p, me, &c);
        read_to_the_end = co_await read_all(p, me, &c);
        // Nobody waits for a writer whose peer is gone.
        if (!read_to_the_end && !me->leaves()) c.abort();
    };
    co_await with_scope(both);
    if (!read_to_the_end && !me->leaves()) co_return;
    const auto closed = co_await c.close();
    if (!closed)
        broken(p, *me, "close", closed.error());
    else if (p->orderly && closed->how != ending::orderly)
        p->t->fail(me->name + "'s end: " + std::string(name(closed->how)));
    else if (p->orderly && (closed->unacked != 0 || closed->unsent != 0 || closed->unread != 0))
        p->t->fail(me->name + " closed in order with bytes left");
}

task<> run_server(plan* p, tcp::listener* l) {
    auto peer = co_await l->accept();
    if (peer)
        co_await play(p, &p->server, std::move(*peer));
    else if (p->orderly)
        p->t->fail("accept: " + peer.error().message());
}

task<> run_client(plan* p) {
    // A lost ARP request can make the next hop look silent: then try again.
    result<tcp::connection> c = errc::cancelled;
    for (int attempt = 0; attempt < 20 && !c; ++attempt)
        c = co_await (*p->t)["client"].host().connect((*p->t)["server"].at(port));
    if (!c)
        p->t->fail("connect: " + c.error().message());
    else
        co_await play(p, &p->client, std::move(*c));
}

task<> run_both(plan* p, tcp::connection_options of_server) {
    tcp::listen_options options;
    options.accepted = of_server;
    auto listening = (*p->t)["server"].host().listen((*p->t)["server"].at(port), options);
    if (!listening) {
        p->t->fail("listen: " + listening.error().message());
        co_return;
    }
    auto both = [&](scope& s) -> task<> {
        s.spawn(run_server, p, &*listening);
        co_await run_client(p);
        // A client that has aborted before anybody accepted leaves nobody to serve.
        if (!p->orderly) (void)co_await sleep_for(p->patience);
        listening->close();
    };
    co_await with_scope(both);
}

std::uint64_t draw_size(tapir::random& draw, const tcp::config& from, const tcp::config& to) {
    // So many windows' worth that a run stays short: each may take a round trip of its own.
    const std::uint32_t sends = from.connections.send_buffer;
    const std::uint64_t window =
        std::min(sends != 0 ? sends : from.first_buffer, to.first_receive_buffer(to.connections));
    const std::uint32_t most = draw.below(5) == 0 ? 300'000 : 30'000;
    return draw.below(8) == 0
               ? 0
               : draw.below(static_cast<std::uint32_t>(std::min<std::uint64_t>(most, 60 * window)));
}

void draw_part(tapir::random& draw, duration rtt, part& p) {
    p.piece = 1 + draw.below(draw.below(3) == 0 ? 300 : 20'000);
    p.gulp = 1 + draw.below(draw.below(3) == 0 ? 300 : 20'000);
    // Some read slowly: the window shuts now and then, and opens again.
    if (draw.below(4) == 0) {
        p.nap = 50ms + rtt / 2;
        p.gulp = std::max<std::size_t>(p.gulp, p.receives / 20); // but within the peer's close_timeout
    }
}

void draw_ending(tapir::random& draw, plan& p) {
    const auto in_the_middle = [&](std::uint64_t all) {
        return all == 0 ? 0 : draw.below(static_cast<std::uint32_t>(all));
    };
    switch (static_cast<ending_order>(draw.below(orders))) {
    case ending_order::each_when_done: break;
    case ending_order::client_first: p.server.waits = true; break;
    case ending_order::server_first: p.client.waits = true; break;
    case ending_order::both_close: p.client.closes = p.server.closes = true; break;
    case ending_order::client_aborts: p.client.aborts_after = in_the_middle(p.client.receives); break;
    case ending_order::server_aborts: p.server.aborts_after = in_the_middle(p.server.receives); break;
    case ending_order::client_leaves:
        p.client.leaves_after = in_the_middle(p.client.receives);
        p.client.sends = p.server.receives = 0;
        p.client.closes = true;
        break;
    }
    p.orderly =
        p.client.aborts_after == part::never && p.server.aborts_after == part::never && !p.client.leaves();
}

seed_outcome bulk_over_any_network(const seed_run& run) {
    drawn_network n = draw_network(run.seed);
    tapir::random draw(run.seed * 31 + 5);
    plan p;
    p.patience = n.patience();
    p.client.sends = p.server.receives = draw_size(draw, n.client, n.server);
    p.server.sends = p.client.receives = draw_size(draw, n.server, n.client);
    draw_part(draw, n.rtt, p.client);
    draw_part(draw, n.rtt, p.server);
    draw_ending(draw, p);
    // Who only reads learns of a RST that was lost by asking.
    const bool keepalive = draw.below(4) == 0 || !p.orderly;
    for (tcp::config* c : {&n.client, &n.server}) {
        if (!keepalive) continue;
        c->connections.keepalive_idle = 5min + 4 * n.rtt;
        c->connections.keepalive_interval = 75s + 2 * n.rtt;
    }
    topology t(run, n.start);
    n.build(t);
    p.t = &t;
    t.run(run_both(&p, n.server.connections));
    t.check_quiet(n.settle());
    return t.outcome();
}

} // namespace

TEST_CASE("bulk over wires of every kind, both ways at once: every byte once and in order, then CLOSED") {
    for_each_seed("bulk", seeds_per_run(), bulk_over_any_network);
}
