// What a segment means to a connection, in the order of RFC 9293 3.10.7.3 and 3.10.7.4: sequence number, RST,
// SYN, ACK, text, FIN. Security labels are not kept; urgent data is ordinary data (see the README).
#include <tapir/protocols/tcp/tcb.hpp>

#include <algorithm>
#include <utility>

namespace tapir::tcp {

namespace {
constexpr std::int32_t ts_recent_lifetime = 24 * 24 * 3600; // seconds [RFC 7323 5.5]
} // namespace

void tcb::drop(std::uint64_t counters::* reason, std::string_view name, const segment& s, instant now) {
    stack_->drop(reason, name, flow(), s, now);
}

// One acknowledgement for each segment that earns one: the peer's loss detection counts them.
// [RFC 5681 4.2] [RFC 9293 3.10.7.4, first]
void tcb::owe_ack() {
    if (acks_owed_ < stack_->config_.max_acks_owed)
        ++acks_owed_;
    else
        ++stack_->counters_.acks_suppressed;
}

// A keepalive, or a probe of a window that is shut, as most stacks send them: empty, one below what we
// expect. [RFC 9293 3.8.4]. (With a byte of garbage it is an old duplicate, and earns its ACK as such; so
// does a probe with the next byte.) Only one whose ACK can be true: two ends at odds by one byte would take
// each other's answers for questions.
bool tcb::asks_whether_we_live(const segment& s) const {
    const header& h = s.header;
    return s.length() == 0 && !h.rst() && h.seq == rcv_nxt_ - 1 && h.has_ack() && can_be_true(h.ack);
}

// An ACK that tells the truth to whoever sent something suspicious; limited, or two confused peers would
// answer each other for ever. [RFC 5961 3, 4, 7]
//
// The limit over all connections is not for honest questions: whoever used it up would silence us towards
// peers of others, who would take us for dead. Who uses up that of one connection, by forging, does not: each
// of the ACKs so drawn tells its peer that we live.
void tcb::challenge(const segment& s, instant now) {
    const auto second = static_cast<std::uint16_t>(second_of(now));
    if (second != challenge_second_) {
        challenge_second_ = second;
        challenges_ = 0;
    }
    if (challenges_ >= stack_->config_.challenge_acks_per_second) {
        ++stack_->counters_.challenge_acks_suppressed;
        return;
    }
    if (!asks_whether_we_live(s) && !stack_->may_challenge(now)) {
        ++stack_->counters_.challenge_acks_total_suppressed;
        return;
    }
    ++challenges_;
    ++stack_->counters_.challenge_acks;
    owe_ack();
}

// [RFC 5961 7], with a limit that nobody can know: see config.
bool stack::may_challenge(instant now) {
    const std::uint32_t second = tcb::second_of(now);
    if (second != challenge_second_) {
        challenge_second_ = second;
        const std::uint32_t average = std::max(config_.challenge_acks_total_per_second, 1u);
        challenges_left_ = (average + 1) / 2 + random_.below(average);
    }
    if (challenges_left_ == 0) return false;
    --challenges_left_;
    return true;
}

verdict tcb::on_segment(const segment& s, instant now) {
    ++segments_in_;
    const verdict v = state_ == state::syn_sent ? arrives_in_syn_sent(s, now) : arrives_synchronized(s, now);
    tell_user();
    return v;
}

// Once, of all that a segment has brought.
void tcb::tell_user() {
    if (!news_) return;
    news_ = false;
    user_->notify();
}

void tcb::accept_syn_options(const options& o, bool also_ours) {
    peer_mss_ = std::max(o.mss.value_or(stack_->config_.default_mss), stack_->config_.min_mss);
    // [RFC 7323 2.2, 2.3]: scaling only if both SYNs have it, and never by more than 14
    scaling_ = also_ours && o.window_scale.has_value() && stack_->config_.use_window_scale;
    snd_scale_ = scaling_ ? std::min<std::uint8_t>(*o.window_scale, 14) : std::uint8_t{0};
    if (!scaling_) rcv_scale_ = 0;
    timestamps_ = also_ours && o.ts.has_value() && stack_->config_.use_timestamps;
    size_segments();
    if (timestamps_) ts_recent_ = o.ts->value;
    sack_permitted_ = also_ours && o.sack_permitted && stack_->config_.use_sack; // [RFC 2018 2]
}

// [RFC 9293 3.10.7.3]
verdict tcb::arrives_in_syn_sent(const segment& s, instant now) {
    const header& h = s.header;
    // First, the ACK: it can only acknowledge our SYN.
    if (h.has_ack() && (h.ack <= iss_ || h.ack > snd_nxt_)) {
        drop(&counters::bad_ack, "bad_ack", s, now);
        return verdict::reset;
    }
    // Second, the RST: believed only with an acceptable ACK.
    if (h.rst()) {
        if (h.has_ack())
            end(event::rst, ending::reset, make_error_code(errc::refused), now);
        else
            drop(&counters::blind_reset, "blind_reset", s, now);
        return verdict::done;
    }
    // Fourth, the SYN.
    if (!h.syn()) {
        drop(&counters::unexpected_syn, "no_syn", s, now);
        return verdict::done;
    }
    last_receive_ = s.arrived;
    irs_ = h.seq;
    const std::uint32_t promised = rcv_adv_ - rcv_nxt_; // by our SYN
    rcv_nxt_ = h.seq + 1;
    rcv_adv_ = rcv_nxt_ + std::max(promised, std::min<std::uint32_t>(receive_space(), 0xffff));
    last_ack_sent_ = rcv_nxt_;
    accept_syn_options(h.options, true);
    ecn_answered(h.flags);
    ts_recent_at_ = second_of(s.arrived);
    snd_wnd_ = max_snd_wnd_ = h.window; // never scaled in a SYN [RFC 7323 2.2]
    snd_wl1_ = h.seq;
    snd_wl2_ = h.ack;

    if (!h.has_ack()) { // both sides opened at once [RFC 9293 3.5 figure 8]
        enter(event::rcv_syn, now);
        syn_due_ = true; // the SYN goes again, with an ACK this time
        return verdict::done;
    }
    delivery told;
    board_.acknowledge(h.ack, believable(s, true), told);
    sample_rtt(told, s, true);
    const std::uint32_t taken = h.ack - iss_ - 1; // of data that went with our SYN
    fast_open_answered(h, taken, now);
    buffer_.drop_front(taken);
    bytes_acked_ += taken;
    snd_una_ = h.ack;
    syn_acked_ = true;
    syn_due_ = false;
    enter(event::rcv_syn_ack, now);
    established(now);
    ack_now_ = true;
    if (!s.payload.empty() || h.fin()) {
        text_arrives(h.seq + 1, s, h.fin(), now);
        conclude(false, user_->peer_fin_, now);
    }
    return verdict::done;
}

// Our SYN is acknowledged: from here on data may flow. In ESTABLISHED, or behind it if the user has closed
// already.
void tcb::established(instant now) {
    backoff_ = 0;
    una_timed_out_ = false;
    made_progress(now);
    timers_.clear(timer_id::retransmit);
    timers_.clear(timer_id::give_up);
    recover_ = iss_;
    ecn_agreed();
    if (probing_ == mtu_probing::always && opening_ != opening::fast) begin_mtu_search();
    // A peer has taken nothing of a SYN's data that it did not acknowledge with it, nor what came before our
    // SYN|ACK. It was no congestion that it went in vain. [RFC 7413 4.2.1]
    const bool with_syn = opening_ != opening::fast && !fin_sent_;
    if (snd_una_ != snd_nxt_ && (with_syn || syn_retransmitted_)) board_.mark_all_lost();
    if (syn_retransmitted_) {
        congestion_.start_after_loss(mss(), stack_->config_.initial_window_segments);
        // [RFC 6298 5.7]
        if (!rtt_.has_sample()) rtt_.set_rto(std::max(rtt_.rto(), duration(3s)));
    } else if (opening_ != opening::fast) {
        congestion_.start(mss(), stack_->config_.initial_window_segments);
    }
    if (limits_.keepalive_idle != limits_.keepalive_idle.zero())
        timers_.set(timer_id::keepalive, now + limits_.keepalive_idle);
    (opening_ == opening::active ? stack_->counters_.active_opens : stack_->counters_.passive_opens) += 1;
    trace_rate(now);
    if (close_pending_) {
        close_pending_ = false;
        fin_queued_ = true;
        enter(event::call_close, now);
    }
}

// [RFC 7323 5.3, R1]
bool tcb::paws_rejects(const segment& s) {
    if (!timestamps_ || s.header.rst() || !s.header.options.ts) return false;
    const bool older = static_cast<std::int32_t>(s.header.options.ts->value - ts_recent_) < 0;
    return older && static_cast<std::int32_t>(second_of(s.arrived) - ts_recent_at_) < ts_recent_lifetime;
}

// The four cases of RFC 9293 3.10.7.4 (first). An empty segment may also stand exactly at the right edge: a
// peer that has filled our window, and lost some of it, acknowledges from there.
bool tcb::acceptable(const segment& s) const {
    const std::uint32_t window = rcv_adv_ - rcv_nxt_;
    const std::uint32_t length = s.length();
    const seq begin = s.header.seq;
    if (length == 0) return begin - rcv_nxt_ <= window;
    if (window == 0) return begin == rcv_nxt_; // its ACK counts, its text will be trimmed [MUST-66]
    return in_range(begin, rcv_nxt_, window) || in_range(begin + (length - 1), rcv_nxt_, window);
}

// Neither the future, nor a past too far to be a duplicate. [RFC 5961 5]
bool tcb::can_be_true(seq ack) const {
    return ack <= snd_nxt_ && (ack >= snd_una_ || snd_una_ - ack <= max_snd_wnd_);
}

// Header prediction: whether a segment is what most are, next in order, within the window, and nothing but
// text and an ACK that can be true. None of the checks of dealt_with() finds anything to say about it.
bool tcb::is_predicted(const segment& s) const {
    const header& h = s.header;
    constexpr auto apart_from_psh = static_cast<flags>(~static_cast<unsigned>(flags::psh) & 0xff);
    return state_ == state::established && (h.flags & apart_from_psh) == flags::ack && h.seq == rcv_nxt_ &&
           s.payload.size() <= rcv_adv_ - rcv_nxt_ && h.ack - snd_una_ <= snd_nxt_ - snd_una_ &&
           (!timestamps_ ||
            (h.options.ts && static_cast<std::int32_t>(h.options.ts->value - ts_recent_) >= 0));
}

// The checks of RFC 9293 3.10.7.4, first to fifth, and SYNs that come again. Nothing: the peer has spoken,
// and its ACK can be true.
std::optional<verdict> tcb::dealt_with(const segment& s, instant now) {
    const header& h = s.header;

    // In a simultaneous open the peer's SYN|ACK repeats its SYN: what is new is the ACK, also to who has
    // closed meanwhile. [RFC 9293 figure 8]
    if (!syn_acked_ && opening_ == opening::active && h.syn() && h.has_ack() && !h.rst() && h.seq == irs_) {
        ecn_answered(h.flags);
        segment rest = s;
        rest.header.flags =
            h.flags & static_cast<flags>(~static_cast<unsigned>(flags::syn | ecn_setup) & 0xff);
        rest.header.seq += 1;
        return arrives_synchronized(rest, now);
    }

    // The SYN again: our SYN|ACK was lost, or is late.
    if (opening_ == opening::fast && !syn_acked_ && h.syn() && !h.has_ack() && !h.rst() && h.seq == irs_) {
        syn_retransmitted_ = syn_retransmitted_ || !syn_due_; // or it has not gone yet
        syn_due_ = true;
        ecn_answered(h.flags); // who asks no more for it has sent a SYN without [RFC 3168 6.1.1]
        return verdict::done;
    }
    // First, sequence number and timestamp.
    if (timestamps_ && !h.options.ts && !h.rst()) { // [RFC 7323 3.2]
        drop(&counters::missing_timestamp, "missing_timestamp", s, now);
        return verdict::done;
    }
    if (paws_rejects(s)) {
        drop(&counters::paws_rejected, "paws_rejected", s, now);
        challenge(s, now);
        return verdict::done;
    }
    if (!acceptable(s)) {
        drop(&counters::out_of_window, "out_of_window", s, now);
        if (h.rst()) return verdict::done;
        if (!s.payload.empty()) ++stack_->counters_.duplicate_data;
        const seq end_of_text = h.seq + static_cast<std::uint32_t>(s.payload.size());
        if (!h.syn() && end_of_text <= rcv_nxt_) came_twice(h.seq, end_of_text);
        if (s.length() == 0 || h.syn())
            challenge(s, now);
        else
            owe_ack();
        return verdict::done;
    }

    // Second, RST.
    if (h.rst()) {
        rst_arrives(s, now);
        return verdict::done;
    }
    // Fourth, SYN: whatever its sequence number, the answer is what we know. [RFC 5961 4]
    if (h.syn()) {
        drop(&counters::unexpected_syn, "unexpected_syn", s, now);
        challenge(s, now);
        return verdict::done;
    }
    // Fifth, ACK.
    if (!h.has_ack()) {
        drop(&counters::bad_ack, "no_ack", s, now);
        return verdict::done;
    }
    if (!syn_acked()) { // in SYN_RECEIVED, or behind it if the user has closed already
        if (h.ack <= snd_una_ || h.ack > snd_nxt_) {
            drop(&counters::bad_ack, "bad_ack", s, now);
            return verdict::reset;
        }
    } else if (!can_be_true(h.ack)) {
        drop(&counters::bad_ack, "bad_ack", s, now);
        challenge(s, now);
        return verdict::done;
    }
    return std::nullopt;
}

// [RFC 9293 3.10.7.4] for SYN_RECEIVED and all later states
verdict tcb::arrives_synchronized(const segment& s, instant now) {
    const header& h = s.header;
    if (!is_predicted(s))
        if (const auto done = dealt_with(s, now)) return *done;
    // Only now it is the peer who spoke: what stands outside of the window anybody can send, and would keep
    // the dead alive. [RFC 9293 3.8.4]
    last_receive_ = s.arrived;
    unanswered_keepalives_ = 0;
    // [RFC 7323 4.3 (2)]; what is older has passed PAWS because ours is worth nothing any more [RFC 7323 5.5]
    if (timestamps_ && h.options.ts && h.seq <= last_ack_sent_) {
        ts_recent_ = h.options.ts->value;
        ts_recent_at_ = second_of(s.arrived);
    }
    const bool fin_was_acked = fin_acked();
    ack_arrives(s, now);
    if (state_ == state::closed) return verdict::done;
    const bool fin_acked_now = fin_acked() && !fin_was_acked;

    // Sixth, URG: for information only.
    if (has(h.flags, flags::urg) && may_receive(state_)) note_urgent(h);
    // Seventh and eighth, text and FIN.
    const bool had_fin = user_->peer_fin_;
    if (!s.payload.empty() || h.fin()) {
        if (may_receive(state_)) {
            text_arrives(h.seq, s, h.fin(), now);
            if (answers_marks() && !s.payload.empty()) marks_arrive(s, now);
        } else if (s.length() != 0) {
            owe_ack(); // behind the peer's FIN there is nothing; tell it where we stand
        }
    }
    if (state_ == state::closed) return verdict::done;
    conclude(fin_acked_now, user_->peer_fin_ && !had_fin, now);
    return verdict::done;
}

// [RFC 9293 3.10.7.4, second] [RFC 5961 3.2]
void tcb::rst_arrives(const segment& s, instant now) {
    if (s.header.seq != rcv_nxt_) {
        drop(&counters::blind_reset, "blind_reset", s, now);
        challenge(s, now);
        return;
    }
    const bool unopened = state_ == state::syn_received && opening_ != opening::fast;
    const errc why = unopened ? errc::refused : errc::reset;
    end(event::rst, ending::reset, make_error_code(why), now);
}

void tcb::text_arrives(seq begin, const segment& s, bool fin, instant now) {
    if (!take_text(begin, s, fin, now)) owe_ack();
}

// Trims to the window and to what is new, keeps what is ahead of a hole, delivers what is in order. False:
// the segment brought nothing in order, and earns an acknowledgement of its own; one, whatever was wrong with
// it.
bool tcb::take_text(seq begin, const segment& s, bool fin, instant now) {
    chunk payload = s.payload;
    // In front: what we have.
    const bool partly_known = begin < rcv_nxt_;
    if (partly_known) {
        const std::uint32_t old = rcv_nxt_ - begin;
        ++stack_->counters_.duplicate_data;
        came_twice(begin, earlier(rcv_nxt_, begin + static_cast<std::uint32_t>(payload.size())));
        if (old > payload.size()) return false; // all of it, the FIN too
        payload.drop_front(old);
        begin = rcv_nxt_;
        if (payload.empty() && !fin) return false;
    }
    // Behind: what was not offered. A bare FIN needs no room.
    const std::uint32_t room = rcv_adv_ - begin;
    if (payload.size() > room) {
        payload.drop_back(payload.size() - room);
        fin = false;
    }
    const seq end_of_text = begin + static_cast<std::uint32_t>(payload.size());
    if (peer_fin_known_ && end_of_text > peer_fin_) return false; // it said it would end earlier
    if (nobody_reads_ && !payload.empty()) {                      // [RFC 2525 2.17] [RFC 9293 3.6.1 SHLD-3]
        user_->report_.add_unread(payload.size());
        abort(event::call_abort, ending::data_after_close, make_error_code(errc::aborted), now);
        return true;
    }
    if (!payload.empty() && !may_keep(begin, payload, now)) {
        ++stack_->counters_.memory_dropped;
        return false;
    }
    // The first received wins here, too: a FIN in front of text that is held is a lie.
    if (fin && !peer_fin_known_ && !(ahead_ && ahead_->reaches_beyond(end_of_text))) {
        peer_fin_known_ = true;
        peer_fin_ = end_of_text;
    }
    const std::size_t of_one = s.piece == 0 ? payload.size() : std::min<std::size_t>(payload.size(), s.piece);
    rcv_mss_ = static_cast<std::uint16_t>(
        std::clamp<std::size_t>(of_one, rcv_mss_, std::max(rcv_mss_, receive_mss())));
    const bool full_segment = !payload.empty() && payload.size() >= rcv_mss_;

    if (begin != rcv_nxt_) {
        ++stack_->counters_.out_of_order;
        // A sender without SACK counts ACKs: it gets as many as packets that come apart would draw.
        if (!sack_permitted_)
            for (std::uint32_t n = s.packets(); n > 1; --n) owe_ack();
        if (!payload.empty()) keep_ahead(begin, std::move(payload), now);
        return false; // [RFC 5681 4.2]: at once, a duplicate
    }
    bool in_order = false;
    if (!payload.empty()) {
        in_order = true;
        made_progress(now);
        const bool filled_hole = ahead_ && !ahead_->empty();
        acks_owed_ = 0; // what they would say is said better by the ACK for this
        if (filled_hole) {
            const auto found = ahead_->insert(begin, std::move(payload), stack_->pool_);
            came_twice(found.known_begin, found.known_end);
            for (chunk next = ahead_->take(rcv_nxt_); !next.empty(); next = ahead_->take(rcv_nxt_))
                take_in_order(std::move(next));
            settle_ahead();
        } else {
            take_in_order(std::move(payload));
        }
        // In-order data is acknowledged once per batch [a deviation from RFC 9293 3.8.6.3 SHLD-19, bounded
        // by max_stretch_bytes]; a small segment alone waits for company [MUST-40], a filled hole never
        // [RFC 5681 4.2], nor what was sent again because an ACK was lost.
        if (filled_hole || partly_known) ack_at_once_ = true;
        if (filled_hole || partly_known || full_segment || rcv_nxt_ - last_ack_sent_ >= 2u * rcv_mss_)
            ack_now_ = true;
        else if (!ack_now_ && !timers_.armed(timer_id::delayed_ack))
            timers_.set(timer_id::delayed_ack, now + stack_->config_.delayed_ack);
        news_ = true;
    }
    if (peer_fin_known_ && rcv_nxt_ == peer_fin_) {
        rcv_nxt_ += 1;
        rcv_adv_ = later(rcv_adv_, rcv_nxt_);
        ack_now_ = true;
        acks_owed_ = 0;
        if (ahead_) ahead_->clear();
        user_->peer_fin_ = true;
        in_order = true;
    }
    return in_order;
}

// Data ahead of a hole.
void tcb::keep_ahead(seq begin, chunk payload, instant now) {
    const auto n = static_cast<std::uint32_t>(payload.size());
    if (ahead_ && ahead_->ranges() >= stack_->config_.max_out_of_order_ranges && !ahead_->touches(begin, n)) {
        ++stack_->counters_.reassembly_full;
        return;
    }
    if (!ahead_) ahead_ = std::make_unique<held_ahead>(*this);
    if (ahead_->empty()) made_progress(now); // of a kind: what follows is held, not progress
    const auto found = ahead_->insert(begin, std::move(payload), stack_->pool_);
    if (!found.kept) ++stack_->counters_.duplicate_data;
    came_twice(found.known_begin, found.known_end);
}

// [RFC 2883 4]
void tcb::came_twice(seq begin, seq end) {
    if (!sack_permitted_ || end <= begin) return;
    if (!ahead_) ahead_ = std::make_unique<held_ahead>(*this);
    ahead_->sack().duplicate(begin, end, stack_->config_.max_acks_owed);
}

void tcb::settle_ahead() {
    if (ahead_ && ahead_->empty() && ahead_->sack().empty()) ahead_.reset();
}

std::uint32_t tcb::urgent_ahead() const {
    if (user_->urgent_segments_ == 0) return 0;
    const auto unread = static_cast<std::uint32_t>(user_->unread_.size());
    const std::uint32_t ahead = user_->urgent_end_ - (rcv_nxt_ - (user_->peer_fin_ ? 1u : 0u) - unread);
    // Farther than any pointer into the window reaches: it lies behind.
    return ahead <= unread + (rcv_adv_ - rcv_nxt_) + 0xffff ? ahead : 0;
}

// The urgent pointer says where urgent data ends, one past its last byte. What lies before it is delivered
// like any other: no byte is taken out of the stream, whatever the pointer says. The user may learn how far
// it is. [RFC 9293 3.8.5 MUST-30, MUST-31, MUST-32, MUST-33, MUST-62] [RFC 6093 3]
void tcb::note_urgent(const header& h) {
    const seq end = h.seq + h.urgent;
    const bool news = urgent_ahead() == 0 || end > user_->urgent_end_;
    ++stack_->counters_.urgent_segments;
    ++user_->urgent_segments_;
    if (!news) return;
    user_->urgent_end_ = end;
    user_->notify();
}

void tcb::take_in_order(chunk payload) {
    const auto n = static_cast<std::uint32_t>(payload.size());
    rcv_nxt_ += n;
    bytes_received_ += n;
    stack_->counters_.bytes_in += n;
    user_->unread_.append(std::move(payload), stack_->pool_);
    user_->charge();
}

// One segment, one event.
void tcb::conclude(bool our_fin_acked, bool peer_fin, instant now) {
    switch (state_) {
    case state::established:
        if (peer_fin) enter(event::peer_fin, now);
        break;
    case state::fin_wait_1:
        if (our_fin_acked && peer_fin)
            enter(event::peer_fin_and_our_fin_acked, now);
        else if (our_fin_acked)
            enter(event::our_fin_acked, now);
        else if (peer_fin)
            enter(event::peer_fin, now);
        bound_fin_wait_2(now);
        break;
    case state::fin_wait_2:
        if (peer_fin) enter(event::peer_fin, now);
        break;
    case state::closing:
    case state::last_ack:
        if (our_fin_acked) enter(event::our_fin_acked, now);
        break;
    default: break;
    }
}

} // namespace tapir::tcp
