#include <tapir/framework/sim_backend.hpp>
#include <tapir/framework/uring_backend.hpp>
#include <tapir/protocols/link/wire.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <system_error>
#include <vector>

#include "tests/skip.hpp"
#include "tests/support/link_end.hpp"

using namespace tapir;
using test::numbered_frame;
using test::pass_time;
using test::recording_receiver;

namespace {

/// Answers each frame by sending it back, from inside receive().
struct reflector final : frame_receiver {
    explicit reflector(tapir::link& over) : back(over) { over.attach(this); }
    void receive(frame&& f) override {
        inside = true;
        ++seen;
        back.send(std::move(f));
        inside = false;
    }
    tapir::link& back;
    int seen = 0;
    bool inside = false;
};

} // namespace

TEST_CASE("a frame sent at one end of a wire arrives at the other, later, whole and in order") {
    reactor r(make_sim_backend());
    wire w(r);
    recording_receiver right;
    w.right().attach(&right);
    buffer_pool pool;
    for (std::uint32_t i = 0; i < 100; ++i) w.left().send(numbered_frame(pool, i, 60 + i));
    CHECK(right.frames.empty()); // never inside send()
    r.run(pass_time(1us));
    REQUIRE(right.frames.size() == 100);
    for (std::uint32_t i = 0; i < 100; ++i) {
        const frame expected = numbered_frame(pool, i, 60 + i);
        CHECK(std::ranges::equal(right.frames[i].data(), expected.data()));
    }
    CHECK(w.left().counters().frames_out == 100);
    CHECK(w.right().counters().frames_in == 100);
    CHECK(w.right().counters().bytes_in == w.left().counters().bytes_out);
    CHECK(w.left().counters().frames_in == 0);
}

TEST_CASE("latency is exact in virtual time, and stamps the arrival") {
    reactor r(make_sim_backend());
    wire w(r, {.latency = 30ms});
    recording_receiver right;
    w.right().attach(&right);
    buffer_pool pool;
    const instant start = r.now();
    w.left().send(numbered_frame(pool, 1));
    r.run(pass_time(10ms));
    w.left().send(numbered_frame(pool, 2));
    r.run(pass_time(20ms - 1ns));
    CHECK(right.frames.empty());
    r.run(pass_time(1ms));
    REQUIRE(right.frames.size() == 1);
    r.run(pass_time(10ms));
    REQUIRE(right.frames.size() == 2);
    CHECK(right.frames[0].arrived == start + 30ms);
    CHECK(right.frames[1].arrived == start + 40ms);
}

TEST_CASE("two ends that answer inside receive() take turns instead of recursing") {
    reactor r(make_sim_backend());
    wire w(r, {.latency = 1us});
    reflector left(w.left());
    reflector right(w.right());
    buffer_pool pool;
    w.left().send(numbered_frame(pool, 1));
    r.run(pass_time(1ms));
    CHECK(left.seen + right.seen == 1000);
}

TEST_CASE("with no latency an answer still comes in a later turn") {
    reactor r(make_sim_backend());
    wire w(r);
    recording_receiver left;
    reflector right(w.right());
    w.left().attach(&left);
    buffer_pool pool;
    w.left().send(numbered_frame(pool, 9));
    CHECK(right.seen == 0);
    r.run(pass_time(1ns));
    r.run(pass_time(1ns));
    CHECK(left.numbers() == std::vector<std::uint32_t>{9});
}

TEST_CASE("a receiver owns its frames: the sender's buffer may be rewritten at once") {
    reactor r(make_sim_backend());
    wire w(r);
    recording_receiver right;
    w.right().attach(&right);
    buffer_pool pool;
    frame shared = numbered_frame(pool, 7);
    frame sent = shared; // both look at one buffer, as a retransmission queue does
    w.left().send(std::move(sent));
    store_be32(shared.mutable_data(), 14, 8);
    r.run(pass_time(1us));
    REQUIRE(right.frames.size() == 1);
    store_be32(right.frames[0].mutable_data(), 14, 9);
    CHECK(load_be32(shared.data(), 14) == 8);

    w.left().send(std::move(shared)); // nobody else looks at it any more: it travels without a copy
    const std::size_t blocks = pool.live_blocks();
    r.run(pass_time(1us));
    CHECK(right.numbers() == std::vector<std::uint32_t>{9, 8});
    CHECK(pool.live_blocks() == blocks);
}

