// CUBIC and NewReno: the growth and reduction of the window, against the RFC's formulas in floating point.
// [RFC 9438 4] [RFC 5681 3.1]
#include <tapir/protocols/tcp/congestion/cubic.hpp>
#include <tapir/protocols/tcp/congestion/new_reno.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace tapir::test {
namespace {
using namespace std::chrono_literals;
using tcp::cubic;

constexpr std::uint32_t mss = 1000;

/// RFC 9438 figures 1, 2 and 4 as they stand there, in segments and seconds.
struct reference {
    double w_max, k, w_est, cwnd_prior;

    reference(double max, double cwnd_epoch, double prior)
        : w_max(std::max(max, cwnd_epoch)), k(std::cbrt((w_max - cwnd_epoch) / 0.4)), w_est(cwnd_epoch),
          cwnd_prior(prior) {}
    double w_cubic(double t) const { return 0.4 * std::pow(t - k, 3) + w_max; }
    double on_ack(double t, double rtt, double cwnd, double acked) {
        w_est += (w_est < cwnd_prior ? 3 * (1 - 0.7) / (1 + 0.7) : 1.0) * acked / cwnd;
        if (w_cubic(t) < w_est) return std::max(cwnd, w_est);
        return cwnd + (std::clamp(w_cubic(t + rtt), cwnd, 1.5 * cwnd) - cwnd) / cwnd * acked;
    }
};

double seconds(duration d) {
    return static_cast<double>(d.count()) / 1e9;
}

/// A stage that begins at `begin` after a loss at `w_max`; its first ACK came at t = 0.
cubic in_stage(std::uint32_t w_max, std::uint32_t begin, std::uint32_t segment = mss) {
    cubic c;
    c.on_congestion(w_max);
    c.on_ack(instant{}, begin, 0, segment, 1ms);
    return c;
}

/// The sender of a round trip of `rtt` that is always limited by cwnd, acknowledged one segment at a time.
std::uint32_t run(cubic& c, std::uint32_t cwnd, duration rtt, duration from, duration until) {
    for (duration at = from; at < until;) {
        cwnd = c.on_ack(instant{} + at, cwnd, mss, mss, rtt);
        at += rtt * mss / cwnd;
    }
    return cwnd;
}

} // namespace

TEST_CASE("cubic: the curve is W_cubic of the RFC, within 2 bytes and a microsecond of its slope") {
    // [RFC 9438 4.2, figures 1 and 2]
    for (const std::uint32_t segment : {88u, 536u, 1460u, 8960u, 65495u}) {
        for (const std::uint32_t segments : {4u, 10u, 37u, 100u, 1000u, 12'345u, 100'000u}) {
            const std::uint64_t large = std::uint64_t{segments} * segment;
            if (large > (1u << 30)) continue;
            const auto w_max = static_cast<std::uint32_t>(large);
            const std::uint32_t begin = cubic::reduced(w_max);
            const cubic c = in_stage(w_max, begin, segment);
            const reference r(double(w_max) / segment, double(begin) / segment, 0);
            CHECK(std::abs(seconds(c.k()) - r.k) <= 2e-6);
            for (duration t = 0ms; t < 300s; t = t * 9 / 8 + 7ms) {
                const double exact = r.w_cubic(seconds(t)) * segment;
                if (exact > 4e9) break;
                const double slope = 3 * 0.4 * segment * std::pow(seconds(t) - r.k, 2); // bytes a second
                CHECK_MESSAGE(std::abs(c.w_cubic(t, segment) - exact) <= 2 + 2e-6 * slope, segment, " ",
                              segments, " at ", t.count());
            }
        }
    }
}

TEST_CASE(
    "cubic: the stage begins where the loss left cwnd, and is back at W_max after K") { // [RFC 9438 4.2]
    const cubic c = in_stage(1000 * mss, 700 * mss);
    CHECK(std::abs(seconds(c.k()) - 9.0856) < 1e-4); // cbrt(300 / 0.4)
    CHECK(std::abs(double(c.w_cubic(0ms, mss)) - 700 * mss) <= 2);
    CHECK(c.w_cubic(c.k(), mss) == 1000 * mss);
}

