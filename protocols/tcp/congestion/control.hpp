// How much may be in flight: cwnd, from what acknowledgements, losses and silence say about the path. One
// value for each connection, whichever algorithm it runs; sizes are bytes, times come in. It never looks at
// segments: who finds out what is lost tells it.
//
//     start(), start_after_loss()        established                                 [RFC 6928] [RFC
//     5681 3.1] on_ack()                           each ACK of something new                   [RFC 5681 3.1]
//     [RFC 9438 4] after_idle()                       before data that follows idleness           [RFC
//     5681 4.1] remember(), on_congestion()        recovery begins; prr.hpp moves cwnd then, set_cwnd()
//     through this, on_recovered()                     until it ends                               [RFC
//     5681 3.2] [RFC 9937] remember(), on_timeout()           the retransmission timer has fired [RFC
//     5681 3.1 (4)] undo()                             the loss was none                           [RFC 4015]
//     [RFC 9438 4.9]
//
// Deviations: slow start counts all bytes that an ACK acknowledges (eight MSS at most when nothing paces),
// where RFC 3465 (2.3) says two MSS: receivers that acknowledge once per batch are common. A loss steps down
// from what was carried lately, if that is more than is in flight at this moment [RFC 7661 4.4.1] [RFC
// 9438 4.6].
#pragma once

#include <tapir/framework/time.hpp>
#include <tapir/protocols/tcp/congestion/cubic.hpp>
#include <tapir/protocols/tcp/congestion/hystart.hpp>
#include <tapir/protocols/tcp/congestion/window_validation.hpp>
#include <tapir/protocols/tcp/seq.hpp>

#include <cstdint>
#include <string_view>
#include <variant>

namespace tapir::tcp {

enum class congestion_algorithm : std::uint8_t {
    cubic,    ///< [RFC 9438], as everybody else
    new_reno, ///< [RFC 5681]
};
std::string_view to_string(congestion_algorithm a);

enum class congestion_cause : std::uint8_t {
    loss,
    ecn, ///< ECN-Echo [RFC 3168 6.1.2]
};

/// What one ACK that acknowledges something new tells.
struct ack_sample {
    ack_sample() = default;

    instant now{};
    std::uint32_t delivered = 0;     ///< bytes newly acknowledged, cumulatively or selectively
    std::uint32_t flight_before = 0; ///< bytes in flight before it
    std::uint32_t mss = 0;
    duration rtt{0};  ///< sample taken from it; zero: none
    duration srtt{0}; ///< smoothed, with that sample; zero: there was none yet
    seq snd_una;      ///< with this ACK
    seq snd_nxt;      ///< highest sent so far, before the ACK lets anything out
    /// cwnd, not the peer's window nor the application, was what held sending back when last something was
    /// sent.
    bool cwnd_limited = false;
    /// It acknowledges what a timeout took for lost, and nobody knows when that left the network: without
    /// SACK. Slow start then counts one MSS at most. [RFC 3465 2.3]
    bool after_timeout = false;
};

class congestion_control {
  public:
    /// The largest window that TCP can express. [RFC 7323 2.3]
    static constexpr std::uint32_t largest = 1u << 30;

    /// `paced`: a pacer spreads what cwnd allows; slow start then takes stretched ACKs whole. [RFC 9406 4.3]
    explicit congestion_control(congestion_algorithm algorithm = congestion_algorithm::cubic,
                                bool paced = true);

    std::uint32_t cwnd() const { return cwnd_; }
    std::uint32_t ssthresh() const { return ssthresh_; }
    bool in_slow_start() const { return cwnd_ < ssthresh_; }
    /// HyStart++ has seen the delay rise, and grows at a quarter of the speed.
    bool in_conservative_slow_start() const;
    congestion_algorithm algorithm() const { return algorithm_; }
    std::string_view name() const { return to_string(algorithm_); }
    const cubic& curve() const { return cubic_; } ///< for info() and tests

