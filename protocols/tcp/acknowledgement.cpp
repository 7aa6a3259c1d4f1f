// What the ACK field of an acceptable segment means: data leaves the send buffer, the round trip is measured,
// the windows move, and three duplicates mean a loss.
// [RFC 9293 3.10.7.4, fifth] [RFC 5681 3.2] [RFC 6582 3.2] [RFC 6298 3, 5]
#include <tapir/protocols/tcp/tcb.hpp>

#include <algorithm>

namespace tapir::tcp {

namespace {
constexpr std::uint8_t duplicate_threshold = 3; // [RFC 5681 3.2]
} // namespace

void tcb::ack_arrives(const segment& s, instant now) {
    const header& h = s.header;
    // A peer that answers probes is alive, however long its window stays shut [RFC 9293 3.8.6.1 MUST-37]:
    // worth waiting for as long as somebody here does. When nobody will write, read or close any more, only
    // progress keeps a connection.
    if (timers_.armed(timer_id::persist) && !(nobody_reads_ && fin_queued_)) timers_.clear(timer_id::give_up);

    const std::uint32_t offered = std::uint32_t{h.window} << snd_scale_;
    if (h.ack > snd_una_)
        new_data_acked(h.ack, s, now);
    else if (h.ack == snd_una_ && snd_una_ < snd_max_ && s.length() == 0 && offered == snd_wnd_ &&
             flight() != 0) // [RFC 5681 2, duplicate acknowledgment]
        duplicate_ack(h.ack, now);
    update_send_window(s);
    if (h.options.sack_count != 0 && sack_permitted_) count_sack_blocks(h);
}

// Recovery does not use them yet; forged ones can then do no harm, but they are told apart and counted.
// [RFC 2018 5] [RFC 2883 4]
void tcb::count_sack_blocks(const header& h) {
    counters& count = stack_->counters_;
    for (std::size_t i = 0; i < h.options.sack_count; ++i) {
        switch (meaning_of(h.options.sack[i], snd_una_, snd_max_, max_snd_wnd_)) {
        case sack_meaning::held: ++count.sack_blocks_in; break;
        case sack_meaning::duplicate: ++count.sack_duplicates; break;
        case sack_meaning::invalid: ++count.sack_invalid; break;
        }
    }
}

// Only a sample ends the back-off: were it the ACK alone, a round trip that has grown beyond the RTO would be
// timed out anew with every segment, and never measured. [RFC 6298 5, last paragraph]
void tcb::sample_rtt(seq ack, const segment& s) {
    const auto acked = records_.acknowledge(ack);
    if (acked.sent_at) {
        rtt_.sample(s.arrived - *acked.sent_at, rto_limits());
        backoff_ = 0;
        return;
    }
    // Sent more than once: only an echoed timestamp tells which sending this answers.
    // [RFC 6298 3] [RFC 7323 4.1]
    if (!acked.retransmitted || !timestamps_ || !s.header.options.ts || s.header.options.ts->echo == 0)
        return;
    const auto ms = static_cast<std::int32_t>(ts_clock(s.arrived) - s.header.options.ts->echo);
    if (ms < 0) return;
    rtt_.sample(std::chrono::milliseconds(std::max(ms, 1)), rto_limits());
    backoff_ = 0;
}

void tcb::new_data_acked(seq ack, const segment& s, instant now) {
    const std::uint32_t flight_before = flight();
    const seq una_before = snd_una_;
    const seq begin = data_begin();
    const seq end = snd_end();
    const bool fin = fin_sent_ && ack > end;
    const bool handshake = state_ == state::syn_received;

    sample_rtt(ack, s);
    const seq data_acked_to = fin ? end : ack;
    const std::uint32_t data = data_acked_to > begin ? data_acked_to - begin : 0;
    buffer_.drop_front(data);
    bytes_acked_ += data;
    charge_queued(now); // before a writer is woken: what is free now is what it asks
    snd_una_ = ack;
    syn_acked_ = true;
    snd_nxt_ = later(snd_nxt_, snd_una_);
    if (fin) user_->fin_acked_ = true;
    made_progress(now);
    persist_backoff_ = 0;
    una_timed_out_ = false;
    dup_acks_ = 0;
    resend_una_ = false;
    timers_.clear(timer_id::persist);

    if (handshake) {
        // Its window is the first that counts, wherever the segment stands. [RFC 9293 3.10.7.4, fifth]
        snd_wl1_ = s.header.seq;
        snd_wl2_ = ack;
        enter(event::our_syn_acked, now);
        established(now);
    } else if (in_recovery_ && ack < recover_) {
        // A partial ACK: the segment behind it is lost as well. [RFC 6582 3.2, step 5]
        congestion_.on_partial_ack(data, mss());
        resend_una_ = true;
    } else if (in_recovery_) {
        in_recovery_ = false;
        congestion_.on_recovered(flight(), mss());
    } else if (data != 0) {
        congestion_.on_ack(data, flight_before, mss(), una_before < recover_);
    }
    // Keeps up: 2 GiB behind it would look like a loss yet to come.
    recover_ = later(recover_, snd_una_ - 1);
    trace_cwnd(now);

    if (snd_una_ == snd_max_) { // [RFC 6298 5.2]
        timers_.clear(timer_id::retransmit);
        timers_.clear(timer_id::give_up);
    } else {
        // [RFC 6298 5.3]; in recovery for the first partial ACK only, so that a window full of holes falls
        // back to slow start [RFC 6582 4, "impatient"]
        if (!in_recovery_ || !partial_acked_) timers_.set(timer_id::retransmit, now + current_rto());
        timers_.set(timer_id::give_up, now + give_up_after());
        if (in_recovery_) partial_acked_ = true;
    }
    if (data != 0 || fin) user_->notify();
}

void tcb::duplicate_ack(seq ack, instant now) {
    ++duplicate_acks_;
    if (in_recovery_) {
        congestion_.on_duplicate_ack(mss());
        return;
    }
    if (dup_acks_ < 0xff) ++dup_acks_;
    // Not for what a timeout has sent again already. [RFC 6582 3.2, step 2]
    if (dup_acks_ != duplicate_threshold || ack <= recover_) return;
    recover_ = snd_max_;
    in_recovery_ = true;
    partial_acked_ = false;
    resend_una_ = true;
    congestion_.on_fast_retransmit(flight(), mss());
    ++fast_retransmits_;
    ++stack_->counters_.fast_retransmits;
    if (stack_->trace_ != nullptr) stack_->trace_->fast_retransmit(flow(), snd_una_, now);
    trace_cwnd(now);
}

// Only the newest segment speaks for the window, and no ACK that another has overtaken. The RFC orders
// segments by SEG.SEQ, then by SEG.ACK; but one that was sent again has an old SEG.SEQ, and may be the only
// one to tell of a window that has opened. A higher SEG.ACK was sent later, whatever SEG.SEQ it stands at.
// [RFC 9293 3.10.7.4, fifth] [RFC 9293 3.8.6 MUST-34]: it may shrink
void tcb::update_send_window(const segment& s) {
    const header& h = s.header;
    if (h.ack < snd_una_) return;
    if (h.ack <= snd_wl2_ && h.seq < snd_wl1_) return;
    snd_wnd_ = std::uint32_t{h.window} << snd_scale_;
    snd_wl1_ = h.seq;
    snd_wl2_ = h.ack;
    max_snd_wnd_ = std::max(max_snd_wnd_, snd_wnd_);
}

void tcb::trace_cwnd(instant now) {
    if (stack_->trace_ != nullptr)
        stack_->trace_->cwnd_changed(flow(), congestion_.cwnd(), congestion_.ssthresh(), now);
}

} // namespace tapir::tcp
