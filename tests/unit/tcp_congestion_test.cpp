// Congestion control as a connection sees it: growth, reductions, recoveries, and what is undone.
// [RFC 5681] [RFC 9438]
#include <tapir/protocols/tcp/congestion/control.hpp>

#include <doctest/doctest.h>

#include <cstdint>

#include "tests/unit/tcp_cwnd_sender.hpp"

namespace tapir::test {

using namespace congestion;

TEST_CASE("congestion: ten segments at first, two at least, 14600 bytes at most") { // [RFC 6928 2]
    congestion_control cc;
    cc.start(1460, 10);
    CHECK(cc.cwnd() == 14'600);
    cc.start(536, 10);
    CHECK(cc.cwnd() == 5'360);
    cc.start(4000, 10);
    CHECK(cc.cwnd() == 14'600);
    cc.start(9000, 10);
    CHECK(cc.cwnd() == 18'000);
    cc.start_after_loss(1460, 10); // [RFC 5681 3.1]
    CHECK(cc.cwnd() == 1460);
    CHECK(cc.in_slow_start());
    CHECK(cc.name() == "cubic");
    CHECK(congestion_control(congestion_algorithm::new_reno).name() == "new_reno");
}

TEST_CASE("congestion: slow start doubles in a round trip, however the receiver spaces its ACKs") {
    // [RFC 5681 3.1] [RFC 3465 2.2]
    for (const auto a : both) {
        for (const std::uint32_t step : {1u, 100u, mss, 2 * mss, 10 * mss}) {
            sender s(a);
            s.round(0, step);
            CHECK(s.cc.cwnd() == 20 * mss);
            s.round(0, step);
            CHECK(s.cc.cwnd() == 40 * mss);
        }
    }
}

TEST_CASE("congestion: without pacing an ACK counts for eight segments at most") { // [RFC 9406 4.2], L
    sender s(congestion_algorithm::cubic, false);
    s.round(0, 10 * mss);
    CHECK(s.cc.cwnd() == 18 * mss);
}

TEST_CASE("congestion: what a timeout took for lost lets slow start grow by a segment for each ACK") {
    // [RFC 3465 2.3]
    sender s;
    s.grow_to(40 * kB);
    s.cc.on_timeout(40 * kB, mss, true, s.now);
    CHECK(s.cc.cwnd() == mss);
    s.after_timeout = true;
    s.ack(20 * mss, 20 * mss);
    CHECK(s.cc.cwnd() == 2 * mss);
}

TEST_CASE("congestion: slow start ends at ssthresh, and what is left of the ACK counts beyond") {
    sender s(congestion_algorithm::new_reno);
    s.grow_to(40 * kB);
    s.lose();
    CHECK(s.cc.ssthresh() == 20 * kB);
    s.cc.on_timeout(20 * kB, mss, true, s.now);
    CHECK(s.cc.ssthresh() == 10 * kB);
    s.round(1 * mss);
    s.round(2 * mss);
    s.round(4 * mss);
    CHECK(s.cc.cwnd() == 8 * mss);
    s.round(8 * mss, 8 * mss); // 2 until ssthresh, 6 of the 10 for the next segment
    CHECK(s.cc.cwnd() == 10 * mss);
    CHECK_FALSE(s.cc.in_slow_start());
    s.ack(4 * mss, 10 * mss);
    CHECK(s.cc.cwnd() == 11 * mss);
}

TEST_CASE("congestion: a window that does not hold the sender back does not grow") {
    // [RFC 7661 4.1] [RFC 9438 5.8]
    for (const auto a : both) {
        sender s(a);
        s.limited = false;
        for (int i = 0; i < 50; ++i) s.round(4 * mss);
        CHECK(s.cc.cwnd() == 10 * mss);
        s.round(6 * mss); // in slow start half of it is enough
        CHECK(s.cc.cwnd() > 10 * mss);
        s.limited = true;
        s.grow_to(40 * kB);
        s.lose();
        s.limited = false;
        const std::uint32_t before = s.cc.cwnd();
        for (int i = 0; i < 50; ++i) s.round(before - mss);
        CHECK(s.cc.cwnd() == before);
    }
}

// --- reductions ---

TEST_CASE("congestion: a loss leaves half of what was in flight to NewReno, seven tenths to CUBIC") {
    // [RFC 5681 3.1 (4)] [RFC 9438 4.6]
    for (const auto a : both) {
        sender s(a);
        s.grow_to(100 * kB);
        s.cc.on_congestion(congestion_cause::loss, 100 * kB, mss, s.now);
        const std::uint32_t left = a == congestion_algorithm::cubic ? 70 * kB : 50 * kB;
        CHECK(s.cc.ssthresh() == left);
        CHECK(s.cc.recovery_window() == left);
        CHECK(s.cc.cwnd() == 100 * kB); // until PRR moves it
        CHECK(s.cc.in_recovery());
        s.cc.set_cwnd(64 * kB);
        CHECK(s.cc.cwnd() == 64 * kB);
        s.ack(10 * mss, 80 * kB); // in recovery ACKs are PRR's
        CHECK(s.cc.cwnd() == 64 * kB);
        s.cc.on_recovered();
        CHECK(s.cc.cwnd() == left);
        CHECK_FALSE(s.cc.in_recovery());
        CHECK_FALSE(s.cc.in_slow_start());
    }
}

TEST_CASE("congestion: no loss leaves less than two segments, no ECN-Echo less than one") {
    // [RFC 5681 3.1 (4)] [RFC 9438 4.6]
    for (const auto a : both) {
        sender s(a);
        s.cc.start_after_loss(mss, 10);
        s.cc.on_congestion(congestion_cause::loss, mss, mss, s.now);
        s.cc.on_recovered();
        CHECK(s.cc.ssthresh() == 2 * mss);
        CHECK(s.cc.cwnd() == 2 * mss);
        for (int marks = 0; marks < 3; ++marks) {
            s.cc.on_congestion(congestion_cause::ecn, mss, mss, s.now);
            s.cc.on_recovered();
            CHECK(s.cc.ssthresh() == 2 * mss);
        }
        CHECK(s.cc.cwnd() == mss);
    }
}

TEST_CASE("congestion: a mark takes its share of an initial window, however little of it was in use") {
    for (const auto a : both) {
        sender s(a);
        s.cc.on_congestion(congestion_cause::ecn, 10, mss, s.now);
        s.cc.on_recovered();
        CHECK(s.cc.cwnd() == (a == congestion_algorithm::cubic ? 7 * mss : 5 * mss));
        sender large(a);
        large.grow_to(100 * kB);
        large.cc.on_congestion(congestion_cause::ecn, 100 * kB, mss, large.now);
        CHECK(large.cc.recovery_window() == (a == congestion_algorithm::cubic ? 70 * kB : 50 * kB));
        CHECK_FALSE(large.cc.in_slow_start());
    }
}

TEST_CASE("congestion: a retransmission that is lost is a second congestion event") { // [RFC 5681 4.3]
    sender s(congestion_algorithm::new_reno);
    s.grow_to(80 * kB);
    s.cc.on_congestion(congestion_cause::loss, 80 * kB, mss, s.now);
    s.cc.set_cwnd(5 * kB); // wherever PRR stands: a burst was lost
    s.cc.on_congestion(congestion_cause::loss, 80 * kB, mss, s.now + 100ms);
    CHECK(s.cc.ssthresh() == 20 * kB);
}

TEST_CASE("congestion: limited transmit does not enlarge what a loss leaves") { // [RFC 5681 3.2, step 2]
    sender s(congestion_algorithm::new_reno);
    s.grow_to(20 * kB);
    s.cc.on_congestion(congestion_cause::loss, 22 * kB, mss, s.now);
    CHECK(s.cc.ssthresh() == 10 * kB);
}

TEST_CASE("congestion: of all timeouts of an episode the first sets ssthresh") { // [RFC 5681 3.1 (4)]
    for (const auto a : both) {
        sender s(a);
        s.grow_to(100 * kB);
        s.cc.on_timeout(100 * kB, mss, true, s.now);
        const std::uint32_t left = a == congestion_algorithm::cubic ? 70 * kB : 50 * kB;
        CHECK(s.cc.ssthresh() == left);
        CHECK(s.cc.cwnd() == mss);
        s.cc.on_timeout(mss, mss, false, s.now + 1s);
        s.cc.on_timeout(mss, mss, false, s.now + 3s);
        CHECK(s.cc.ssthresh() == left);
        s.grow_to(left); // and slow start goes there
        CHECK_FALSE(s.cc.in_slow_start());
    }
}

TEST_CASE("congestion: a timeout ends a recovery") {
    sender s;
    s.grow_to(100 * kB);
    s.cc.on_congestion(congestion_cause::loss, 100 * kB, mss, s.now);
    s.cc.on_timeout(70 * kB, mss, true, s.now + 200ms);
    CHECK_FALSE(s.cc.in_recovery());
    CHECK(s.cc.ssthresh() == 49 * kB);
    s.cc.on_recovered(); // too late
    CHECK(s.cc.cwnd() == mss);
}

TEST_CASE("congestion: after a timeout CUBIC grows from where slow start ended, not towards the old W_max") {
    // [RFC 9438 4.8]
    sender s;
    s.grow_to(1000 * kB);
    s.lose();
    s.cc.on_timeout(700 * kB, mss, true, s.now);
    s.grow_to(490 * kB);
    s.round();
    s.round();
    CHECK(s.cc.curve().k() == 0s);
    CHECK(s.cc.curve().w_max() <= 491 * kB);
    CHECK(s.cc.cwnd() < 500 * kB);
}

TEST_CASE("congestion: smaller segments leave the window, but a segment and two at least") { // [RFC 1191 6.5]
    sender s;
    s.cc.start_after_loss(mss, 10);
    s.cc.on_timeout(mss, mss, true, s.now);
    s.cc.on_new_mss(536);
    CHECK(s.cc.cwnd() == mss);
    CHECK(s.cc.ssthresh() == 2 * mss);
    s.cc.set_cwnd(300);
    s.cc.on_new_mss(536);
    CHECK(s.cc.cwnd() == 536);
}

TEST_CASE("congestion: smaller segments do not lift CUBIC up its curve") {
    // Found when it was written: the same curve, scaled by a sixth of the MSS, begins close to W_max.
    sender s;
    s.grow_to(1000 * kB);
    s.lose();
    s.round();
    s.cc.on_new_mss(mss / 6);
    const std::uint32_t before = s.cc.cwnd();
    tcp::ack_sample a;
    a.now = s.now + 100ms;
    a.delivered = before;
    a.flight_before = before;
    a.mss = mss / 6;
    a.srtt = 100ms;
    a.cwnd_limited = true;
    s.cc.on_ack(a);
    CHECK(s.cc.cwnd() < before + before / 20);
}

// --- undo ---

TEST_CASE("undo: a spurious recovery gives cwnd, ssthresh and the curve back") { // [RFC 9438 4.9]
    for (const auto a : both) {
        sender s(a);
        s.grow_to(200 * kB);
        s.lose();
        for (int i = 0; i < 20; ++i) s.round();
        const std::uint32_t cwnd = s.cc.cwnd(), ssthresh = s.cc.ssthresh();
        const std::uint32_t w_max = s.cc.curve().w_max();
        s.cc.remember();
        s.cc.on_congestion(congestion_cause::loss, cwnd, mss, s.now);
        s.cc.set_cwnd(100 * kB);
        CHECK(s.cc.undo());
        CHECK(s.cc.cwnd() == cwnd);
        CHECK(s.cc.ssthresh() == ssthresh);
        CHECK(s.cc.curve().w_max() == w_max);
        CHECK_FALSE(s.cc.in_recovery());
        CHECK_FALSE(s.cc.undo()); // once
        s.cc.on_recovered();      // of what is no recovery any more
        CHECK(s.cc.cwnd() == cwnd);
    }
}

TEST_CASE("undo: a spurious timeout gives the window back, also after more of them") { // [RFC 4015 3]
    sender s;
    s.grow_to(200 * kB);
    s.lose();
    const std::uint32_t cwnd = s.cc.cwnd(), ssthresh = s.cc.ssthresh();
    s.cc.remember();
    s.cc.on_timeout(cwnd, mss, true, s.now);
    s.cc.on_timeout(mss, mss, false, s.now + 1s);
    s.round(mss);
    CHECK(s.cc.undo());
    CHECK(s.cc.cwnd() == cwnd);
    CHECK(s.cc.ssthresh() == ssthresh);
}

TEST_CASE("undo: a first slow start goes on, and may still see the delay rise") {
    sender s;
    s.grow_to(40 * kB);
    s.cc.remember();
    s.cc.on_congestion(congestion_cause::loss, 40 * kB, mss, s.now);
    CHECK_FALSE(s.cc.in_slow_start());
    CHECK(s.cc.undo());
    CHECK(s.cc.in_slow_start());
    CHECK(s.cc.ssthresh() == congestion_control::largest);
    s.round();
    s.round();
    CHECK(s.cc.cwnd() == 160 * kB);
    s.rtt = 120ms;
    s.round();
    CHECK(s.cc.in_conservative_slow_start());
}

TEST_CASE("undo: found out late, it takes nothing from a window that has grown beyond") { // [RFC 9438 4.9.2]
    sender s(congestion_algorithm::new_reno);
    s.grow_to(20 * kB);
    s.cc.remember();
    s.lose();
    while (s.cc.cwnd() < 25 * kB) s.round();
    const std::uint32_t cwnd = s.cc.cwnd();
    CHECK(s.cc.undo());
    CHECK(s.cc.cwnd() == cwnd);
    CHECK_FALSE(s.cc.in_slow_start());
}

TEST_CASE("undo: what was remembered for one reduction does not undo the next") {
    sender s;
    s.grow_to(100 * kB);
    CHECK_FALSE(s.cc.undo());
    s.cc.remember();
    s.lose();
    s.lose(); // this one nobody doubts
    CHECK_FALSE(s.cc.undo());
    CHECK(s.cc.cwnd() == 49 * kB);
}

TEST_CASE("undo: not across an idle time, after which nothing clocks the old window") { // [RFC 5681 4.1]
    sender s;
    s.grow_to(100 * kB);
    s.cc.remember();
    s.lose();
    s.cc.after_idle(mss);
    CHECK_FALSE(s.cc.undo());
    CHECK(s.cc.cwnd() == 10 * mss);
}

TEST_CASE("congestion: average windows under periodic loss are those of the RFC's tables") { // [RFC 9438 5.1]
    // One segment of 1/p is lost. The tables are from a fluid model; ours has segments and fast convergence.
    struct row {
        std::uint32_t segments; ///< 1/p
        duration rtt;
        congestion_algorithm algorithm;
        double average; ///< segments
    };
    constexpr row rows[] = {
        {100, 100ms, congestion_algorithm::new_reno, 12},
        {1'000, 100ms, congestion_algorithm::new_reno, 38},
        {10'000, 100ms, congestion_algorithm::new_reno, 120},
        {100, 100ms, congestion_algorithm::cubic, 12},
        {1'000, 100ms, congestion_algorithm::cubic, 38},
        {10'000, 100ms, congestion_algorithm::cubic, 187},
        {100'000, 100ms, congestion_algorithm::cubic, 1054},
        {1'000, 10ms, congestion_algorithm::cubic, 38},
        {10'000, 10ms, congestion_algorithm::cubic, 120},
    };
    for (const row& r : rows) {
        sender s(r.algorithm);
        s.rtt = r.rtt;
        double round_trips = 0;
        std::uint32_t segments = 0;
        constexpr std::uint32_t warm_up = 30, losses = 10;
        for (std::uint32_t loss = 0; loss < warm_up + losses; ++loss) {
            for (std::uint32_t i = 0; i < r.segments; ++i) {
                const std::uint32_t cwnd = s.cc.cwnd();
                s.now += r.rtt * mss / cwnd;
                s.nxt = s.una + cwnd;
                s.ack(mss, cwnd);
                if (loss < warm_up) continue;
                ++segments;
                round_trips += double(mss) / cwnd;
            }
            s.cc.on_congestion(congestion_cause::loss, s.cc.cwnd(), mss, s.now);
            s.cc.on_recovered();
        }
        const double average = segments / round_trips;
        CHECK_MESSAGE(average > r.average * 0.9, s.cc.name(), " ", r.segments, ": ", average, " for ",
                      r.average);
        CHECK_MESSAGE(average < r.average * 1.1, s.cc.name(), " ", r.segments, ": ", average, " for ",
                      r.average);
    }
}

TEST_CASE("congestion: no window passes what TCP can express") { // [RFC 7323 2.3]
    for (const auto a : both) {
        sender s(a);
        s.cc.set_cwnd(congestion_control::largest - mss);
        s.ack(congestion_control::largest - mss, congestion_control::largest - mss);
        CHECK(s.cc.cwnd() == congestion_control::largest);
        CHECK_FALSE(s.cc.in_slow_start());
        for (int i = 0; i < 5; ++i) {
            s.now += 100s;
            s.ack(1u << 29, 1u << 30);
        }
        CHECK(s.cc.cwnd() == congestion_control::largest);
        s.cc.set_cwnd(0xffff'ffff);
        CHECK(s.cc.cwnd() == congestion_control::largest);
    }
}

} // namespace tapir::test
