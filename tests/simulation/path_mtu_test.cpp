// Whole hosts with routers between them, and paths that are narrower than the links at their ends: RFC 1191.
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/sim_backend.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/framework/task.hpp>
#include <tapir/protocols/host/host.hpp>
#include <tapir/protocols/link/trace.hpp>
#include <tapir/protocols/link/wire.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "tests/simulation/hosts.hpp"
#include "tests/support/station.hpp"

using namespace tapir;
using tapir::test::a;
using tapir::test::mac;
using tapir::test::named;
using tapir::test::p;

namespace {

/// client 192.0.2.2 --- router --- server 198.51.100.2, whose link carries less.
struct three_hosts {
    explicit three_hosts(std::size_t right_mtu, host_config client_config = named("client"))
        : left(r, wired(1500)), right(r, wired(right_mtu)),
          watched(r, right.left(),
                  [this](direction, instant, const frame& f) {
                      largest = std::max(largest, f.size() - ethernet::header::size);
                      ++frames;
                  }),
          client(std::make_unique<host>(r, client_config)),
          router(std::make_unique<host>(r, named("router", true))),
          server(std::make_unique<host>(r, named("server"))) {
        REQUIRE(client->add_interface(left.left(), mac(1), p("192.0.2.2/24")));
        REQUIRE(router->add_interface(left.right(), mac(2), p("192.0.2.1/24")));
        REQUIRE(router->add_interface(watched, mac(3), p("198.51.100.1/24")));
        REQUIRE(server->add_interface(right.right(), mac(4), p("198.51.100.2/24")));
        REQUIRE(client->add_route(ip::prefix(), a("192.0.2.1")));
        REQUIRE(server->add_route(ip::prefix(), a("198.51.100.1")));
    }
    static wire_config wired(std::size_t mtu) {
        wire_config c;
        c.mtu = mtu;
        c.latency = 5ms;
        return c;
    }

    reactor r{make_sim_backend()};
    wire left;
    wire right;
    trace watched;
    std::size_t largest = 0; ///< packet on the right link
    std::size_t frames = 0;
    std::unique_ptr<host> client;
    std::unique_ptr<host> router;
    std::unique_ptr<host> server;
};

/// Sends `size` bytes from one to the other and checks that they come.
task<> transfer(host* from, host* to, ip::endpoint at, std::size_t size) {
    auto listener = to->listen(at);
    REQUIRE(listener);
    auto writer = co_await from->connect(at);
    REQUIRE(writer);
    auto reader = co_await listener->accept();
    REQUIRE(reader);
    const auto sent = tapir::test::numbered_bytes(size);
    std::vector<std::byte> got;
    auto write = [](tcp::connection* c, bytes what) -> task<> {
        CHECK(co_await c->write(what));
        CHECK(co_await c->finish());
    };
    auto body = [&](scope& s) -> task<> {
        s.spawn(write, &*writer, bytes(sent));
        std::array<std::byte, 4096> part;
        while (const auto n = co_await reader->read(part)) {
            if (*n == 0) break;
            got.insert(got.end(), part.begin(), part.begin() + static_cast<std::ptrdiff_t>(*n));
        }
        (void)co_await reader->close();
    };
    co_await with_scope(body);
    (void)co_await writer->close();
    CHECK(got.size() == sent.size());
    CHECK(got == sent);
}

} // namespace

