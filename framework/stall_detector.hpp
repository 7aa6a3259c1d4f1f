// A coroutine that computes or blocks for long keeps every other one from running. A thread watches the
// reactor's turns from outside and says which coroutine holds it, with its source line, while it still does.
#pragma once

#include <tapir/framework/time.hpp>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

namespace tapir {

class promise_base;

class stall_detector {
  public:
    /// Warns through the log, once for each turn that lasts longer than `limit`.
    explicit stall_detector(duration limit);
    ~stall_detector();

    // Called by the reactor's thread; all three are a few relaxed stores.
    void turn_began() {
        turn_.fetch_add(1, std::memory_order_relaxed);
        busy_.store(true, std::memory_order_release);
    }
    void turn_ended() { busy_.store(false, std::memory_order_release); }
    void running(const promise_base& who);

    /// How many turns were reported so far.
    std::uint64_t stalls() const { return stalls_.load(std::memory_order_relaxed); }

  private:
    void watch();

    const duration limit_;
    std::atomic<std::uint64_t> turn_ = 0;
    std::atomic<bool> busy_ = false;
    std::atomic<const char*> function_ = nullptr;
    std::atomic<const char*> file_ = nullptr;
    std::atomic<std::uint32_t> line_ = 0;
    std::atomic<std::uint64_t> stalls_ = 0;
    std::mutex mutex_;
    std::condition_variable ended_;
    bool end_ = false;
    std::thread thread_;
};

} // namespace tapir
