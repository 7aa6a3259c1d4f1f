// How long TCP waits for whom: the user timeout and what it has to do with R2 and keepalive, the SYN's
// patience, and connections that nobody but their peer waits for.
#include <doctest/doctest.h>

#include "tests/support/tcp_crowd.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;

// --- user timeout ------------------------------------------------------------------------------------------

TEST_CASE("user timeout: in the place of R2, be it shorter or longer") { // [RFC 5482 3] [RFC 9293 3.8.3]
    const auto ends_after = [](duration user_timeout) {
        tcp_lab lab;
        tcp::connection_options o;
        o.user_timeout = user_timeout;
        lab.establish(o);
        lab.write("hello");
        lab.out();
        const instant sent = lab.now;
        while (!lab.e->ended()) lab.wait(1s);
        CHECK(lab.e->error() == errc::timed_out);
        return (lab.now - sent) / 1s;
    };
    CHECK(ends_after(7s) == 7);
    CHECK(ends_after(0s) == 120); // none: R2
    CHECK(ends_after(600s) == 600);
}

TEST_CASE("user timeout: changed in life, it counts from when data was sent") { // [RFC 5482 3]
    tcp_lab lab;
    lab.establish();
    lab.write("hello");
    lab.out();
    SUBCASE("shorter") {
        lab.wait(10s);
        lab.e->set_user_timeout(30s);
        lab.wait(19s);
        CHECK_FALSE(lab.e->ended());
        lab.wait(1s);
        CHECK(lab.e->error() == errc::timed_out);
    }
    SUBCASE("shorter than what has passed: at once") {
        lab.wait(10s);
        lab.e->set_user_timeout(5s);
        lab.wait(1ms);
        CHECK(lab.e->error() == errc::timed_out);
    }
    SUBCASE("longer") {
        lab.wait(110s);
        lab.e->set_user_timeout(300s);
        lab.wait(189s);
        CHECK_FALSE(lab.e->ended());
        lab.wait(1s);
        CHECK(lab.e->error() == errc::timed_out);
    }
    SUBCASE("none any more: R2 again") {
        lab.e->set_user_timeout(30s);
        lab.wait(29s);
        lab.e->set_user_timeout(0s);
        lab.wait(90s);
        CHECK_FALSE(lab.e->ended());
        lab.wait(1s);
        CHECK(lab.e->error() == errc::timed_out);
    }
    SUBCASE("each progress starts it anew") {
        lab.e->set_user_timeout(30s);
        lab.wait(29s);
        lab.in({.flags = ACK, .seq = 1, .ack = 3});
        lab.wait(29s);
        CHECK_FALSE(lab.e->ended());
        lab.wait(1s);
        CHECK(lab.e->error() == errc::timed_out);
    }
}

TEST_CASE("user timeout: an idle connection has none, nor one whose peer answers probes of its shut window") {
    tcp_lab lab; // [RFC 9293 3.8.6.1 MUST-37]
    tcp::connection_options o;
    o.user_timeout = 5s;
    lab.establish(o);
    lab.wait(1h);
    CHECK(lab.e->state() == tcp::state::established);
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .window = 0});
    lab.write("x");
    for (int i = 0; i < 2400; ++i) {
        lab.wait(250ms);
        if (!lab.out().empty()) lab.in({.flags = ACK, .seq = 1, .ack = 1, .window = 0});
    }
    CHECK(lab.e->state() == tcp::state::established);
    lab.wait(70s); // the probes are no longer answered
    CHECK(lab.e->error() == errc::timed_out);
}

TEST_CASE("user timeout: with keepalive it says how long the peer may be silent, not the number of probes") {
    tcp::connection_options o; // [RFC 5482 4.2]
    o.keepalive_idle = 60s;
    o.keepalive_interval = 10s;
    o.keepalive_probes = 3;
    const auto ends_after = [&o](duration user_timeout) {
        o.user_timeout = user_timeout;
        tcp_lab lab;
        lab.establish(o);
        const instant heard = lab.now;
        while (!lab.e->ended()) lab.wait(1s);
        CHECK(lab.e->error() == errc::timed_out);
        return (lab.now - heard) / 1s;
    };
    CHECK(ends_after(0s) == 90); // 60, 70, 80: unanswered
    CHECK(ends_after(85s) == 85);
    CHECK(ends_after(200s) == 200);
    CHECK(ends_after(20s) == 70); // one question at least
}

// --- SYN ---------------------------------------------------------------------------------------------------

