// Two TCPs that use Explicit Congestion Notification, and networks that mark, or that do not know it.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include "tests/support/tcp_ecn_lab.hpp"
#include "tests/support/tcp_world.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;
using side = tcp_world::side;

const tcp::connection_options with_ecn = willing(true, {});

/// The client sends `size` bytes; how long it took until the server had read them.
duration transfer(tcp_world& w, std::size_t size) {
    const std::vector<std::byte> data(size, std::byte{7});
    std::size_t written = 0;
    std::size_t got = 0;
    std::vector<std::byte> buffer(65536);
    w.each_step = [&] {
        written += w.c().write(bytes(data).subspan(written));
        got += w.s().read(buffer);
    };
    const instant began = w.now;
    w.each_step();
    REQUIRE(w.run_until([&] { return got == size; }));
    w.each_step = nullptr;
    w.run_for(1s);
    return w.now - 1s - began;
}

TEST_CASE("ECN: a network that marks in place of losing costs no retransmission") {
    for (const auto a : {tcp::congestion_algorithm::cubic, tcp::congestion_algorithm::new_reno}) {
        tcp::connection_options o = with_ecn;
        o.congestion = a;
        tcp_world w;
        w.establish(o, o);
        REQUIRE(w.c().info().ecn);
        REQUIRE(w.s().info().ecn);
        std::size_t n = 0;
        w.network = [&](std::size_t, side from, const tcp::outgoing_segment& s) {
            fate f;
            f.marked = from == side::client && s.payload_size != 0 && ++n % 40 == 0;
            return f;
        };
        transfer(w, 1'000'000);
        const tcp::counters& client = w.client().counted();
        const tcp::counters& server = w.server().counted();
        CHECK(client.retransmits == 0);
        CHECK(client.ecn_reductions >= 3);
        CHECK(client.ecn_reductions <= server.ecn_ce_in);
        CHECK(client.ecn_cwr_out >= client.ecn_reductions - 1);
        CHECK(server.ecn_cwr_in == client.ecn_cwr_out);
        CHECK(server.ecn_ce_in >= 15);
        CHECK(client.ecn_echoes_in <= server.ecn_echoes_out);
        CHECK_FALSE(w.s().info().ecn_echoing); // CWR came
    }
}

TEST_CASE("ECN: a path that swallows all that may be marked is found out, and data arrives") {
    for (const bool sack : {true, false}) { // [RFC 3168 6.1.5]: what goes again may not be marked
        tcp::config c;
        c.use_sack = sack;
        tcp_world w(c);
        w.establish(with_ecn, with_ecn);
        REQUIRE(w.c().info().ecn);
        w.network = [](std::size_t, side, const tcp::outgoing_segment& s) {
            fate f;
            f.dropped = s.ecn != ip::ecn::not_ect;
            return f;
        };
        CHECK(transfer(w, 300'000) < 5s);
        CHECK(w.client().counted().ecn_black_holes == 1);
        CHECK_FALSE(w.c().info().ecn);
        CHECK(w.client().counted().rto_fired <= 3);
    }
}

TEST_CASE("ECN: a black hole is found, though new data fills up what goes again") {
    tcp_world w;
    w.establish(with_ecn, with_ecn);
    w.network = [](std::size_t, side, const tcp::outgoing_segment& s) {
        fate f;
        f.dropped = s.ecn != ip::ecn::not_ect;
        return f;
    };
    w.c().write(as_bytes(std::string(700, 'x')));
    w.run_for(1ms);
    w.c().write(
        as_bytes(std::string(500, 'x'))); // held back by Nagle's algorithm; goes with the other, unmarked
    CHECK(w.run_until([&] { return w.s().readable() == 1200; }, 5s));
    std::vector<std::byte> all(1200);
    w.s().read(all);
    CHECK(w.c().info().ecn);
    CHECK(transfer(w, 300'000) < 5s);
    CHECK(w.client().counted().ecn_black_holes == 1);
    CHECK_FALSE(w.c().info().ecn);
}

TEST_CASE("ECN: ordinary losses are no black hole") {
    tcp_world w;
    w.establish(with_ecn, with_ecn);
    std::size_t n = 0;
    w.network = [&](std::size_t, side, const tcp::outgoing_segment&) {
        fate f;
        f.dropped = ++n % 9 == 0;
        return f;
    };
    transfer(w, 300'000);
    CHECK(w.client().counted().ecn_black_holes == 0);
    CHECK(w.c().info().ecn);
}

TEST_CASE("ECN: the ladder of one mark") {
    tcp_world w;
    tcp::connection_options o = with_ecn;
    o.no_delay = true;
    w.establish(o, o);
    w.network = [](std::size_t n, side, const tcp::outgoing_segment&) {
        fate f;
        f.marked = n == 3; // behind the handshake
        return f;
    };
    const std::vector<std::byte> data(100);
    w.c().write(data);
    w.run_for(100ms);
    w.c().write(data);
    w.run_for(100ms);
    const auto line = [&](std::size_t i) { return w.ladder()[i]; };
    REQUIRE(w.ladder().size() == 4);
    CHECK(line(0) == "client -> server PSH|ACK seq=1 ack=1 len=100 CE");
    CHECK(line(1) == "server -> client ACK|ECE seq=1 ack=101");
    CHECK(line(2) == "client -> server PSH|ACK|CWR seq=101 ack=1 len=100");
    CHECK(line(3) == "server -> client ACK seq=1 ack=201");
}

} // namespace
} // namespace tapir::test
