// Many short connections at once, to a listener with a tiny backlog whose server takes its time; ports are
// few and come out of TIME_WAIT. Some clients leave without a word, some reset. Everybody who asks is
// answered, sooner or later.

#include <tapir/framework/scope.hpp>
#include <tapir/framework/sleep.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/simulation/networks.hpp"
#include "tests/simulation/pattern.hpp"
#include "tests/simulation/seeds.hpp"
#include "tests/simulation/talk.hpp"
#include "tests/simulation/topology.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

constexpr std::uint16_t port = 25;

enum class manners : std::uint8_t {
    client_closes,
    server_closes,
    both_close,
    client_resets,  ///< when it has its answer
    leaves_at_once, ///< closes without a word
    slams_the_door, ///< resets without a word
};
constexpr std::uint32_t kinds_of_manners = 6;

struct crowd : talk {
    using talk::talk;
    tcp::connection_options
        opens_with; ///< with Fast Open the request is in the SYN, cookie and network permitting
    std::uint64_t answered = 0;
    std::uint64_t tries = 0;
};

struct request {
    static constexpr std::size_t size = 16;
    std::uint32_t client = 0;
    std::uint32_t answer = 0; ///< bytes wanted
    manners ends{};

    void emit(mutable_bytes to) const {
        store_be32(to, 0, 0xc0ffee00u);
        store_be32(to, 4, client);
        store_be32(to, 8, answer);
        store_be32(to, 12, static_cast<std::uint32_t>(ends));
    }
    static request parse(bytes from, topology* t) {
        request r;
        r.client = load_be32(from, 4);
        r.answer = load_be32(from, 8);
        r.ends = static_cast<manners>(load_be32(from, 12));
        if (load_be32(from, 0) != 0xc0ffee00u || r.answer > 5000)
            t->fail("the server read what nobody asked");
        return r;
    }
};

task<> serve(crowd* c, tcp::connection peer) {
    std::array<std::byte, request::size> head{};
    const auto n = co_await with_timeout(c->patience, read_exactly(&peer, head));
    if (!n) {
        if (n.error() == errc::deadline_exceeded) c->t->fail("the server waits for ever for a request");
        if (n.error() == errc::closed)
            (void)co_await peer.close();
        else
            peer.abort();
        co_return;
    }
    const request asked = request::parse(head, c->t);
    const pattern answer(asked.client);
    for (std::uint64_t sent = 0; sent < asked.answer;) {
        const bytes piece = answer.at(sent, asked.answer - sent);
        if (!co_await peer.write(piece)) co_return;
        sent += piece.size();
    }
    if (asked.ends == manners::client_closes || asked.ends == manners::client_resets)
        (void)co_await peer.peer_finished();
    (void)co_await peer.close();
}

task<> accept_slowly(crowd* c, tcp::listener* l) {
    const duration nap = c->t->rng().below(2) == 0 ? duration(1ms) : 50ms + c->rtt / 4;
    auto all = [&](scope& s) -> task<> {
        for (;;) {
            auto peer = co_await l->accept();
            if (!peer) co_return; // closed: nobody else will come
            s.spawn(serve, c, std::move(*peer));
            (void)co_await sleep_for(c->up_to(nap));
        }
    };
    co_await with_scope(all);
}

