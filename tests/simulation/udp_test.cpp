// UDP between two hosts in virtual time: what coroutines see of datagrams, errors, cancelling and the end.

#include <tapir/framework/scope.hpp>
#include <tapir/framework/sleep.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "tests/simulation/pair.hpp"
#include "tests/simulation/seeds.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

const ip::address any;

udp::socket bound(host& at, std::uint16_t port, const udp::socket_options& o = udp::socket_options()) {
    auto s = at.bind_udp(ip::endpoint(any, port), o);
    REQUIRE(s);
    return std::move(*s);
}

task<result<udp::received>> receive(udp::socket* s, mutable_bytes to) {
    co_return co_await s->receive_from(to);
}

/// How a spawned call ended.
struct outcome {
    bool done = false;
    std::error_code error;
    std::string text;
};
task<> note_receive(udp::socket* s, outcome* o) {
    std::array<std::byte, 2000> room;
    const auto got = co_await s->receive_from(room);
    o->done = true;
    if (got)
        o->text = as_text(bytes(room).first(got->size));
    else
        o->error = got.error();
}
task<> note_send(udp::socket* s, std::string text, ip::endpoint to, outcome* o) {
    const auto sent = co_await s->send_to(text, to);
    o->done = true;
    if (!sent) o->error = sent.error();
}

/// Sends back what comes, to whom it came from.
task<> echo(udp::socket* s) {
    std::array<std::byte, 65536> room;
    while (const auto d = co_await s->receive_from(room))
        (void)co_await s->send_to(bytes(room).first(d->size), d->from, d->to);
}

ip::endpoint client_endpoint(const world& w, const udp::socket& s) {
    return w.client_at(s.local().port);
}

/// Runs `scenario` on a quiet path; afterwards nothing may be left of it.
void on_two_hosts(std::function<task<>(world&)> scenario, const world::options& o = quiet_path()) {
    world w(1, o);
    INFO("frames:\n" << w.ladder());
    w.run(scenario(w));
    CHECK(w.client().udp().sockets() == 0);
    CHECK(w.server().udp().sockets() == 0);
    CHECK(w.client().udp().queued_bytes() == 0);
    CHECK(w.server().udp().queued_bytes() == 0);
    CHECK(w.quiet() == "");
}

} // namespace

TEST_CASE("udp: a datagram comes whole, with its sender, and is answered from the address it was sent to") {
    on_two_hosts([](world& w) -> task<> {
        udp::socket server = bound(w.server(), 7);
        udp::socket client = bound(w.client(), 0);
        auto body = [&](scope& s) -> task<> {
            s.spawn(echo, &server);
            std::array<std::byte, 2000> room;
            for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{1472}}) {
                const std::string text(size, 'x');
                CHECK(co_await client.send_to(text, w.server_at(7)));
                const auto got = co_await client.receive_from(room);
                REQUIRE(got);
                CHECK(as_text(bytes(room).first(got->size)) == text);
                CHECK(got->from == w.server_at(7));
                CHECK(got->to == w.client_at(0).addr);
                CHECK_FALSE(got->truncated);
            }
            server.close();
        };
        co_await with_scope(body);
        CHECK(server.local().port == 7);
        CHECK(client.local().port >= 49152);
    });
}

TEST_CASE("udp: where nobody is bound, a connected socket's next call is refused, and only that") {
    on_two_hosts([](world& w) -> task<> {
        udp::socket client = bound(w.client(), 5000);
        REQUIRE(client.connect(w.server_at(7)));
        CHECK(co_await client.send("anybody there?"));
        (void)co_await sleep_for(100ms);
        const auto refused = co_await client.send("again");
        REQUIRE_FALSE(refused);
        CHECK(refused.error() == errc::refused);
        std::array<std::byte, 10> room;
        CHECK(co_await client.send("and again"));
        const auto got = co_await client.receive_from(room); // waits for it
        REQUIRE_FALSE(got);
        CHECK(got.error() == errc::refused);
        CHECK(w.server().icmp_counters().errors_sent == 2); // what was refused was not sent
        const udp::socket server = bound(w.server(), 7);
        CHECK(co_await client.send("now"));
        (void)co_await sleep_for(100ms);
        CHECK(server.receivable() == 1);
    });
}

