// Whether the path was a network or a busy program: how much of a CPU it used while data flowed, and how late
// it was. Every delay that the path makes is a timer, so its timers' lateness is an error of the network: a
// timer of this meter's own, once a millisecond, stands for them.
#pragma once

#include <tapir/framework/reactor.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/framework/task.hpp>
#include <tapir/framework/time.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <sys/resource.h>

namespace bench {

class load_meter {
  public:
    explicit load_meter(tapir::reactor& on) : on_(on) {}

    /// The first data segment is here. Idempotent.
    void begin() {
        if (began_) return;
        began_ = true;
        begin_ = on_.now();
        cpu_at_begin_ = cpu();
    }

    /// Until it is stopped.
    tapir::task<> watch() {
        using namespace tapir;
        for (;;) {
            const instant due = after(on_.now(), 1ms);
            const result<> slept = co_await sleep_until(due);
            if (!slept) co_return;
            if (began_) note(on_.now() - due);
        }
    }

    void print() const {
        const double wall = std::chrono::duration<double>(on_.now() - begin_).count();
        const double used = std::chrono::duration<double>(cpu() - cpu_at_begin_).count();
        std::printf("cpu_percent %.1f late_p50_us %zu late_p99_us %zu late_max_us %lld\n",
                    began_ && wall > 0 ? 100 * used / wall : 0.0, at(50), at(99),
                    static_cast<long long>(worst_ / std::chrono::microseconds(1)));
        std::fflush(stdout);
    }

  private:
    static tapir::duration cpu() {
        rusage u{};
        ::getrusage(RUSAGE_SELF, &u);
        const auto of = [](const timeval& t) {
            return std::chrono::seconds(t.tv_sec) + std::chrono::microseconds(t.tv_usec);
        };
        return of(u.ru_utime) + of(u.ru_stime);
    }
    void note(tapir::duration late) {
        worst_ = std::max(worst_, late);
        ++pulses_;
        const auto slot = static_cast<std::size_t>(std::max<std::int64_t>(0, late / step));
        ++by_lateness_[std::min(slot, by_lateness_.size() - 1)];
    }
    /// Microseconds that `per_cent` of the timers were not later than.
    std::size_t at(std::uint64_t per_cent) const {
        std::uint64_t seen = 0;
        for (std::size_t i = 0; i < by_lateness_.size(); ++i) {
            seen += by_lateness_[i];
            if (seen * 100 >= pulses_ * per_cent)
                return (i + 1) * static_cast<std::size_t>(step / std::chrono::microseconds(1));
        }
        return 0;
    }

    static constexpr tapir::duration step = std::chrono::microseconds(10);

    tapir::reactor& on_;
    bool began_ = false;
    tapir::instant begin_{};
    tapir::duration cpu_at_begin_{};
    tapir::duration worst_{};
    std::uint64_t pulses_ = 0;
    std::array<std::uint64_t, 2000> by_lateness_{}; ///< in steps; the last holds all that are later
};

} // namespace bench
