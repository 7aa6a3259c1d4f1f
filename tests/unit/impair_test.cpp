#include <tapir/framework/sim_backend.hpp>
#include <tapir/protocols/link/impair.hpp>
#include <tapir/protocols/link/wire.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <numeric>
#include <vector>

#include "tests/support/link_end.hpp"

using namespace tapir;
using test::numbered_frame;
using test::pass_time;
using test::recording_receiver;

namespace {

using numbers = std::vector<std::uint32_t>;

numbers first_numbers(std::uint32_t n) {
    numbers all(n);
    std::iota(all.begin(), all.end(), 0u);
    return all;
}

/// A sender above an impaired path, and what arrives at its other end.
struct path {
    explicit path(impair_config config, wire_config cable = {})
        : r(make_sim_backend()), w(r, cable), impaired(r, w.left(), config) {
        impaired.attach(&near);
        w.right().attach(&far);
    }
    /// Sends `n` frames, `gap` apart, then waits until all have arrived.
    void send(std::uint32_t n, duration gap = 1us, std::size_t size = 60) {
        for (std::uint32_t i = 0; i < n; ++i) {
            impaired.send(numbered_frame(pool, sent++, size));
            r.run(pass_time(gap));
        }
    }
    void settle() { r.run(pass_time(1s)); }

    reactor r;
    wire w;
    impair impaired;
    recording_receiver near, far;
    buffer_pool pool;
    std::uint32_t sent = 0;
};

/// An IPv4 packet with one that carries its total length; sums are not needed here.
frame ipv4_frame(buffer_pool& pool, std::size_t total, std::size_t padding) {
    frame f(pool.allocate(14 + total + padding), 0);
    const mutable_bytes b = f.push_back(14 + total + padding);
    std::ranges::fill(b, std::byte{0});
    store_be16(b, 12, 0x0800);
    store_u8(b, 14, 0x45);
    store_be16(b, 16, static_cast<std::uint16_t>(total));
    return f;
}

std::size_t bits_that_differ(bytes a, bytes b) {
    std::size_t n = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
        n += static_cast<std::size_t>(std::popcount(static_cast<unsigned>(a[i] ^ b[i])));
    return n;
}

impair_config everything(std::uint64_t seed) {
    impairment how;
    how.loss_ppm = 50'000;
    how.duplicate_ppm = 50'000;
    how.corrupt_ppm = 50'000;
    how.reorder_ppm = 50'000;
    how.delay = 3ms;
    how.jitter = 2ms;
    how.rate = 1'000'000;
    how.queue = 4000;
    return {.out = how, .in = how, .seed = seed};
}

struct outcome {
    std::vector<std::pair<instant, std::vector<std::byte>>> arrived;
    fault_schedule schedule;
    fault_counts counts;
    bool operator==(const outcome&) const = default;
};

outcome run_with(impair_config config, const fault_schedule* replayed = nullptr) {
    path p(config);
    if (replayed != nullptr) p.impaired.replay(*replayed);
    p.send(2000, 50us);
    p.settle();
    outcome o;
    for (const frame& f : p.far.frames)
        o.arrived.emplace_back(f.arrived, std::vector(f.data().begin(), f.data().end()));
    o.schedule = p.impaired.schedule();
    o.counts = p.impaired.faults();
    return o;
}

} // namespace

TEST_CASE("an impairment that does nothing passes both directions on unchanged") {
    path p({});
    p.send(100);
    for (std::uint32_t i = 0; i < 50; ++i) p.w.right().send(numbered_frame(p.pool, i));
    p.settle();
    CHECK(p.far.numbers() == first_numbers(100));
    CHECK(p.near.numbers() == first_numbers(50));
    CHECK(p.impaired.schedule().empty());
    CHECK(p.impaired.faults().to_string() == "150 frames");
}

