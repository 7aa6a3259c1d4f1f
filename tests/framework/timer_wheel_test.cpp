#include <tapir/framework/random.hpp>
#include <tapir/framework/timer_wheel.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <vector>

using namespace tapir;

namespace {

instant at(duration d) {
    return instant(d);
}

/// A timer that notes when it fired.
struct bell : timer {
    explicit bell(std::vector<std::string>* to = nullptr, std::string n = {})
        : timer(&ring), log(to), name(std::move(n)) {}
    static void ring(timer& t, instant now) {
        auto& self = static_cast<bell&>(t);
        self.fired_at = now;
        ++self.fired;
        if (self.log != nullptr) self.log->push_back(self.name);
    }
    std::vector<std::string>* log;
    std::string name;
    instant fired_at = never;
    int fired = 0;
};

/// The first instant at which a timer for `deadline` may fire on a wheel of this resolution.
instant rounded_up(instant deadline, duration resolution) {
    const auto r = resolution.count();
    const auto t = deadline.time_since_epoch().count();
    return instant(duration((t + r - 1) / r * r));
}

/// Steps from next() to next() as a reactor does, up to `end`.
void walk(timer_wheel& w, instant end) {
    while (w.next() <= end) w.advance(w.next());
    w.advance(end);
}

} // namespace

TEST_CASE("timer wheel: a timer fires at its deadline, never before") {
    timer_wheel w(1ns);
    bell a;
    w.arm(a, at(1000ns));
    CHECK(a.armed());
    CHECK(a.deadline() == at(1000ns));
    w.advance(at(999ns));
    CHECK(a.fired == 0);
    CHECK(w.advance(at(1000ns)) == 1);
    CHECK(a.fired == 1);
    CHECK_FALSE(a.armed());
    CHECK(w.armed() == 0);
    CHECK(w.next() == never);
}

TEST_CASE("timer wheel: the resolution is a power of two, and deadlines are rounded up to it") {
    timer_wheel w(1000ns);
    CHECK(w.resolution() == 512ns);
    bell a;
    w.arm(a, at(513ns));
    w.advance(at(1023ns));
    CHECK(a.fired == 0);
    w.advance(at(1024ns));
    CHECK(a.fired == 1);
}

TEST_CASE("timer wheel: timers fire in the order of their ticks, equal ones in the order of arming") {
    timer_wheel w(1us, at(5s));
    std::vector<std::string> log;
    bell a(&log, "a"), b(&log, "b"), c(&log, "c"), d(&log, "d");
    w.arm(a, at(5s + 30ms));
    w.arm(b, at(5s + 10ms));
    w.arm(c, at(5s + 30ms));
    w.arm(d, at(5s + 20ms));
    w.advance(at(6s)); // all at once
    CHECK(log == std::vector<std::string>{"b", "d", "a", "c"});
}

TEST_CASE("timer wheel: armed again it moves; cancelled or destroyed it never fires") {
    timer_wheel w(1ns);
    bell moved, cancelled;
    auto destroyed = std::make_unique<bell>();
    for (timer* t :
         {static_cast<timer*>(&moved), static_cast<timer*>(&cancelled), static_cast<timer*>(destroyed.get())})
        w.arm(*t, at(1ms));
    w.arm(moved, at(3ms));
    w.cancel(cancelled);
    w.cancel(cancelled); // of one that is not armed: nothing
    destroyed.reset();
    CHECK(w.armed() == 1);
    w.advance(at(2ms));
    CHECK(moved.fired == 0);
    w.advance(at(3ms));
    CHECK(moved.fired == 1);
    CHECK(cancelled.fired == 0);
}

TEST_CASE("timer wheel: a deadline that has passed fires at the next advance, in whatever past it lies") {
    timer_wheel w(1us, at(1h));
    bell a;
    w.arm(a, at(1s));
    CHECK(w.next() <= at(1h + 1us));
    w.advance(at(1h + 2us));
    CHECK(a.fired == 1);
}

TEST_CASE("timer wheel: fifty days and beyond, at the finest resolution") {
    for (const duration resolution : {duration(1ns), duration(65536ns)}) {
        timer_wheel w(resolution, at(1s));
        const std::array<duration, 6> far{1h, 24h, 24h * 49, 24h * 50, 24h * 365, 24h * 365 * 100};
        std::array<bell, 6> bells;
        for (std::size_t i = 0; i < far.size(); ++i) w.arm(bells[i], at(far[i]));
        for (std::size_t i = 0; i < far.size(); ++i) {
            const instant due = rounded_up(at(far[i]), w.resolution());
            // A lower bound that creeps would keep the machine awake. The wheel reaches 2^42 ticks; what lies
            // beyond is looked at again that often.
            const std::int64_t reach = w.resolution().count() << 41;
            std::int64_t wakes = 0;
            while (w.next() < due) {
                w.advance(w.next());
                ++wakes;
            }
            CHECK(wakes <= 16 + far[i].count() / reach);
            CHECK(bells[i].fired == 0);
            w.advance(due);
            CHECK(bells[i].fired == 1);
        }
    }
}