TEST_CASE("udp: whoever answers all is not told by a failing call that one of them is gone") {
    on_two_hosts([](world& w) -> task<> {
        udp::socket server = bound(w.server(), 7);
        CHECK(co_await server.send_to("gone?", w.client_at(5000)));
        (void)co_await sleep_for(100ms);
        CHECK(co_await server.send_to("and another", w.client_at(5001)));
        const auto e = server.take_error();
        REQUIRE(e);
        CHECK(e->peer == w.client_at(5000));
        CHECK(e->why == errc::refused);
    });
}

TEST_CASE("udp: datagrams to nobody draw port unreachable, at a limited rate, and broadcasts draw none") {
    on_two_hosts([](world& w) -> task<> {
        co_await resolve_next_hops(&w);
        udp::socket_options o;
        o.broadcast = true;
        udp::socket client = bound(w.client(), 5000, o);
        const ip::endpoint all(ip::address::v4(192, 0, 2, 255), 7);
        for (int i = 0; i < 10; ++i) CHECK(co_await client.send_to("who is there?", all));
        CHECK(co_await client.send_to("limited", ip::endpoint(ip::address::v4(255, 255, 255, 255), 7)));
        (void)co_await sleep_for(1s);
        CHECK(w.server().udp().counted().dropped[udp::drop::no_port] == 11);
        CHECK(w.server().icmp_counters().errors_sent == 0);
        const instant began = w.on().now();
        for (int i = 0; i < 1000; ++i) CHECK(co_await client.send_to("anybody?", w.server_at(7)));
        CHECK(w.on().now() - began < 1s);
        (void)co_await sleep_for(1s);
        CHECK(w.server().udp().counted().dropped[udp::drop::no_port] == 1011);
        const auto& icmp = w.server().icmp_counters();
        CHECK(icmp.errors_sent >= 50);
        CHECK(icmp.errors_sent <= 250); // icmp::responder_config
        CHECK(icmp.errors_sent + icmp.errors_suppressed[icmp::suppressed::rate_limited] == 1000);
    });
}

TEST_CASE("udp: a broadcast reaches every host whose socket asks for them") {
    on_two_hosts([](world& w) -> task<> {
        udp::socket_options o;
        o.broadcast = true;
        udp::socket open = bound(w.server(), 7, o);
        udp::socket reserved = bound(w.server(), 8);
        udp::socket client = bound(w.client(), 5000, o);
        const ip::address network(ip::address::v4(192, 0, 2, 255));
        CHECK(co_await client.send_to("all", ip::endpoint(network, 7)));
        CHECK(co_await client.send_to("all", ip::endpoint(network, 8)));
        std::array<std::byte, 10> room;
        const auto got = co_await open.receive_from(room);
        REQUIRE(got);
        CHECK(got->to == network);
        CHECK(got->from == w.client_at(5000));
        CHECK(reserved.receivable() == 0);
        CHECK(w.server().udp().counted().dropped[udp::drop::broadcast] == 1);
    });
}

TEST_CASE("udp: a neighbour that is not there is host unreachable") {
    on_two_hosts([](world& w) -> task<> {
        udp::socket client = bound(w.client(), 5000);
        REQUIRE(client.connect(ip::endpoint(ip::address::v4(192, 0, 2, 77), 7)));
        CHECK(co_await client.send("hello?"));
        std::array<std::byte, 10> room;
        const auto got = co_await client.receive_from(room);
        REQUIRE_FALSE(got);
        CHECK(got.error() == errc::host_unreachable);
    });
}

TEST_CASE("udp: what cannot be: another's address, no way, the host's own address") {
    on_two_hosts([](world& w) -> task<> {
        CHECK(w.client().bind_udp(w.server_at(7)).error() == errc::address_unavailable);
        udp::socket client = bound(w.client(), 5000);
        const auto far = co_await client.send_to("x", ip::endpoint(ip::address::v4(198, 51, 100, 1), 7));
        CHECK(far.error() == errc::network_unreachable);
        const auto self = co_await client.send_to("x", w.client_at(5000));
        CHECK(self.error() == errc::network_unreachable);
        const auto alone = co_await client.send("x");
        CHECK(alone.error() == errc::invalid_argument);
        const auto nowhere = co_await client.receive_from(mutable_bytes());
        CHECK(nowhere.error() == errc::invalid_argument);
    });
}

TEST_CASE("udp: one reader at a time; a second gets busy, and the first its datagram") {
    on_two_hosts([](world& w) -> task<> {
        udp::socket server = bound(w.server(), 7);
        udp::socket client = bound(w.client(), 0);
        outcome first;
        outcome second;
        auto body = [&](scope& s) -> task<> {
            s.spawn(note_receive, &server, &first);
            (void)co_await sleep_for(1ms);
            s.spawn(note_receive, &server, &second);
            (void)co_await sleep_for(1ms);
            CHECK(second.error == errc::busy);
            CHECK(co_await client.send_to("for the first", w.server_at(7)));
        };
        co_await with_scope(body);
        CHECK(first.text == "for the first");
    });
}

