// Congestion that routers tell of by a mark in place of a loss.
//
//     SYN ECE|CWR  ->  SYN|ACK ECE  ->  ACK          both are willing
//     data, ECT(0) ->  a router marks it CE  ->  ACK ECE, and every other ACK until ...
//     data, CWR    ... the sender says that its window has come down
//
// New data alone may be marked: what goes again, probes, SYNs, RSTs and bare ACKs are dropped as ever, so
// that a path which swallows ECN-capable packets lets the retransmissions through. [RFC 3168 6.1.4 - 6.1.6]
//
// An echo lowers the window as a loss would, by Proportional Rate Reduction and once in a window of data;
// nothing goes again, and nothing takes it back. [RFC 3168 6.1.2] [RFC 9438 4.6]
#include <tapir/protocols/tcp/tcb.hpp>

#include <algorithm>

namespace tapir::tcp {

// --- agreeing ----------------------------------------------------------------------------------------------

// Of a SYN; `first`: without ACK. [RFC 3168 6.1.1]
flags tcb::ecn_flags_of_syn(bool first) {
    if (ecn_ != ecn_use::offered) return flags::none;
    if (!first) return flags::ece;
    if (backoff_ < std::max<std::uint8_t>(stack_->config_.ecn_syn_tries, 1)) return ecn_setup;
    ecn_ = ecn_use::withdrawn; // perhaps somebody drops what asks for it [RFC 3168 6.1.1.1]
    ++stack_->counters_.ecn_withdrawn;
    return flags::none;
}

// What the peer's SYN or SYN|ACK says to ours. A SYN|ACK with both flags is one that reflects bits it does
// not know. [RFC 3168 6.1.1]
void tcb::ecn_answered(flags f) {
    if (ecn_ == ecn_use::off) return;
    const flags said = f & ecn_setup;
    if (said == (has(f, flags::ack) ? flags::ece : ecn_setup)) return;
    ++(said == ecn_setup ? stack_->counters_.ecn_reflected : stack_->counters_.ecn_refused);
    ecn_ = ecn_use::off;
}

// Established. A host that has sent one SYN without must not send what can be marked; but it answers marks,
// since the peer may know of the other SYN alone. [RFC 3168 6.1.1]
void tcb::ecn_agreed() {
    if (ecn_ == ecn_use::withdrawn) ecn_ = ecn_use::echoes;
    if (ecn_ != ecn_use::offered) return;
    ecn_ = ecn_use::on;
    ++stack_->counters_.ecn_negotiated;
}

// --- receiving ---------------------------------------------------------------------------------------------

// Text in the window has arrived. CWR comes first: it answers older marks. Both are acknowledged at once, for
// the sender's window may be a single segment. [RFC 3168 6.1.3]
void tcb::marks_arrive(const segment& s, instant now) {
    if (has(s.header.flags, flags::cwr)) {
        ++stack_->counters_.ecn_cwr_in;
        ecn_echoing_ = false;
        ack_now_ = ack_at_once_ = true;
    }
    if (s.ecn != ip::ecn::ce) return;
    ++user_->ce_received_;
    ++stack_->counters_.ecn_ce_in;
    if (ecn_echoing_) return;
    ecn_echoing_ = true;
    ack_now_ = true;
    if (stack_->trace_ != nullptr) stack_->trace_->congestion_marked(flow(), s.header.seq, now);
}

// --- sending -----------------------------------------------------------------------------------------------

// `out` is new data.
void tcb::allow_marks(outgoing_segment& out) {
    out.ecn = ip::ecn::ect0;
    if (!cwr_due_) return;
    cwr_due_ = false;
    recovery_->ecn_reduced_at = out.header.seq;
    out.header.flags |= flags::cwr;
    ++stack_->counters_.ecn_cwr_out;
}

// New data went in a packet that may not be marked: its arrival tells nothing of those that may.
void tcb::sent_plain() {
    if ((ecn_ == ecn_use::on || ecn_ == ecn_use::offered) && !ect_arrived_)
        with_recovery().plain_until = snd_nxt_;
}

// The window has come down, whatever for: what ECN-Echo says of data sent so far is known, and the next new
// data tells the peer. [RFC 3168 6.1.2]
void tcb::window_reduced() {
    if (ecn_ != ecn_use::on) return;
    recovery_->ecn_reduced_at = snd_nxt_;
    cwr_due_ = true;
}

// An ACK that is not older than others, about something that was in flight, has ECN-Echo. True: the window
// comes down for it. Until the segment at ecn_reduced_at, which tells the peer of the last time, is
// acknowledged, the echo is of the same congestion. [RFC 3168 6.1.2]
bool tcb::echo_arrives(const ack_outcome& a, instant now) {
    ++stack_->counters_.ecn_echoes_in;
    recovery& r = with_recovery();
    if (cwr_due_ || snd_una_ <= r.ecn_reduced_at) {
        // Had it not come down for a loss that may turn out to be none, it would now.
        if (snd_una_ > r.ecn_reduced_before) r.congested = true;
        return false;
    }
    r.may_undo = false; // the window that it remembers is no longer the one to go back to
    // Less than one segment for each round trip takes a timer. [RFC 3168 6.1.2]
    if (congestion_.cwnd() <= mss()) {
        ecn_holds_ = true;
        timers_.set(timer_id::pace, now + current_rto());
    }
    const std::uint32_t outstanding = board_.outstanding() + a.told.cumulative;
    const std::uint32_t sacked_now = a.told.bytes - std::min(a.told.bytes, a.told.cumulative);
    congestion_.on_congestion(congestion_cause::ecn, outstanding, mss(), now);
    r.reduction.begin(prr::recover_fs(board_.outstanding(), board_.sacked(), sacked_now, a.told.cumulative),
                      congestion_.recovery_window());
    ecn_reducing_ = true;
    window_reduced();
    ++r.reductions;
    ++stack_->counters_.ecn_reductions;
    if (stack_->trace_ != nullptr)
        stack_->trace_->window_reduced_by_ecn(flow(), congestion_.recovery_window(), now);
    if (snd_una_ == snd_nxt_) end_reduction();
    return true;
}

void tcb::end_reduction() {
    ecn_reducing_ = false;
    congestion_.on_recovered();
}

// Something is lost, or silence says so. Where nothing that may be marked has ever arrived, such packets may
// be what the path drops.
void tcb::suspect_black_hole() {
    if (ecn_ != ecn_use::on || ect_arrived_) return;
    if (ect_losses_ < 3) ++ect_losses_;
    if (ect_losses_ < std::min<unsigned>(stack_->config_.ecn_black_hole_losses, 3)) return;
    ecn_ = ecn_use::echoes;
    cwr_due_ = false;
    ++stack_->counters_.ecn_black_holes;
}

} // namespace tapir::tcp
