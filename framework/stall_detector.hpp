// A coroutine that computes or blocks for long keeps every other one from running. A thread watches the
// reactor's turns from outside and says which coroutine holds it, with its source line, while it still does.
#pragma once

#include <tapir/framework/time.hpp>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <source_location>
#include <thread>

namespace tapir {

class stall_detector {
  public:
    /// Warns through the log, once for each turn that lasts longer than `limit`. `running_at` is the co_await
    /// (at first the function) at which the coroutine that runs was resumed.
    stall_detector(duration limit, const std::atomic<std::source_location>& running_at);
    ~stall_detector();

    // Called by the reactor's thread; both are a store or two.
    void turn_began() {
        turn_.store(turn_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed); // nobody else does
        busy_.store(true, std::memory_order_release);
    }
    void turn_ended() { busy_.store(false, std::memory_order_release); }

    /// How many turns were reported so far.
    std::uint64_t stalls() const { return stalls_.load(std::memory_order_relaxed); }

  private:
    void watch();

    const duration limit_;
    std::atomic<std::uint64_t> turn_ = 0;
    std::atomic<bool> busy_ = false;
    const std::atomic<std::source_location>& running_at_; // a pointer to what lives as long as the program
    static_assert(std::atomic<std::source_location>::is_always_lock_free);
    std::atomic<std::uint64_t> stalls_ = 0;
    std::mutex mutex_;
    std::condition_variable ended_;
    bool end_ = false;
    std::thread thread_;
};

} // namespace tapir
