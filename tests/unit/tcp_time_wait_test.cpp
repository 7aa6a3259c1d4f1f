#include <doctest/doctest.h>

#include "tests/support/tcp_lab.hpp"
#include "tests/support/tcp_world.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;

/// A connection in TIME_WAIT: both streams are closed, 1 and 2 are the next numbers on either side.
struct waiting : tcp_lab {
    explicit waiting(const tcp::config& c = plain(), const tcp::options& syn = default_options())
        : tcp_lab(c) {
        establish(tcp_lab::plain().connections, 65535, syn);
        e->finish(now);
        out();
        tcp::options o;
        if (syn.ts) o.ts = tcp::timestamps{syn.ts->value, timestamp_of_last_segment()};
        in({.flags = FIN | ACK, .seq = 1, .ack = 2, .options = o});
        REQUIRE(e->state() == tcp::state::time_wait);
        REQUIRE(out() == segs{{.flags = ACK, .seq = 2, .ack = 2}});
    }
};

TEST_CASE("TIME_WAIT lasts 2 MSL, costs no TCB, and its endpoint sees the end") { // [RFC 9293 3.4.2]
    waiting lab;
    CHECK(lab.stack.connections() == 0);
    CHECK(lab.stack.time_waits() == 1);
    lab.wait(59s);
    CHECK(lab.e->state() == tcp::state::time_wait);
    lab.wait(2s);
    CHECK(lab.e->state() == tcp::state::closed);
    CHECK(lab.e->edges().back().cause == tcp::event::time_wait_expired);
    CHECK(lab.stack.time_waits() == 0);
    CHECK(lab.wheel.armed() == 0);
}

TEST_CASE("the endpoint may go before its TIME_WAIT does") {
    waiting lab;
    lab.e.reset();
    CHECK(lab.out() == segs{});
    CHECK(lab.stack.time_waits() == 1);
    lab.wait(61s);
    CHECK(lab.stack.time_waits() == 0);
}

TEST_CASE("a repeated FIN is acknowledged and starts the 2 MSL anew") { // [RFC 9293 3.10.7.4, eighth]
    waiting lab;
    lab.wait(50s);
    lab.in({.flags = FIN | ACK, .seq = 1, .ack = 2});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 2, .ack = 2}});
    lab.wait(50s);
    CHECK(lab.e->state() == tcp::state::time_wait);
    lab.wait(11s);
    CHECK(lab.e->state() == tcp::state::closed);
}

TEST_CASE("a RST does not end TIME_WAIT") { // [RFC 1337 3]
    waiting lab;
    lab.in({.flags = RST, .seq = 2});
    CHECK(lab.e->state() == tcp::state::time_wait);
    CHECK(lab.out() == segs{});
    CHECK(lab.counted().time_wait_rst_ignored == 1);
}

TEST_CASE("old data draws an ACK, the peer's plain ACK draws nothing") {
    waiting lab;
    lab.in({.flags = ACK, .seq = 1, .ack = 2, .text = "x"});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 2, .ack = 2}});
    lab.in({.flags = ACK, .seq = 2, .ack = 2});
    CHECK(lab.out() == segs{});
}

TEST_CASE("a new SYN above the old sequence numbers opens a new incarnation, above ours") {
    waiting lab; // [RFC 9293 3.10.7.4 MAY-2] [RFC 6191 2]
    const tcp::seq old = lab.isn() + 2;
    lab.in({.flags = SYN, .seq = 3});
    CHECK(lab.e->state() == tcp::state::closed);
    CHECK(lab.e->edges().back().cause == tcp::event::superseded);
    CHECK(lab.counted().time_wait_reused == 1);
    CHECK(lab.out() == segs{{.flags = SYN | ACK, .seq = 0, .ack = 4}});
    CHECK(lab.isn() > old);
    lab.in({.flags = ACK, .seq = 4, .ack = 1});
    CHECK(lab.listening->acceptable() == 1);
}

TEST_CASE("an old SYN draws an ACK and no new incarnation") {
    waiting lab;
    lab.in({.flags = SYN, .seq = 0});
    CHECK(lab.e->state() == tcp::state::time_wait);
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 2, .ack = 2}});
}

