// How large receive buffers grow that nobody set: twice what is read in a round trip.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "tests/support/tcp_lab.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;

/// A connection with scaled windows whose handshake took `round_trip`.
struct tuned : tcp_lab {
    static tcp::config settings() {
        tcp::config c = plain();
        c.use_window_scale = true;
        return c;
    }
    explicit tuned(duration round_trip) : tcp_lab(settings()) {
        listen();
        tcp::options o = default_options();
        o.window_scale = std::uint8_t{7};
        in({.flags = SYN, .options = o});
        out();
        wait(round_trip);
        in({.flags = ACK, .seq = 1, .ack = 1});
        e = listening->accept();
        REQUIRE(e != nullptr);
    }
    /// `size` bytes come in large segments, as far as the window allows, and are read.
    void burst(std::uint32_t size) {
        std::uint32_t left = std::min(size, e->info().receive_window);
        while (left != 0) {
            const std::uint32_t part = std::min(left, std::uint32_t{60'000});
            in({.flags = ACK, .seq = next, .ack = 1, .text = std::string(part, 'x'), .piece = 1000});
            next += part;
            left -= part;
        }
        while (!read().empty()) {
        }
        out();
    }
    std::uint32_t next = 1;
};

// Reactors take turns: much in one, nothing in the next. With a round trip shorter than a turn a burst was
// taken for what comes in each.
TEST_CASE("on a path of microseconds a receive buffer does not grow by bursts") {
    tuned lab(20us);
    for (int i = 0; i < 1000; ++i) { // a thousand bytes a microsecond
        lab.burst(1000);
        lab.wait(25us);
        lab.burst(249'000);
        lab.wait(225us);
    }
    const std::uint32_t window = lab.e->info().receive_window; // what comes in a millisecond
    CHECK(window >= 1'000'000);
    CHECK(window <= 1'100'000);
}

TEST_CASE("who reads all that came, every few milliseconds, gets more than the first window") {
    tuned lab(20us);
    for (int i = 0; i < 200; ++i) {
        lab.burst(4'000'000);
        lab.wait(5ms);
    }
    CHECK(lab.e->info().receive_window >= 2'000'000);
}

TEST_CASE("who reads all that came, once in a second, does not") {
    tuned lab(20us);
    lab.burst(1000);
    const std::uint32_t first = lab.e->info().receive_window;
    for (int i = 0; i < 200; ++i) {
        lab.wait(1s);
        lab.burst(4'000'000);
    }
    CHECK(lab.e->info().receive_window == first);
}

TEST_CASE("a receive buffer grows to twice what is read in a round trip, and to more while that rises") {
    tuned lab(10ms);
    const auto window_after = [&](std::uint32_t a_millisecond) {
        for (int i = 0; i < 1000; ++i) {
            lab.burst(a_millisecond);
            lab.wait(1ms);
        }
        return lab.e->info().receive_window;
    };
    const std::uint32_t steady = window_after(60'000);
    CHECK(steady >= 2 * 600'000);
    CHECK(steady <= 3 * 2 * 700'000); // at its beginning the rate rose
    CHECK(window_after(60'000) == steady);
    CHECK(window_after(6000) == steady); // it is never taken back
    CHECK(window_after(240'000) >= 2 * 2'400'000);
}

TEST_CASE("an ACK tells of no larger part of a buffer than max_part_bytes") {
    tcp::config c = tuned::settings();
    c.max_stretch_bytes = 1000;
    c.max_part_bytes = 3000;
    tcp_lab lab(c);
    tcp::connection_options o = c.connections;
    o.receive_buffer = 65'535; // an 8th: 8191
    lab.establish(o);
    for (std::uint32_t i = 0; i < 8; ++i)
        lab.in({.flags = ACK, .seq = 1 + 1000 * i, .ack = 1, .text = std::string(1000, 'x')});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 3001},
                            {.flags = ACK, .seq = 1, .ack = 6001},
                            {.flags = ACK, .seq = 1, .ack = 8001}});
}

} // namespace
} // namespace tapir::test
