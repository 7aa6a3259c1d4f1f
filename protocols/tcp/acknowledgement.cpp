// What the ACK field of an acceptable segment means, and its SACK blocks: data leaves the send buffer, the
// round trip is measured, the peer's window moves. What it says about losses is in loss_recovery.cpp. [RFC
// 9293 3.10.7.4, fifth] [RFC 2018 5] [RFC 2883 4] [RFC 6298 3, 5]
#include <tapir/protocols/tcp/tcb.hpp>

#include <algorithm>

namespace tapir::tcp {

void tcb::ack_arrives(const segment& s, instant now) {
    const header& h = s.header;
    // A peer that answers probes is alive, however long its window stays shut [RFC 9293 3.8.6.1 MUST-37]:
    // worth waiting for as long as somebody here does. When nobody will write, read or close any more, only
    // progress keeps a connection.
    if (timers_.armed(timer_id::persist) && !(nobody_reads_ && fin_queued_)) timers_.clear(timer_id::give_up);

    const bool handshake = !syn_acked_;
    if (h.ack <= snd_una_ && !handshake && snd_una_ == snd_nxt_ && h.options.sack_count == 0 && !recovery_ &&
        !discovery_) { // nothing is under way: to a receiver no ACK says more
        update_send_window(s);
        return;
    }
    const std::uint32_t offered = std::uint32_t{h.window} << snd_scale_;
    ack_outcome a;
    a.una_before = snd_una_;
    a.flight_before = in_flight();
    a.repeated = h.ack == snd_una_ && snd_una_ < snd_nxt_ && s.length() == 0 && offered == snd_wnd_ &&
                 a.flight_before != 0; // [RFC 5681 2, duplicate acknowledgment]
    const instant believe = believable(s, true);
    if (h.ack > snd_una_) new_data_acked(s, believe, a, now);
    if (h.options.sack_count != 0 && sack_permitted_ && !handshake) sack_arrives(s, a);
    update_send_window(s);
    if (discovery_ && !handshake) conclude_mtu_probe(a, now);
    if (!handshake)
        recover(a, s, now);
    else
        arm_tail_probe(now, false); // for what went before it [RFC 7413 4.2.2]
}

// Which sending of data that was sent more than once has arrived is not known; but none that is younger than
// any round trip so far, nor than the one whose timestamp is echoed. [RFC 8985 6.2, step 2]
instant tcb::believable(const segment& s, bool by_echo) const {
    if (!board_.has_exceptions()) return never;
    instant latest = s.arrived - rtt_.min_rtt();
    const auto& ts = s.header.options.ts;
    if (by_echo && timestamps_ && ts && ts->echo != 0) {
        const auto ago = static_cast<std::int32_t>(ts_clock(s.arrived) - ts->echo);
        const instant tick = std::chrono::floor<std::chrono::milliseconds>(s.arrived);
        if (ago >= 0) latest = std::min(latest, tick - std::chrono::milliseconds(ago) + 1ms - 1ns);
    }
    return latest;
}

void tcb::sack_arrives(const segment& s, ack_outcome& a) {
    counters& count = stack_->counters_;
    // Beyond a hole the echo is that of the last segment before it.
    const instant believe = believable(s, false);
    const std::uint32_t most_ranges = most_sack_ranges();
    const options& o = s.header.options;
    const std::uint32_t cumulative = a.told.bytes;
    for (std::size_t i = 0; i < o.sack_count; ++i) {
        const sack_block& b = o.sack[i];
        // The first block may lie within the second: it came twice there. [RFC 2883 4]
        const bool within = i == 0 && o.sack_count > 1 && b.begin < b.end && o.sack[1].begin <= b.begin &&
                            b.end <= o.sack[1].end;
        sack_meaning meaning = meaning_of(b, snd_una_, snd_nxt_, max_snd_wnd_);
        if (meaning == sack_meaning::held && within) meaning = sack_meaning::duplicate;
        switch (meaning) {
        case sack_meaning::held:
            ++count.sack_blocks_in;
            if (!board_.sack(b.begin, b.end, believe, most_ranges, a.told)) ++count.sack_ignored;
            break;
        case sack_meaning::duplicate:
            ++count.sack_duplicates;
            if (i == 0) a.came_twice = byte_range{b.begin, b.end};
            break;
        case sack_meaning::invalid: ++count.sack_invalid; break;
        }
    }
    // Once something went again, what is news here may have arrived long ago, and its first ACK been lost.
    if (cumulative == 0 && board_.resent_bytes() == 0) a.rtt = sample_rtt(a.told, s, false);
}

// Only a sample ends the back-off: were it the ACK alone, a round trip that has grown beyond the RTO would be
// timed out anew with every segment, and never measured. [RFC 6298 5, last paragraph]
duration tcb::sample_rtt(const delivery& told, const segment& s, bool advances) {
    if (told.once && !told.resent) {
        rtt_.sample(s.arrived - told.oldest_once, rto_limits());
        backoff_ = 0;
        return s.arrived - told.newest_at; // without the wait for a second segment, say
    }
    // Sent more than once: only an echoed timestamp tells which sending this answers.
    // [RFC 6298 3] [RFC 7323 4.1]
    if (!told.resent || !advances || !timestamps_ || !s.header.options.ts || s.header.options.ts->echo == 0)
        return duration{0};
    const std::uint32_t echo = s.header.options.ts->echo;
    const auto ms = static_cast<std::int32_t>(ts_clock(s.arrived) - echo);
    if (ms < 0) return duration{0};
    // An echo older than the last sending may be of a first that is late, or tell again of what an ACK told
    // that was lost: a peer that has everything does not note a duplicate's timestamp [RFC 7323 4.3]. Only
    // what comes sooner than any round trip is the first.
    const bool of_an_earlier = static_cast<std::int32_t>(echo - ts_clock(told.newest_again)) < 0;
    if (of_an_earlier && s.arrived - told.newest_again >= rtt_.min_rtt()) return duration{0};
    rtt_.sample(std::chrono::milliseconds(std::max(ms, 1)), rto_limits());
    backoff_ = 0;
    return duration{0};
}

void tcb::new_data_acked(const segment& s, instant believe, ack_outcome& a, instant now) {
    const seq ack = s.header.ack;
    const seq begin = data_begin();
    const seq end = snd_end();
    const bool fin = fin_sent_ && ack > end;

    board_.acknowledge(ack, believe, a.told);
    a.rtt = sample_rtt(a.told, s, true);
    const seq data_acked_to = fin ? end : ack;
    a.data = data_acked_to > begin ? data_acked_to - begin : 0;
    buffer_.drop_front(a.data);
    bytes_acked_ += a.data;
    charge_queued(now); // before a writer is woken: what is free now is what it asks
    snd_una_ = ack;
    const bool opens = !syn_acked_;
    if (opens) {
        if (opening_ == opening::fast) stack_->fast_opening_ends(*this);
        syn_acked_ = true;
        syn_due_ = false;
    }
    if (fin) user_->fin_acked_ = true;
    made_progress(now);
    persist_backoff_ = 0;
    if (una_timed_out_ || oldest_due_) una_timed_out_ = oldest_due_ = false;
    oldest_lost_ = 0;
    timers_.clear(timer_id::persist);

    if (opens) {
        // Its window is the first that counts, wherever the segment stands. [RFC 9293 3.10.7.4, fifth]
        snd_wl1_ = s.header.seq;
        snd_wl2_ = ack;
        if (state_ == state::syn_received) enter(event::our_syn_acked, now); // else the user has closed
        established(now);
    }
    if (snd_una_ == snd_nxt_) { // [RFC 6298 5.2]
        timers_.clear(timer_id::retransmit);
        timers_.clear(timer_id::give_up);
    } else {
        timers_.set(timer_id::retransmit, now + current_rto()); // [RFC 6298 5.3]
        timers_.set(timer_id::give_up, now + give_up_after());
    }
    if (a.data != 0 || fin) news_ = true;
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

} // namespace tapir::tcp
