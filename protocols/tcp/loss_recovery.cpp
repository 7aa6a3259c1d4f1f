// What an ACK says about losses, and what follows: when is data lost, how much may be sent until the loss is
// repaired, and was it a loss at all.
//
// With SACK, losses are found by time: something sent later has arrived [RFC 8985]. Without it, by three
// duplicate ACKs [RFC 5681 3.2] [RFC 6582]. The window comes down by Proportional Rate Reduction [RFC 9937].
// It goes back up, as if nothing had been, when the peer shows that what went again had not been lost: it
// echoes a timestamp from before [RFC 3522] [RFC 4015], or reports that everything came twice [RFC 2883], or
// acknowledges after a timeout what was sent once [RFC 5682].
#include <tapir/protocols/tcp/tcb.hpp>

#include <algorithm>

namespace tapir::tcp {

namespace {
constexpr std::uint8_t duplicate_threshold = 3; // [RFC 5681 3.2] [RFC 8985 6.2]
} // namespace

std::uint32_t tcb::in_flight_less_presumed(std::uint32_t known) const {
    switch (phase_) {
    case recovery_phase::none: { // [RFC 3042 2]: two segments, before it is known what they mean
        const std::uint32_t most = stack_->config_.limited_transmit ? 2 * mss() : 0;
        return known - std::min({known, recovery_->presumed, most});
    }
    case recovery_phase::fast: return known - std::min(known, recovery_->presumed);
    case recovery_phase::timeout: break; // they answer what went out before it
    }
    return known;
}

recovery& tcb::with_recovery() {
    if (!recovery_) recovery_ = std::make_unique<recovery>(snd_una_);
    return *recovery_;
}

// One ACK has been taken in; `a` is what it told.
void tcb::recover(ack_outcome& a, const segment& s, instant now) {
    const bool advances = snd_una_ > a.una_before;
    const bool echo = ecn_ == ecn_use::on && has(s.header.flags, flags::ece) && s.header.ack == snd_una_ &&
                      a.una_before < snd_nxt_;
    // A receiver's sender is told nothing by most of what comes, and is asked nothing.
    if (!recovery_ && !a.repeated && a.told.bytes == 0 && !echo) return;
    if (!ect_arrived_ && a.told.once && (!recovery_ || a.told.lowest_once_end > recovery_->plain_until))
        ect_arrived_ = true;
    if (a.repeated) ++duplicate_acks_;
    if (a.repeated || board_.sacked() != 0) with_recovery();
    bool lost_more = false;
    bool over = false;
    if (ecn_reducing_ && snd_una_ >= recovery_->ecn_reduced_at) {
        end_reduction();
        over = true;
    }
    if (recovery_) {
        if (!sack_permitted_) presume_delivered(a, advances);
        const bool probe_came_twice = a.came_twice && recovery_->probing && recovery_->probe_resent &&
                                      a.came_twice->end == recovery_->probe_end;
        conclude_tail_probe(a, s, now);
        if (a.came_twice && !probe_came_twice) { // a probe was no haste
            recovery_->arrivals.duplicate_reported(snd_una_, snd_nxt_);
            const std::uint32_t twice = a.came_twice->size();
            if (a.came_twice->begin >= recovery_->undo_from)
                recovery_->unreported -= std::min(recovery_->unreported, twice);
        }
        if (was_spurious(a, s, advances)) undo(now);
        if (recovery_->may_undo && snd_una_ > recovery_->undo_until && phase_ == recovery_phase::none)
            recovery_->may_undo = false;
        lost_more = find_losses(a, advances, s.arrived, now);
        bool congested = lost_more;
        if (phase_ != recovery_phase::none && snd_una_ >= recover_) {
            leave_recovery(now);
            over = true;
            congested = board_.lost() != 0; // of what was sent since it began
        }
        if (phase_ == recovery_phase::none && congested)
            enter_recovery(a, sack_permitted_ ? loss_sign::newer_arrived : loss_sign::duplicate_acks, now);
    }
    // An echo is no reason to send more, though its congestion be answered; but after a timeout there may be
    // no new data to say so with for many round trips. [RFC 3168 6.1.2]
    if (echo) over = echo_arrives(a, now) || over || phase_ != recovery_phase::timeout;
    // What arrives beyond a hole is no reason to send more, unless the path is known to reorder.
    const bool reorders = recovery_ && recovery_->arrivals.reordering_seen();
    if (phase_ == recovery_phase::fast || ecn_reducing_)
        congestion_.set_cwnd(recovery_->reduction.on_ack(congestion_.cwnd(), a.told.bytes, in_flight(),
                                                         advances && !lost_more, mss()));
    else if (a.told.bytes != 0 && !over && (advances || reorders)) // [RFC 5681 3.2, step 1]
        congestion_.on_ack(sample_of(a, now));
    // Keep up: 2 GiB behind they would look like what is yet to come.
    recover_ = later(recover_, snd_una_ - 1);
    if (recovery_) {
        recovery_->ecn_reduced_at = later(recovery_->ecn_reduced_at, snd_una_ - 1);
        recovery_->oversized_until = later(recovery_->oversized_until, snd_una_ - 1);
        recovery_->arrivals.acknowledged(snd_una_);
    }
    if (paced_)
        pacer_.update(congestion_.cwnd(), rtt_.srtt(), congestion_.in_slow_start(), mss(),
                      stack_->config_.pacing);
    tune_send_buffer();
    // An ACK that tells nothing new does not put the probe off.
    if (a.told.bytes != 0 || phase_ != recovery_phase::none || board_.has_exceptions())
        arm_tail_probe(now, false);
    if (advances || a.told.bytes != 0) trace_rate(now);
}

// A duplicate ACK stands for one segment that arrived, but no more of them than can be under way, however
// many a peer makes up; new data acknowledged is less news by what they told before.
// [RFC 6582 3.2] [RFC 9937 5]
void tcb::presume_delivered(ack_outcome& a, bool advances) {
    recovery& r = *recovery_;
    if (a.repeated) {
        if (r.duplicates < 0xff) ++r.duplicates;
        const std::uint32_t outstanding = snd_nxt_ - snd_una_;
        const std::uint32_t most = outstanding > mss() ? outstanding - mss() : 0;
        const std::uint32_t more = std::min(mss(), most > r.presumed ? most - r.presumed : 0);
        r.presumed += more;
        a.told.bytes += more;
    } else if (advances) {
        // The segment that filled the hole was not among them.
        const std::uint32_t known = std::min(r.presumed, a.told.bytes > mss() ? a.told.bytes - mss() : 0);
        r.presumed -= known;
        a.told.bytes -= known;
        r.duplicates = 0;
        if (phase_ == recovery_phase::none || snd_una_ >= recover_) r.presumed = 0;
    }
}

// True if something counts as lost that had been in flight.
bool tcb::find_losses(const ack_outcome& a, bool advances, instant arrived, instant now) {
    recovery& r = *recovery_;
    if (sack_permitted_) {
        r.arrivals.delivered(a.told, snd_una_, arrived);
        return judge_sendings(now);
    }
    const seq end = mtu_probe_is_oldest() ? discovery_->probe_end : earlier(snd_una_ + mss(), snd_nxt_);
    const bool third = phase_ == recovery_phase::none && r.duplicates == duplicate_threshold &&
                       snd_una_ > recover_; // not for what a timeout has sent again [RFC 6582 3.2, step 2]
    // A partial ACK: the segment behind it is lost as well. [RFC 6582 3.2, step 5]
    const bool partial = phase_ == recovery_phase::fast && advances && snd_una_ < recover_;
    if (!third && !partial) return false;
    board_.mark_lost(snd_una_, end);
    return third && !only_mtu_probe_lost(now);
}

// [RFC 8985 6.2, steps 4 and 5]
bool tcb::judge_sendings(instant now) {
    recovery& r = *recovery_;
    const rack& arrivals = r.arrivals;
    timers_.clear(timer_id::reordering);
    // After an undo all is judged anew; once in a round trip, or forged echoes could make us do it all the
    // time.
    if (r.must_look_again && arrivals.newest_at() >= r.judge_by && now - r.looked_again >= rtt_.srtt()) {
        r.must_look_again = false;
        r.looked_again = now;
        board_.look_again();
    }
    if (arrivals.rtt() == duration{0} || board_.empty() || !board_.has_exceptions()) return false;
    const bool urgent = phase_ != recovery_phase::none || board_.sacked() >= duplicate_threshold * mss();
    const duration wait = arrivals.reordering_window(rtt_.min_rtt(), rtt_.srtt(), urgent);
    const auto found = board_.judge(arrivals.newest_at(), arrivals.newest_end(), arrivals.rtt() + wait, now);
    if (found.next_look != never) timers_.set(timer_id::reordering, found.next_look);
    if (found.lost == 0) return false;
    if (stack_->trace_ != nullptr) stack_->trace_->marked_lost(flow(), found.lost, now);
    if (found.oldest_again) oldest_lost(now);
    return !only_mtu_probe_lost(now);
}

void tcb::enter_recovery(const ack_outcome& a, loss_sign why, instant now) {
    recovery& r = *recovery_;
    const seq end = snd_nxt_;
    const std::uint32_t sacked_now = a.told.bytes > a.told.cumulative ? a.told.bytes - a.told.cumulative : 0;
    const std::uint32_t flight =
        prr::recover_fs(board_.outstanding(), board_.sacked(), sacked_now, a.told.cumulative);
    recover_ = end;
    phase_ = recovery_phase::fast;
    suspect_black_hole();
    if (ecn_reducing_) { // it comes down already, for the same window of data [RFC 3168 6.1.2]
        watch_for_undo(true);
        ecn_reducing_ = false;
        r.ecn_reduced_at = end;
    } else {
        remember_window();
        window_reduced();
        // FlightSize has what the peer holds beyond the hole as well. [RFC 5681 3.1 (4)]
        congestion_.on_congestion(congestion_cause::loss, board_.outstanding() + a.told.cumulative, mss(),
                                  now);
    }
    r.reduction.begin(flight, congestion_.recovery_window());
    ++fast_retransmits_;
    ++stack_->counters_.fast_retransmits;
    if (stack_->trace_ != nullptr) stack_->trace_->recovery_began(flow(), why, snd_una_, now);
}

ack_sample tcb::sample_of(const ack_outcome& a, instant now) const {
    ack_sample s;
    s.now = now;
    s.delivered = a.told.bytes;
    s.flight_before = a.flight_before;
    s.mss = mss();
    s.rtt = a.rtt;
    s.srtt = rtt_.srtt();
    s.snd_una = snd_una_;
    s.snd_nxt = snd_nxt_;
    s.cwnd_limited = cwnd_limited_;
    s.after_timeout = phase_ == recovery_phase::timeout && !sack_permitted_;
    return s;
}

void tcb::leave_recovery(instant now) {
    recovery& r = *recovery_;
    if (stack_->trace_ != nullptr) stack_->trace_->recovery_ended(flow(), now);
    if (phase_ == recovery_phase::fast) congestion_.on_recovered();
    phase_ = recovery_phase::none;
    r.arrivals.recovered();
    r.spurious_timeout = f_rto::off;
    r.duplicates = 0;
    r.presumed = 0;
    r.undo_until = snd_nxt_; // reports of what came twice are still on their way
}

// --- undo --------------------------------------------------------------------------------------------------

// The window is about to be reduced.
void tcb::remember_window() {
    congestion_.remember();
    watch_for_undo(false);
}

// `congested`: the loss may prove to be none, but the window stays.
void tcb::watch_for_undo(bool congested) {
    recovery& r = *recovery_;
    r.congested = congested;
    r.ecn_reduced_before = r.ecn_reduced_at;
    r.cwr_was_due = cwr_due_;
    r.may_undo = true;
    r.timed_out = false;
    r.stamped = false;
    r.unreported = board_.resent_bytes(); // by probes, or by a recovery before: not all has come twice yet
    r.undo_from = snd_una_;
    r.undo_until = snd_nxt_;
}

void tcb::went_again(std::uint32_t length, instant now) {
    if (!recovery_ || !recovery_->may_undo || phase_ == recovery_phase::none) return;
    recovery& r = *recovery_;
    r.unreported += length;
    if (r.stamped) return;
    r.stamped = true;
    r.stamp = ts_clock(now);
}

bool tcb::was_spurious(const ack_outcome& a, const segment& s, bool advances) {
    recovery& r = *recovery_;
    if (!r.may_undo) return false;
    // Nothing went again, yet it arrived.
    if (!r.stamped) return phase_ == recovery_phase::fast && advances && !a.told.resent;
    if (a.came_twice && r.unreported == 0) return true;
    if (phase_ == recovery_phase::none) return false;
    const auto& ts = s.header.options.ts;
    if (timestamps_ && ts && ts->echo != 0) // [RFC 3522 3.2, step 4]
        return advances && static_cast<std::int32_t>(ts->echo - r.stamp) < 0;
    return f_rto_step(a, advances);
}

// [RFC 5682 2.1, 3.1]
bool tcb::f_rto_step(const ack_outcome& a, bool advances) {
    recovery& r = *recovery_;
    if (!advances && a.told.bytes == 0 && !a.repeated && !a.came_twice)
        return false; // it says nothing of this
    switch (r.spurious_timeout) {
    case f_rto::off: return false;
    case f_rto::sent_first:
        r.spurious_timeout = f_rto::off;
        // Two new segments instead of more of the old, if there are any.
        if (advances && snd_una_ < recover_ && unsent() >= mss() && snd_una_ + snd_wnd_ >= snd_nxt_ + mss())
            r.spurious_timeout = f_rto::sent_new;
        return false;
    case f_rto::sent_new:
        r.spurious_timeout = f_rto::off;
        return a.told.once && (advances || a.told.lowest_once_end <= recover_);
    }
    return false;
}

// Nothing was lost: what counts as lost is only late, and the window was reduced for nothing. [RFC 4015 3.2]
void tcb::undo(instant now) {
    recovery& r = *recovery_;
    board_.unmark_lost();
    // After a timeout what arrived last may be either sending of the oldest: no ground to judge the others
    // by. What is sent from now on is.
    r.must_look_again = true;
    r.judge_by = r.timed_out ? now : instant{};
    if (phase_ != recovery_phase::none) leave_recovery(now);
    // What arrives after its retransmission says nothing of order in step 3 of RACK; this does.
    if (!r.timed_out) r.arrivals.reordering_found();
    if (!r.congested) {
        congestion_.undo();
        // What CWR was due for before, and has gone out meanwhile, stays where it went.
        if (cwr_due_ || !r.cwr_was_due) r.ecn_reduced_at = later(r.ecn_reduced_before, snd_una_ - 1);
        cwr_due_ = cwr_due_ && r.cwr_was_due;
    }
    r.may_undo = false;
    una_timed_out_ = false;
    // What was lost is in flight: no longer the persist timer's matter.
    if (board_.in_flight() != 0 && !timers_.armed(timer_id::retransmit)) {
        timers_.set(timer_id::retransmit, now + current_rto());
        timers_.clear(timer_id::persist);
    }
    ++undone_;
    ++stack_->counters_.recoveries_undone;
    if (stack_->trace_ != nullptr) stack_->trace_->recovery_undone(flow(), congestion_.cwnd(), now);
}

// --- tail loss probe ---------------------------------------------------------------------------------------

// `lone`: what was sent just now is all that is in flight. [RFC 8985 7.2]
void tcb::arm_tail_probe(instant now, bool lone) {
    const config& c = stack_->config_;
    timers_.clear(timer_id::tail_probe);
    tail_probe_ = false; // one that waits for the link is about what was known before
    if (!c.tail_loss_probe || !sack_permitted_ || phase_ != recovery_phase::none || snd_una_ == snd_nxt_ ||
        board_.has_exceptions() || (recovery_ && recovery_->probing) || !syn_acked())
        return;
    duration wait = rtt_.has_sample() ? 2 * rtt_.srtt() : 1s;
    if (lone)
        wait += c.peer_delayed_ack;
    else if (board_.outstanding() <= mss()) // the last of several
        wait = std::max(wait, c.tail_delayed_ack);
    const instant at = now + wait;
    if (at < timers_.deadline(timer_id::retransmit)) timers_.set(timer_id::tail_probe, at);
}

// [RFC 8985 7.3]
void tcb::tail_probe_timeout(instant now) {
    if (snd_una_ == snd_nxt_) return;
    tail_probe_ = true;
    timers_.set(timer_id::retransmit, now + current_rto());
}

bool tcb::send_tail_probe(instant now, gather_list& parts, outgoing_segment& out) {
    tail_probe_ = false;
    if (snd_una_ == snd_nxt_ || phase_ != recovery_phase::none || board_.lost() != 0) return false;
    recovery& r = with_recovery();
    if (r.probing) return false;
    r.probing = true;
    const seq edge = snd_una_ + snd_wnd_;
    const std::uint32_t room = edge > snd_nxt_ ? edge - snd_nxt_ : 0;
    const std::uint32_t fresh = ecn_holds_ ? 0 : std::min({unsent(), room, mss()});
    if (fresh != 0) { // new data is the better probe
        r.probe_resent = false;
        send_range(snd_nxt_, fresh, false, now, parts, out);
        if (ecn_ == ecn_use::on && out.payload_size != 0) allow_marks(out);
    } else {
        const seq data_end = earlier(snd_nxt_, snd_end());
        const seq begin = later(data_begin(), data_end - mss());
        r.probe_resent = true;
        send_range(begin, data_end - begin, fin_sent_, now, parts, out);
    }
    r.probe_end = snd_nxt_;
    ++stack_->counters_.tail_probes;
    if (stack_->trace_ != nullptr) stack_->trace_->tail_probe(flow(), out.header.seq, now);
    return true;
}

// [RFC 8985 7.4.2]
void tcb::conclude_tail_probe(const ack_outcome& a, const segment& s, instant now) {
    recovery& r = *recovery_;
    const header& h = s.header;
    if (!r.probing || h.ack < r.probe_end) return;
    const bool reported = a.came_twice && a.came_twice->end == r.probe_end;
    if (!r.probe_resent || reported) { // it was new, or the data had arrived before it
        r.probing = false;
    } else if (h.ack > r.probe_end) {
        // The probe repaired a loss, which is a sign of congestion like any other.
        r.probing = false;
        if (phase_ != recovery_phase::none || ecn_reducing_) return;
        window_reduced();
        congestion_.on_congestion(congestion_cause::loss, a.flight_before, mss(), now);
        congestion_.on_recovered();
        ++stack_->counters_.tail_losses;
        if (stack_->trace_ != nullptr)
            stack_->trace_->recovery_began(flow(), loss_sign::tail_probe, snd_una_, now);
        trace_rate(now);
    } else if (h.ack == a.una_before && s.length() == 0 && h.options.sack_count == 0) {
        r.probing = false; // a peer that does not report duplicates: it came twice
    }
}

// --- observed ----------------------------------------------------------------------------------------------

void tcb::trace_rate(instant now) {
    if (stack_->trace_ != nullptr)
        stack_->trace_->rate_changed(
            flow(), {congestion_.cwnd(), congestion_.ssthresh(), paced_ ? pacer_.rate() : 0}, now);
}

} // namespace tapir::tcp