TEST_CASE("loss takes about its share of the frames, and only in its direction") {
    path p({.out = {.loss_ppm = 100'000}});
    p.send(10'000);
    for (std::uint32_t i = 0; i < 1000; ++i) p.w.right().send(numbered_frame(p.pool, i));
    p.settle();
    const auto lost = p.impaired.faults()[fault_kind::loss];
    CHECK(lost > 850);
    CHECK(lost < 1150);
    CHECK(p.far.frames.size() == 10'000 - lost);
    CHECK(p.near.frames.size() == 1000);
    CHECK(p.impaired.schedule().size() == lost);
}

TEST_CASE("delay holds every frame for exactly that long, and keeps order") {
    path p({.out = {.delay = 25ms}});
    const instant start = p.r.now();
    p.send(3, 10ms);
    p.settle();
    REQUIRE(p.far.numbers() == first_numbers(3));
    for (std::size_t i = 0; i < 3; ++i)
        CHECK(p.far.frames[i].arrived == start + 25ms + 10ms * static_cast<std::int64_t>(i));
}

TEST_CASE("incoming frames are delayed too, and stamped when they come out") {
    path p({.in = {.delay = 25ms}});
    const instant start = p.r.now();
    p.w.right().send(numbered_frame(p.pool, 0));
    p.settle();
    REQUIRE(p.near.frames.size() == 1);
    CHECK(p.near.frames[0].arrived == start + 25ms);
}

TEST_CASE("jitter reorders, unless the order is to be kept") {
    path mixed({.out = {.delay = 1ms, .jitter = 5ms}});
    mixed.send(200, 100us);
    mixed.settle();
    CHECK(mixed.far.frames.size() == 200);
    CHECK_FALSE(std::ranges::is_sorted(mixed.far.numbers()));

    path kept({.out = {.delay = 1ms, .jitter = 5ms, .keep_order = true}});
    kept.send(200, 100us);
    kept.settle();
    CHECK(kept.far.numbers() == first_numbers(200));
    CHECK(kept.impaired.faults()[fault_kind::jitter] > 190);
}

TEST_CASE("a reordered frame is overtaken by as many as asked, or waits out its time") {
    path p({.out = {.reorder_gap = 3, .reorder_hold = 20ms}});
    p.impaired.inject(fault(1, direction::out, fault_kind::reorder));
    p.impaired.inject(fault(6, direction::out, fault_kind::reorder, 1));
    p.send(9);
    p.settle();
    CHECK(p.far.numbers() == numbers{0, 2, 3, 4, 1, 5, 7, 6, 8});

    path alone({.out = {.reorder_hold = 20ms}});
    alone.impaired.inject(fault(0, direction::out, fault_kind::reorder));
    const instant start = alone.r.now();
    alone.send(1);
    alone.settle();
    REQUIRE(alone.far.frames.size() == 1);
    CHECK(alone.far.frames[0].arrived == start + 20ms);
}

TEST_CASE("a duplicate arrives right after its original, in a buffer of its own") {
    path p({});
    p.impaired.inject(fault(1, direction::out, fault_kind::duplicate));
    p.send(3);
    p.settle();
    REQUIRE(p.far.numbers() == numbers{0, 1, 1, 2});
    store_be32(p.far.frames[1].mutable_data(), 14, 99);
    CHECK(p.far.numbers() == numbers{0, 99, 1, 2});
}

TEST_CASE("corruption flips exactly one bit, of what a checksum covers") {
    path p({.out = {.corrupt_ppm = 1'000'000}});
    constexpr std::size_t total = 60, padding = 10;
    for (int i = 0; i < 3000; ++i) p.impaired.send(ipv4_frame(p.pool, total, padding));
    p.settle();
    // The wire took only what its queue holds.
    REQUIRE(p.far.frames.size() == wire_config{}.queue);
    const frame good = ipv4_frame(p.pool, total, padding);
    std::vector<bool> hit(good.size());
    for (const frame& f : p.far.frames) {
        CHECK(bits_that_differ(f.data(), good.data()) == 1);
        for (std::size_t i = 0; i < good.size(); ++i)
            if (f.data()[i] != good.data()[i]) hit[i] = true;
    }
    for (std::size_t i = 0; i < good.size(); ++i) CHECK(hit[i] == (i >= 15 && i < 14 + total));
}

TEST_CASE("a corrupted packet without a checksum becomes one of an unknown type") {
    path p({.out = {.corrupt_ppm = 1'000'000}});
    p.send(100);
    p.settle();
    REQUIRE(p.far.frames.size() == 100);
    for (const frame& f : p.far.frames) {
        const auto type = static_cast<unsigned>(load_be16(f.data(), 12));
        CHECK(std::popcount(type ^ 0x88b5u) == 1);
    }
}

TEST_CASE("the sender's shared buffer is never the one that is corrupted") {
    path p({.out = {.corrupt_ppm = 1'000'000}});
    const frame original = numbered_frame(p.pool, 5);
    frame sent = original;
    p.impaired.send(std::move(sent));
    p.settle();
    const frame expected = numbered_frame(p.pool, 5);
    CHECK(std::ranges::equal(original.data(), expected.data()));
}

TEST_CASE("a rate spaces frames out, and its queue drops the tail") {
    // 1000 bytes take 1 ms at 1 MB/s; the queue holds three of them.
    path p({.out = {.rate = 1'000'000, .queue = 3000}});
    const instant start = p.r.now();
    for (std::uint32_t i = 0; i < 5; ++i) p.impaired.send(numbered_frame(p.pool, i, 1000));
    p.settle();
    REQUIRE(p.far.numbers() == numbers{0, 1, 2});
    for (std::size_t i = 0; i < 3; ++i)
        CHECK(p.far.frames[i].arrived == start + 1ms * static_cast<std::int64_t>(i + 1));
    CHECK(p.impaired.faults()[fault_kind::tail_drop] == 2);
    p.impaired.send(numbered_frame(p.pool, 5, 1000)); // the queue has drained
    p.settle();
    CHECK(p.far.numbers() == numbers{0, 1, 2, 5});
}

TEST_CASE("packets above the impairment's MTU vanish, though the link announces a larger one") {
    path p({.out = {.mtu = 1400}});
    CHECK(p.impaired.capabilities().mtu == 1500);
    p.impaired.send(numbered_frame(p.pool, 1, 1414));
    p.impaired.send(numbered_frame(p.pool, 2, 1415));
    p.settle();
    CHECK(p.far.numbers() == numbers{1});
    CHECK(p.impaired.faults()[fault_kind::too_big] == 1);
}

TEST_CASE("an outage loses what comes in its window, without a sign of carrier") {
    path p({});
    const instant start = p.r.now();
    p.impaired.outage(direction::out, start + 10ms, start + 30ms);
    p.send(5, 10ms);
    p.settle();
    CHECK(p.far.numbers() == numbers{0, 3, 4});
    CHECK(p.near.carriers.empty());
    CHECK(p.impaired.faults()[fault_kind::outage] == 2);
}

TEST_CASE("a rule finds its frames by what is in them") {
    path p({});
    const auto is_seven = [](bytes f) { return load_be32(f, 14) % 10 == 7; };
    p.impaired.when(direction::out, is_seven, fault_kind::loss, 2);
    p.send(40);
    p.settle();
    numbers expected = first_numbers(40);
    std::erase_if(expected, [](std::uint32_t n) { return n == 7 || n == 17; });
    CHECK(p.far.numbers() == expected);
    const fault_schedule told = {fault(7, direction::out, fault_kind::loss),
                                 fault(17, direction::out, fault_kind::loss)};
    CHECK(p.impaired.schedule() == told);
    CHECK(told[1].to_string() == "out #17 loss");
}

TEST_CASE("the n-th frame that is not spared meets the n-th draw, however many spared ones are in between") {
    const auto even = [](bytes f) { return load_be32(f, 14) % 2 == 0; };
    const auto nothing = [](bytes) { return false; };
    impair_config config;
    config.out = {.loss_ppm = 100'000, .corrupt_ppm = 100'000, .reorder_ppm = 100'000, .delay = 5ms};
    path plain(config), among_spared(config);
    plain.impaired.spare(direction::out, nothing);
    among_spared.impaired.spare(direction::out, even);
    plain.send(500);
    among_spared.send(1000); // 0 is spared, 1 is the first that is not, 3 the second
    plain.settle();
    among_spared.settle();

    fault_schedule expected = plain.impaired.schedule();
    REQUIRE(expected.size() > 100);
    for (fault& f : expected) f.frame = 2 * f.frame + 1;
    CHECK(among_spared.impaired.schedule() == expected);
    numbers spared = among_spared.far.numbers();
    std::erase_if(spared, [](std::uint32_t n) { return n % 2 != 0; });
    CHECK(spared.size() == 500);
}

TEST_CASE("a spared frame meets the delay, the rate and what is scripted, though nothing drawn") {
    const auto all = [](bytes) { return true; };
    path p({.out = {.loss_ppm = 1'000'000, .delay = 5ms, .rate = 1'000'000, .queue = 2000}});
    p.impaired.spare(direction::out, all);
    p.impaired.inject(fault(1, direction::out, fault_kind::loss));
    const instant start = p.r.now();
    for (std::uint32_t i = 0; i < 4; ++i) p.impaired.send(numbered_frame(p.pool, i, 1000));
    p.settle();
    REQUIRE(p.far.numbers() == numbers{0, 2}); // 1 by script, 3 found the queue full
    CHECK(p.far.frames[0].arrived == start + 6ms);
    CHECK(p.impaired.faults()[fault_kind::tail_drop] == 1);
}

TEST_CASE("what was done is counted for each direction, and together") {
    path p({.out = {.loss_ppm = 1'000'000}});
    p.send(7);
    for (std::uint32_t i = 0; i < 5; ++i) p.w.right().send(numbered_frame(p.pool, i));
    p.settle();
    CHECK(p.impaired.faults(direction::out).to_string() == "7 frames: loss 7");
    CHECK(p.impaired.faults(direction::in).to_string() == "5 frames");
    CHECK(p.impaired.faults().to_string() == "12 frames: loss 7");
}

TEST_CASE("the same seed does the same to the same frames, another seed does not") {
    const outcome first = run_with(everything(11));
    CHECK(first == run_with(everything(11)));
    CHECK(first.schedule != run_with(everything(12)).schedule);
    for (const fault_kind k : {fault_kind::loss, fault_kind::duplicate, fault_kind::corrupt,
                               fault_kind::reorder, fault_kind::jitter})
        CHECK(first.counts[k] > 0);
}

TEST_CASE("the draws of one direction do not disturb those of the other") {
    path quiet(everything(5)), busy(everything(5));
    quiet.send(500);
    for (std::uint32_t i = 0; i < 500; ++i) {
        busy.w.right().send(numbered_frame(busy.pool, i));
        busy.send(1);
    }
    quiet.settle();
    busy.settle();
    fault_schedule out = busy.impaired.schedule();
    std::erase_if(out, [](const fault& f) { return f.where == direction::in; });
    CHECK(out == quiet.impaired.schedule());
}

TEST_CASE("a replayed schedule repeats a run exactly, and a shortened one leaves faults out") {
    const outcome drawn = run_with(everything(21));
    const impair_config other_seed = everything(99); // nothing may be drawn
    const outcome replayed = run_with(other_seed, &drawn.schedule);
    CHECK(replayed == drawn);

    fault_schedule only_losses = drawn.schedule;
    std::erase_if(only_losses, [](const fault& f) { return f.kind != fault_kind::loss; });
    const outcome shortened = run_with(other_seed, &only_losses);
    CHECK(shortened.schedule == only_losses);
    CHECK(shortened.counts[fault_kind::loss] == drawn.counts[fault_kind::loss]);
    CHECK(shortened.counts[fault_kind::corrupt] == 0);
    CHECK(shortened.counts[fault_kind::jitter] == 0);
}

TEST_CASE("a schedule has a bound, and says when it is not the whole story") {
    path p({.out = {.loss_ppm = 1'000'000}, .max_schedule = 10});
    p.send(10);
    CHECK(p.impaired.schedule_complete());
    p.send(1);
    CHECK_FALSE(p.impaired.schedule_complete());
    CHECK(p.impaired.schedule().size() == 10);
    CHECK(p.impaired.faults()[fault_kind::loss] == 11);
}

TEST_CASE("counters add up and print what happened") {
    fault_counts sum;
    fault_counts one;
    one.frames = 10;
    one[fault_kind::loss] = 2;
    one[fault_kind::tail_drop] = 1;
    sum += one;
    sum += one;
    CHECK(sum.to_string() == "20 frames: loss 4, tail drop 2");
}

TEST_CASE("frames that are still held die with the impairment") {
    buffer_pool pool;
    {
        reactor r(make_sim_backend());
        wire w(r);
        impair held(r, w.left(), {.out = {.delay = 1h}});
        for (std::uint32_t i = 0; i < 10; ++i) held.send(numbered_frame(pool, i));
        CHECK(pool.live_blocks() == 10);
    }
    CHECK(pool.live_blocks() == 0);
}
