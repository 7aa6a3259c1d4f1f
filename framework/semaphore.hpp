// At most so many at a time: connections to one server, files being read.
//
//     tapir::semaphore slots(16);
//     auto slot = co_await slots.acquire();                 // result<semaphore::permit>: errc::cancelled
//     if (!slot) co_return slot.error();                    // given back when `slot` goes
//
// Fair: a permit that comes back goes to whoever has waited longest, through the ready queue.
#pragma once

#include <tapir/framework/error.hpp>
#include <tapir/framework/parked.hpp>
#include <tapir/framework/reactor.hpp>

#include <cassert>
#include <coroutine>
#include <cstddef>
#include <optional>
#include <utility>

namespace tapir {

class semaphore {
  public:
    explicit semaphore(std::size_t permits) : available_(permits) {}
    semaphore(const semaphore&) = delete;
    semaphore& operator=(const semaphore&) = delete;
    ~semaphore() { assert(waiters_.empty() && "a semaphore outlives those who wait for it"); }

    /// Gives its permit back when destroyed. Must not outlive the semaphore.
    class [[nodiscard]] permit {
      public:
        permit(permit&& other) noexcept : from_(std::exchange(other.from_, nullptr)) {}
        permit& operator=(permit other) noexcept {
            std::swap(from_, other.from_);
            return *this;
        }
        ~permit() { release(); }
        /// Before its time; once.
        void release() {
            if (from_ != nullptr) std::exchange(from_, nullptr)->release();
        }
        /// It is used up: the semaphore has one less from now on.
        void forget() { from_ = nullptr; }

      private:
        friend class semaphore;
        explicit permit(semaphore& s) : from_(&s) {}
        semaphore* from_;
    };

    class [[nodiscard]] awaiter : parked {
      public:
        explicit awaiter(semaphore& s) : semaphore_(s) {}
        /// Only on its way into the coroutine's frame, before it waits.
        awaiter(awaiter&& other) noexcept : semaphore_(other.semaphore_) {}
        /// A frame that dies between being given a permit and running on gives it back.
        ~awaiter() {
            if (owns_) semaphore_.release();
        }
        bool await_ready() noexcept {
            owns_ = semaphore_.available_ != 0;
            if (owns_) --semaphore_.available_;
            return owns_;
        }
        template <tapir_promise P>
        bool await_suspend(std::coroutine_handle<P> h) {
            if (h.promise().stop().stop_requested()) return false;
            semaphore_.waiters_.push_back(*this);
            park(h.promise(), "semaphore", [](parked& p) { p.wake(); });
            return true;
        }
        result<permit> await_resume() {
            if (!std::exchange(owns_, false)) return errc::cancelled;
            return permit(semaphore_);
        }

      private:
        friend class semaphore;
        semaphore& semaphore_;
        bool owns_ = false;
    };
    /// errc::cancelled when the waiting coroutine is stopped first.
    awaiter acquire() { return awaiter(*this); }

    std::optional<permit> try_acquire() {
        if (available_ == 0) return std::nullopt;
        --available_;
        return permit(*this);
    }

    /// One permit more; also makes new ones.
    void release() {
        if (waiters_.empty()) {
            ++available_;
            return;
        }
        auto& next = static_cast<awaiter&>(waiters_.front());
        next.owns_ = true;
        next.wake();
    }
    std::size_t available() const { return available_; }

  private:
    intrusive_list<parked> waiters_;
    std::size_t available_;
};

} // namespace tapir