TEST_CASE("udp: cancelling a receive loses no datagram") {
    on_two_hosts([](world& w) -> task<> {
        udp::socket server = bound(w.server(), 7);
        udp::socket client = bound(w.client(), 0);
        std::array<std::byte, 100> room;
        const auto late = co_await with_timeout(50ms, receive(&server, room));
        REQUIRE_FALSE(late);
        CHECK(late.error() == errc::deadline_exceeded);
        CHECK(co_await client.send_to("after that", w.server_at(7)));
        const auto got = co_await with_timeout(1s, receive(&server, room));
        REQUIRE(got);
        CHECK(as_text(bytes(room).first(got->size)) == "after that");
    });
}

TEST_CASE("udp: cancelling a send that waits for the link sends nothing") {
    on_two_hosts([](world& w) -> task<> {
        co_await resolve_next_hops(&w);
        udp::socket server = bound(w.server(), 7);
        udp::socket one = bound(w.client(), 1);
        udp::socket two = bound(w.client(), 2);
        // All that one turn allows; what comes now must wait.
        for (std::size_t i = 0; i < w.client().udp().configuration().max_sent_per_turn; ++i)
            CHECK(co_await one.send_to("x", w.server_at(7)));
        stop_source stopped;
        outcome cancelled;
        outcome busy;
        outcome goes;
        auto body = [&](scope& s) -> task<> {
            s.spawn(note_send, &two, std::string("never"), w.server_at(7), &cancelled);
            s.spawn(note_send, &two, std::string("never"), w.server_at(7), &busy);
            co_return;
        };
        auto stop = [&]() -> task<> {
            for (int i = 0; i < 5; ++i) co_await yield(); // still the same turn
            stopped.request_stop();
        };
        auto both = [&](scope& s) -> task<> {
            auto inner = [&]() -> task<> { co_await with_scope(body).under(stopped.token()); };
            s.spawn(inner);
            s.spawn(stop);
            co_return;
        };
        co_await with_scope(both);
        CHECK(cancelled.error == errc::cancelled);
        CHECK(busy.error == errc::busy);
        CHECK(two.counters().sent == 0);
        co_await note_send(&two, "goes", w.server_at(7), &goes);
        CHECK_FALSE(goes.error);
        (void)co_await sleep_for(100ms);
        CHECK(server.receivable() == 65);
    });
}

TEST_CASE("udp: closing a socket ends its waiting calls with closed, and frees the port") {
    on_two_hosts([](world& w) -> task<> {
        udp::socket server = bound(w.server(), 7);
        outcome waiting;
        auto body = [&](scope& s) -> task<> {
            s.spawn(note_receive, &server, &waiting);
            (void)co_await sleep_for(1ms);
            server.close();
        };
        co_await with_scope(body);
        CHECK(waiting.error == errc::closed);
        const auto again = co_await server.send_to("x", w.client_at(7));
        CHECK(again.error() == errc::closed);
        udp::socket moved = bound(w.server(), 7);
        udp::socket to = std::move(moved);
        std::array<std::byte, 10> room;
        const auto from_moved = co_await receive(&moved, room);
        CHECK(from_moved.error() == errc::closed);
        CHECK(to.local().port == 7);
    });
}

TEST_CASE("udp: the end of the host is host_stopped to all who wait, and handles outlive it") {
    udp::socket survivor;
    on_two_hosts([&](world& w) -> task<> {
        udp::socket server = bound(w.server(), 7);
        survivor = bound(w.server(), 8);
        outcome waiting;
        auto body = [&](scope& s) -> task<> {
            s.spawn(note_receive, &server, &waiting);
            (void)co_await sleep_for(1ms);
            w.server().stop();
        };
        co_await with_scope(body);
        CHECK(waiting.error == errc::host_stopped);
        CHECK(w.server().bind_udp(ip::endpoint(any, 9)).error() == errc::host_stopped);
        const auto sent = co_await survivor.send_to("x", w.client_at(7));
        CHECK(sent.error() == errc::host_stopped);
    });
    CHECK(survivor.local().port == 8); // its host is gone now
    survivor.close();
}

