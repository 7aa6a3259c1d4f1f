// One coroutine at a time, across its suspensions. (Between two suspensions nothing else runs on the thread:
// state that is only touched there needs no mutex.)
//
//     tapir::mutex writing;
//     auto lock = co_await writing.lock();                  // result<mutex::guard>: errc::cancelled
//     if (!lock) co_return lock.error();
//     co_await peer.write(header);
//     co_await peer.write(body);                            // released when `lock` goes
//
// Fair: unlocking hands the mutex to whoever has waited longest, through the ready queue.
#pragma once

#include <tapir/framework/error.hpp>
#include <tapir/framework/parked.hpp>
#include <tapir/framework/reactor.hpp>

#include <cassert>
#include <coroutine>
#include <optional>
#include <utility>

namespace tapir {

class mutex {
  public:
    mutex() = default;
    mutex(const mutex&) = delete;
    mutex& operator=(const mutex&) = delete;
    ~mutex() { assert(waiters_.empty() && "a mutex outlives those who wait for it"); }

    /// Holds the mutex until destroyed. Must not outlive it.
    class [[nodiscard]] guard {
      public:
        guard(guard&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)) {}
        guard& operator=(guard other) noexcept {
            std::swap(mutex_, other.mutex_);
            return *this;
        }
        ~guard() { unlock(); }
        /// Before its time; once.
        void unlock() {
            if (mutex_ != nullptr) std::exchange(mutex_, nullptr)->unlock();
        }

      private:
        friend class mutex;
        explicit guard(mutex& m) : mutex_(&m) {}
        mutex* mutex_;
    };

    class [[nodiscard]] awaiter : parked {
      public:
        explicit awaiter(mutex& m) : mutex_(m) {}
        /// Only on its way into the coroutine's frame, before it waits.
        awaiter(awaiter&& other) noexcept : mutex_(other.mutex_) {}
        /// A frame that dies between being handed the mutex and running on passes it on.
        ~awaiter() {
            if (owns_) mutex_.unlock();
        }
        bool await_ready() noexcept {
            owns_ = !std::exchange(mutex_.locked_, true);
            return owns_;
        }
        template <tapir_promise P>
        bool await_suspend(std::coroutine_handle<P> h) {
            if (h.promise().stop().stop_requested()) return false;
            mutex_.waiters_.push_back(*this);
            park(h.promise(), "mutex", [](parked& p) { p.wake(); });
            return true;
        }
        result<guard> await_resume() {
            if (!std::exchange(owns_, false)) return errc::cancelled;
            return guard(mutex_);
        }

      private:
        friend class mutex;
        mutex& mutex_;
        bool owns_ = false;
    };
    /// errc::cancelled when the waiting coroutine is stopped first.
    awaiter lock() { return awaiter(*this); }

    std::optional<guard> try_lock() {
        if (std::exchange(locked_, true)) return std::nullopt;
        return guard(*this);
    }
    bool locked() const { return locked_; }

  private:
    void unlock() {
        assert(locked_);
        if (waiters_.empty()) {
            locked_ = false;
            return;
        }
        auto& next = static_cast<awaiter&>(waiters_.front());
        next.owns_ = true; // it stays locked on the way
        next.wake();
    }

    intrusive_list<parked> waiters_;
    bool locked_ = false;
};

} // namespace tapir
