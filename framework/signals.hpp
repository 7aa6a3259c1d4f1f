// Signals as something to await, not as something that interrupts.
//
//     tapir::signal_set stop_signals(SIGINT, SIGTERM);
//     auto signal = co_await stop_signals.next();           // result<int>: SIGINT or SIGTERM
//
// The signals are blocked in the thread that makes the set, and in threads that it starts later; a thread
// that was there before and does not block them would still be killed by them. Make the set early.
#pragma once

#include <tapir/framework/error.hpp>
#include <tapir/framework/task.hpp>

#include <csignal>
#include <type_traits>

namespace tapir {

class signal_set {
  public:
    /// Throws std::system_error when there is no descriptor left, or a number is not a signal's.
    template <class... Signal>
        requires(sizeof...(Signal) > 0 && (std::is_same_v<Signal, int> && ...))
    explicit signal_set(Signal... numbers) {
        ::sigemptyset(&wanted_);
        (add(numbers), ...);
        begin();
    }
    signal_set(const signal_set&) = delete;
    signal_set& operator=(const signal_set&) = delete;
    /// The calling thread's mask is as before. A signal that nobody has taken acts then as if it came now.
    ~signal_set();

    /// The number of the next signal. One coroutine at a time: a second gets errc::busy. Real time only:
    /// errc::not_supported in virtual time.
    task<result<int>> next();

  private:
    void add(int number);
    void begin();

    sigset_t wanted_{};
    sigset_t before_{};
    int fd_ = -1;
    bool waiting_ = false;
};

} // namespace tapir
