// A window sent at once is a burst that a short queue drops; spread over the round trip it is a stream. The
// rate follows from cwnd and srtt, a good deal faster than one window for each round trip, so that pacing
// never is what holds cwnd back. What has been sent moves a virtual clock, the time at which the path will
// have taken it at that rate; who is ahead of real time by more than a quantum waits. A quantum is what a
// millisecond takes: the timer is asked once for each, not for each segment.
//
//     pacer_.update(cwnd, srtt, congestion_.in_slow_start(), mss, limits);     // after each ACK
//     while (pacer_.allowance(now, mss) != 0) send, pacer_.on_sent(now, bytes);
//     arm(timer, pacer_.release(now, mss));                       // there is more, and no allowance
//
// [RFC 9002 7.7]
#pragma once

#include <tapir/framework/time.hpp>

#include <algorithm>
#include <cstdint>

namespace tapir::tcp {

struct pacing_limits {
    pacing_limits() = default;

    /// Of one cwnd for each srtt. Slow start doubles within a round trip, so it must be able to send two
    /// windows in one.
    std::uint16_t slow_start_percent = 200;
    std::uint16_t avoidance_percent =
        125; ///< room to catch up with what ACKs let out late; the RFC's example
    /// What goes out at once, at least: two segments draw an ACK.
    std::uint16_t min_burst_segments = 2;
    /// And what the path takes in this time. Far above the timer's resolution, below what a queue minds.
    duration burst_time = 1ms;
};

class pacer {
  public:
    /// Bytes a second; zero: not paced, nothing has been measured yet.
    std::uint64_t rate() const { return rate_; }
    /// Bytes that may leave at once, and what a nanosecond takes at most.
    std::uint64_t quantum() const {
        return static_cast<std::uint64_t>(full_.count()) * rate_ / 1'000'000'000;
    }

    /// cwnd bytes for each `srtt`, by the ratio. No `srtt`: not paced. What divides is done here, once for an
    /// ACK, and not for each segment.
    void update(std::uint32_t cwnd, duration srtt, bool slow_start, std::uint32_t mss,
                const pacing_limits& l) {
        if (srtt.count() <= 0) {
            rate_ = 0;
            return;
        }
        const std::uint64_t percent = slow_start ? l.slow_start_percent : l.avoidance_percent;
        // In two parts: 2^32 * 10^9 leaves no room for a factor of 200.
        const std::uint64_t a_second =
            std::uint64_t{cwnd} * 1'000'000'000 / static_cast<std::uint64_t>(srtt.count());
        rate_ = std::max<std::uint64_t>(a_second / 100 * percent + a_second % 100 * percent / 100, 1);
        const std::uint64_t by_time =
            rate_ / 1000 * static_cast<std::uint64_t>(l.burst_time.count() / 1000) / 1000;
        const std::uint64_t least = std::max<std::uint64_t>(l.min_burst_segments, 1) * mss;
        if (by_time >= least && by_time <= largest_quantum)
            full_ = l.burst_time;
        else
            full_ = time_of(std::clamp(by_time, std::min(least, largest_quantum), largest_quantum));
    }

    /// Bytes that may be sent now: as many as fit before the virtual clock is a quantum ahead of `now`; none
    /// when they make no whole segment. After idleness, or a timer that was late, two quanta at most. A
    /// segment larger than that (the path MTU has grown since update()) goes when the path has taken all
    /// before it.
    std::uint32_t allowance(instant now, std::uint32_t mss) const {
        if (rate_ == 0) return 0xffff'ffff;
        const duration ahead = std::max(next_ - now, -full_);
        if (ahead >= full_) return 0;
        // At most twice what the quantum takes, so that this is below 2 * 2^32 * 10^9.
        const std::uint64_t bytes =
            static_cast<std::uint64_t>((full_ - ahead).count()) * rate_ / 1'000'000'000;
        if (bytes < mss) return ahead.count() <= 0 ? mss : 0;
        return static_cast<std::uint32_t>(std::min<std::uint64_t>(bytes, 0xffff'ffff));
    }

    /// `bytes` have been sent, new or again.
    void on_sent(instant now, std::uint32_t bytes) {
        if (rate_ == 0) return;
        next_ = std::max(next_, now - full_) + time_of(bytes);
    }

    /// When a whole quantum may be sent, for a timer: later than `now`, or `now` when something may be sent
    /// already.
    instant release(instant now, std::uint32_t mss) const { return allowance(now, mss) != 0 ? now : next_; }

  private:
    static constexpr std::uint64_t largest_quantum = 0xffff'ffff; ///< bytes

    /// Rounded up: never faster than the rate.
    duration time_of(std::uint64_t bytes) const {
        return duration(static_cast<std::int64_t>((bytes * 1'000'000'000 + rate_ - 1) / rate_));
    }

    instant next_{}; ///< the virtual clock: when the path will have taken all that was sent
    std::uint64_t rate_ = 0;
    duration full_{0}; ///< what a quantum takes at that rate
};

} // namespace tapir::tcp
