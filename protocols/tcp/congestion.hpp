// How much may be in flight. A small value with one function for each thing that can happen, so that another
// algorithm is another such value. This one is NewReno, growing by bytes acknowledged.
// [RFC 5681 3] [RFC 6582 3.2] [RFC 3465] [RFC 6928]
#pragma once

#include <algorithm>
#include <cstdint>

namespace tapir::tcp {

class new_reno {
  public:
    std::uint32_t cwnd() const { return cwnd_; }
    std::uint32_t ssthresh() const { return ssthresh_; }

    /// The connection is established, or has been idle for longer than an RTO. [RFC 5681 3.1, 4.1]
    void start(std::uint32_t mss, std::uint32_t segments) {
        // [RFC 6928 2]: min(10 * MSS, max(2 * MSS, 14600))
        cwnd_ = std::min(segments * mss, std::max(2 * mss, segments * 1460));
    }
    /// As start(), after a handshake that needed retransmissions. [RFC 5681 3.1]
    void start_after_loss(std::uint32_t mss) { cwnd_ = mss; }
    void after_idle(std::uint32_t mss, std::uint32_t segments) {
        const std::uint32_t before = cwnd_;
        start(mss, segments);
        cwnd_ = std::min(cwnd_, before);
    }

    /// New data acknowledged outside of fast recovery; `flight` is what was in flight before. `lossy`: what a
    /// retransmission timeout took for lost is still being acknowledged.
    void on_ack(std::uint32_t acked, std::uint32_t flight, std::uint32_t mss, bool lossy) {
        // A window that was not used says nothing about the path. [RFC 7661 4.1]
        if (flight < cwnd_ / 2) return;
        if (cwnd_ < ssthresh_) {
            // Slow start. After a timeout one ACK may cover data that left the network long ago, so it counts
            // as one segment [RFC 3465 2.3]. Else all of it does: a receiver that acknowledges once per batch
            // would otherwise hold us back.
            cwnd_ = std::min(cwnd_ + (lossy ? std::min(acked, mss) : acked), largest);
            return;
        }
        // Congestion avoidance: one MSS for each window of bytes acknowledged. [RFC 3465 2.1]
        acked_ += acked;
        if (acked_ >= cwnd_) {
            acked_ -= cwnd_;
            cwnd_ = std::min(cwnd_ + mss, largest);
        }
    }

    /// Third duplicate ACK. [RFC 6582 3.2, step 2]
    void on_fast_retransmit(std::uint32_t flight, std::uint32_t mss) {
        ssthresh_ = std::max(flight / 2, 2 * mss);
        cwnd_ = ssthresh_ + 3 * mss;
        acked_ = 0;
    }
    /// A further duplicate in recovery: a segment has left the network [RFC 6582 3.2, step 3]; but no more of
    /// them than were in flight, twice ssthresh, however many a peer makes up [RFC 5681 3.2, step 4].
    void on_duplicate_ack(std::uint32_t mss) { cwnd_ = std::min(cwnd_ + mss, 3 * (ssthresh_ + mss)); }
    /// [RFC 6582 3.2, step 5, partial]
    void on_partial_ack(std::uint32_t acked, std::uint32_t mss) {
        cwnd_ -= std::min(acked, cwnd_);
        if (acked >= mss) cwnd_ += mss;
        cwnd_ = std::max(cwnd_, mss);
    }
    /// [RFC 6582 3.2, step 5, full, option 1]
    void on_recovered(std::uint32_t flight, std::uint32_t mss) {
        cwnd_ = std::min(ssthresh_, std::max(flight, mss) + mss);
        acked_ = 0;
    }
    /// `first`: no retransmission timeout since something new was acknowledged. [RFC 5681 3.1 (4)]
    void on_timeout(std::uint32_t flight, std::uint32_t mss, bool first) {
        if (first) ssthresh_ = std::max(flight / 2, 2 * mss);
        cwnd_ = mss;
        acked_ = 0;
    }
    /// The path takes smaller segments only.
    void on_smaller_mss(std::uint32_t mss) { cwnd_ = std::max(cwnd_, mss); }

  private:
    static constexpr std::uint32_t largest = 1u << 30;

    std::uint32_t cwnd_ = 0;
    std::uint32_t ssthresh_ = largest;
    std::uint32_t acked_ = 0; ///< bytes acknowledged towards the next MSS in congestion avoidance
};

} // namespace tapir::tcp
