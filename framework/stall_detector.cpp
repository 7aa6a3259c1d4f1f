#include <tapir/framework/log.hpp>
#include <tapir/framework/stall_detector.hpp>

#include <csignal>
#include <string>

namespace tapir {

namespace {

/// A thread inherits the signal mask. This one takes no signals: what a signal_set waits for must not be
/// delivered here, where it is not blocked.
class all_signals_blocked {
  public:
    all_signals_blocked() {
        sigset_t all;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~all_signals_blocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    all_signals_blocked(const all_signals_blocked&) = delete;
    all_signals_blocked& operator=(const all_signals_blocked&) = delete;

  private:
    sigset_t before_{};
};

} // namespace

stall_detector::stall_detector(duration limit, const std::atomic<std::source_location>& running_at)
    : limit_(limit), running_at_(running_at) {
    const all_signals_blocked guard;
    thread_ = std::thread([this] { watch(); });
}

stall_detector::~stall_detector() {
    {
        const std::lock_guard lock(mutex_);
        end_ = true;
    }
    ended_.notify_one();
    thread_.join();
}

// Looks four times per limit: a turn that was busy at a first look and at the four that followed has lasted
// at least as long as the limit.
void stall_detector::watch() {
    std::uint64_t seen_turn = 0;
    int looks = 0;
    bool reported = false;
    std::unique_lock lock(mutex_);
    while (!ended_.wait_for(lock, limit_ / 4, [this] { return end_; })) {
        const std::uint64_t turn = turn_.load(std::memory_order_relaxed);
        if (!busy_.load(std::memory_order_acquire) || turn != seen_turn) {
            seen_turn = turn;
            looks = 0;
            reported = false;
            continue;
        }
        if (++looks < 4 || reported) continue;
        const std::source_location at = running_at_.load(std::memory_order_relaxed);
        if (at.line() == 0) continue;
        reported = true;
        stalls_.fetch_add(1, std::memory_order_relaxed);
        log::warn("stall: for " + std::to_string(limit_ / 1ms) + " ms nothing else could run; running: " +
                  at.function_name() + ", resumed at " + at.file_name() + ":" + std::to_string(at.line()));
    }
}

} // namespace tapir