TEST_CASE("a full wire drops, counts, and says when it has room again") {
    reactor r(make_sim_backend());
    wire w(r, {.latency = 1ms, .queue = 4});
    recording_receiver left, right;
    w.left().attach(&left);
    w.right().attach(&right);
    buffer_pool pool;
    for (std::uint32_t i = 0; i < 6; ++i) w.left().send(numbered_frame(pool, i));
    CHECK_FALSE(w.left().ready());
    CHECK(w.right().ready()); // each direction has its own queue
    CHECK(w.left().counters().dropped_full == 2);
    r.run(pass_time(2ms));
    CHECK(right.numbers() == std::vector<std::uint32_t>{0, 1, 2, 3});
    CHECK(w.left().ready());
    CHECK(left.writables == 1);
}

TEST_CASE("a frame above the MTU is dropped and counted") {
    reactor r(make_sim_backend());
    wire w(r, {.mtu = 576});
    recording_receiver right;
    w.right().attach(&right);
    buffer_pool pool;
    w.left().send(numbered_frame(pool, 1, 576 + 14));
    w.left().send(numbered_frame(pool, 2, 576 + 15));
    r.run(pass_time(1us));
    CHECK(right.numbers() == std::vector<std::uint32_t>{1});
    CHECK(w.left().counters().dropped_too_big == 1);
    CHECK(w.left().capabilities().mtu == 576);
}

TEST_CASE("the MTU may change while frames are under way: those arrive, larger ones after it do not") {
    reactor r(make_sim_backend());
    wire w(r, {.latency = 1ms});
    recording_receiver right;
    w.right().attach(&right);
    buffer_pool pool;
    w.left().send(numbered_frame(pool, 1, 1514));
    w.set_mtu(1280);
    CHECK(w.left().capabilities().mtu == 1280);
    CHECK(w.right().capabilities().mtu == 1280);
    w.left().send(numbered_frame(pool, 2, 1280 + 15));
    w.left().send(numbered_frame(pool, 3, 1280 + 14));
    r.run(pass_time(2ms));
    CHECK(right.numbers() == std::vector<std::uint32_t>{1, 3});
    CHECK(w.left().counters().dropped_too_big == 1);
}

TEST_CASE("cutting the cable loses what is under way, and both ends are told") {
    reactor r(make_sim_backend());
    wire w(r, {.latency = 1ms});
    recording_receiver left, right;
    w.left().attach(&left);
    w.right().attach(&right);
    buffer_pool pool;
    w.left().send(numbered_frame(pool, 1));
    w.set_carrier(false);
    w.set_carrier(false); // nothing new: nobody is told twice
    w.left().send(numbered_frame(pool, 2));
    w.set_carrier(true);
    w.left().send(numbered_frame(pool, 3));
    r.run(pass_time(2ms));
    CHECK(right.numbers() == std::vector<std::uint32_t>{3});
    CHECK(w.left().counters().dropped_no_carrier == 2);
    CHECK(left.carriers == std::vector<bool>{false, true});
    CHECK(right.carriers == std::vector<bool>{false, true});
}

TEST_CASE("a wire works in real time as in virtual time") {
    std::unique_ptr<backend> io;
    try {
        io = make_uring_backend();
    } catch (const std::system_error& e) {
        return test::skip(e.what());
    }
    reactor r(std::move(io));
    wire at_once(r), slow(r, {.latency = 2ms});
    recording_receiver right, slow_right;
    at_once.right().attach(&right);
    slow.right().attach(&slow_right);
    buffer_pool pool;
    const instant start = r.now();
    for (std::uint32_t i = 0; i < 10; ++i) {
        at_once.left().send(numbered_frame(pool, i));
        slow.left().send(numbered_frame(pool, i));
    }
    r.run(pass_time(20ms));
    CHECK(right.frames.size() == 10);
    REQUIRE(slow_right.frames.size() == 10);
    for (const frame& f : slow_right.frames) CHECK(f.arrived >= start + 2ms);
    CHECK(right.frames[9].arrived < slow_right.frames[0].arrived);
}
