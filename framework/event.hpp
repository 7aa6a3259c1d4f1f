// A flag that coroutines wait for.
//
//     tapir::event shutdown;
//     co_await shutdown.wait();       // returns at once when it is set
//     shutdown.set();                 // wakes every waiter, through the ready queue
#pragma once

#include <tapir/framework/error.hpp>
#include <tapir/framework/parked.hpp>
#include <tapir/framework/reactor.hpp>

#include <coroutine>

namespace tapir {

class event {
  public:
    event() = default;
    event(const event&) = delete;
    event& operator=(const event&) = delete;

    bool is_set() const { return set_; }
    /// Every waiter continues in a later step of the loop, in the order in which they began to wait.
    void set() {
        set_ = true;
        while (!waiters_.empty()) waiters_.front().wake();
    }
    void reset() { set_ = false; }

    class [[nodiscard]] awaiter : parked {
      public:
        explicit awaiter(event& e) : event_(e) {}
        bool await_ready() const noexcept { return event_.set_; }
        template <tapir_promise P>
        bool await_suspend(std::coroutine_handle<P> h) {
            if (h.promise().stop().stop_requested()) {
                cancelled_ = true;
                return false;
            }
            event_.waiters_.push_back(*this);
            park(h.promise(), "event", [](parked& p) {
                static_cast<awaiter&>(p).cancelled_ = true;
                p.wake();
            });
            return true;
        }
        result<> await_resume() const {
            if (cancelled_) return errc::cancelled;
            return {};
        }

      private:
        event& event_;
        bool cancelled_ = false;
    };
    /// errc::cancelled when the waiting coroutine is stopped first.
    awaiter wait() { return awaiter(*this); }

  private:
    intrusive_list<parked> waiters_;
    bool set_ = false;
};

} // namespace tapir
