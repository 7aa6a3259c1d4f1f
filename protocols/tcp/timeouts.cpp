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
    if (timers_.expire(timer_id::retransmit, now)) retransmission_timeout(now);
    if (state_ == state::closed) return;
    if (timers_.expire(timer_id::persist, now)) persist_timeout(now);
    if (timers_.expire(timer_id::keepalive, now)) keepalive_timeout(now);
}

void tcb::retransmission_timeout(instant now) {
    if (snd_una_ == snd_max_) return;
    const bool first = !una_timed_out_;
    una_timed_out_ = true;
    if (backoff_ < 0xff) ++backoff_; // [RFC 6298 5.5]
    ++rto_fired_;
    ++stack_->counters_.rto_fired;
    if (stack_->trace_ != nullptr)
        stack_->trace_->retransmission_timeout(flow(), current_rto(), backoff_, now);
    if (!syn_acked()) {
        if (backoff_ > limits_.syn_retries) {
            abort(event::timeout, ending::timed_out, make_error_code(errc::timed_out), now);
            return;
        }
        syn_retransmitted_ = true;
        snd_nxt_ = iss_;
        return;
    }
    congestion_.on_timeout(flight(), mss(), first);
    trace_cwnd(now);
    recover_ = snd_max_; // [RFC 6582 3.2, step 4 of the retransmit timeout]
    in_recovery_ = false;
    resend_una_ = false;
    dup_acks_ = 0;
    // All in flight counts as lost; what the peer has after all, its next ACK will skip.
    snd_nxt_ = snd_una_;
}

void tcb::persist_timeout(instant now) {
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
    if (snd_una_ != snd_max_) return; // retransmission asks already
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
