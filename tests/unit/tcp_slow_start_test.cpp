// What ends slow start before a loss does, and what becomes of windows that nobody uses. [RFC 9406] [RFC
// 7661]
#include <tapir/protocols/tcp/congestion/control.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>

#include "tests/unit/tcp_cwnd_sender.hpp"

namespace tapir::test {

using namespace congestion;

// --- HyStart++ ---

TEST_CASE(
    "hystart: a rise of the delay by an eighth slows growth to a quarter, and ends slow start in 5 rounds") {
    // [RFC 9406 4.2]
    sender s;
    s.round();
    s.round();
    CHECK(s.cc.cwnd() == 40 * mss);
    s.rtt = 113ms; // the eighth sample of the round tells
    s.round();
    CHECK(s.cc.in_conservative_slow_start());
    CHECK(s.cc.cwnd() == 40 * mss + 7 * 2 * mss + 13 * 2 * mss / 4);
    std::uint32_t before = s.cc.cwnd();
    for (int i = 0; i < 3; ++i) {
        s.round();
        CHECK(s.cc.in_slow_start());
        CHECK(s.cc.cwnd() > before + before / 5);
        CHECK(s.cc.cwnd() <= before + before / 4 + mss);
        before = s.cc.cwnd();
    }
    s.round(); // the fifth, with the one in which it began
    CHECK_FALSE(s.cc.in_slow_start());
    CHECK(s.cc.ssthresh() == s.cc.cwnd());
    CHECK_FALSE(s.cc.in_conservative_slow_start());
    before = s.cc.cwnd();
    s.round();
    CHECK(s.cc.cwnd() < before + 2 * mss); // at the plateau [RFC 9438 4.10]
}

TEST_CASE("hystart: jitter is taken back") { // [RFC 9406 4.2], cssBaselineMinRtt
    sender s;
    s.round();
    s.round();
    s.rtt = 120ms;
    s.round();
    CHECK(s.cc.in_conservative_slow_start());
    s.rtt = 101ms;
    s.round();
    CHECK_FALSE(s.cc.in_conservative_slow_start());
    const std::uint32_t before = s.cc.cwnd();
    s.round();
    CHECK(s.cc.cwnd() == 2 * before);
}

TEST_CASE("hystart: less than 4 ms say nothing, more than 16 ms always do") { // [RFC 9406 4.3]
    const auto slows_down = [](duration first, duration then) {
        sender s;
        s.rtt = first;
        s.round();
        s.round();
        s.rtt = then;
        s.round();
        return s.cc.in_conservative_slow_start();
    };
    CHECK_FALSE(slows_down(1ms, 4900us));
    CHECK(slows_down(1ms, 5ms));
    CHECK_FALSE(slows_down(80ms, 89'900us));
    CHECK(slows_down(80ms, 90ms));
    CHECK_FALSE(slows_down(400ms, 415'900us));
    CHECK(slows_down(400ms, 416ms));
}

TEST_CASE("hystart: fewer than eight samples in a round say nothing") { // [RFC 9406 4.3], N_RTT_SAMPLE
    sender s;
    s.round();
    s.rtt = 200ms;
    s.round(0, 3 * mss); // seven ACKs
    CHECK_FALSE(s.cc.in_conservative_slow_start());
    // Nor do ACKs that give no sample.
    s.rtt = 100ms;
    s.round();
    s.rtt = 0ms;
    s.round();
    CHECK_FALSE(s.cc.in_conservative_slow_start());
}

TEST_CASE("hystart: a later slow start heeds ssthresh only") { // [RFC 9406 4.3]
    sender s;
    s.grow_to(100 * kB);
    s.cc.on_timeout(100 * kB, mss, true, s.now);
    for (int i = 0; i < 5; ++i) s.round();
    s.rtt = 300ms;
    s.round();
    CHECK_FALSE(s.cc.in_conservative_slow_start());
    CHECK(s.cc.cwnd() == 64 * mss);
}

TEST_CASE(
    "hystart: where a queue ends, slow start passes its end by a quarter, not by a window") { // [RFC 9406 1]
    // 10 MB/s, 50 ms, and a queue as long as the path: 1 MB in all. Doubling from 640 kB would send 1.28 MB.
    constexpr std::uint32_t bdp = 500 * kB;
    for (const auto a : both) {
        sender s(a);
        while (s.cc.cwnd() <= 2 * bdp) {
            s.rtt = 50ms + duration(std::int64_t{std::max(s.cc.cwnd(), bdp) - bdp} * 100);
            s.round();
        }
        CHECK(s.cc.in_conservative_slow_start());
        CHECK(s.cc.cwnd() <= 2 * bdp + bdp / 4);
    }
}

// --- windows that nobody uses ---

TEST_CASE(
    "idle: a restart begins with the initial window, and slow start goes to three quarters of the old") {
    // [RFC 5681 4.1] [RFC 7661 4.4]
    sender s;
    s.grow_to(200 * kB);
    s.cc.after_idle(mss);
    CHECK(s.cc.cwnd() == 10 * mss);
    CHECK(s.cc.ssthresh() == congestion_control::largest); // nothing was ever measured
    s.grow_to(200 * kB);
    s.lose();
    for (int i = 0; i < 60; ++i) s.round();
    const std::uint32_t before = s.cc.cwnd();
    CHECK(before > 200 * kB);
    s.cc.after_idle(mss);
    CHECK(s.cc.cwnd() == 10 * mss);
    CHECK(s.cc.ssthresh() == before / 4 * 3);
    s.cc.start_after_loss(mss, 10);
    s.cc.after_idle(mss); // no larger than it was
    CHECK(s.cc.cwnd() == mss);
}

TEST_CASE("idle: the curve does not grow by the time in which there was nothing to send") { // [RFC 9438 5.8]
    sender s;
    s.grow_to(500 * kB);
    s.lose();
    s.round();
    const duration before = s.cc.curve().elapsed();
    s.limited = false;
    for (int i = 0; i < 100; ++i) s.round(10 * mss);
    s.limited = true;
    s.now += 1min;
    s.round();
    CHECK(s.cc.curve().elapsed() == before);
    CHECK(s.cc.cwnd() < 400 * kB);
}

TEST_CASE("validation: a loss with little in flight steps down from what was carried lately") {
    // [RFC 7661 4.4.1] [RFC 9438 4.6]: the application paused for a moment
    for (const auto a : both) {
        sender s(a);
        s.grow_to(100 * kB);
        s.round();
        s.round();
        const std::uint32_t cwnd = s.cc.cwnd();
        CHECK(cwnd == 400 * kB);
        s.now += 200ms;
        s.cc.on_congestion(congestion_cause::loss, 3 * kB, mss, s.now);
        CHECK(s.cc.ssthresh() == (a == congestion_algorithm::cubic ? 140 * kB : 100 * kB)); // of 200 kB
        CHECK(s.cc.curve().w_max() == 400 * kB);
    }
}

TEST_CASE("validation: a loss after seconds of little use steps down from that, whatever cwnd was") {
    // [RFC 7661 4.4.1]
    for (const auto a : both) {
        sender s(a);
        s.grow_to(400 * kB);
        s.limited = false;
        for (int i = 0; i < 30; ++i) s.round(20 * kB);
        CHECK(s.cc.cwnd() == 400 * kB);
        s.cc.on_congestion(congestion_cause::loss, 20 * kB, mss, s.now);
        CHECK(s.cc.ssthresh() == (a == congestion_algorithm::cubic ? 14 * kB : 10 * kB));
        CHECK(s.cc.curve().w_max() == 20 * kB); // and no memory of a window that was a guess
    }
}

TEST_CASE("validation: a window that was not half used for five minutes is halved, down to the initial one") {
    // [RFC 7661 4.4]
    sender s;
    s.grow_to(100 * kB);
    s.lose();
    s.limited = false;
    const instant begin = s.now;
    while (s.now < begin + 299s) s.round(4 * kB);
    CHECK(s.cc.cwnd() == 70 * kB);
    while (s.now < begin + 304s) s.round(4 * kB);
    CHECK(s.cc.cwnd() == 35 * kB);
    CHECK(s.cc.ssthresh() == 70 * kB);
    while (s.now < begin + 610s) s.round(4 * kB);
    CHECK(s.cc.cwnd() == 17'500);
    while (s.now < begin + 3000s) s.round(4 * kB);
    CHECK(s.cc.cwnd() == 10 * mss);
}

TEST_CASE("validation: one round of half of the window in five minutes keeps it") { // [RFC 7661 4.3]
    sender s;
    s.grow_to(100 * kB);
    s.lose();
    s.limited = false;
    for (int minutes = 0; minutes < 30; ++minutes) {
        const instant begin = s.now;
        while (s.now < begin + 60s) s.round(4 * kB);
        if (minutes % 4 == 0) s.round(35 * kB);
    }
    CHECK(s.cc.cwnd() == 70 * kB);
}

} // namespace tapir::test