TEST_CASE("ip: through a router to a narrower link, TCP finds the path's MTU and the transfer completes") {
    three_hosts w(1000);
    const ip::endpoint there(a("198.51.100.2"), 80);
    w.r.run(transfer(w.client.get(), w.server.get(), there, 300'000));
    CHECK(w.largest <= 1000);
    // The server announced an MSS that fits its link, so nothing of the client's was ever too large.
    CHECK(w.router->forwarding_counters().fragmentation_needed == 0);
    CHECK(w.router->output().count().fragmented == 0);
    // The other way the client's MSS stands for a link of 1500, and the server's own link is the narrow one.
    w.r.run(transfer(w.server.get(), w.client.get(), ip::endpoint(a("192.0.2.2"), 80), 300'000));
    CHECK(w.largest <= 1000);
    CHECK(w.router->output().count().fragmented == 0);
}

namespace {

/// client --- first router --(1000)-- second router --- server: the narrow link is nobody's own.
struct narrow_middle {
    explicit narrow_middle(std::size_t mtu = 1000)
        : left(r, three_hosts::wired(1500)), middle(r, three_hosts::wired(mtu)),
          right(r, three_hosts::wired(1500)), client(std::make_unique<host>(r, named("client"))),
          first(std::make_unique<host>(r, named("first", true))),
          second(std::make_unique<host>(r, named("second", true))),
          server(std::make_unique<host>(r, named("server"))) {
        REQUIRE(client->add_interface(left.left(), mac(1), p("192.0.2.2/24")));
        REQUIRE(first->add_interface(left.right(), mac(2), p("192.0.2.1/24")));
        REQUIRE(first->add_interface(middle.left(), mac(3), p("203.0.113.0/31")));
        REQUIRE(second->add_interface(middle.right(), mac(4), p("203.0.113.1/31")));
        REQUIRE(second->add_interface(right.left(), mac(5), p("198.51.100.1/24")));
        REQUIRE(server->add_interface(right.right(), mac(6), p("198.51.100.2/24")));
        REQUIRE(client->add_route(ip::prefix(), a("192.0.2.1")));
        REQUIRE(first->add_route(p("198.51.100.0/24"), a("203.0.113.1")));
        REQUIRE(second->add_route(p("192.0.2.0/24"), a("203.0.113.0")));
        REQUIRE(server->add_route(ip::prefix(), a("198.51.100.1")));
    }
    reactor r{make_sim_backend()};
    wire left, middle, right;
    std::unique_ptr<host> client, first, second, server;
};

} // namespace

TEST_CASE(
    "ip: path MTU discovery: what is told once serves the next connection, until it is ten minutes old") {
    narrow_middle w;
    const ip::address there = a("198.51.100.2");
    const auto estimate = [&] { return w.client->output().path_to(there).mtu; };
    CHECK(estimate() == 1500);
    w.r.run(transfer(w.client.get(), w.server.get(), ip::endpoint(there, 80), 300'000));
    CHECK(estimate() == 1000);
    // Of that the other end is told nothing: what it may send us is another matter. [RFC 1191 3.1]
    auto next = [&]() -> task<> {
        auto listener = w.server->listen(ip::endpoint(there, 79));
        REQUIRE(listener);
        auto one = co_await w.client->connect(ip::endpoint(there, 79));
        REQUIRE(one);
        auto other = co_await listener->accept();
        REQUIRE(other);
        CHECK(one->info().send_mss == 960 - 12);
        CHECK(other->info().send_mss == 1460 - 12);
        one->abort();
        other->abort();
    };
    w.r.run(next());
    const std::uint64_t told = w.first->forwarding_counters().fragmentation_needed;
    CHECK(told >= 1);
    CHECK(told < 40); // an initial window or two, then it knows
    w.r.run(transfer(w.client.get(), w.server.get(), ip::endpoint(there, 81), 300'000));
    CHECK(w.first->forwarding_counters().fragmentation_needed == told);
    CHECK(w.first->output().count().fragmented == 0); // TCP never lets itself be cut

    auto wait = []() -> task<> { (void)co_await sleep_for(10min); };
    w.r.run(wait());
    CHECK(estimate() == 1500);
    w.r.run(transfer(w.client.get(), w.server.get(), ip::endpoint(there, 82), 300'000));
    CHECK(w.first->forwarding_counters().fragmentation_needed > told); // tried, told, done
    CHECK(estimate() == 1000);
}

TEST_CASE("ip: over a path below the minimum TCP's packets may be cut, and the transfer completes") {
    narrow_middle w(400);
    const ip::address there = a("198.51.100.2");
    w.r.run(transfer(w.client.get(), w.server.get(), ip::endpoint(there, 80), 100'000));
    CHECK(w.client->output().path_to(there).mtu == 552);
    CHECK(w.client->output().path_to(there).may_fragment);
    CHECK(w.first->output().count().fragmented > 100);
    CHECK(w.server->reassembly().count().reassembled > 100);
    auto wait = []() -> task<> { (void)co_await sleep_for(10min); };
    w.r.run(wait());
    for (const host* h : {w.client.get(), w.first.get(), w.second.get(), w.server.get()}) {
        CHECK(h->reassembly().bytes_held() == 0);
        CHECK(h->reassembly().datagrams() == 0);
    }
    CHECK(w.server->pool().live_blocks() == 0);
}

TEST_CASE("ip: a UDP datagram over the MTU is fragmented and reassembled both ways, cut again on the path") {
    narrow_middle w;
    const auto sent = tapir::test::numbered_bytes(30'000);
    auto conversation = [&]() -> task<> {
        auto asked = w.server->bind_udp(ip::endpoint(a("198.51.100.2"), 53));
        auto asking = w.client->bind_udp(ip::endpoint(a("192.0.2.2"), 0));
        REQUIRE(asked);
        REQUIRE(asking);
        const auto out = co_await asking->send_to(sent, ip::endpoint(a("198.51.100.2"), 53));
        CHECK(out);
        std::vector<std::byte> room(40'000);
        const auto question = co_await asked->receive_from(room);
        REQUIRE(question);
        CHECK(std::ranges::equal(bytes(room).first(question->size), sent));
        const auto back = co_await asked->send_to(bytes(room).first(question->size), question->from);
        CHECK(back);
        std::ranges::fill(room, std::byte{});
        const auto answer = co_await asking->receive_from(room);
        REQUIRE(answer);
        CHECK(std::ranges::equal(bytes(room).first(answer->size), sent));
    };
    w.r.run(conversation());
    CHECK(w.client->output().count().fragmented == 1);
    CHECK(w.first->output().count().fragmented >= 20); // the pieces of 1500 did not fit into 1000
    CHECK(w.server->reassembly().count().reassembled == 1);
    CHECK(w.client->reassembly().count().reassembled == 1);
}
