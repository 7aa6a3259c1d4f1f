// How cwnd gets from where a loss found it to ssthresh. Set down at once, half a round trip of ACKs would
// send nothing and then everything; instead each ACK lets out its share of what it says has been delivered,
// ssthresh bytes for each RecoverFS, so that what is in flight arrives at ssthresh at the end of the round.
// When the loss was so great that less than ssthresh is in flight, as much goes out as was delivered, and a
// segment more for each ACK that shows that retransmissions arrive. [RFC 9937 6]
//
// The share is rounded up to whole segments, as in the RFC's examples: half of one could not be sent, and the
// first retransmission would have to wait for another ACK.
//
//     prr_.begin(prr::recover_fs(...), congestion_.recovery_window());
//     congestion_.set_cwnd(prr_.on_ack(congestion_.cwnd(), delivered, inflight, safe, mss));   // each ACK
//     prr_.on_sent(bytes);                                                                     // each
//     segment congestion_.on_recovered();                                                              // in
//     the end
#pragma once

#include <algorithm>
#include <cstdint>

namespace tapir::tcp {

class prr {
  public:
    /// What may yet be delivered in this recovery, out of `outstanding` = SND.NXT - SND.UNA bytes after the
    /// ACK that began it, of which `sacked` are held by the peer. Of the latter `newly_sacked`, like
    /// `newly_acked`, were told by that ACK, which counts as the first of the recovery. [RFC 9937 6.1]
    static constexpr std::uint32_t recover_fs(std::uint32_t outstanding, std::uint32_t sacked,
                                              std::uint32_t newly_sacked, std::uint32_t newly_acked) {
        const std::uint32_t before = sacked - std::min(newly_sacked, sacked);
        return outstanding - std::min(before, outstanding) + newly_acked;
    }

    /// Recovery begins; on_ack() for the ACK that began it follows. [RFC 9937 6.1]
    void begin(std::uint32_t recover_fs, std::uint32_t ssthresh) {
        delivered_ = 0;
        out_ = 0;
        recover_fs_ = std::max(recover_fs, 1u);
        ssthresh_ = ssthresh;
    }

    /// An ACK in recovery; the new cwnd. `delivered`: bytes that it newly acknowledges, cumulatively or
    /// selectively. `inflight`: bytes that are thought to be in the network now. `safe_ack`: SND.UNA has
    /// advanced and no further loss was found. [RFC 9937 6.2]
    std::uint32_t on_ack(std::uint32_t cwnd, std::uint32_t delivered, std::uint32_t inflight, bool safe_ack,
                         std::uint32_t mss) {
        if (delivered == 0) return cwnd; // nothing has left the network: nothing may enter it
        delivered_ += delivered;
        std::uint64_t send = 0;
        if (inflight > ssthresh_) {
            const std::uint64_t segments = (share() + mss - 1) / mss;
            send = segments * mss - std::min(segments * mss, out_);
        } else {
            send = std::max<std::uint64_t>(delivered_ - std::min(delivered_, out_), delivered);
            if (safe_ack) send += mss;
            send = std::min<std::uint64_t>(send, ssthresh_ - inflight);
        }
        // The first retransmission does not wait for its share.
        if (out_ == 0) send = std::max<std::uint64_t>(send, mss);
        return static_cast<std::uint32_t>(std::min<std::uint64_t>(inflight + send, 0xffff'ffff));
    }

    /// Data was sent in recovery, new or again. [RFC 9937 6.3]
    void on_sent(std::uint32_t bytes) { out_ += bytes; }

  private:
    /// delivered * ssthresh / RecoverFS, rounded up; in two parts, since the product may pass 2^64.
    std::uint64_t share() const {
        return delivered_ / recover_fs_ * ssthresh_ +
               (delivered_ % recover_fs_ * ssthresh_ + recover_fs_ - 1) / recover_fs_;
    }

    // A recovery may last for more than 4 GiB.
    std::uint64_t delivered_ = 0; ///< prr_delivered
    std::uint64_t out_ = 0;       ///< prr_out
    std::uint32_t recover_fs_ = 1;
    std::uint32_t ssthresh_ = 0;
};

} // namespace tapir::tcp
