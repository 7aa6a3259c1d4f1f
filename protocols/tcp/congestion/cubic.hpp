// One segment more each round trip takes hours to fill a fast and long path again. CUBIC grows by the clock
// instead: steeply towards the window at which it lost last (W_max), flat around it, steeply beyond, and
// never slower than NewReno would. This is the state of one congestion avoidance stage; slow start, ssthresh
// and who may grow at all are control.hpp's. [RFC 9438 4]
//
// Windows are bytes. Time on the curve is counted in ticks of 2^-20 s, so that C * (t - K)^3 needs shifts and
// one division by five: the result is exact for a time that is rounded by less than a microsecond. The clock
// of the curve runs from ACK to ACK while cwnd limits the sender, and stands still otherwise: growth that was
// missed for want of data is not made up for at once. [RFC 9438 4.2, 5.8]
#pragma once

#include <tapir/framework/time.hpp>

#include <cstdint>

namespace tapir::tcp {

class cubic {
  public:
    // C = 2/5, beta_cubic = 7/10 [RFC 9438 4.6, 5.1], and so alpha_cubic = 3 * (1 - beta) / (1 + beta) =
    // 9/17.
    static constexpr std::uint32_t c_numerator = 2, c_denominator = 5;
    static constexpr std::uint32_t beta_numerator = 7, beta_denominator = 10;
    static constexpr std::uint32_t alpha_numerator = 9, alpha_denominator = 17;

    /// A congestion event at a window of `window` bytes: W_max is kept, less of it when the last one was
    /// larger, so that newer flows get room. [RFC 9438 4.7]
    void on_congestion(std::uint32_t window);
    /// A retransmission timeout: the next stage begins at the plateau. [RFC 9438 4.8]
    void on_timeout(std::uint32_t window);
    /// What is left of `window` after a congestion event. [RFC 9438 4.6]
    static constexpr std::uint32_t reduced(std::uint32_t window) {
        return static_cast<std::uint32_t>(std::uint64_t{window} * beta_numerator / beta_denominator);
    }

    /// `acked` bytes were acknowledged in congestion avoidance, with a cwnd that was used: the new cwnd.
    /// [RFC 9438 4.2 - 4.5]
    std::uint32_t on_ack(instant now, std::uint32_t cwnd, std::uint32_t acked, std::uint32_t mss,
                         duration srtt);
    /// An ACK while something else than cwnd limits the sender: the clock of the curve stands still.
    void pause() { running_ = false; }
    /// Congestion avoidance has ended, or the MSS has changed: the next ACK begins a stage.
    void end_stage() { in_stage_ = false; }

    std::uint32_t w_max() const { return w_max_; }
    /// W_cubic after `t` of this stage. [RFC 9438 4.2, figure 1]
    std::uint32_t w_cubic(duration t, std::uint32_t mss) const;
    /// W_est [RFC 9438 4.3]
    std::uint32_t w_est() const { return w_est_; }
    duration k() const;
    /// How far this stage has come on its curve.
    duration elapsed() const { return elapsed_; }

    /// What undoing a spurious congestion event needs. [RFC 9438 4.9]
    struct saved {
        std::uint32_t elapsed_us = 0; ///< in place of t_epoch: the recovery does not count
        std::uint32_t w_max = 0;
        std::uint32_t cwnd_prior = 0;
        std::uint32_t w_est = 0;
        std::uint32_t k = 0;
        bool in_stage = false;
        bool at_plateau = false;
    };
    saved save() const;
    void restore(const saved& s);

  private:
    void begin_stage(std::uint32_t cwnd, std::uint32_t mss);

    instant last_{};      ///< newest ACK, if running_
    duration elapsed_{0}; ///< t, at last_
    std::uint32_t w_max_ = 0;
    std::uint32_t cwnd_prior_ = 0; ///< cwnd when ssthresh was last set
    std::uint32_t w_est_ = 0;
    std::uint32_t k_ = 0;          ///< ticks
    std::uint32_t remainder_ = 0;  ///< of the last division by cwnd
    std::uint16_t w_est_rest_ = 0; ///< 2^-16 bytes of W_est
    bool in_stage_ : 1 = false;
    bool running_ : 1 = false;
    bool at_plateau_ : 1 = false; ///< the next stage has K = 0
};

} // namespace tapir::tcp
