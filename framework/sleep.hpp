// Waiting for time. A deadline is the primitive, a timeout is sugar for "now + d".
//
//     co_await tapir::sleep_for(20ms);                            // result<>: errc::cancelled when stopped
//     auto n = co_await tapir::with_timeout(5s, read_request(c)); // errc::deadline_exceeded
//
// with_deadline() stops the work through its stop token and waits until the work has really ended: when the
// caller goes on, nothing of the work is in flight.
#pragma once

#include <tapir/framework/error.hpp>
#include <tapir/framework/parked.hpp>
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/task.hpp>
#include <tapir/framework/time.hpp>

#include <coroutine>
#include <utility>

namespace tapir {

class [[nodiscard]] sleep_awaiter : parked, timer {
  public:
    explicit sleep_awaiter(instant deadline) : timer(&fired), deadline_(deadline) {}
    explicit sleep_awaiter(duration d) : timer(&fired), for_(d), relative_(true) {}

    bool await_ready() const noexcept { return false; }
    template <tapir_promise P>
    bool await_suspend(std::coroutine_handle<P> h) {
        promise_base& who = h.promise();
        if (who.stop().stop_requested()) {
            cancelled_ = true;
            return false;
        }
        reactor& on = who.reactor();
        on.timers().arm(*this, relative_ ? after(on.now(), for_) : deadline_);
        park(who, "timer", [](parked& p) {
            auto& self = static_cast<sleep_awaiter&>(p);
            self.cancelled_ = true;
            self.who()->reactor().timers().cancel(self);
            self.wake();
        });
        return true;
    }
    result<> await_resume() const {
        if (cancelled_) return errc::cancelled;
        return {};
    }

  private:
    static void fired(timer& t, instant) { static_cast<sleep_awaiter&>(t).wake(); }

    instant deadline_{};
    duration for_{};
    bool relative_ = false;
    bool cancelled_ = false;
};

/// Resumes at `deadline`, not before; at once if it has passed, only when stopped if it is `never`.
/// errc::cancelled when stopped.
inline sleep_awaiter sleep_until(instant deadline) {
    return sleep_awaiter(deadline);
}
/// Resumes `d` after the time of this turn; a `d` past the end of time means never.
inline sleep_awaiter sleep_for(duration d) {
    return sleep_awaiter(d);
}

/// Lets everything that is ready run first.
class [[nodiscard]] yield_awaiter {
  public:
    bool await_ready() const noexcept { return false; }
    template <tapir_promise P>
    void await_suspend(std::coroutine_handle<P> h) const {
        h.promise().reactor().ready(h.promise());
    }
    void await_resume() const noexcept {}
};
inline yield_awaiter yield() {
    return {};
}

namespace detail {

/// Stops a source when a deadline passes.
class deadline_stop : timer {
  public:
    deadline_stop(reactor& on, instant deadline, stop_token parent) : timer(&fired), source_(parent) {
        on.timers().arm(*this, deadline);
    }
    stop_token token() { return source_.token(); }
    /// Before the deadline.
    void request_stop() { source_.request_stop(); }
    bool passed() const { return passed_; }

  private:
    static void fired(timer& t, instant) {
        auto& self = static_cast<deadline_stop&>(t);
        self.passed_ = true;
        self.source_.request_stop();
    }
    stop_source source_;
    bool passed_ = false;
};

} // namespace detail

/// Awaits `work`, and stops it when `deadline` passes: then a result of errc::cancelled becomes
/// errc::deadline_exceeded. A result that was complete all the same is handed on.
template <class T>
task<result<T>> with_deadline(instant deadline, task<result<T>> work) {
    promise_base& self = co_await this_coroutine;
    self.set_internal();
    detail::deadline_stop stop(self.reactor(), deadline, self.stop());
    task<result<T>> stoppable = std::move(work); // dies before `stop` does, also when this frame is torn down
    result<T> outcome = co_await std::move(stoppable).under(stop.token());
    if (!outcome && stop.passed() && outcome.error() == errc::cancelled) co_return errc::deadline_exceeded;
    co_return outcome;
}

template <class T>
task<result<T>> with_timeout(duration d, task<result<T>> work) {
    promise_base& self = co_await this_coroutine;
    self.set_internal();
    co_return co_await with_deadline(after(self.reactor().now(), d), std::move(work));
}

} // namespace tapir
