// The run loop of one thread. Each turn: resume what is ready (up to a fairness budget), let the turn's hooks
// put out what the turn produced, wait once in the back end, stamp `now`, dispatch completions, fire timers.
//
//     tapir::reactor r(tapir::make_uring_backend());       // or make_sim_backend(seed)
//     int answer = r.run(serve());                          // until the root coroutine has ended
//
// Coroutines are resumed here and nowhere else, one after the other (a trampoline): a chain of awaits of any
// length uses no stack.
#pragma once

#include <tapir/framework/backend.hpp>
#include <tapir/framework/intrusive_list.hpp>
#include <tapir/framework/parked.hpp>
#include <tapir/framework/promise.hpp>
#include <tapir/framework/random.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/framework/timer_wheel.hpp>
#include <tapir/framework/visit_counters.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace tapir {

template <class T>
class task;

struct reactor_config {
    /// Resumptions per turn, of whatever kind, before timers and I/O get their chance again.
    std::size_t budget = 256;
    /// A turn longer than this is reported with the coroutine that held it. 0: no stall detector.
    duration stall_after = 200ms;
    /// Everything this reactor's users draw comes from here. Seed it from the operating system outside of
    /// tests.
    std::uint64_t seed = 1;
    /// How long a turn with nothing to do looks again and again before it sleeps: what comes meanwhile is
    /// served without the time that a CPU takes to wake up (20 us and more), for a CPU that is busy. Right
    /// where a CPU is to spare: therefore 0, never, if not asked for. Without effect in virtual time.
    ///
    /// One that was in vain makes the next idle turns sleep at once: 1, then 3, 7 and so on up to
    /// most_sleeps_between_spins, until one finds something. Who has little to do, or whose peer needs the
    /// same CPU, so pays next to nothing.
    duration spin = duration::zero();
    static constexpr std::uint32_t most_sleeps_between_spins = 1023;
};

/// What spinning has cost, and brought.
struct spin_counters {
    std::uint64_t spins = 0;
    std::uint64_t found = 0;    ///< of those: something came before the time was over
    std::uint64_t spent_ns = 0; ///< in all of them

    template <class Self, class F>
    static constexpr void visit(Self& c, F f) {
        f("spins", c.spins);
        f("found", c.found);
        f("spent_ns", c.spent_ns);
    }
};
static_assert(visits_every_counter<spin_counters>());

/// Virtual time came to an end: nothing is ready, nothing in flight, no timer armed, and the root has not
/// ended. what() holds the tree of the coroutines that wait.
class deadlock : public std::logic_error {
    using std::logic_error::logic_error;
};

/// Runs once at the end of the turn in which it was asked for; hosts flush their output there. Or once what
/// has arrived has been handed out: for who does better with all of it than with one after the other.
class turn_hook : public list_hook<> {
  public:
    using handler = void (*)(turn_hook&, instant now);
    explicit turn_hook(handler f) : run_(f) {}

  private:
    friend class reactor;
    handler run_;
};

class stall_detector;

class reactor {
  public:
    explicit reactor(std::unique_ptr<backend> io, reactor_config config = {});
    reactor(const reactor&) = delete;
    reactor& operator=(const reactor&) = delete;
    ~reactor();

    /// Runs `root` to its end and returns its value or rethrows its exception. Not reentrant.
    template <class T>
    T run(task<T> root);

    /// The time of this turn. Never before the arrival stamp of anything that was read.
    instant now() const { return now_; }
    timer_wheel& timers() { return timers_; }
    backend& io() { return *io_; }
    random& rng() { return random_; }
    const reactor_config& config() const { return config_; }

    /// `who` will be resumed, after everything that is ready already.
    void ready(promise_base& who) { ready_.push_back(who); }

    /// For an awaiter that hands control straight to another coroutine: `who` runs next, from the loop, as
    /// soon as the coroutine that runs now has suspended. When the turn's budget is spent by then it is ready
    /// like any other: a chain of awaits that never waits may not keep everybody else from running.
    void run_next(promise_base& who) { next_ = &who; }

    /// `hook` will run once when this turn's coroutines have run. Idempotent within a turn.
    void at_turn_end(turn_hook& hook) {
        if (!hook.linked()) hooks_.push_back(hook);
    }

    /// `hook` will run before timers fire, if it is asked for while completions are dispatched; else before
    /// coroutines run the next time. Idempotent until then.
    void at_input_end(turn_hook& hook) {
        if (!hook.linked()) input_hooks_.push_back(hook);
    }

    /// Runs `job` on this reactor's thread in one of its next turns. Any thread may call it (in virtual time
    /// only the reactor's own: another thread would make the run irreproducible, and asserts).
    void post(std::move_only_function<void()> job);

    /// Null in virtual time, or when stall_after is 0.
    const stall_detector* stalls() const { return stalls_.get(); }
    std::uint64_t resumptions() const { return resumptions_; }
    const spin_counters& spun() const { return spins_; }

    /// Every coroutine that has started and not ended.
    intrusive_list<promise_base, live_tag>& coroutines() { return live_; }

  private:
    friend class promise_base;
    template <class T>
    friend class task;

    /// One turn; false when nothing can ever happen again.
    bool turn(const promise_base& root);
    /// For a turn that has nothing to do: spins, if it is to, and sleeps.
    bool wait_idle();
    void run_ready();
    void run_posted();
    void run(intrusive_list<turn_hook>& hooks);
    void run_until_ended(promise_base& root);

    std::unique_ptr<backend> io_;
    reactor_config config_;
    timer_wheel timers_;
    random random_;
    instant now_;
    intrusive_list<promise_base, live_tag> live_;
    intrusive_list<promise_base, ready_tag> ready_;
    intrusive_list<turn_hook> hooks_;
    intrusive_list<turn_hook> input_hooks_;
    promise_base* next_ =
        nullptr; ///< the trampoline's slot: who runs when the current coroutine has suspended
    std::uint64_t next_id_ = 1;
    std::uint64_t resumptions_ = 0;
    duration spin_;
    std::uint32_t sleeps_due_ = 0;        ///< idle turns that sleep at once
    std::uint32_t sleeps_after_vain_ = 0; ///< so many, the last time
    spin_counters spins_;
    bool running_ = false;
    std::thread::id thread_;

    std::mutex posted_mutex_;
    std::vector<std::move_only_function<void()>> posted_;
    std::atomic<bool> has_posted_ = false;

    std::unique_ptr<stall_detector> stalls_;
};

inline void promise_base::end(bool parent_awaits) noexcept {
    ended_ = true;
    static_cast<list_hook<live_tag>&>(*this).unlink();
    if (parent_awaits && parent_ != nullptr) reactor_->run_next(*parent_);
}

inline void parked::wake() {
    if (who_ == nullptr) return;
    static_cast<list_hook<>&>(*this).unlink();
    static_cast<stop_callback&>(*this).unlink();
    promise_base& who = *std::exchange(who_, nullptr);
    who.set_waits_for(nullptr);
    who.reactor().ready(who);
}

} // namespace tapir
