// Waits until so many things have happened.
//
//     tapir::latch ready(3);
//     ready.count_down();                                   // three times, by anybody on this thread
//     co_await ready.wait();                                // result<>: errc::cancelled
#pragma once

#include <tapir/framework/event.hpp>

#include <cassert>
#include <cstddef>

namespace tapir {

class latch {
  public:
    explicit latch(std::size_t count) : count_(count) {
        if (count_ == 0) zero_.set();
    }

    /// At zero every waiter continues, in the order in which they began to wait.
    void count_down(std::size_t n = 1) {
        assert(n <= count_);
        count_ -= n;
        if (count_ == 0) zero_.set();
    }
    std::size_t count() const { return count_; }

    event::awaiter wait() { return zero_.wait(); }
    event::awaiter arrive_and_wait() {
        count_down();
        return zero_.wait();
    }

  private:
    event zero_;
    std::size_t count_;
};

} // namespace tapir
