// Echo and every way of ending, over bad networks.

#include <tapir/framework/scope.hpp>
#include <tapir/framework/sleep.hpp>

#include <doctest/doctest.h>

#include <array>
#include <string>
#include <vector>

#include "tests/simulation/seeds.hpp"
#include "tests/simulation/world.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

constexpr std::uint16_t port = 7;

enum class ending_style : std::uint8_t {
    client_half_closes, ///< then reads to the end: the server answers from CLOSE_WAIT
    client_closes_after_echo,
    server_closes_first,
    both_close_at_once,
    client_aborts,
    server_aborts,
    server_host_stops,
};
constexpr std::uint32_t styles = 7;

/// What both sides are to do, and what came of it.
struct plan {
    ending_style style{};
    std::vector<std::byte> sent;     ///< by the client
    std::vector<std::byte> received; ///< by the client
    std::vector<std::byte> at_server;
    world* in = nullptr;
    bool expects_everything = true;

    void fail(const std::string& what) { in->fail(what); }
};

std::vector<std::byte> random_bytes(tapir::random& rng, std::size_t n) {
    std::vector<std::byte> out(n);
    for (auto& b : out) b = static_cast<std::byte>(rng.next());
    return out;
}

/// Without an answer for ten virtual minutes something hangs.
constexpr duration patience = 10min;

task<result<std::size_t>> read_some(tcp::connection& c, mutable_bytes to) {
    co_return co_await c.read(to);
}

task<> serve(tcp::connection peer, plan* p, world* w) {
    std::vector<std::byte> buffer(1 + w->rng().below(8000));
    const bool slow = w->rng().below(4) == 0;
    for (;;) {
        auto n = co_await with_timeout(patience, read_some(peer, buffer));
        if (!n) {
            if (p->expects_everything) p->fail("server read: " + n.error().message());
            peer.abort();
            co_return;
        }
        if (*n == 0) break;
        p->at_server.insert(p->at_server.end(), buffer.begin(),
                            buffer.begin() + static_cast<std::ptrdiff_t>(*n));
        if (slow) (void)co_await sleep_for(duration(w->rng().below(300'000'000)));
        const auto written = co_await peer.write(std::span(buffer).first(*n));
        if (!written) {
            if (p->expects_everything) p->fail("server write: " + written.error().message());
            co_return;
        }
        if (p->at_server.size() == p->sent.size()) {
            if (p->style == ending_style::server_aborts) {
                peer.abort();
                co_return;
            }
            if (p->style == ending_style::server_host_stops) {
                w->server().stop();
                co_return;
            }
            if (p->style == ending_style::server_closes_first || p->style == ending_style::both_close_at_once)
                break;
        }
    }
    if (p->style == ending_style::client_half_closes && peer.state() == tcp::state::close_wait) {
        const auto more = co_await peer.write("still here");
        if (!more) p->fail("write from CLOSE_WAIT: " + more.error().message());
    }
    const auto closed = co_await peer.close();
    if (!closed && p->expects_everything) p->fail("server close: " + closed.error().message());
    if (closed && p->expects_everything && closed->how != ending::orderly)
        p->fail("server's end: " + std::string(name(closed->how)));
}