TEST_CASE("timer wheel: `never` can be armed and cancelled, and does not fire in a century") {
    timer_wheel w(1ns, at(1s));
    bell a;
    w.arm(a, never);
    CHECK(w.next() == never); // nobody wakes for it
    w.advance(at(24h * 365 * 100));
    CHECK(a.fired == 0);
    CHECK(a.armed());
    w.arm(a, at(24h * 365 * 100 + 1s)); // it can be moved from there and back
    w.arm(a, never);
    w.arm(a, at(24h * 365 * 100 + 1s));
    CHECK(w.armed() == 1);
    walk(w, at(24h * 365 * 100 + 1s));
    CHECK(a.fired == 1);
    w.arm(a, never);
    w.cancel(a);
    CHECK_FALSE(a.armed());
    CHECK(w.armed() == 0);
    CHECK(w.next() == never);
}

TEST_CASE("timer wheel: handlers may arm and cancel, themselves and others") {
    struct chain : timer {
        explicit chain(timer_wheel& on) : timer(&ring), wheel(on) {}
        static void ring(timer& t, instant now) {
            auto& self = static_cast<chain&>(t);
            if (self.victim != nullptr) self.wheel.cancel(*self.victim);
            if (++self.rounds < 5) self.wheel.arm(self, now + 1ms);
        }
        timer_wheel& wheel;
        timer* victim = nullptr;
        int rounds = 0;
    };
    timer_wheel w(1us);
    chain c(w);
    bell same_tick;
    c.victim = &same_tick;
    w.arm(c, at(1ms));
    w.arm(same_tick, at(1ms)); // due in the same step, but cancelled by the one before it
    walk(w, at(10ms));
    CHECK(c.rounds == 5);
    CHECK(same_tick.fired == 0);
    CHECK(w.armed() == 0);
}

TEST_CASE(
    "timer wheel: a handler that arms for the past fires in the next advance, not forever in this one") {
    struct restless : timer {
        explicit restless(timer_wheel& on) : timer(&ring), wheel(on) {}
        static void ring(timer& t, instant) {
            auto& self = static_cast<restless&>(t);
            ++self.rounds;
            self.wheel.arm(self, at(0ns));
        }
        timer_wheel& wheel;
        int rounds = 0;
    };
    timer_wheel w(1ns);
    restless r(w);
    w.arm(r, at(1us));
    w.advance(at(1us));
    CHECK(r.rounds == 1);
    w.advance(at(2us));
    CHECK(r.rounds == 2);
    w.cancel(r);
}

TEST_CASE("timer wheel: against a naive model, thousands of random operations") {
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        tapir::random rng(seed);
        const duration resolution = seed % 3 == 0   ? duration(1)
                                    : seed % 3 == 1 ? duration(1 << 10)
                                                    : duration(1 << 16);
        instant now = at(duration(static_cast<std::int64_t>(rng.next() >> 20)));
        timer_wheel w(resolution, now);
        std::vector<std::unique_ptr<bell>> bells;
        for (int i = 0; i < 200; ++i) bells.push_back(std::make_unique<bell>());
        std::vector<instant> due(bells.size(), never); // the model: never = not armed
        for (int step = 0; step < 4000; ++step) {
            const std::size_t i = rng.below(static_cast<std::uint32_t>(bells.size()));
            switch (rng.below(4)) {
            case 0:
            case 1: {
                // From nanoseconds to half a year, each magnitude as likely as the next.
                const auto span = static_cast<std::int64_t>(rng.next() >> (10 + rng.below(50)));
                due[i] = now + duration(span);
                w.arm(*bells[i], due[i]);
                bells[i]->fired = 0;
                break;
            }
            case 2:
                w.cancel(*bells[i]);
                due[i] = never;
                break;
            case 3: {
                instant earliest = never;
                for (const instant d : due)
                    if (d != never) earliest = std::min(earliest, rounded_up(std::max(d, now), resolution));
                if (earliest != never) {
                    REQUIRE(w.next() <= std::max(earliest, now + resolution)); // a lower bound of the first
                    REQUIRE(w.next() != never);
                }
                // Either a step to the wheel's own next instant, or a leap.
                const instant to =
                    rng.below(2) == 0 && w.next() != never
                        ? std::max(now, w.next())
                        : now + duration(static_cast<std::int64_t>(rng.next() >> (12 + rng.below(48))));
                w.advance(to);
                now = to;
                for (std::size_t k = 0; k < due.size(); ++k) {
                    if (due[k] == never) continue;
                    const bool fired = bells[k]->fired != 0;
                    REQUIRE_FALSE((fired && bells[k]->fired_at < due[k])); // never early
                    // At most one resolution late: a deadline armed within the current tick fires in the
                    // next.
                    if (rounded_up(due[k], resolution) + resolution <= now) REQUIRE(fired);
                    if (fired) {
                        REQUIRE(bells[k]->fired == 1);
                        REQUIRE_FALSE(bells[k]->armed());
                        due[k] = never;
                    }
                }
                break;
            }
            default: break;
            }
        }
        const auto armed =
            static_cast<std::size_t>(std::ranges::count_if(due, [](instant d) { return d != never; }));
        CHECK(w.armed() == armed);
    }
}