TEST_CASE("cubic: a sender's window follows the RFC's rules ACK by ACK, within 1/2000 and 1/20 MSS") {
    // [RFC 9438 4.2 - 4.5]; the latter since one may leave the Reno-friendly region an ACK before the other.
    for (const duration rtt : {duration(1ms), duration(20ms), duration(100ms), duration(400ms)}) {
        for (const std::uint32_t segments : {8u, 50u, 400u}) {
            const std::uint32_t w_max = segments * mss;
            std::uint32_t cwnd = cubic::reduced(w_max);
            cubic c = in_stage(w_max, cwnd);
            double exact = double(cwnd) / mss;
            reference r(segments, exact, segments);
            instant now{};
            for (int i = 0; i < 6000; ++i) {
                now += rtt * mss / cwnd;
                exact = r.on_ack(seconds(now.time_since_epoch()), seconds(rtt), exact, 1);
                cwnd = c.on_ack(now, cwnd, mss, mss, rtt);
                REQUIRE_MESSAGE(std::abs(cwnd - exact * mss) <= exact * mss / 2000 + mss / 20, rtt.count(),
                                " ", segments, " after ", i, " ACKs: ", cwnd, " for ", exact * mss);
            }
        }
    }
}

TEST_CASE("cubic: concave up to W_max, convex beyond") { // [RFC 9438 4.4, 4.5]
    cubic c = in_stage(400 * mss, 280 * mss);
    const duration k = c.k(), half = k / 2;
    const std::uint32_t a = 280 * mss;
    const std::uint32_t b = run(c, a, 100ms, 0ms, half);
    const std::uint32_t at_k = run(c, b, 100ms, half, k);
    const std::uint32_t d = run(c, at_k, 100ms, k, k + half);
    const std::uint32_t e = run(c, d, 100ms, k + half, 2 * k);
    CHECK(b - a > 3 * (at_k - b));
    CHECK(std::abs(double(at_k) - 400 * mss) < 3 * mss);
    CHECK(e - d > 3 * (d - at_k));
}

TEST_CASE("cubic: on a short path the window grows as NewReno's would, a segment in 17/9 round trips") {
    // [RFC 9438 4.3]: C is too slow for 5 ms
    cubic c = in_stage(100 * mss, 70 * mss);
    const std::uint32_t cwnd = run(c, 70 * mss, 5ms, 0ms, 85ms); // 17 round trips
    CHECK(std::abs(double(cwnd) - 79 * mss) < mss / 2);
}

TEST_CASE("cubic: having come back to where it lost, it grows by a segment for each round trip") {
    // [RFC 9438 4.3], alpha is 1 from cwnd_prior on: not from W_max, which fast convergence has made less
    cubic c = in_stage(100 * mss, 70 * mss);
    c.on_congestion(80 * mss);
    CHECK(c.w_max() == 68 * mss);
    std::uint32_t cwnd = c.on_ack(instant{}, 56 * mss, 0, mss, 1ms);
    duration at = 0ms;
    for (; cwnd < 72 * mss; at += 1ms) cwnd = run(c, cwnd, 1ms, at, at + 1ms);
    std::uint32_t before = cwnd;
    cwnd = run(c, cwnd, 1ms, at, at + 5ms);
    CHECK(std::abs(double(cwnd - before) - 5 * mss * 9 / 17) < mss / 3);
    for (at += 5ms; cwnd < 80 * mss; at += 1ms) cwnd = run(c, cwnd, 1ms, at, at + 1ms);
    before = cwnd;
    cwnd = run(c, cwnd, 1ms, at, at + 5ms);
    CHECK(std::abs(double(cwnd - before) - 5 * mss) < mss / 2);
}

TEST_CASE("cubic: however far the curve is ahead, a round trip adds half of the window at most") {
    // [RFC 9438 4.2, target]
    cubic c = in_stage(20 * mss, 14 * mss);
    c.on_ack(instant{} + 300s, 14 * mss, 0, mss, 100ms); // far up the curve
    CHECK(c.w_cubic(300s, mss) > 1'000'000 * mss);
    CHECK(c.on_ack(instant{} + 300s, 14 * mss, 14 * mss, mss, 100ms) == 21 * mss);
}

TEST_CASE("cubic: one ACK for a whole window goes all the way to the target, and no further") { // [RFC 3465]
    cubic c = in_stage(1000 * mss, 700 * mss);
    const std::uint32_t once = c.on_ack(instant{} + 1s, 700 * mss, 700 * mss, mss, 100ms);
    c = in_stage(1000 * mss, 700 * mss);
    std::uint32_t each = 700 * mss;
    for (int i = 0; i < 700; ++i) each = c.on_ack(instant{} + 1s, each, mss, mss, 100ms);
    CHECK(once == c.w_cubic(1100ms, mss));
    // One for each segment takes a smaller share of the rest of the way each time: 1 - 1/e of it.
    CHECK(each < once);
    CHECK(std::abs(double(each - 700 * mss) / double(once - 700 * mss) - 0.632) < 0.02);
    c = in_stage(1000 * mss, 700 * mss);
    CHECK(c.on_ack(instant{} + 1s, 700 * mss, 3000 * mss, mss, 100ms) == once);
}

