// What a link of a topology is made of. Each element says one thing about it, for both ways unless it stands
// in to_right() or to_left():
//
//     t.link(rate(1'000'000), tail_drop_queue(64'000), random_delay(10ms, 30ms),
//            to_right(loss(50'000)),                             // asymmetric
//            at(5s, mtu(1280)), at(8s, down()), at(9s, up()));   // in mid-run, counted from the start
//
// Probabilities are parts per million of frames. Whatever the order in which they are named, a frame meets
// them in impair's: down, mtu, loss, corruption, duplication, rate and queue, delay.
#pragma once

#include <tapir/framework/time.hpp>
#include <tapir/protocols/link/impair.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace tapir::test {

struct link_plan;
using element = std::function<void(link_plan&)>;

/// One link, from its left end to its right end.
struct link_plan {
    struct change {
        change(duration when, element e) : after(when), what(std::move(e)) {}
        duration after; ///< the start of the topology
        element what;
    };

    std::size_t mtu = 1500;
    bool carrier = true;
    bool segmentation = false; ///< both ends send large segments, which are cut before the impairment
    impairment to_right;
    impairment to_left;
    std::vector<change> changes;

    bool affects_right = true; ///< what the elements that follow speak of
    bool affects_left = true;
    template <class F>
    void each_way(F f) {
        if (affects_right) f(to_right);
        if (affects_left) f(to_left);
    }
};

/// In bytes per second.
inline element rate(std::uint64_t bytes_per_second) {
    return [=](link_plan& p) { p.each_way([&](impairment& i) { i.rate = bytes_per_second; }); };
}
/// Bytes that may wait for the rate; the next frame is dropped.
inline element tail_drop_queue(std::size_t bytes) {
    return [=](link_plan& p) { p.each_way([&](impairment& i) { i.queue = bytes; }); };
}
/// In place of a loss: ECN-capable packets that find more than so many bytes waiting are marked.
inline element marking_above(std::size_t bytes) {
    return [=](link_plan& p) { p.each_way([&](impairment& i) { i.mark_above = bytes; }); };
}
/// Boxes that do not know ECN.
inline element ecn_is(ecn_path what) {
    return [=](link_plan& p) { p.each_way([&](impairment& i) { i.ecn = what; }); };
}
inline element delay(duration d) {
    return [=](link_plan& p) { p.each_way([&](impairment& i) { i.delay = d; }); };
}
/// Uniform between the two; frames overtake each other.
inline element random_delay(duration least, duration most) {
    return [=](link_plan& p) {
        p.each_way([&](impairment& i) {
            i.delay = least;
            i.jitter = most - least;
        });
    };
}
inline element loss(std::uint32_t ppm) {
    return [=](link_plan& p) { p.each_way([&](impairment& i) { i.loss_ppm = ppm; }); };
}
inline element duplication(std::uint32_t ppm) {
    return [=](link_plan& p) { p.each_way([&](impairment& i) { i.duplicate_ppm = ppm; }); };
}
/// One bit, always caught by a checksum.
inline element corruption(std::uint32_t ppm) {
    return [=](link_plan& p) { p.each_way([&](impairment& i) { i.corrupt_ppm = ppm; }); };
}
/// Held back until `gap` later frames have gone, or `hold` has passed.
inline element reordering(std::uint32_t ppm, std::uint32_t gap = 3, duration hold = 10ms) {
    return [=](link_plan& p) {
        p.each_way([&](impairment& i) {
            i.reorder_ppm = ppm;
            i.reorder_gap = gap;
            i.reorder_hold = hold;
        });
    };
}
/// Everything that an impairment can do.
inline element impaired(const impairment& what) {
    return [=](link_plan& p) { p.each_way([&](impairment& i) { i = what; }); };
}
/// Larger packets vanish, and nobody at the ends of the link is told.
inline element black_hole(std::size_t bytes) {
    return [=](link_plan& p) { p.each_way([&](impairment& i) { i.mtu = bytes; }); };
}
/// The MTU that both ends of the link know of.
inline element mtu(std::size_t bytes) {
    return [=](link_plan& p) { p.mtu = bytes; };
}
/// No carrier: both ends are told, and what is sent is lost.
inline element down() {
    return [](link_plan& p) { p.carrier = false; };
}
inline element up() {
    return [](link_plan& p) { p.carrier = true; };
}

template <class... Elements>
element to_right(Elements... elements) {
    return [=](link_plan& p) {
        const bool left = std::exchange(p.affects_left, false);
        (elements(p), ...);
        p.affects_left = left;
    };
}
template <class... Elements>
element to_left(Elements... elements) {
    return [=](link_plan& p) {
        const bool right = std::exchange(p.affects_right, false);
        (elements(p), ...);
        p.affects_right = right;
    };
}
/// The link becomes this when `after` has passed since the start.
inline element at(duration after, element what) {
    return [=](link_plan& p) { p.changes.emplace_back(after, what); };
}

} // namespace tapir::test
