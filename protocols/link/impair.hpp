// A bad network around a good link: loss, delay, jitter, reordering, duplicates, corruption, a rate with a
// tail-drop queue that may mark before it drops, a small MTU, outages, boxes that do not know ECN. Each
// direction has its own impairment.
//
//     tapir::impair path(r, w.left(), {.out = {.loss_ppm = 20'000, .delay = 30ms, .jitter = 5ms}, .seed =
//     7}); path.inject(fault(3, direction::in, fault_kind::loss));               // and the 4th frame that
//     comes in path.when(direction::out, is_fin, fault_kind::duplicate);             // and the first FIN,
//     twice
//
// All draws come from the seed, each direction from a stream of its own. What was drawn or scripted is kept
// as a fault_schedule; replay() does exactly that again instead of drawing.
//
// What means several packets, or leaves its checksum to somebody, is cut and completed first: a network
// impairs packets. A frame meets, in this order: outage, MTU, ECN-hostile boxes, loss, corruption,
// duplication, the rate's queue, delay.
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/random.hpp>
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/framework/timer_wheel.hpp>
#include <tapir/protocols/link/fault.hpp>
#include <tapir/protocols/link/middleware.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <vector>

namespace tapir {

/// What a path makes of packets that use ECN. [RFC 3168 18]
enum class ecn_path : std::uint8_t {
    keeps,
    bleaches,       ///< clears the field: nothing can be marked behind it
    swallows_setup, ///< drops TCP SYNs that ask for ECN
    swallows_ect,   ///< drops packets that could be marked
};

/// What one direction does. Probabilities are parts per million of frames.
struct impairment {
    std::uint32_t loss_ppm = 0;
    /// A second copy arrives right after the first; with jitter it takes its own time.
    std::uint32_t duplicate_ppm = 0;
    /// Flips one bit that a checksum of the packet covers, so that the receiver always notices. A packet that
    /// carries no checksum (ARP; on a real cable Ethernet's own would catch it) gets an EtherType that nobody
    /// knows.
    std::uint32_t corrupt_ppm = 0;
    /// Holds a frame back until `reorder_gap` later ones have overtaken it, or `reorder_hold` has passed.
    std::uint32_t reorder_ppm = 0;
    std::uint32_t reorder_gap = 3;
    duration reorder_hold = 10ms;
    duration delay{};
    /// Added to the delay, uniform in [0, jitter]. Frames overtake each other then, unless `keep_order`.
    duration jitter{};
    bool keep_order = false;
    /// In bytes per second; 0: as fast as they come.
    std::uint64_t rate = 0;
    /// Bytes that may wait for the rate; a frame that does not fit is dropped (tail drop).
    std::size_t queue = 128 * 1024;
    static constexpr std::size_t never_marks = ~std::size_t{0};
    /// A packet that may be marked is, when with it more bytes than this wait for the rate (a step, as
    /// RFC 8257 3.1 has it). 0: every one, whether there is a rate or not.
    std::size_t mark_above = never_marks;
    ecn_path ecn = ecn_path::keeps;
    /// Larger network-layer packets vanish without a word, as in a path-MTU black hole. 0: none do.
    std::size_t mtu = 0;
};

struct impair_config {
    impairment out{};
    impairment in{};
    std::uint64_t seed = 1;
    /// Frames that one direction holds at a time, delayed or reordered; beyond it they count as tail drops.
    std::size_t max_held = 65'536;
    /// Entries that schedule() keeps.
    std::size_t max_schedule = 1'000'000;
};

class impair final : public middleware {
  public:
    impair(reactor& on, link& below, impair_config config);

    /// Changes what happens from now on; frames already held are not touched.
    void configure(direction d, const impairment& what) { lane(d).how = what; }

    /// Does `f` when its frame comes. Any number of faults may name one frame. A bit to corrupt that no
    /// checksum covers stands for one that is covered; to reorder by 0 frames stands for the configured gap.
    void inject(const fault& f) {
        if (!replaying_) lane(f.where).script.emplace(f.frame, f);
    }
    /// Does `kind` to the first `times` frames that `matches` is true for (the whole Ethernet frame). loss,
    /// duplicate, corrupt, reorder or mark (of packets that may be).
    void when(direction d, std::function<bool(bytes)> matches, fault_kind kind, std::uint64_t times = 1);
    /// For frames of that direction that `matches` is true for nothing is drawn: they meet the outages, the
    /// MTU, the rate and the delay alone, and what is scripted. The others then meet the draws in their own
    /// order, so that a seed does the same to the n-th of them however many spared ones are in between.
    void spare(direction d, std::function<bool(bytes)> matches) { lane(d).spared = std::move(matches); }
    /// Every frame of that direction that comes in [from, until) is lost, without any sign of carrier.
    void outage(direction d, instant from, instant until) { lane(d).outages.push_back({from, until}); }