TEST_CASE("cubic: ACKs of single bytes add up to what one for all of them adds") { // [RFC 3465]
    cubic c = in_stage(100 * mss, 70 * mss);
    std::uint32_t cwnd = 70 * mss;
    for (int i = 0; i < 10 * int(mss); ++i) cwnd = c.on_ack(instant{} + 3s, cwnd, 1, mss, 100ms);
    cubic d = in_stage(100 * mss, 70 * mss);
    const std::uint32_t whole = d.on_ack(instant{} + 3s, 70 * mss, 10 * mss, mss, 100ms);
    CHECK(whole > 70 * mss + mss / 2);
    CHECK(cwnd <= whole);
    CHECK(whole - cwnd < (whole - 70 * mss) / 5);
}

TEST_CASE("cubic: the curve's clock stands still while something else limits the sender") {
    // [RFC 9438 4.2, 5.8]
    cubic c = in_stage(1000 * mss, 700 * mss);
    c.on_ack(instant{} + 2s, 700 * mss, mss, mss, 100ms);
    c.pause();
    CHECK(c.elapsed() == 2s);
    c.on_ack(instant{} + 100s, 700 * mss, mss, mss, 100ms); // data again: the time between does not count
    CHECK(c.elapsed() == 2s);
    c.on_ack(instant{} + 101s, 700 * mss, mss, mss, 100ms);
    CHECK(c.elapsed() == 3s);
}

TEST_CASE("cubic: a loss leaves seven tenths, and at a lower window W_max gives way to newer flows") {
    // [RFC 9438 4.6, 4.7]
    CHECK(cubic::reduced(1000) == 700);
    CHECK(cubic::reduced(1u << 30) == 751'619'276);
    cubic c;
    c.on_congestion(100 * mss);
    CHECK(c.w_max() == 100 * mss);
    c.on_congestion(80 * mss); // less: (1 + 0.7) / 2 of it
    CHECK(c.w_max() == 68 * mss);
    c.on_congestion(80 * mss); // more than W_max again
    CHECK(c.w_max() == 80 * mss);
}

TEST_CASE("cubic: after a timeout the stage begins at its plateau") { // [RFC 9438 4.8]
    cubic c = in_stage(1000 * mss, 700 * mss);
    c.on_timeout(900 * mss);
    c.on_ack(instant{} + 10s, 630 * mss, mss, mss, 100ms);
    CHECK(c.k() == 0s);
    CHECK(c.w_max() == 630 * mss);
    // The one after the next loss does not.
    c.on_congestion(700 * mss);
    c.on_ack(instant{} + 20s, 490 * mss, mss, mss, 100ms);
    CHECK(c.k() > 5s);
}

TEST_CASE("cubic: without any loss before, W_max is where congestion avoidance begins") { // [RFC 9438 4.10]
    cubic c;
    c.on_ack(instant{} + 1s, 64 * mss, mss, mss, 100ms);
    CHECK(c.k() == 0s);
    CHECK(c.w_max() == 64 * mss);
    CHECK(c.w_est() > 64 * mss);
}

TEST_CASE("cubic: a stage can be undone, but for the time that the recovery took") { // [RFC 9438 4.9]
    cubic c = in_stage(1000 * mss, 700 * mss);
    const std::uint32_t cwnd = run(c, 700 * mss, 100ms, 0ms, 4s);
    const std::uint32_t est = c.w_est();
    const duration t = c.elapsed(), k = c.k();
    const cubic::saved kept = c.save();
    c.on_congestion(cwnd);
    c.on_ack(instant{} + 5s, cubic::reduced(cwnd), mss, mss, 100ms);
    CHECK(c.w_max() < 1000 * mss);
    c.restore(kept);
    CHECK(c.w_max() == 1000 * mss);
    CHECK(c.k() == k);
    CHECK(c.w_est() == est);
    CHECK(t - c.elapsed() < 1us);
    c.on_ack(instant{} + 6s, cwnd, mss, mss, 100ms);
    CHECK(t - c.elapsed() < 1us);
}

TEST_CASE("new_reno: half after a loss, one segment for each window acknowledged") { // [RFC 5681 3.1]
    CHECK(tcp::reno_reduced(9001) == 4500);
    std::uint32_t counted = 0;
    std::uint32_t cwnd = 4 * mss;
    for (const std::uint32_t expected : {4u, 4u, 4u, 5u, 5u, 5u, 5u, 5u, 6u}) {
        cwnd = tcp::reno_grown(cwnd, mss, mss, counted);
        CHECK(cwnd == expected * mss);
    }
    // Of an ACK that claims more than a window, a window counts. [RFC 3465 2.1]
    counted = 0;
    CHECK(tcp::reno_grown(4 * mss, 40 * mss, mss, counted) == 5 * mss);
    CHECK(counted == 0);
}

} // namespace tapir::test