TEST_CASE("the SYN's waits, number and time can be chosen for each connection") { // [RFC 9293 3.8.3 MUST-23]
    tcp::connection_options o;
    o.initial_rto = 250ms;
    SUBCASE("by number") {
        o.syn_retries = 3;
        tcp_lab lab;
        lab.connect(o);
        lab.wait(10s);
        CHECK(lab.out() == segs{{.flags = SYN, .at = 0},
                                {.flags = SYN, .at = 250},
                                {.flags = SYN, .at = 750},
                                {.flags = SYN, .at = 1750}});
        CHECK(lab.e->error() == errc::timed_out);
        CHECK(lab.e->edges().back().when == instant(100s) + 3750ms);
    }
    SUBCASE("never again") {
        o.syn_retries = 0;
        tcp_lab lab;
        lab.connect(o);
        lab.wait(250ms);
        CHECK(lab.out().size() == 1);
        CHECK(lab.e->error() == errc::timed_out);
    }
    SUBCASE("by time") {
        o.connect_timeout = 1s;
        tcp_lab lab;
        lab.connect(o);
        lab.wait(999ms);
        CHECK(lab.out().size() == 3);
        CHECK_FALSE(lab.e->ended());
        lab.wait(1ms);
        CHECK(lab.e->error() == errc::timed_out);
    }
    SUBCASE("the number is the SYN's alone") {
        o.syn_retries = 1;
        tcp_lab lab;
        lab.connect(o);
        lab.wait(300ms);
        lab.out();
        lab.in({.flags = SYN | ACK, .seq = 0, .ack = 1});
        lab.write("x");
        lab.wait(20s); // lost again and again
        CHECK(lab.counted().rto_fired >= 3);
        CHECK(lab.e->state() == tcp::state::established);
    }
}

// --- orphans -----------------------------------------------------------------------------------------------

TEST_CASE("orphans: connections that close in the background are a bounded number; one more is reset") {
    tcp::config c = tcp_lab::plain();
    c.max_orphans = 2;
    tcp_crowd crowd(c);
    std::vector<std::unique_ptr<tcp::endpoint>> all;
    for (std::uint16_t port = 5001; port <= 5004; ++port) all.push_back(crowd.establish(port));
    all[0]->close(crowd.now);
    all[1]->stop_reading(crowd.now);
    all[1]->finish(crowd.now);
    all[3]->finish(crowd.now); // somebody still reads: no orphan
    CHECK(crowd.stack.orphans() == 2);
    CHECK(all[1]->info().orphan);
    CHECK_FALSE(all[3]->info().orphan);

    all[2]->close(crowd.now);
    CHECK(crowd.out(5003) == segs{{.flags = RST, .seq = 1}});
    CHECK(all[2]->error() == errc::no_memory);
    CHECK(all[2]->report().how == tcp::ending::out_of_memory);
    CHECK(crowd.counted().orphan_overflow == 1);

    // Whoever ends makes room.
    crowd.flush();
    crowd.in(5001, {.flags = FIN | ACK, .seq = 1, .ack = 2});
    CHECK(all[0]->state() == tcp::state::time_wait);
    CHECK(crowd.stack.orphans() == 1);
    all[3]->stop_reading(crowd.now);
    CHECK(crowd.stack.orphans() == 2);
    CHECK(all[3]->state() == tcp::state::fin_wait_1);
    crowd.in(5002, {.flags = RST, .seq = 1});
    all[3]->abort(crowd.now);
    CHECK(crowd.stack.orphans() == 0);
}

TEST_CASE("orphans: one whose peer keeps its window shut and answers probes ends after a time") {
    tcp_crowd crowd;
    auto e = crowd.establish(5001);
    crowd.in(5001, {.flags = ACK, .seq = 1, .ack = 1, .window = 0});
    e->write(as_bytes("never wanted"));
    e->stop_reading(crowd.now);
    e->finish(crowd.now);
    const instant begin = crowd.now;
    while (!e->ended() && crowd.now < begin + 10min) {
        crowd.wait(250ms);
        if (!crowd.out(5001).empty()) crowd.in(5001, {.flags = ACK, .seq = 1, .ack = 1, .window = 0});
    }
    CHECK(e->error() == errc::timed_out);
    CHECK(crowd.now - begin <= 125s);
    CHECK(crowd.stack.orphans() == 0);
    CHECK(crowd.stack.connections() == 0);
}

} // namespace
} // namespace tapir::test
