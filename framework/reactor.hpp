// The run loop of one thread. Each turn: resume what is ready (up to a fairness budget), let the turn's hooks
// put out what the turn produced, wait once in the back end, stamp `now`, dispatch completions, fire timers.
//
//     tapir::reactor r(tapir::make_uring_backend());       // or make_sim_backend(seed)
//     int answer = r.run(serve());                          // until the root coroutine has ended
//
// Who awaits a task, and who ends one, hands over to the other by symmetric transfer; all others are resumed
// by the loop, one after the other. Who awaits one spends the budget for both, so that a chain of awaits of
// any length lets others run.
#pragma once

#include <tapir/framework/backend.hpp>
#include <tapir/framework/intrusive_list.hpp>
#include <tapir/framework/parked.hpp>
#include <tapir/framework/promise.hpp>
#include <tapir/framework/random.hpp>
#include <tapir/framework/stall_detector.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/framework/timer_wheel.hpp>
#include <tapir/framework/visit_counters.hpp>

#include <atomic>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <source_location>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace tapir {

template <class T>
class task;

struct reactor_config {
    /// Resumptions per turn, of whatever kind, before timers and I/O get their chance again. Some 0.1 to 0.2
    /// ms of a server's; a request takes ten, and a batch that is answered in one turn costs less.
    std::size_t budget = 1024;
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

    /// `hook` will run once when this turn's coroutines have run; after more_input_waits(), the next one's.
    /// Idempotent until then.
    void at_turn_end(turn_hook& hook) {
        if (!hook.linked()) hooks_.push_back(hook);
    }

    /// `hook` will run before timers fire, if it is asked for while completions are dispatched; else before
    /// coroutines run the next time. Idempotent until then.
    void at_input_end(turn_hook& hook) {
        if (!hook.linked()) input_hooks_.push_back(hook);
    }

    /// Asked with what arrives: whether hooks of at_input_end() run already, so that one which is asked for
    /// now would come behind the timers.
    bool input_ends() const { return input_ends_; }

    /// Somebody's input has had its share of this turn, or is such that more of it probably waits. What is to
    /// run at the end of the turn is put off by one, once, so that it answers to both shares: one
    /// acknowledgement instead of two, of bytes that coroutines have consumed while they were in the cache.
    void more_input_waits() { more_input_ = true; }
    /// Asked by what runs at the end of a turn: whether somebody has said so since the last one.
    bool input_waits() const { return input_waits_; }

    /// Runs `job` on this reactor's thread in one of its next turns. Any thread may call it (in virtual time
    /// only the reactor's own: another thread would make the run irreproducible, and asserts).
    void post(std::move_only_function<void()> job);

    /// Null in virtual time, or when stall_after is 0.
    const stall_detector* stalls() const { return stalls_.get(); }
    std::uint64_t resumptions() const { return resumptions_ - budget_left_; }
    const spin_counters& spun() const { return spins_; }

    /// What run() runs, or null; and what was spawned and has not ended, in the order in which it was. All
    /// other coroutines that have started and not ended are awaited by one of these, or by one that is.
    const promise_base* root() const { return root_; }
    intrusive_list<strand, strand_tag>& strands() { return strands_; }

  private:
    friend class promise_base;

    /// One turn; false when nothing can ever happen again.
    bool turn(const promise_base& root);
    /// For a turn that has nothing to do: spins, if it is to, and sleeps.
    bool wait_idle();
    void run_ready();
    /// For an await_suspend(): `to` is to run as soon as the coroutine that runs now has suspended.
    std::coroutine_handle<> transfer(std::coroutine_handle<promise_base> to);
    /// For one that has not begun, when the budget is spent: others run before it.
    TAPIR_KEEPS_REGISTERS std::coroutine_handle<> put_off(promise_base& who) noexcept;
    void run_posted();
    void run(intrusive_list<turn_hook>& hooks);
    void run_until_ended(promise_base& root);

    // What each turn asks comes first, to be on few cache lines.
    std::unique_ptr<backend> io_;
    instant now_;
    ready_queue ready_;
    intrusive_list<turn_hook> hooks_;
    intrusive_list<turn_hook> input_hooks_;
    std::atomic<std::source_location> running_at_ = std::source_location(); ///< the stall detector reads it
    std::unique_ptr<stall_detector> stalls_;
    std::uint64_t resumptions_ = 0;            ///< with those that this turn may still have
    std::size_t budget_left_ = 0;              ///< resumptions, in this turn
    std::coroutine_handle<promise_base> next_; ///< transfer()'s, where it is not the compiler's
    bool running_ = false;
    bool input_ends_ = false;
    bool more_input_ = false;
    bool input_waits_ = false;   ///< more_input_, as the turn before left it
    bool hooks_put_off_ = false; ///< in this turn, and so not in the next one
    reactor_config config_;
    timer_wheel timers_;

    random random_;
    const promise_base* root_ = nullptr;
    intrusive_list<strand, strand_tag> strands_;
    std::uint64_t next_id_ = 1;
    duration spin_;
    std::uint32_t sleeps_due_ = 0;        ///< idle turns that sleep at once
    std::uint32_t sleeps_after_vain_ = 0; ///< so many, the last time
    spin_counters spins_;
    std::thread::id thread_;

    std::mutex posted_mutex_;
    std::vector<std::move_only_function<void()>> posted_;
    std::atomic<bool> has_posted_ = false; ///< other threads write it: not beside what this one does
};

inline std::uint64_t promise_base::id() const {
    std::uint64_t& its = aside().id;
    if (its == 0) its = reactor_->next_id_++;
    return its;
}

inline std::coroutine_handle<> reactor::transfer(std::coroutine_handle<promise_base> to) {
#ifdef __clang__
    return to;
#else // g++ makes a call of it when it does not optimise, and under sanitizers
    next_ = to;
    return std::noop_coroutine();
#endif
}

// Pays for its end, too: a turn that has begun a task can also end it.
//
// The place in the parent is what the stall detector names until this one itself awaits something.
inline std::coroutine_handle<> promise_base::start_awaited(promise_base& parent) {
    assert(!parent_ && "a task is awaited once");
    tapir::reactor& on = *parent.reactor_;
    const std::source_location at = parent.at_;
    parent_ = parent.own_handle();
    reactor_ = &on;
    on.running_at_.store(at, std::memory_order_relaxed);
    if (__builtin_sub_overflow(on.budget_left_, 2U, &on.budget_left_)) [[unlikely]]
        return on.put_off(*this);
    return on.transfer(own_handle());
}

inline std::coroutine_handle<> promise_base::hand_back() noexcept {
    tapir::reactor& on = *reactor_;
    if (has_awaited()) {
        if (!parent_) return std::noop_coroutine(); // a root's; or it was left behind
        promise_base& parent = parent_.promise();
        if (has_aside()) parent.aside_place()->awaited = nullptr;
        on.running_at_.store(parent.at_, std::memory_order_relaxed);
    }
    return on.transfer(parent_);
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