task<> send_all(tcp::connection* c, plan* p, world* w) {
    bytes rest = p->sent;
    while (!rest.empty()) {
        const std::size_t n = std::min<std::size_t>(rest.size(), 1 + w->rng().below(20'000));
        const auto written = co_await c->write(rest.first(n));
        if (!written) {
            if (p->expects_everything) p->fail("client write: " + written.error().message());
            co_return;
        }
        rest = rest.subspan(n);
        if (w->rng().below(10) == 0) (void)co_await sleep_for(duration(w->rng().below(200'000'000)));
        if (p->style == ending_style::client_aborts && w->rng().below(5) == 0) {
            c->abort();
            co_return;
        }
    }
    if (p->style == ending_style::client_aborts) {
        c->abort();
    } else if (p->style == ending_style::client_half_closes) {
        const auto finished = co_await c->finish();
        if (!finished) p->fail("finish: " + finished.error().message());
    }
}

task<> client(plan* p, world* w) {
    // A lost ARP request or a corrupted one can make the next hop look silent: then try again.
    result<tcp::connection> c = errc::cancelled;
    for (int attempt = 0; attempt < 20 && !c; ++attempt) c = co_await w->client().connect(w->server_at(port));
    if (!c) {
        p->fail("connect: " + c.error().message());
        co_return;
    }
    auto body = [&](scope& s) -> task<> {
        s.spawn(send_all, &*c, p, w);
        const std::size_t wanted =
            p->style == ending_style::client_half_closes || p->style == ending_style::server_closes_first
                ? SIZE_MAX
                : p->sent.size();
        std::vector<std::byte> buffer(1 + w->rng().below(8000));
        while (p->received.size() < wanted) {
            auto n = co_await with_timeout(patience, read_some(*c, buffer));
            if (!n) {
                if (p->expects_everything) p->fail("client read: " + n.error().message());
                break;
            }
            if (*n == 0) break;
            p->received.insert(p->received.end(), buffer.begin(),
                               buffer.begin() + static_cast<std::ptrdiff_t>(*n));
        }
    };
    co_await with_scope(body);
    if (p->expects_everything) {
        const auto closed = co_await c->close();
        if (!closed) p->fail("client close: " + closed.error().message());
        if (closed && closed->how != ending::orderly)
            p->fail("client's end: " + std::string(name(closed->how)));
    } else {
        c->abort();
    }
}

task<> echo_run(plan* p, world* w) {
    tcp::listen_options options;
    options.accepted = w->server().tcp().configuration().connections;
    auto listening = w->server().listen(w->server_at(port), options);
    if (!listening) {
        p->fail("listen: " + listening.error().message());
        co_return;
    }
    auto accept_one = [](tcp::listener* l, plan* pl, world* wo) -> task<> {
        auto peer = co_await l->accept();
        if (peer) {
            co_await serve(std::move(*peer), pl, wo);
        } else if (pl->expects_everything) {
            pl->fail("accept: " + peer.error().message());
        }
    };
    auto body = [&](scope& s) -> task<> {
        s.spawn(accept_one, &*listening, p, w);
        co_await client(p, w);
        // A client that gave up before the server had accepted leaves nobody to serve.
        if (!p->expects_everything) (void)co_await sleep_for(patience);
        listening->close();
    };
    co_await with_scope(body);
}

seed_outcome echo_over_a_bad_network(const seed_run& run) {
    world w(run, network_of(run.seed));
    plan p;
    p.in = &w;
    p.style = static_cast<ending_style>(w.rng().below(styles));
    p.sent = random_bytes(w.rng(), 1 + w.rng().below(w.rng().below(4) == 0 ? 200'000 : 20'000));
    p.expects_everything = p.style < ending_style::client_aborts;
    w.run(echo_run(&p, &w));
    if (p.expects_everything) {
        if (p.at_server != p.sent) p.fail("the server got other bytes than the client sent");
        std::vector<std::byte> expected = p.sent;
        if (p.style == ending_style::client_half_closes) {
            const bytes more = as_bytes("still here");
            expected.insert(expected.end(), more.begin(), more.end());
        }
        if (p.received != expected) p.fail("the client got other bytes back");
    }
    w.net().check_quiet();
    return w.net().outcome();
}

} // namespace

TEST_CASE("echo over wires that lose, delay, reorder, duplicate and corrupt: every byte once and in order, "
          "then CLOSED") {
    for_each_seed("echo", seeds_per_run(), echo_over_a_bad_network);
}

TEST_CASE("the same seed gives the same trace twice") {
    for (std::uint64_t seed = 1; seed <= 10; ++seed)
        CHECK(echo_over_a_bad_network(seed_run(seed)).hash == echo_over_a_bad_network(seed_run(seed)).hash);
    CHECK(echo_over_a_bad_network(seed_run(1)).hash != echo_over_a_bad_network(seed_run(2)).hash);
}
