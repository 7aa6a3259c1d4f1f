// Hosts whose power fails while they talk, and that are back at the same addresses with an empty memory. Old
// segments are still under way, ports are used again. The peer must learn of it, by a RST or by silence, and
// a new connection must come about that carries nothing of the old one. [RFC 9293 3.5.1]

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

constexpr std::uint16_t port = 6379;
constexpr std::uint16_t fixed_client_port = 4000;

struct unstable : talk {
    using talk::talk;
    std::uint16_t client_port = 0; ///< 0: any
    bool over = false;
    std::uint64_t next_question = 1; ///< numbers never come twice, whoever restarts
    std::uint64_t answers = 0;
    std::uint64_t lost_connections = 0;
};

/// A question names the stream that answers it.
struct question {
    static constexpr std::size_t size = 16;
    std::uint32_t number = 0;
    std::uint32_t answer = 0; ///< bytes

    void emit(mutable_bytes to) const {
        store_be32(to, 0, 0x5eed5eedu);
        store_be32(to, 4, number);
        store_be32(to, 8, answer);
        store_be32(to, 12, number ^ answer);
    }
    static bool parse(bytes from, question& q) {
        q.number = load_be32(from, 4);
        q.answer = load_be32(from, 8);
        return load_be32(from, 0) == 0x5eed5eedu && load_be32(from, 12) == (q.number ^ q.answer);
    }
};

task<> serve(unstable* u, tcp::connection peer) {
    for (;;) {
        std::array<std::byte, question::size> head{};
        const auto n = co_await with_timeout(u->patience, read_exactly(&peer, head));
        if (!n && n.error() == errc::closed) break;
        if (!n) {
            if (n.error() == errc::deadline_exceeded)
                u->t->fail("the server waits for a client that is gone");
            peer.abort();
            co_return;
        }
        question q;
        if (!question::parse(head, q)) u->t->fail("the server read bytes of another connection");
        const pattern answer(q.number);
        for (std::uint64_t sent = 0; sent < q.answer;) {
            const bytes piece = answer.at(sent, q.answer - sent);
            if (!co_await peer.write(piece)) {
                peer.abort();
                co_return;
            }
            sent += piece.size();
        }
    }
    (void)co_await peer.close();
}

task<> server_program(unstable* u) {
    auto one_life = [&](scope& s) -> task<> {
        tcp::listen_options options;
        options.accepted = u->t->last().host().tcp().configuration().connections;
        auto listening = u->t->last().host().listen(u->t->last().at(port), options);
        if (!listening) {
            u->t->fail("listen: " + listening.error().message());
            u->over = true;
            co_return;
        }
        for (;;) {
            auto peer = co_await with_timeout(10s, [](tcp::listener* l) -> task<result<tcp::connection>> {
                co_return co_await l->accept();
            }(&*listening));
            if (peer)
                s.spawn(serve, u, std::move(*peer));
            else if (peer.error() != errc::deadline_exceeded || u->over)
                co_return;
        }
    };
    while (!u->over) {
        if (u->t->last().running()) co_await with_scope(one_life);
        (void)co_await sleep_for(1s);
    }
}

/// Asks until the connection breaks or all questions are answered.
task<> converse(unstable* u, tcp::connection* c, std::uint64_t* questions_left) {
    while (*questions_left > 0) {
        question q;
        q.number = static_cast<std::uint32_t>(u->next_question++);
        q.answer = u->t->rng().below(u->t->rng().below(3) == 0 ? 40'000 : 500);
        std::array<std::byte, question::size> head{};
        q.emit(head);
        if (!co_await c->write(bytes(head))) co_return;
        std::vector<std::byte> answer(q.answer);
        const auto n = co_await with_timeout(u->patience, read_exactly(c, answer));
        if (!n) {
            if (n.error() == errc::deadline_exceeded)
                u->t->fail("the client waits for a server that is gone");
            co_return;
        }
        if (!pattern(q.number).matches(0, answer)) u->t->fail("the client got bytes of another connection");
        ++u->answers;
        --*questions_left;
        if (u->t->rng().below(3) == 0) (void)co_await sleep_for(u->up_to(3s + u->rtt));
    }
}

task<> client_program(unstable* u) {
    std::uint64_t questions_left = 5 + u->t->rng().below(20);
    int tries = 0;
    for (; questions_left > 0 && tries < 200; ++tries) {
        if (u->t->first().running()) {
            auto c = co_await u->t->first().host().connect(
                u->t->last().at(port), u->t->first().host().tcp().configuration().connections,
                u->client_port);
            if (c) {
                co_await converse(u, &*c, &questions_left);
                if (questions_left == 0)
                    (void)co_await c->close();
                else
                    c->abort();
            }
            if (questions_left != 0) ++u->lost_connections;
        }
        if (questions_left != 0) (void)co_await sleep_for(u->up_to(2s + u->rtt));
    }
    if (questions_left != 0) u->t->fail("no connection lasted after the restarts");
    u->over = true;
}

task<> power_failures(unstable* u) {
    const std::uint32_t times = 1 + u->t->rng().below(4);
    for (std::uint32_t i = 0; i < times && !u->over; ++i) {
        (void)co_await sleep_for(u->up_to(4s + 6 * u->rtt));
        node& victim = u->t->rng().below(3) == 0 ? u->t->first() : u->t->last();
        victim.vanish();
        if (u->t->rng().below(2) == 0) (void)co_await sleep_for(u->up_to(3s + u->rtt));
        victim.start();
    }
}

task<> run_unstable(unstable* u) {
    auto all = [&](scope& s) -> task<> {
        s.spawn(server_program, u);
        s.spawn(power_failures, u);
        co_await client_program(u);
    };
    co_await with_scope(all);
}

seed_outcome restarts_over_any_network(const seed_run& run) {
    drawn_network n = draw_network(run.seed ^ 0x2e57a27);
    tapir::random draw(run.seed * 41 + 13);
    suit_talk(n, 1min, 4000);
    topology t(run, n.start);
    n.build(t);
    unstable u(t, n);
    if (draw.below(2) == 0) u.client_port = fixed_client_port;
    t.run(run_unstable(&u));
    t.check_quiet(n.settle());
    return t.outcome();
}

} // namespace

TEST_CASE(
    "restarts over wires of every kind: peers recover, and nothing of an old connection is in a new one") {
    for_each_seed("restart", seeds_per_run(), restarts_over_any_network);
}
