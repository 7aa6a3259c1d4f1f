#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/support/tcp_world.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;

/// Byte i of every stream of these tests.
std::byte pattern(std::size_t i) {
    return static_cast<std::byte>((i * 7 + i / 251) & 0xff);
}

/// Sends `size` bytes of the pattern each way, half-closes when done, reads what comes and checks it.
struct talker {
    tcp::endpoint& e;
    std::size_t to_send;
    std::size_t sent = 0;
    std::size_t received = 0;
    bool intact = true;
    bool finished = false;

    void turn(instant now) {
        std::array<std::byte, 3000> block;
        while (sent < to_send && e.writable() > 0) {
            const std::size_t n = std::min({block.size(), to_send - sent, e.writable()});
            for (std::size_t i = 0; i < n; ++i) block[i] = pattern(sent + i);
            sent += e.write(std::span(block).first(n));
        }
        if (sent == to_send && !finished) {
            e.finish(now);
            finished = true;
        }
        for (std::size_t n = e.read(block); n != 0; n = e.read(block)) {
            for (std::size_t i = 0; i < n; ++i) intact = intact && block[i] == pattern(received + i);
            received += n;
        }
    }
};

struct exchange {
    tcp_world& w;
    talker a{w.c(), 0};
    talker b{w.s(), 0};

    exchange(tcp_world& world, std::size_t up, std::size_t down)
        : w(world), a{world.c(), up}, b{world.s(), down} {
        w.each_step = [this] { turn(); };
        turn();
    }
    ~exchange() { w.each_step = nullptr; }
    void turn() {
        a.turn(w.now);
        b.turn(w.now);
    }
    bool done() const { return a.e.state() == tcp::state::closed && b.e.state() == tcp::state::closed; }
    void check() const {
        CHECK(a.received == b.to_send);
        CHECK(b.received == a.to_send);
        CHECK(a.intact);
        CHECK(b.intact);
        CHECK_FALSE(a.e.error());
        CHECK_FALSE(b.e.error());
        CHECK(a.e.report().how == tcp::ending::orderly);
        CHECK(b.e.report().how == tcp::ending::orderly);
    }
};

TEST_CASE("a megabyte each way arrives intact over a perfect network, with nothing sent twice") {
    tcp_world w;
    w.establish();
    exchange x(w, 1'000'000, 1'000'000);
    REQUIRE(w.run_until([&] { return x.done(); }));
    x.check();
    CHECK(w.c().info().retransmits == 0);
    CHECK(w.s().info().retransmits == 0);
    CHECK(w.c().info().bytes_sent == 1'000'000);
    CHECK(w.client().connections() == 0);
    CHECK(w.client().time_waits() + w.server().time_waits() == 0);
    w.drop_users();
    CHECK(w.live_blocks() == 0);
}

TEST_CASE("a connection survives the loss of any one segment of its whole life") {
    std::size_t segments = 0;
    for (std::size_t lost = 0; lost <= segments || lost == 0; ++lost) {
        tcp_world w;
        w.network = [&](std::size_t number, tcp_world::side, const tcp::outgoing_segment&) {
            return fate{lost != 0 && number == lost - 1, 1, 0ms};
        };
        w.server_listens(80);
        w.connect(80);
        REQUIRE(w.run_until([&] { return w.c().state() == tcp::state::established; }));
        w.c().write(as_bytes("x")); // lets the server's half-open entry finish whatever ACK is lost
        REQUIRE(w.run_until([&] { return w.server().connections() == 1; }));
        w.accept();
        std::array<std::byte, 1> one;
        REQUIRE(w.run_until([&] { return w.s().read(one) == 1; }));
        exchange x(w, 20'000, 20'000);
        const bool done = w.run_until([&] { return x.done(); });
        INFO("segment ", lost, " lost\n", w.ladder_text());
        REQUIRE(done);
        x.check();
        if (lost == 0) segments = w.segments_sent();
        w.drop_users();
        CHECK(w.live_blocks() == 0);
    }
    CHECK(segments > 30);
}

TEST_CASE("loss, duplication and reordering by seed: every byte arrives once and in order") {
    std::uint64_t lost = 0;
    std::uint64_t fast = 0;
    std::uint64_t timeouts = 0;
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        tcp_world w;
        w.establish();
        random r(seed);
        w.network = [&](std::size_t, tcp_world::side, const tcp::outgoing_segment&) {
            fate f;
            f.dropped = r.chance_ppm(70'000);
            f.copies = r.chance_ppm(30'000) ? 2 : 1;
            if (r.chance_ppm(100'000)) f.delay = duration(1ms) * r.below(20);
            lost += f.dropped ? 1 : 0;
            return f;
        };
        exchange x(w, 100'000 + r.below(50'000), 100'000 + r.below(50'000));
        const bool done = w.run_until([&] { return x.done(); });
        INFO("seed ", seed);
        REQUIRE(done);
        x.check();
        fast += w.client().counted().fast_retransmits + w.server().counted().fast_retransmits;
        timeouts += w.client().counted().rto_fired + w.server().counted().rto_fired;
        w.drop_users();
        CHECK(w.live_blocks() == 0);
    }
    CHECK(lost > 500);
    CHECK(fast > 50);
    CHECK(timeouts > 5);
}

} // namespace
} // namespace tapir::test
