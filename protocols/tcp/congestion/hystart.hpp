// Slow start doubles until something is lost, and then it is a whole window that is lost. A queue that builds
// up shows earlier, in round-trip times: when those of one round are well above those of the round before,
// grow at a quarter of the speed ("conservative slow start", CSS) for some rounds, and then begin congestion
// avoidance; or take it back, when the delay was but jitter. [RFC 9406 4]
//
// A round lasts until what was in flight at its begin is acknowledged; who calls knows that (control.hpp).
// For the first slow start only: later ones have a threshold that was measured. [RFC 9406 4.3]
#pragma once

#include <tapir/framework/time.hpp>

#include <algorithm>
#include <cstdint>

namespace tapir::tcp {

class hystart {
  public:
    // [RFC 9406 4.3]; the RFC recommends each of these values.
    static constexpr duration min_rtt_thresh = 4ms;  ///< a rise by less says nothing
    static constexpr duration max_rtt_thresh = 16ms; ///< a rise by more always says something
    static constexpr unsigned min_rtt_divisor = 8;   ///< between those, an eighth of the last round's minimum
    static constexpr unsigned n_rtt_sample = 8;      ///< samples that make a round's minimum worth comparing
    static constexpr unsigned css_growth_divisor = 4;
    static constexpr unsigned css_rounds = 5;
    static constexpr std::uint32_t unpaced_limit = 8; ///< L, in MSS for one ACK; without limit when paced

    bool in_css() const { return baseline_ != none; }
    /// What of an ACK of `acked` bytes may count in slow start. [RFC 9406 4.2]
    static std::uint32_t limited(std::uint32_t acked, std::uint32_t mss, bool paced) {
        return paced ? acked : std::min(acked, unpaced_limit * mss);
    }
    /// And what that adds to cwnd.
    std::uint32_t growth(std::uint32_t counted) const {
        return in_css() ? counted / css_growth_divisor : counted;
    }

    /// A round-trip time was measured.
    void on_sample(duration rtt) {
        current_ = std::min(current_, microseconds(rtt));
        if (samples_ < n_rtt_sample) ++samples_;
        if (samples_ < n_rtt_sample || last_ == none) return;
        if (in_css()) {
            if (current_ < baseline_) baseline_ = none; // it was jitter: slow start resumes
        } else if (current_ >= last_ + threshold()) {
            baseline_ = current_;
            rounds_ = 0;
        }
    }
    /// A round has ended, after the sample of the ACK that ended it. True when slow start ends with it: then
    /// ssthresh is cwnd. The round in which CSS began counts as a whole one.
    bool on_round_end() {
        last_ = current_;
        current_ = none;
        samples_ = 0;
        return in_css() && ++rounds_ >= css_rounds;
    }

  private:
    static constexpr std::uint32_t none = 0xffff'ffff; ///< infinity in the RFC's text

    static std::uint32_t microseconds(duration d) {
        return static_cast<std::uint32_t>(std::clamp<std::int64_t>(d.count() / 1000, 0, none - 1));
    }
    std::uint32_t threshold() const {
        return std::clamp(last_ / min_rtt_divisor, microseconds(min_rtt_thresh),
                          microseconds(max_rtt_thresh));
    }

    // Microseconds; 71 minutes at most.
    std::uint32_t last_ = none;     ///< lastRoundMinRTT
    std::uint32_t current_ = none;  ///< currentRoundMinRTT
    std::uint32_t baseline_ = none; ///< cssBaselineMinRtt
    std::uint8_t samples_ = 0;
    std::uint8_t rounds_ = 0; ///< of CSS
};

} // namespace tapir::tcp
