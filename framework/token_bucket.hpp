// Answers that strangers can provoke (ICMP errors, challenge ACKs) are limited to a rate with some room for
// bursts. A token bucket in whole nanoseconds, without a timer: it stores the instant at which it will be
// full again, and each token taken moves that instant by one interval.
//
//     tapir::token_bucket errors(200, 50);      // 200 a second, 50 at once
//     if (errors.take(now)) send(...);
#pragma once

#include <tapir/framework/time.hpp>

#include <algorithm>
#include <cassert>
#include <cstdint>

namespace tapir {

class token_bucket {
  public:
    /// `rate` tokens per second (1 to 10^9), at most `burst` (at least 1) saved up. Starts full.
    token_bucket(std::uint32_t rate, std::uint32_t burst)
        : interval_(1'000'000'000 / static_cast<std::int64_t>(rate)), depth_(interval_ * burst) {
        assert(rate >= 1 && rate <= 1'000'000'000 && burst >= 1);
    }

    bool take(instant now) {
        const instant full_at = std::max(full_at_, now);
        if (full_at - now > depth_ - interval_) return false;
        full_at_ = full_at + interval_;
        return true;
    }

    /// When take() will succeed next: `now` if it does already.
    instant next(instant now) const { return std::max(std::max(full_at_, now) - (depth_ - interval_), now); }

  private:
    duration interval_; ///< between two tokens
    duration depth_;    ///< how long an empty bucket takes to fill
    instant full_at_ = instant::min();
};

} // namespace tapir