/// One attempt; true when there is nothing more to be done.
task<bool> ask(crowd* c, request what) {
    ++c->tries;
    std::array<std::byte, request::size> head{};
    what.emit(head);
    const bool asks = what.ends != manners::slams_the_door && what.ends != manners::leaves_at_once;
    const bytes in_the_syn = c->opens_with.fast_open && asks ? bytes(head) : bytes();
    auto opened = co_await c->t->first().host().connect(c->t->last().at(port), c->opens_with, 0, in_the_syn);
    if (!opened) co_return false;
    tcp::connection peer = std::move(*opened);
    if (what.ends == manners::slams_the_door) {
        peer.abort();
        co_return true;
    }
    if (what.ends == manners::leaves_at_once) {
        (void)co_await peer.close();
        co_return true;
    }
    if (in_the_syn.empty() && !co_await peer.write(bytes(head))) co_return false;
    std::vector<std::byte> answer(what.answer);
    const auto n = co_await with_timeout(c->patience, read_exactly(&peer, answer));
    if (!n) {
        if (n.error() == errc::deadline_exceeded) c->t->fail("a client waits for ever for its answer");
        if (n.error() == errc::closed) c->t->fail("a client got less than its answer");
        peer.abort();
        co_return false;
    }
    if (!pattern(what.client).matches(0, answer)) c->t->fail("a client got another answer than its own");
    ++c->answered;
    if (what.ends == manners::client_resets)
        peer.abort();
    else if (what.ends == manners::server_closes)
        (void)co_await peer.peer_finished();
    (void)co_await peer.close();
    co_return true;
}

task<> visit(crowd* c, request what, duration later) {
    (void)co_await sleep_for(later);
    constexpr int most_tries = 200; // a listener that is full lets one wait, then gives up; so do ports
    for (int i = 0; i < most_tries; ++i) {
        if (co_await ask(c, what)) co_return;
        (void)co_await sleep_for(c->up_to(10s + 2 * c->rtt));
    }
    c->t->fail("a client was never answered");
}

task<> run_crowd(crowd* c, std::uint32_t clients, tcp::listen_options options) {
    auto listening = c->t->last().host().listen(c->t->last().at(port), options);
    if (!listening) {
        c->t->fail("listen: " + listening.error().message());
        co_return;
    }
    auto visitors = [&](scope& s) -> task<> {
        const duration within = c->up_to(4s) + 1ms;
        for (std::uint32_t i = 0; i < clients; ++i) {
            request r;
            r.client = i;
            r.answer = c->t->rng().below(c->t->rng().below(4) == 0 ? 5000 : 200);
            r.ends = static_cast<manners>(c->t->rng().below(kinds_of_manners));
            const duration later = c->up_to(within);
            s.spawn(visit, c, r, later);
        }
        co_return;
    };
    auto all = [&](scope& s) -> task<> {
        s.spawn(accept_slowly, c, &*listening);
        co_await with_scope(visitors);
        listening->close();
    };
    co_await with_scope(all);
}

seed_outcome crowd_over_any_network(const seed_run& run, bool fast_open) {
    drawn_network n = draw_network(run.seed ^ 0xc40ad);
    tapir::random draw(run.seed * 37 + 11);
    suit_talk(n, 5min, 1000);
    if (draw.below(3) == 0)
        n.client.last_ephemeral_port = static_cast<std::uint16_t>(n.client.first_ephemeral_port + 7);
    tcp::listen_options options;
    options.accepted = n.server.connections;
    options.backlog = 1 + draw.below(draw.below(2) == 0 ? 3 : 50);
    options.half_open_max = 1 + draw.below(draw.below(2) == 0 ? 3 : 50);
    options.fast_open = fast_open;
    topology t(run, n.start);
    n.build(t);
    crowd c(t, n);
    c.opens_with = n.client.connections;
    c.opens_with.fast_open = fast_open;
    t.run(run_crowd(&c, 1 + draw.below(24), options));
    t.check_quiet(n.settle());
    return t.outcome();
}

} // namespace

TEST_CASE(
    "crowds over wires of every kind: whoever asks a busy server is answered, and all connections end") {
    for_each_seed("crowd", seeds_per_run(),
                  [](const seed_run& run) { return crowd_over_any_network(run, false); });
}

TEST_CASE("crowds with fast open over wires of every kind: requests in SYNs are answered, once or twice") {
    for_each_seed("crowd with fast open", seeds_per_run(),
                  [](const seed_run& run) { return crowd_over_any_network(run, true); });
}