TEST_CASE("with timestamps the newer stamp decides, not the sequence number") { // [RFC 6191 2]
    tcp::config c = tcp_lab::plain();
    c.use_timestamps = true;
    tcp::options o;
    o.ts = tcp::timestamps{500, 0};
    waiting lab(c, o);
    o.ts->value = 499;
    lab.in({.flags = SYN, .seq = 1000, .options = o});
    CHECK(lab.e->state() == tcp::state::time_wait);
    lab.out();
    o.ts->value = 501;
    lab.in({.flags = SYN, .seq = 0, .options = o});
    CHECK(lab.e->state() == tcp::state::closed);
    CHECK(lab.out() == segs{{.flags = SYN | ACK, .seq = 0, .ack = 1}});
}

TEST_CASE("the table is bounded: the oldest entry ends early, and is counted") {
    tcp::config c = tcp_lab::plain();
    c.max_time_wait = 1;
    waiting lab(c);
    auto first = std::move(lab.e);
    lab.e = std::move(
        *lab.stack.connect(lab.way(), tcp_lab::peer_port, 40000, tcp::connection_options(), lab.now));
    lab.our_port = 40000;
    lab.out();
    lab.in({.flags = SYN | ACK, .ack = 1});
    lab.e->finish(lab.now);
    lab.out();
    lab.in({.flags = FIN | ACK, .seq = 1, .ack = 2});
    CHECK(lab.e->state() == tcp::state::time_wait);
    CHECK(first->state() == tcp::state::closed);
    CHECK(lab.stack.time_waits() == 1);
    CHECK(lab.counted().time_wait_evicted == 1);
}

TEST_CASE("a connection in TIME_WAIT keeps its 4-tuple: connect elsewhere") {
    tcp_lab lab;
    lab.connect();
    lab.out();
    lab.in({.flags = SYN | ACK, .ack = 1});
    lab.e->finish(lab.now);
    lab.out();
    lab.in({.flags = FIN | ACK, .seq = 1, .ack = 2});
    const auto again =
        lab.stack.connect(lab.way(), tcp_lab::peer_port, 40000, tcp::connection_options(), lab.now);
    CHECK(again.error() == errc::address_in_use);
}

// The whole story between two whole TCPs: the last ACK is lost, so that the FIN comes again.
TEST_CASE("TIME_WAIT lasts 2 MSL, absorbs a repeated FIN, resists RST") {
    tcp_world w;
    w.establish();
    std::size_t last_acks = 0;
    instant last_ack_sent{};
    w.network = [&](std::size_t, tcp_world::side from, const tcp::outgoing_segment& s) {
        if (from == tcp_world::side::server || s.header.seq != w.seq_of(from, 2) || !s.header.has_ack())
            return fate{};
        last_ack_sent = w.now;
        return fate{++last_acks == 1, 1, 0ms};
    };
    w.c().finish(w.now);
    w.run_for(20ms);
    w.s().finish(w.now);
    REQUIRE(w.run_until([&] { return w.c().state() == tcp::state::time_wait; }));
    CHECK(w.s().state() == tcp::state::last_ack);
    REQUIRE(w.run_until([&] { return w.s().state() == tcp::state::closed; }));
    INFO(w.ladder_text());
    CHECK(last_acks == 2);
    CHECK(w.s().report().how == tcp::ending::orderly);
    CHECK(w.client().connections() == 0); // an entry of 64 bytes is all there is
    CHECK(w.client().time_waits() == 1);

    // RSTs, where one would count in any other state and around it.
    tcp::segment reset;
    reset.header.flags = RST;
    reset.header.source_port = w.c().remote().port;
    reset.header.destination_port = w.c().local().port;
    for (const std::uint32_t at : {1u, 2u, 3u, 1000u, 0x8000'0000u}) {
        reset.header.seq = w.seq_of(tcp_world::side::server, at);
        reset.arrived = w.now;
        w.client().receive(w.path_from(tcp_world::side::client), reset, w.now);
    }
    CHECK(w.client().counted().time_wait_rst_ignored == 5);
    CHECK(w.c().state() == tcp::state::time_wait);

    const duration two_msl = 2 * w.client().configuration().msl;
    w.run_for(last_ack_sent + two_msl - 1ms - w.now);
    CHECK(w.c().state() == tcp::state::time_wait);
    CHECK(w.connect_again_from_the_same_port() == errc::address_in_use);
    w.run_for(2ms);
    CHECK(w.c().state() == tcp::state::closed);
    CHECK(w.c().edges().back().cause == tcp::event::time_wait_expired);
    CHECK(w.client().time_waits() == 0);
    CHECK(w.timers_armed() == 0);
    CHECK(w.live_blocks() == 0);
}

} // namespace
} // namespace tapir::test