    /// Established: min(segments * MSS, max(2 * MSS, segments * 1460)), ten segments as a rule. [RFC 6928 2]
    void start(std::uint32_t mss, std::uint32_t initial_segments);
    /// As start(), after a handshake that needed retransmissions: one MSS. `initial_segments` is for later
    /// restarts. [RFC 5681 3.1]
    void start_after_loss(std::uint32_t mss, std::uint32_t initial_segments);
    /// Nothing has been sent for longer than an RTO, and nothing is in flight: no ACKs would clock a full
    /// window. It restarts from the initial one, and may double up to three quarters of what it was.
    /// [RFC 5681 4.1] [RFC 7661 4.4]
    void after_idle(std::uint32_t mss);
    /// The path takes smaller segments, or larger ones again. No congestion: cwnd stays, or is one segment.
    /// [RFC 1191 6.5]
    void on_new_mss(std::uint32_t mss);

    /// An ACK of something new. In recovery it changes nothing: set_cwnd() does.
    void on_ack(const ack_sample& s);

    /// A reduction follows that may turn out to be undeserved: keep what undo() will restore.
    void remember();
    /// Congestion was found: ssthresh and recovery_window() are set, cwnd is left to set_cwnd(). Once for
    /// each window of data; again within a recovery when a retransmission was lost, or a further ECN-Echo
    /// comes after a round trip, it steps down from recovery_window(). `flight`: bytes outstanding (SND.NXT -
    /// SND.UNA, without limited transmit). [RFC 5681 3.1 (4), 4.3] [RFC 9438 4.6]
    void on_congestion(congestion_cause cause, std::uint32_t flight, std::uint32_t mss, instant now);
    /// Where a recovery leads: ssthresh after a loss. After ECN-Echo down to one MSS. [RFC 9438 4.6]
    std::uint32_t recovery_window() const { return target_; }
    bool in_recovery() const { return recovering_; }
    void set_cwnd(std::uint32_t bytes) { cwnd_ = bytes < largest ? bytes : largest; }
    /// All is acknowledged that was outstanding when recovery began: cwnd is recovery_window().
    void on_recovered();
    /// The retransmission timer has fired. `first`: the first time since something new was acknowledged; then
    /// ssthresh is set. cwnd is one MSS. Ends a recovery. [RFC 5681 3.1 (4)] [RFC 9438 4.8]
    void on_timeout(std::uint32_t flight, std::uint32_t mss, bool first, instant now);
    /// What remember() kept was reduced for nothing: cwnd and ssthresh are at least what they were, the curve
    /// goes on where it was, and recovery is over. False when there is nothing to undo.
    /// [RFC 4015 3] [RFC 9438 4.9]
    bool undo();

  private:
    struct snapshot {
        std::uint32_t cwnd = 0;
        std::uint32_t ssthresh = 0;
        cubic::saved curve;
    };

    /// What a reduction starts from, and whether cwnd was in use at all.
    struct usage {
        std::uint32_t window; ///< cwnd, or the target of the recovery under way
        std::uint32_t used;   ///< of that, in flight now or carried lately
        /// The window that has proved too large.
        std::uint32_t saturated() const { return used >= window / 2 ? window : used; }
    };
    usage use_of(std::uint32_t flight, instant now) const;
    std::uint32_t reduced(std::uint32_t window) const;
    void begin_reduction();
    void close_round(const ack_sample& s);
    std::uint32_t slow_start(const ack_sample& s);
    void avoid_congestion(const ack_sample& s, std::uint32_t acked);
    std::uint32_t initial_window(std::uint32_t mss) const;

    // In order of alignment: idle connections pay for each byte.
    cubic cubic_;
    window_validation used_;
    /// During the first slow start its algorithm; later, what undo() restores. Neither while a reduction
    /// stands for which nothing was remembered.
    std::variant<std::monostate, hystart, snapshot> phase_;
    std::uint32_t cwnd_ = 0;
    std::uint32_t ssthresh_ = largest; ///< "arbitrarily high" [RFC 5681 3.1]
    std::uint32_t target_ = 0;
    std::uint32_t counted_ = 0; ///< NewReno: bytes acknowledged towards the next MSS
    seq round_end_;             ///< a round ends when this is acknowledged
    congestion_algorithm algorithm_;
    std::uint8_t initial_segments_ = 10;
    bool paced_ : 1;
    bool recovering_ : 1 = false;
    bool remembered_ : 1 = false; ///< for the reduction that follows
    bool in_round_ : 1 = false;
};

// A quarter of what a TCB may take.
static_assert(sizeof(congestion_control) <= 128);

} // namespace tapir::tcp