TEST_CASE("udp: a sender that is faster than the link waits for it, and nothing is lost on the way out") {
    on_two_hosts(
        [](world& w) -> task<> {
            co_await resolve_next_hops(&w);
            udp::socket_options o;
            o.receive_datagrams = 5000;
            o.receive_bytes = std::size_t{16} << 20;
            udp::socket server = bound(w.server(), 7, o);
            udp::socket client = bound(w.client(), 0);
            const std::string text(1000, 'x');
            bool others_run = false;
            auto other = [&]() -> task<> {
                others_run = true;
                co_return;
            };
            auto body = [&](scope& s) -> task<> {
                s.spawn(other);
                for (int i = 0; i < 200; ++i) CHECK(co_await client.send_to(text, w.server_at(7)));
                CHECK(others_run);
                for (int i = 0; i < 2800; ++i) CHECK(co_await client.send_to(text, w.server_at(7)));
            };
            co_await with_scope(body);
            (void)co_await sleep_for(1s);
            CHECK(server.receivable() == 3000);
            CHECK(w.client().udp().counted().send_waits > 0);
            while (server.receivable() > 0) {
                std::array<std::byte, 1000> room;
                (void)co_await server.receive_from(room);
            }
        },
        quiet_path(0ms));
}

TEST_CASE("udp: the largest datagram there is goes both ways, and one byte more is too large") {
    on_two_hosts([](world& w) -> task<> {
        co_await resolve_next_hops(&w);
        udp::socket server = bound(w.server(), 7);
        udp::socket client = bound(w.client(), 0);
        auto body = [&](scope& s) -> task<> {
            s.spawn(echo, &server);
            std::vector<std::byte> room(65536);
            const std::string text(udp::header::max_payload, 'x'); // 65,507 bytes in 45 fragments
            CHECK(co_await client.send_to(text, w.server_at(7)));
            const auto got = co_await client.receive_from(room);
            REQUIRE(got);
            CHECK(as_text(bytes(room).first(got->size)) == text);
            const auto more = co_await client.send_to(text + "x", w.server_at(7));
            CHECK(more.error() == errc::too_large);
            server.close();
        };
        co_await with_scope(body);
    });
}

TEST_CASE("udp: over wires that lose, repeat, reorder and corrupt, what comes is as it was sent") {
    const auto one = [](const seed_run& run) {
        // Bits flipped in two pieces of one datagram may cancel each other in its sum: pieces, or flipped
        // bits.
        const bool in_pieces = run.seed % 2 == 0;
        world::options network = network_of(run.seed);
        if (in_pieces) network.to_server.corrupt_ppm = network.to_client.corrupt_ppm = 0;
        world w(run, network);
        std::vector<std::string> sent;
        std::size_t came = 0;
        auto scenario = [&]() -> task<> {
            udp::socket server = bound(w.server(), 7);
            udp::socket client = bound(w.client(), 0);
            auto listen = [&]() -> task<> {
                std::vector<std::byte> room(9000);
                while (const auto d = co_await server.receive_from(room)) {
                    ++came;
                    const std::string_view text = as_text(bytes(room).first(d->size));
                    const bool known = std::ranges::find(sent, text) != sent.end();
                    if (!known || d->from != client_endpoint(w, client)) w.fail("not as it was sent");
                }
            };
            auto body = [&](scope& s) -> task<> {
                s.spawn(listen);
                for (int i = 0; i < 12; ++i) {
                    // Every fourth is cut in pieces on the way.
                    std::string text(w.rng().below(in_pieces && i % 4 == 0 ? 9000 : 1473), ' ');
                    const std::uint64_t noise = w.rng().next();
                    for (std::size_t at = 0; at + 8 <= text.size(); at += 8) {
                        const std::uint64_t eight = noise + at * 0x9e3779b97f4a7c15u;
                        std::memcpy(text.data() + at, &eight, sizeof eight);
                    }
                    sent.push_back(std::move(text));
                    (void)co_await client.send_to(sent.back(), w.server_at(7));
                    (void)co_await sleep_for(duration(w.rng().below(20'000'000)));
                }
                (void)co_await sleep_for(10s);
                server.close();
            };
            co_await with_scope(body);
        };
        w.run(scenario());
        // All twelve are sent within a quarter of a second: three lost ARP requests lose them all.
        const bool found = w.client().interfaces()[0]->neighbours().count().failed == 0;
        if (came == 0 && found) w.fail("nothing came");
        w.net().check_quiet();
        return w.net().outcome();
    };
    for_each_seed("udp", seeds_per_run(), one);
}
