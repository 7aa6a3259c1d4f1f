// What the user wants: open, send, receive, close, abort. [RFC 9293 3.10.1 - 3.10.6]
#include <tapir/protocols/tcp/tcb.hpp>

#include <algorithm>

namespace tapir::tcp {

void tcb::open_active(seq iss, std::uint32_t ts_offset, instant now) {
    iss_ = snd_una_ = snd_nxt_ = recover_ = iss;
    syn_due_ = true;
    ts_offset_ = ts_offset;
    rcv_scale_ = stack_->config_.use_window_scale ? window_scale_for(most_receive_buffer()) : std::uint8_t{0};
    last_progress_ = now;
    enter(event::call_open, now);
}

void tcb::open_passive(const half_open_entry& e, std::uint32_t ts_offset) {
    opening_ = opening::passive;
    state_ = state::syn_received;
    iss_ = snd_una_ = recover_ = e.iss;
    snd_nxt_ = e.iss + 1;
    ts_offset_ = ts_offset;
    irs_ = e.irs;
    rcv_nxt_ = last_ack_sent_ = e.irs + 1;
    rcv_adv_ = rcv_nxt_ + std::min<std::uint32_t>(limits_.receive_buffer, 0xffff);
    snd_wl1_ = e.irs;
    snd_wl2_ = e.iss;
    peer_mss_ = std::max(e.peer_mss, stack_->config_.min_mss);
    scaling_ = e.scaled;
    snd_scale_ = e.scaled ? e.peer_scale : std::uint8_t{0};
    rcv_scale_ = e.scaled ? window_scale_for(most_receive_buffer()) : std::uint8_t{0};
    timestamps_ = e.timestamps;
    size_segments();
    ts_recent_ = e.ts_recent;
    ts_recent_at_ = second_of(e.arrived());
    sack_permitted_ = e.sack_permitted;
    ecn_ = e.ecn ? ecn_use::offered : ecn_use::off;
    from_cookie_ = e.from_cookie;
    if (from_cookie_) return; // nobody knows when its SYN|ACK went, so the first sample is the first data's
    // The SYN|ACK gives the first round-trip sample, unless it was sent twice. [RFC 6298 3]
    board_.sent(iss_, iss_ + 1, e.last_sent.at());
    syn_retransmitted_ = e.retransmits != 0 || e.repeated;
    if (syn_retransmitted_) board_.resent(iss_, iss_ + 1, e.last_sent.at());
}

bool tcb::may_queue() const {
    return may_send(state_) && !fin_queued_ && !close_pending_ && buffer_.size() < buffer_.bound();
}

std::size_t tcb::room_to_write() const {
    return may_queue() ? buffer_.room(send_memory_left()) : 0;
}

std::size_t tcb::write(bytes data, instant now) {
    if (data.empty() || !make_room_to_write(now)) return 0;
    made_progress(now);
    return buffer_.write(data, stack_->pool_, send_memory_left());
}

std::size_t tcb::write(chunk data, instant now) {
    if (data.empty() || !make_room_to_write(now)) return 0;
    made_progress(now);
    return buffer_.write(std::move(data), stack_->pool_, send_memory_left());
}

// [RFC 9293 3.10.4]
void tcb::finish(instant now) {
    switch (state_) {
    case state::syn_sent: end(event::call_close, ending::aborted, make_error_code(errc::aborted), now); break;
    case state::syn_received:
        // With data queued the FIN waits for ESTABLISHED, which the data needs anyway.
        if (buffer_.size() != 0) {
            close_pending_ = true;
            break;
        }
        [[fallthrough]];
    case state::established:
    case state::close_wait:
        fin_queued_ = true;
        enter(event::call_close, now);
        break;
    default: break; // closing already
    }
    may_be_orphaned(now);
}

void tcb::may_be_orphaned(instant now) {
    if (orphan_ || !nobody_reads_ || !(fin_queued_ || close_pending_) || state_ == state::closed) return;
    if (stack_->orphans_ >= stack_->config_.max_orphans) {
        ++stack_->counters_.orphan_overflow;
        abort(event::call_abort, ending::out_of_memory, make_error_code(errc::no_memory), now);
        return;
    }
    orphan_ = true;
    ++stack_->orphans_;
}

void tcb::stop_reading(instant now) {
    nobody_reads_ = true;
    if (ahead_) ahead_->clear();
    bound_fin_wait_2(now);
    may_be_orphaned(now);
}

// All that can still come is the peer's FIN, and nothing makes a silent peer send it.
void tcb::bound_fin_wait_2(instant now) {
    if (state_ == state::fin_wait_2 && nobody_reads_ && !timers_.armed(timer_id::close_deadline))
        timers_.set(timer_id::close_deadline, now + limits_.close_timeout);
}

void tcb::close(instant now, instant deadline) {
    if (!user_->unread_.empty()) { // [RFC 2525 2.17] [RFC 9293 3.6.1 SHLD-3]
        abort(event::call_abort, ending::unread_data, make_error_code(errc::aborted), now);
        return;
    }
    stop_reading(now);
    timers_.set(timer_id::close_deadline, deadline == never ? now + limits_.close_timeout : deadline);
    finish(now);
}

// A RST if the peer knows of the connection, then the end. [RFC 9293 3.10.5]
void tcb::abort(event cause, ending how, std::error_code why, instant now) {
    if (state_ != state::syn_sent) stack_->queue_reply(way(), make_rst(now));
    end(cause, how, why, now);
}

void tcb::soft_error(std::error_code why) {
    user_->soft_error_ = why;
}

// What is unacknowledged has been so since its deadline was set.
void tcb::set_user_timeout(duration timeout) {
    const duration before = give_up_after();
    limits_.user_timeout = compact(timeout);
    if (syn_acked() && timers_.armed(timer_id::give_up))
        timers_.set(timer_id::give_up, timers_.deadline(timer_id::give_up) - before + give_up_after());
}

// A cache of path MTUs may have learnt from another connection, or forgotten. A change for the worse takes
// effect at once; one for the better not before the last lowering is old. [RFC 1191 5.3, 6.3]
// Below the floor goes only who has a link of his own that is as narrow.
void tcb::follow_path(const tcp::path& p, instant now) {
    const std::uint16_t lowered = std::max(p.mtu, std::min(stack_->config_.min_path_mtu, p.link_mtu));
    if (discovery_) discovery_->search.limit(lowered, now);
    if (p.mtu == mtu_) return;
    if (p.mtu > mtu_) {
        if (discovery_) return; // a probe will tell
        const auto wait = stack_->config_.path_mtu_raise_after / 1s;
        if (mtu_lowered_at_ != 0 && second_of(now) - mtu_lowered_at_ < wait) return;
        ++stack_->counters_.path_mtu_raised;
        mtu_lowered_at_ = 0;
        set_mtu(p.mtu);
        congestion_.on_new_mss(mss());
        return;
    }
    if (lowered >= mtu_) return;
    // Of what is in flight a router will say so, too, if it is too large; or it has passed in time.
    if (snd_una_ != snd_nxt_) with_recovery().oversized_until = snd_nxt_;
    lower_mtu(lowered, now);
}

void tcb::lower_mtu(std::uint16_t mtu, instant now) {
    ++stack_->counters_.path_mtu_lowered;
    mtu_lowered_at_ = std::max(second_of(now), 1u);
    set_mtu(mtu);
    oldest_lost_ = 0; // larger ones were
    congestion_.on_new_mss(mss());
}

// A router took none of what we sent. [RFC 1191 6.3] [RFC 5927 7]
void tcb::lower_path_mtu(std::uint16_t mtu, seq about, instant now) {
    const std::uint16_t lowered = std::max(mtu, stack_->config_.min_path_mtu);
    if (discovery_) mtu_refused(lowered, about, now);
    if (lowered < mtu_)
        lower_mtu(lowered, now);
    else if (!recovery_ || about >= recovery_->oversized_until)
        return;
    if (!syn_acked()) { // data goes again once the handshake is complete
        if (snd_nxt_ <= data_begin()) return;
        // A SYN that had some, the first one, goes again without.
        if (about == iss_ && state_ == state::syn_sent && board_.lost() == 0 && !syn_retransmitted_) {
            syn_due_ = true;
            timers_.set(timer_id::retransmit, now + current_rto());
        }
        board_.mark_lost(data_begin(), snd_nxt_);
        return;
    }
    if (snd_una_ == snd_nxt_) return;
    // What is in flight was too large; this is no congestion, so cwnd stays. [RFC 1191 6.5]
    recovery& r = with_recovery();
    r.oversized_until = snd_una_;
    if (snd_una_ <= r.ecn_reduced_at) window_reduced(); // CWR was among it
    if (phase_ == recovery_phase::fast || ecn_reducing_) end_reduction();
    phase_ = recovery_phase::timeout;
    r.spurious_timeout = f_rto::off;
    r.may_undo = false;
    r.presumed = 0;
    r.duplicates = 0;
    r.probing = tail_probe_ = false;
    timers_.clear(timer_id::tail_probe);
    recover_ = snd_nxt_;
    board_.mark_all_lost();
    if (stack_->trace_ != nullptr) stack_->trace_->recovery_began(flow(), loss_sign::path_mtu, snd_una_, now);
    trace_rate(now);
}

} // namespace tapir::tcp