    /// What was drawn, injected and matched so far, in the order in which it happened.
    const fault_schedule& schedule() const { return done_; }
    /// False when more faults were done than max_schedule: the schedule is only their beginning.
    bool schedule_complete() const { return schedule_complete_; }
    /// From now on nothing is drawn, and inject() and when() are ignored: exactly `what` is done. Rates,
    /// delays, MTUs and outages stay as configured. Call it before the first frame.
    void replay(const fault_schedule& what);

    /// In both directions together.
    fault_counts faults() const { return fault_counts(out_.counts) += in_.counts; }
    const fault_counts& faults(direction d) const { return d == direction::out ? out_.counts : in_.counts; }

    link_capabilities capabilities() const override;
    void send(frame&& f) override { arrive(out_, std::move(f)); }

  private:
    void receive(frame&& f) override { arrive(in_, std::move(f)); }

    struct held {
        instant due;
        std::uint64_t order; ///< equal instants keep the order of arrival
        std::uint64_t gap;   ///< still to be overtaken by so many
        frame content;
        static bool later(const held& a, const held& b) {
            return a.due != b.due ? a.due > b.due : a.order > b.order;
        }
    };
    struct overtaken {
        instant until;
        std::uint64_t frames_to_go;
        frame content;
    };
    struct rule {
        std::function<bool(bytes)> matches;
        fault_kind kind;
        std::uint64_t times;
    };
    struct window {
        instant from;
        instant until;
    };
    struct queued {
        instant leaves;
        std::size_t bytes;
    };

    struct lane_state : timer {
        lane_state(impair& of, direction d, const impairment& what, random draws)
            : timer([](timer& t, instant now) {
                  auto& self = static_cast<lane_state&>(t);
                  self.owner.release(self, now);
              }),
              owner(of), where(d), how(what), rng(draws) {}

        impair& owner;
        direction where;
        impairment how;
        random rng;
        std::uint64_t next_number = 0;
        std::multimap<std::uint64_t, fault> script; ///< by frame number
        std::vector<rule> rules;
        std::function<bool(bytes)> spared;
        std::vector<window> outages;
        fault_counts counts;

        std::deque<queued> queue; ///< what waits for the rate
        std::size_t queue_bytes = 0;
        instant busy_until{};

        std::vector<held> delayed; ///< a heap, the earliest on top
        std::uint64_t next_order = 0;
        instant last_due{};
        std::deque<overtaken> held_back;
    };
    /// What is to be done to one frame.
    struct verdict {
        bool lost = false;
        bool duplicated = false;
        bool corrupted = false;
        bool reordered = false;
        bool marked = false;
        std::uint64_t bit = 0;
        std::uint64_t gap = 0;
        duration extra{};
        duration copy_after{};
    };

    lane_state& lane(direction d) { return d == direction::out ? out_ : in_; }
    void arrive(lane_state& l, frame&& f);
    void meet(lane_state& l, frame&& f);
    verdict judge(lane_state& l, std::uint64_t number, bytes content);
    void draw(lane_state& l, verdict& v, bytes content) const;
    void decide(lane_state& l, verdict& v, const fault& f, bytes content) const;
    void record(lane_state& l, std::uint64_t number, const verdict& v);
    void note(lane_state& l, const fault& f);
    static bool passes_ecn(lane_state& l, bytes content);
    void enqueue(lane_state& l, frame&& f, duration extra, std::uint64_t gap);
    void pass(lane_state& l, frame&& f, std::uint64_t gap);
    void emit(lane_state& l, frame&& f);
    void overtake(lane_state& l);
    void release(lane_state& l, instant now);
    void rearm(lane_state& l);

    reactor& reactor_;
    std::size_t max_held_;
    std::size_t max_schedule_;
    buffer_pool pool_;
    random random_;
    lane_state out_;
    lane_state in_;
    bool replaying_ = false;
    bool schedule_complete_ = true;
    fault_schedule done_;
};

} // namespace tapir
