// A window that was not used says nothing about the path: after an hour of keystrokes, a cwnd that once
// carried a film is a guess. How much was really carried within a round trip lately (pipeACK) tells from
// which window a loss has to step down, and since when the window has been a guess. [RFC 7661 4]
//
// What differs from the RFC, which is experimental:
// - A sample is what one round delivers: from an ACK until what was in flight then is acknowledged. No clock
// divides
//   samples, so that idleness neither dilutes one nor swells it. [4.2]
// - Of samples two numbers are kept, the maximum of the current sampling period and of the one before,
// instead of a
//   list; a maximum is forgotten after one to two periods. [4.5.1]
// - Who calls stops growth by what was in flight, ACK by ACK, not by pipeACK, which is a round late. [4.4]
// - After a loss cwnd goes to ssthresh by proportional rate reduction, which counts what is sent again; so
// the
//   volume of retransmissions is not subtracted in the end. [4.4.1]
#pragma once

#include <tapir/framework/time.hpp>

#include <algorithm>
#include <cstdint>

namespace tapir::tcp {

class window_validation {
  public:
    /// The sampling period is three round trips, and this at least. [RFC 7661 4.2]
    static constexpr duration min_sampling_period = 1s;
    /// For so long a window may be kept unused (NVP). [RFC 7661 4.4, 5]
    static constexpr duration non_validated_period = 5min;

    /// Nothing is known: the window counts as validated. [RFC 7661 4.2, 4.4.1]
    void reset() { *this = window_validation(); }

    void on_delivered(std::uint32_t bytes) { delivered_ += bytes; }
    /// All that was in flight at the begin of the round is acknowledged, now, with `cwnd`.
    void on_round_end(instant now, duration srtt, std::uint32_t cwnd) {
        const std::uint32_t at = milliseconds(now.time_since_epoch());
        if (!defined_) {
            period_began_ = validated_ = at;
            defined_ = true;
        }
        period_ = milliseconds(std::max(3 * srtt, min_sampling_period));
        const std::uint32_t age = at - period_began_;
        if (age >= period_) {
            before_ = age < 2 * period_ ? newest_ : 0;
            newest_ = 0;
            period_began_ = at;
        }
        newest_ = std::max(newest_, delivered_);
        delivered_ = 0;
        if (std::max(newest_, before_) >= cwnd / 2) validated_ = at; // [RFC 7661 4.3]
    }

    /// pipeACK in bytes; zero when nothing is known, or was delivered lately.
    std::uint32_t pipe_ack(instant now) const {
        const std::uint32_t age = milliseconds(now.time_since_epoch()) - period_began_;
        if (!defined_ || age >= 2 * period_) return 0;
        return age < period_ ? std::max(newest_, before_) : newest_;
    }
    /// The window has been a guess for the whole period: it is to be reduced, and the next period begins.
    bool expired(instant now) {
        const std::uint32_t at = milliseconds(now.time_since_epoch());
        if (!defined_ || at - validated_ < milliseconds(non_validated_period)) return false;
        validated_ = at;
        return true;
    }

  private:
    /// On a circle of 49 days; only differences count.
    static std::uint32_t milliseconds(duration d) {
        return static_cast<std::uint32_t>(d.count() / 1'000'000);
    }

    std::uint32_t delivered_ = 0; ///< in this round
    std::uint32_t newest_ = 0;    ///< largest sample of this sampling period
    std::uint32_t before_ = 0;    ///< and of the one before
    std::uint32_t period_ = 0;
    std::uint32_t period_began_ = 0;
    std::uint32_t validated_ = 0; ///< when at least half of the window was last seen in use
    bool defined_ = false;
};

} // namespace tapir::tcp
