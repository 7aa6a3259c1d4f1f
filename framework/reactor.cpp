#include <tapir/framework/coroutine_tree.hpp>
#include <tapir/framework/reactor.hpp>

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <iterator>
#include <utility>

namespace tapir {

reactor::reactor(std::unique_ptr<backend> io, reactor_config config)
    : io_(std::move(io)), now_(io_->now()), config_(config), timers_(io_->timer_resolution(), now_),
      random_(config.seed), spin_(io_->simulated() ? duration::zero() : config.spin),
      thread_(std::this_thread::get_id()) {
    if (!io_->simulated() && config_.stall_after > duration::zero())
        stalls_ = std::make_unique<stall_detector>(config_.stall_after, running_at_);
}

reactor::~reactor() = default;

void reactor::run_ready() {
    // Only what is ready now: whoever becomes ready meanwhile waits for the next turn once the budget is
    // spent.
    resumptions_ = resumptions() + config_.budget;
    budget_left_ = config_.budget;
    while (budget_left_ != 0 && !ready_.empty()) {
        --budget_left_;
        promise_base& first = ready_.pop_front();
        running_at_.store(first.at_, std::memory_order_relaxed);
        first.handle().resume();
        while (next_) std::exchange(next_, nullptr).resume();
    }
}

void promise_base::start(tapir::reactor& on, promise_base* parent, stop_token stop) {
    assert(!aside().spawned && !parent_ && "a coroutine is started once");
    aside().spawned = true;
    aside().stop = stop;
    reactor_ = &on;
    if (parent != nullptr) parent_ = parent->own_handle();
}

// A token that is not the parent's has been written there before it is awaited.
TAPIR_KEEPS_REGISTERS void promise_base::make_aside() const noexcept {
    const promise_base* inherits = this;
    while (!inherits->has_aside() && inherits->parent_) inherits = &inherits->parent_.promise();
    const stop_token stop = inherits->has_aside() ? inherits->aside_place()->stop : stop_token();
    promise_base* awaits = nullptr;
    for (auto* p = const_cast<promise_base*>(this);; p = &p->parent_.promise()) {
        const bool had = p->has_aside();
        if (!had) {
            new (p->aside_place()) margin(stop);
            p->origin_ |= aside_mark;
            p->at_ = p->at(); // at its end somebody knows of it
        }
        if (awaits != nullptr) p->aside_place()->awaited = awaits;
        if (had || !p->parent_) return;
        awaits = p;
    }
}

void promise_base::leave() noexcept {
    if (!has_aside()) return;
    const margin& its = aside();
    if (its.ready) reactor_->ready_.remove(*this);
    if (its.awaited != nullptr) its.awaited->parent_ = nullptr;
    if (parent_ && parent_.promise().aside().awaited == this) parent_.promise().aside().awaited = nullptr;
}

TAPIR_KEEPS_REGISTERS std::coroutine_handle<> reactor::put_off(promise_base& who) noexcept {
    budget_left_ = 0;
    ready(who);
    return std::noop_coroutine();
}

void reactor::post(std::move_only_function<void()> job) {
    assert((!io_->simulated() || std::this_thread::get_id() == thread_) &&
           "another thread may not post into virtual time");
    {
        const std::lock_guard lock(posted_mutex_);
        posted_.push_back(std::move(job));
    }
    has_posted_.store(true, std::memory_order_release);
    io_->wake();
}

void reactor::run_posted() {
    if (!has_posted_.load(std::memory_order_relaxed)) return; // an exchange in each turn would take its time
    has_posted_.exchange(false, std::memory_order_acquire);
    std::vector<std::move_only_function<void()>> jobs;
    {
        const std::lock_guard lock(posted_mutex_);
        jobs.swap(posted_);
    }
    std::size_t begun = 0;
    try {
        while (begun < jobs.size()) jobs[begun++]();
    } catch (...) { // ends this run(); the jobs behind it are the next one's
        const std::lock_guard lock(posted_mutex_);
        posted_.insert(posted_.begin(), std::move_iterator(jobs.begin() + static_cast<std::ptrdiff_t>(begun)),
                       std::move_iterator(jobs.end()));
        has_posted_.store(true, std::memory_order_release);
        throw;
    }
}

bool reactor::wait_idle() {
    const instant deadline = timers_.next();
    if (spin_ == duration::zero()) return io_->wait(deadline);
    if (sleeps_due_ != 0) {
        --sleeps_due_;
        return io_->wait(deadline);
    }
    const instant begin = io_->now();
    const instant until = std::min(begin + spin_, deadline);
    instant at = begin;
    bool found = false;
    do {
        found = io_->look(); // a post shows there, too
        at = io_->now();
    } while (!found && at < until);
    ++spins_.spins;
    spins_.spent_ns += static_cast<std::uint64_t>((at - begin).count());
    if (found) ++spins_.found;
    if (found || at >= deadline) {
        sleeps_due_ = sleeps_after_vain_ = 0;
        return true;
    }
    sleeps_after_vain_ = std::min(2 * sleeps_after_vain_ + 1, reactor_config::most_sleeps_between_spins);
    sleeps_due_ = sleeps_after_vain_;
    return io_->wait(deadline);
}

// Hooks that are asked for while hooks run (a wire between two hosts) wait for the next time.
void reactor::run(intrusive_list<turn_hook>& hooks) {
    if (hooks.empty()) return;
    struct leave { // also by an exception: those behind it have their turn in the next run()
        intrusive_list<turn_hook>& all;
        intrusive_list<turn_hook> these;
        ~leave() {
            if (these.empty()) return;
            these.splice_back(all);
            all.splice_back(these);
        }
    } guard{hooks, {}};
    intrusive_list<turn_hook>& these = guard.these;
    these.splice_back(hooks);
    while (!these.empty()) {
        turn_hook& hook = these.pop_front();
        hook.run_(hook, now_);
    }
}

bool reactor::turn(const promise_base& root) {
    input_ends_ = false; // should the turn before have ended by an exception
    run_posted();
    run(input_hooks_);
    run_ready();
    input_waits_ = std::exchange(more_input_, false) && !root.ended();
    hooks_put_off_ = input_waits_ && !hooks_put_off_;
    if (!hooks_put_off_) run(hooks_);
    // Nor may it sleep when the root has just ended: its caller waits for the value.
    const bool idle = !root.ended() && ready_.empty() && hooks_.empty() && input_hooks_.empty() &&
                      !has_posted_.load(std::memory_order_relaxed);
    if (stalls_) stalls_->turn_ended();
    const bool alive = idle ? wait_idle() : io_->wait(now_);
    now_ = std::max(now_, io_->now());
    if (stalls_) stalls_->turn_began();
    io_->dispatch();
    input_ends_ = true;
    run(input_hooks_);
    input_ends_ = false;
    timers_.advance(now_);
    return alive || !idle;
}

void reactor::run_until_ended(promise_base& root) {
    assert(!running_ && "run() is not reentrant");
    running_ = true;
    root_ = &root;
    struct leave {
        reactor& self;
        ~leave() {
            self.running_ = false;
            self.root_ = nullptr;
            if (self.stalls_) self.stalls_->turn_ended();
        }
    } guard{*this};
    if (stalls_) stalls_->turn_began();
    while (!root.ended()) {
        if (!turn(root) && ready_.empty() && hooks_.empty() && input_hooks_.empty() && !root.ended())
            throw deadlock("nothing can ever happen again; these coroutines wait:\n" + coroutine_tree(*this));
    }
}

} // namespace tapir
