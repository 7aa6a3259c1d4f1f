// What silence means: data is sent again, a shut window is asked about, a lone small segment is acknowledged,
// and after long enough the peer is given up.
// [RFC 6298 5] [RFC 9293 3.8.3, 3.8.4, 3.8.6.1]
#include <tapir/protocols/tcp/tcb.hpp>

#include <algorithm>

namespace tapir::tcp {

void tcb::on_timer(instant now) {
    if (timers_.expire(timer_id::close_deadline, now)) {
        abort(event::timeout, ending::close_timeout, make_error_code(errc::aborted), now);
        return;
    }
    if (timers_.expire(timer_id::give_up, now)) {
        abort(event::timeout, ending::timed_out, make_error_code(errc::timed_out), now);
        return;
    }
    if (timers_.expire(timer_id::delayed_ack, now)) ack_now_ = true;
    if (timers_.expire(timer_id::pace, now)) ecn_holds_ = false; // it will be asked what it can send
    if (timers_.expire(timer_id::reordering, now)) reordering_timeout(now);
    if (timers_.expire(timer_id::tail_probe, now)) tail_probe_timeout(now);
    if (timers_.expire(timer_id::retransmit, now)) retransmission_timeout(now);
    if (state_ == state::closed) return;
    if (timers_.expire(timer_id::persist, now)) persist_timeout(now);
    if (timers_.expire(timer_id::keepalive, now)) keepalive_timeout(now);
}

void tcb::retransmission_timeout(instant now) {
    if (snd_una_ == snd_nxt_) return;
    const bool first = !una_timed_out_;
    una_timed_out_ = true;
    if (backoff_ < 0xff) ++backoff_; // [RFC 6298 5.5]
    ++rto_fired_;
    ++stack_->counters_.rto_fired;
    if (stack_->trace_ != nullptr)
        stack_->trace_->retransmission_timeout(flow(), current_rto(), backoff_, now);
    if (!syn_acked()) {
        const bool first_syn = opening_ != opening::fast;
        if (backoff_ > (first_syn ? limits_.syn_retries : stack_->config_.syn_ack_retries)) {
            abort(event::timeout, ending::timed_out, make_error_code(errc::timed_out), now);
            return;
        }
        syn_retransmitted_ = true;
        syn_due_ = true;
        return;
    }
    size_timed_out(now);
    recovery& r = with_recovery();
    const std::uint32_t flight = in_flight();
    const bool from_rest = phase_ == recovery_phase::none;
    if (from_rest)
        remember_window();
    else if (phase_ == recovery_phase::fast)
        r.may_undo = false; // its window is not the one remembered
    r.timed_out = true;
    // ssthresh comes down once in a window of data, and has if a mark was echoed just now.
    congestion_.on_timeout(flight, mss(), first && !ecn_reducing_, now);
    ecn_reducing_ = false;
    window_reduced();
    if (first) suspect_black_hole();
    trace_rate(now);
    recover_ = snd_nxt_; // [RFC 6582 3.2, step 4 of the retransmit timeout]
    phase_ = recovery_phase::timeout;
    // [RFC 5682 2.1, step 1]; with timestamps their echo tells more
    r.spurious_timeout = from_rest && first && !timestamps_ ? f_rto::sent_first : f_rto::off;
    r.presumed = 0;
    r.duplicates = 0;
    r.probing = tail_probe_ = false;
    timers_.clear(timer_id::reordering);
    timers_.clear(timer_id::tail_probe);
    all_timed_out(now);
    oldest_due_ = true;
    timers_.set(timer_id::retransmit, now + current_rto()); // [RFC 6298 5.6]
}

// The oldest segment is lost, and what is as old as that; what went out just now may still arrive.
// [RFC 8985 6.3]
void tcb::all_timed_out(instant now) {
    const rack& arrivals = recovery_->arrivals;
    if (board_.is_sacked(snd_una_)) { // the peer has dropped what it held, or never had it [RFC 2018 8]
        ++stack_->counters_.sack_reneged;
        board_.forget_sacked();
        board_.mark_all_lost();
    } else if (!sack_permitted_ || !rtt_.has_sample()) {
        board_.mark_all_lost();
    } else {
        const duration one_way_and_back = arrivals.rtt() != duration{0} ? arrivals.rtt() : rtt_.srtt();
        const duration wait = arrivals.reordering_window(rtt_.min_rtt(), rtt_.srtt(), true);
        board_.mark_lost(snd_una_, earlier(snd_una_ + mss(), snd_nxt_));
        board_.judge(now, snd_nxt_, one_way_and_back + wait, now);
    }
}

// [RFC 8985 6.3]
void tcb::reordering_timeout(instant now) {
    if (!judge_sendings(now) || phase_ != recovery_phase::none) return;
    ack_outcome nothing;
    nothing.una_before = snd_una_;
    nothing.flight_before = in_flight() + board_.lost();
    enter_recovery(nothing, loss_sign::overdue, now);
    congestion_.set_cwnd(in_flight() + mss());
    trace_rate(now);
}

void tcb::persist_timeout(instant now) {
    if (timeout_will_tell()) {
        if (!timers_.armed(timer_id::retransmit)) timers_.set(timer_id::retransmit, now + current_rto());
        return;
    }
    if (board_.lost() == 0 && unsent() == 0 && !fin_unsent()) return; // nothing wants the window any more
    probe_ = true;
    if (persist_backoff_ < 0xff) ++persist_backoff_; // [RFC 9293 3.8.6.1 SHLD-30]
    if (!timers_.armed(timer_id::give_up)) timers_.set(timer_id::give_up, now + give_up_after());
}

// [RFC 9293 3.8.4]
void tcb::keepalive_timeout(instant now) {
    const instant idle_until = last_receive_ + limits_.keepalive_idle;
    if (unanswered_keepalives_ == 0 && now < idle_until) {
        timers_.set(timer_id::keepalive, idle_until);
        return;
    }
    timers_.set(timer_id::keepalive, now + limits_.keepalive_interval);
    if (snd_una_ != snd_nxt_) return; // retransmission asks already
    const bool by_time = limits_.user_timeout.count() != 0;
    const instant silent_until = last_receive_ + limits_.user_timeout;
    if (by_time && silent_until > now)
        timers_.set(timer_id::keepalive, std::min(timers_.deadline(timer_id::keepalive), silent_until));
    if (by_time ? unanswered_keepalives_ != 0 && silent_until <= now
                : unanswered_keepalives_ >= limits_.keepalive_probes) {
        abort(event::timeout, ending::timed_out, make_error_code(errc::timed_out), now);
        return;
    }
    if (unanswered_keepalives_ < 0xff) ++unanswered_keepalives_;
    keepalive_probe_ = true;
}

} // namespace tapir::tcp
