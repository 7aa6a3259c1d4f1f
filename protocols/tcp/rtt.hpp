// Smoothed round-trip time and the retransmission timeout that follows from it. Integers only.
// [RFC 6298 2]
#pragma once

#include <tapir/framework/time.hpp>

#include <algorithm>
#include <cstdint>

namespace tapir::tcp {

class rtt_estimator {
  public:
    struct limits {
        duration initial;
        duration min;
        duration max;
        duration granularity;
    };
    explicit rtt_estimator(const limits& l) : rto_(l.initial) {}

    bool has_sample() const { return srtt_ != duration{0}; }
    duration srtt() const { return srtt_; }
    duration rttvar() const { return rttvar_; }
    duration min_rtt() const { return min_rtt_; }
    /// Before back-off.
    duration rto() const { return rto_; }
    /// Doubled `backoff` times, at most `max`. [RFC 6298 5.5]
    duration backed_off(unsigned backoff, const limits& l) const {
        duration wait = rto_;
        for (unsigned i = 0; i < backoff && wait < l.max; ++i) wait *= 2;
        return std::min(wait, l.max);
    }
    void set_rto(duration rto) { rto_ = rto; }

    void sample(duration r, const limits& l) {
        r = std::max(r, duration{1});
        if (!has_sample()) { // [RFC 6298 2.2]
            srtt_ = r;
            rttvar_ = r / 2;
            min_rtt_ = r;
        } else { // [RFC 6298 2.3]
            const duration error = srtt_ > r ? srtt_ - r : r - srtt_;
            rttvar_ += (error - rttvar_) / 4;
            srtt_ += (r - srtt_) / 8;
            srtt_ = std::max(srtt_, duration{1});
            min_rtt_ = std::min(min_rtt_, r);
        }
        rto_ = std::clamp(srtt_ + std::max(l.granularity, 4 * rttvar_), l.min, l.max);
    }

  private:
    duration srtt_{0};
    duration rttvar_{0};
    duration min_rtt_{0};
    duration rto_;
};

} // namespace tapir::tcp
