// What a connection sends when the link takes something, in this order: its SYN; acknowledgements that must
// travel alone; what was lost; a probe; data and FIN; and, if none of these said it, the acknowledgement that
// is due. A segment handed out counts as sent: whoever loses it is the network.
// [RFC 9293 3.7.4, 3.8.6] [RFC 5681] [RFC 7323 3]
#include <tapir/protocols/tcp/tcb.hpp>

#include <algorithm>

namespace tapir::tcp {

bool tcb::output_possible() const {
    if (state_ == state::closed || state_ == state::time_wait) return false;
    const bool asked = syn_due_ | ack_now_ | probe_ | keepalive_probe_ | tail_probe_; // one branch for all
    return asked || acks_owed_ != 0 || board_.lost() != 0 || unsent() != 0 || fin_unsent() ||
           window_update_due();
}

// A sender that has several times as much under way (config::max_deferred_part) waits for nothing that this
// would tell it. One that has once filled its buffer is taken for such a sender: the buffer has grown since
// (tune_receive_buffer()), unless it may not. Who sends less, or has stopped, does wait; and none for longer
// than it would for a second segment. (What acknowledges ours is taken for text: then the last bound alone
// holds.) [RFC 9293 3.8.6.3 MUST-40]
bool tcb::may_acknowledge_later(instant now) {
    const bool comes = now - last_receive_ < stack_->config_.text_pause;
    const bool only_acknowledges = state_ == state::established && acks_owed_ == 0 && board_.lost() == 0 &&
                                   !probe_ && !keepalive_probe_ && !tail_probe_ && unsent() == 0 &&
                                   !fin_unsent();
    const bool much = !receive_buffer_may_grow() || limits_.receive_buffer > stack_->config_.first_buffer;
    const bool may = comes && much && only_acknowledges && !ahead_ && !ack_at_once_ && !ecn_echoing_ &&
                     !window_update_due() &&
                     rcv_nxt_ - last_ack_sent_ < part_of_window(stack_->config_.max_deferred_part);
    if (!may) return false;
    if (!ack_deferred_) {
        ack_deferred_ = true;
        ++stack_->counters_.acks_deferred;
        if (!timers_.armed(timer_id::delayed_ack))
            timers_.set(timer_id::delayed_ack, now + stack_->config_.delayed_ack);
    }
    return timers_.armed(timer_id::delayed_ack) && now < timers_.deadline(timer_id::delayed_ack);
}

bool tcb::next_segment(instant now, std::size_t max_payload, gather_list& parts, outgoing_segment& out) {
    if (state_ == state::closed || state_ == state::time_wait) return false;
    out.payload = {};
    out.payload_size = 0;
    out.ecn = ip::ecn::not_ect;
    out.mss = static_cast<std::uint16_t>(mss());
    const std::size_t link_takes = max_payload;
    if (max_payload == 0) max_payload = mss();
    if (syn_due_) return send_syn(now, link_takes, parts, out);
    if (state_ == state::syn_sent) return false;
    if ((acks_owed_ != 0 || rcv_nxt_ != last_ack_sent_ || ahead_) && send_owed_ack(now, out)) return true;
    if (board_.lost() != 0 && send_lost(now, max_payload, parts, out)) return true;
    if ((probe_ || keepalive_probe_) && send_probe(now, parts, out)) return true;
    if (tail_probe_ && send_tail_probe(now, parts, out)) return true;
    const auto probed = discovery_ ? send_mtu_probe(now, link_takes, parts, out) : std::nullopt;
    if (probed ? *probed : send_data(now, max_payload, parts, out)) return true;
    if (!ack_now_ && !window_update_due()) return false;
    send_pure_ack(rcv_nxt_, now, out);
    return true;
}

// --- headers -----------------------------------------------------------------------------------------------

void tcb::make_header(header& h, flags f, seq begin, seq ack, instant now, std::size_t sack_room) {
    static constexpr header blank{}; // copied whole; one made here would first be written in pieces
    h = blank;
    h.source_port = flow().local_port;
    h.destination_port = flow().remote_port;
    h.seq = begin;
    h.flags = f;
    if (has(f, flags::ack)) {
        h.ack = ack;
        h.window = offer_window(ack);
        last_ack_sent_ = ack;
        if (ack == rcv_nxt_) {
            ack_now_ = ack_deferred_ = ack_at_once_ = false;
            timers_.clear(timer_id::delayed_ack);
        }
        if (ecn_echoing_) { // [RFC 3168 6.1.3]
            h.flags |= flags::ece;
            ++stack_->counters_.ecn_echoes_out;
        }
    }
    if (timestamps_) h.options.ts = timestamps{ts_clock(now), has(f, flags::ack) ? ts_recent_ : 0};
    if (ahead_ && sack_permitted_ && has(f, flags::ack) && ack == rcv_nxt_) add_sack(h, sack_room);
    ++segments_out_;
}

// What the peer need not send again. [RFC 2018 4]: in every ACK while something is missing.
void tcb::add_sack(header& h, std::size_t room) {
    options& o = h.options;
    sack_ranges& known = ahead_->sack();
    const std::size_t most = std::min(sack_blocks_in(room, o.size()), o.sack.size());
    o.sack_count = static_cast<std::uint8_t>(known.report(std::span(o.sack).first(most)));
    stack_->counters_.sack_blocks_out += o.sack_count;
    if (acks_owed_ == 0 && most != 0) known.forget_duplicates(); // each is told by its own ACK, or not at all
    settle_ahead();
}

// The right edge never moves back, and moves forward only by steps worth having: an MSS or half the buffer.
// Rounded up to the scale, so that it does not creep back either; but only into room that is there, else a
// peer could fill more than the buffer in steps smaller than the unit. What was offered stays acceptable.
// [RFC 9293 3.8.6 SHLD-14] [RFC 9293 3.8.6.2.2 MUST-39] [RFC 7323 2.4]
std::uint16_t tcb::offer_window(seq ack) {
    const std::uint32_t step = std::min<std::uint32_t>(limits_.receive_buffer / 2, path_mss());
    const seq room = rcv_nxt_ + receive_space();
    const seq wanted = earlier(room, rcv_nxt_ + largest_window());
    has_read_ = false;
    if (wanted > rcv_adv_ && room - rcv_adv_ >= step) rcv_adv_ = wanted;
    const std::uint32_t unit = 1u << rcv_scale_;
    std::uint32_t field = std::min<std::uint32_t>((rcv_adv_ - ack + unit - 1) >> rcv_scale_, 0xffff);
    if (ack + (field << rcv_scale_) > later(rcv_adv_, wanted)) --field;
    rcv_adv_ = later(rcv_adv_, ack + (field << rcv_scale_));
    return static_cast<std::uint16_t>(field);
}

// Reading has opened the window by so much that the peer should hear of it unasked.
bool tcb::window_update_due() const {
    if (!has_read_ || !may_receive(state_) || nobody_reads_) return false;
    const std::uint32_t offered = rcv_adv_ - rcv_nxt_;
    const std::uint32_t space = std::min(receive_space(), largest_window());
    if (space <= offered) return false;
    const std::uint32_t gain = space - offered;
    const std::uint32_t buffer = largest_window();
    const std::uint32_t full = path_mss();
    if (gain >= buffer / 2) return true;
    // Under pressure there is never so much to tell of, and a peer that has less window than a full segment
    // may wait for more before it sends.
    if (stack_->memory_->receive.tight() && offered < receive_mss() && gain >= receive_mss()) return true;
    return gain >= 2 * full && (gain >= buffer / 4 || offered <= buffer / 8);
}

void tcb::send_pure_ack(seq ack, instant now, outgoing_segment& out) {
    make_header(out.header, flags::ack, snd_nxt_, ack, now, max_header_size - header_size);
}

header tcb::make_rst(instant now) const {
    header h;
    h.source_port = flow().local_port;
    h.destination_port = flow().remote_port;
    // The peer believes a RST only at its rcv_nxt [RFC 5961 3.2]: the highest we sent inside its window is
    // the likeliest place.
    h.seq = earlier(snd_nxt_, snd_una_ + std::max(snd_wnd_, 1u));
    h.flags = flags::rst;
    if (!syn_acked()) { // the peer may be in SYN_SENT, and then asks for an ACK [RFC 9293 3.10.7.3, second]
        h.flags |= flags::ack;
        h.ack = rcv_nxt_;
    }
    if (timestamps_) h.options.ts = timestamps{ts_clock(now), 0}; // [RFC 7323 3.2]
    return h;
}

// --- SYN ---------------------------------------------------------------------------------------------------

// [RFC 9293 3.10.1] [RFC 7323 2.2, 3.2] [RFC 9293 3.7.1 MUST-14, SHLD-5]
bool tcb::send_syn(instant now, std::size_t max_payload, gather_list& parts, outgoing_segment& out) {
    const bool first = state_ == state::syn_sent;
    make_header(out.header, first ? flags::syn : flags::syn | flags::ack, iss_, rcv_nxt_, now);
    header& h = out.header;
    h.flags |= ecn_flags_of_syn(first);
    h.options.mss = receive_mss();
    if (first) {
        const std::uint32_t room = std::min<std::uint32_t>(receive_space(), 0xffff);
        rcv_adv_ = later(rcv_adv_, rcv_nxt_ + room);
        h.window = static_cast<std::uint16_t>(rcv_adv_ - rcv_nxt_);
    } else { // not scaled in a SYN [RFC 7323 2.2]
        h.window = static_cast<std::uint16_t>(std::min<std::uint32_t>(rcv_adv_ - rcv_nxt_, 0xffff));
    }
    const config& c = stack_->config_;
    if (first ? c.use_window_scale : scaling_) h.options.window_scale = rcv_scale_;
    if (first && c.use_timestamps) h.options.ts = timestamps{ts_clock(now), 0};
    h.options.sack_permitted = first ? c.use_sack : sack_permitted_;
    syn_due_ = false;
    std::size_t text = 0;
    if (first) text = add_fast_open(h, max_payload, now);
    if (text != 0) {
        const std::size_t used = buffer_.gather(0, text, parts);
        out.payload = std::span<const chunk>(parts).first(used);
        out.payload_size = text;
        out.mss = static_cast<std::uint16_t>(text); // one segment, though its size is not agreed on yet
        ++stack_->counters_.fast_open_used;
        bytes_sent_ += text;
        stack_->counters_.bytes_out += text;
        last_data_send_ = now;
    }
    if (fast_open_ == fast_open_use::gives)
        h.options.fast_open = stack_->fast_open_cookies_.make(flow().local, flow().remote, now);
    sent(iss_, 1 + static_cast<std::uint32_t>(text), now);
    return true;
}

// --- acknowledgements that travel alone --------------------------------------------------------------------

bool tcb::send_owed_ack(instant now, outgoing_segment& out) {
    const std::uint32_t behind = rcv_nxt_ - last_ack_sent_;
    const config& c = stack_->config_;
    std::uint32_t stretch = std::max(c.max_stretch_bytes, 1u);
    if (behind > stretch)
        stretch = std::max(stretch, part_of_window(ack_deferred_ ? c.max_deferred_part : c.max_stretch_part));
    if (behind > stretch) { // a large batch: several ACKs, each for a part, keep the peer's clock
        send_pure_ack(last_ack_sent_ + stretch, now, out);
        return true;
    }
    if (acks_owed_ == 0) {
        // With holes left it is not to ride on data: SACK blocks would not fit beside a full segment.
        if (!ack_now_ || !ahead_ || !sack_permitted_) return false;
    } else if (behind == 0) { // else this one tells of the progress, and the debt remains
        --acks_owed_;
    }
    send_pure_ack(rcv_nxt_, now, out);
    return true;
}

// --- data --------------------------------------------------------------------------------------------------

void tcb::sent(seq begin, std::uint32_t length, instant now) {
    const seq end = begin + length;
    const seq fresh = later(begin, snd_nxt_);
    if (begin < fresh) {
        const std::uint32_t again = earlier(end, fresh) - begin;
        ++retransmits_;
        ++stack_->counters_.retransmits;
        bytes_retransmitted_ += again;
        if (discovery_) mtu_probe_sent_again(begin, begin + again);
        board_.resent(begin, begin + again, now);
        went_again(again, now);
    }
    if (fresh < end) {
        board_.sent(fresh, end, now);
        snd_nxt_ = end;
    }
    if (phase_ == recovery_phase::fast || ecn_reducing_) recovery_->reduction.on_sent(length);
    if (paced_) pacer_.on_sent(now, length);
    // [RFC 6298 5.1]
    if (!timers_.armed(timer_id::retransmit)) timers_.set(timer_id::retransmit, now + current_rto());
    if (!timers_.armed(timer_id::give_up))
        timers_.set(timer_id::give_up, now + (syn_acked() ? give_up_after() : limits_.connect_timeout));
    tail_probe_ = false; // one that waits for the link is about what was known before
    sent_data_ = true;
}

void tcb::output_done(instant now) {
    if (board_.has_exceptions()) send_charge_.set(stack_->memory_->send, queued_memory());
    if (!sent_data_) return;
    sent_data_ = false;
    arm_tail_probe(now, board_.outstanding() <= mss());
}

void tcb::send_range(seq begin, std::uint32_t length, bool with_fin, instant now, gather_list& parts,
                     outgoing_segment& out) {
    std::size_t found = length;
    const std::size_t used = length == 0 ? 0 : buffer_.gather(begin - data_begin(), found, parts);
    if (found < length) with_fin = false;
    length = static_cast<std::uint32_t>(found);
    out.payload = std::span<const chunk>(parts).first(used);
    out.payload_size = length;

    flags f = flags::ack;
    if (length != 0 && begin + length == snd_end()) f |= flags::psh; // [RFC 9293 3.9.1.2 MUST-61]
    if (with_fin) {
        f |= flags::fin;
        fin_sent_ = true;
    }
    const std::uint32_t full = mss();
    make_header(out.header, f, begin, rcv_nxt_, now, length < full ? full - length : 0);
    bytes_sent_ += length;
    stack_->counters_.bytes_out += length;
    last_data_send_ = now;
    sent(begin, length + (with_fin ? 1 : 0), now);
}

// What counts as lost goes before anything new, the lowest first. [RFC 6675 4, NextSeg (1)]
bool tcb::send_lost(instant now, std::size_t max_payload, gather_list& parts, outgoing_segment& out) {
    if (!syn_acked()) return false;
    if (recovery_ && recovery_->spurious_timeout == f_rto::sent_new)
        return false; // new data asks first [RFC 5682 2.1]
    restart_after_idleness(now);
    const byte_range range = board_.first_lost();
    const seq edge = snd_una_ + snd_wnd_;
    const std::uint32_t by_peer = edge > range.begin ? edge - range.begin : 0;
    const std::uint32_t pipe = in_flight();
    const std::uint32_t by_network = congestion_.cwnd() > pipe ? congestion_.cwnd() - pipe : 0;
    const std::uint32_t full = mss();
    // The FIN is no text. What follows and was never sent fills up the segment.
    std::uint32_t text = earlier(range.end, snd_end()) - range.begin;
    const bool goes_on = range.end == snd_nxt_ && text < full;
    if (goes_on) text = std::min(snd_end() - range.begin, full);

    auto length = static_cast<std::uint32_t>(std::min<std::size_t>({text, by_peer, max_payload}));
    if (length > full) length = std::max(std::min(length, by_network) / full, 1u) * full;
    length = std::min(length, text);
    if (goes_on && length < std::min(text, full)) // no silly window for what is new [RFC 9293 MUST-38]
        length = std::min(length, earlier(range.end, snd_end()) - range.begin);
    const bool fin_too = goes_on ? fin_queued_ : range.end > snd_end();
    bool fin = fin_too && range.begin + length == snd_end() && by_peer > length;
    // In whole segments, however small the first ones were, unless the peer's window takes no more: else each
    // ACK of a byte would let a byte out.
    const bool whole = length == text ? (length != 0 || fin) : length >= full || (pipe == 0 && length != 0);
    if (!whole) {
        limited_by(send_limit::window, now);
        if (pipe == 0) wait_for_window(now);
        return false;
    }
    // What a timeout has fired for goes whatever else is in flight. [RFC 6298 5.4]
    if (by_network < std::min(length, full) && pipe != 0 && !oldest_due_) {
        limited_by(send_limit::cwnd, now);
        return false;
    }
    if (!oldest_due_) {
        const std::uint32_t room = paced_room(pipe, length, now);
        if (room < std::min(length, full)) {
            limited_by(send_limit::pacing, now);
            return false;
        }
        if (room < length) {
            length = room / full * full;
            fin = false;
        }
    }
    oldest_due_ = false;
    timers_.clear(timer_id::persist);
    // The oldest has a round trip of its own before it. [RFC 6675 6]
    if (range.begin == snd_una_) timers_.clear(timer_id::retransmit);
    send_range(range.begin, length, fin, now, parts, out);
    if (snd_nxt_ > range.end) sent_plain();
    return true;
}

// [RFC 9293 3.8.6.1 MUST-35, MUST-36] [RFC 9293 3.8.4 MUST-26, SHLD-12]
bool tcb::send_probe(instant now, gather_list& parts, outgoing_segment& out) {
    if (keepalive_probe_) { // a sequence number that the peer has acknowledged: it must answer
        keepalive_probe_ = false;
        make_header(out.header, flags::ack, snd_nxt_ - 1, rcv_nxt_, now);
        ++stack_->counters_.keepalive_probes;
        return true;
    }
    probe_ = false;
    const bool again = board_.lost() != 0;
    if (in_flight() != 0 || (!again && unsent() == 0 && !fin_unsent())) return false;
    ++stack_->counters_.window_probes;
    // Into a shut window one byte, which counts as lost until the peer says otherwise; into a small one as
    // much as it takes, which silly window avoidance had held back. [RFC 9293 3.8.6.2.1]
    const seq begin = again ? board_.first_lost().begin : later(snd_nxt_, data_begin());
    const std::uint32_t text = again ? earlier(board_.first_lost().end, snd_end()) - begin : unsent();
    const std::uint32_t room = snd_una_ + snd_wnd_ > begin ? snd_una_ + snd_wnd_ - begin : 0;
    const std::uint32_t length = std::min({text, std::max(room, 1u), mss()});
    const bool all = length == text && (length == 0 || room > length);
    const bool fin = all && (again ? fin_sent_ && board_.first_lost().end > snd_end() : fin_unsent());
    const instant last_data_send = last_data_send_;
    send_range(begin, length, fin, now, parts, out);
    if (!again) sent_plain();
    if (room != 0) return true;
    board_.mark_lost(begin, begin + static_cast<std::uint32_t>(out.payload_size) + (fin ? 1u : 0u));
    last_data_send_ = last_data_send; // the path has been idle all the same
    if (board_.in_flight() == 0) timers_.clear(timer_id::retransmit);
    timers_.clear(timer_id::tail_probe);
    wait_for_window(now);
    return true;
}

// Nagle's algorithm and the sender's side of silly window avoidance.
// [RFC 9293 3.7.4 SHLD-7] [RFC 9293 3.8.6.2.1 MUST-38]
bool tcb::worth_sending(std::uint32_t length, std::uint32_t queued) const {
    if (length >= mss()) return true;
    const bool may_be_small = no_delay_ || snd_nxt_ <= data_begin(); // a SYN under way is no data
    if (length == queued && (may_be_small || fin_queued_)) return true;
    return may_be_small && length >= std::max(max_snd_wnd_ / 2, 1u);
}

// The first ten segments after a rest go at once: a short answer is not to wait for a pace that nobody needs.
std::uint32_t tcb::paced_room(std::uint32_t pipe, std::uint32_t wanted, instant now) {
    if (!paced_) return wanted;
    const std::uint32_t full = mss();
    const std::uint32_t at_once = stack_->config_.initial_window_segments * full;
    if (std::uint64_t{pipe} + wanted <= at_once) return wanted;
    const std::uint32_t room = std::max(pacer_.allowance(now, full), at_once > pipe ? at_once - pipe : 0);
    // While an echo holds new data the timer ends that. What goes again is not held, and ACKs let it out.
    if (room < wanted && !ecn_holds_)
        timers_.set(timer_id::pace, std::max(pacer_.release(now, full), now + 1ns));
    return room;
}

// A restart after idleness finds no ACKs under way to clock it; nor does one after a window was shut.
// [RFC 5681 4.1]
void tcb::restart_after_idleness(instant now) {
    if (in_flight() == 0 && phase_ == recovery_phase::none && last_data_send_ != instant{} &&
        now - last_data_send_ > current_rto())
        congestion_.after_idle(mss());
}

bool tcb::send_data(instant now, std::size_t max_payload, gather_list& parts, outgoing_segment& out) {
    if (state_ == state::syn_sent) return false;
    // Who came with a cookie is there: it is answered before the handshake is complete. [RFC 7413 4.2.2]
    if (state_ == state::syn_received && opening_ != opening::fast) return false;
    const std::uint32_t queued = unsent();
    const bool fin = fin_unsent();
    const auto hold = [&] {
        if (board_.lost() == 0) limited_by(ecn_holds_ ? send_limit::pacing : send_limit::application, now);
    };
    if ((queued == 0 && !fin) || ecn_holds_) {
        hold();
        return false;
    }
    const std::uint32_t full = mss();
    restart_after_idleness(now);
    const std::uint32_t pipe = in_flight() - (syn_acked() ? 0 : 1); // a SYN takes nothing of the window
    const std::uint32_t outstanding = snd_nxt_ - snd_una_;
    const std::uint32_t by_peer = snd_wnd_ > outstanding ? snd_wnd_ - outstanding : 0;
    const std::uint32_t by_network = congestion_.cwnd() > pipe ? congestion_.cwnd() - pipe : 0;

    auto length =
        static_cast<std::uint32_t>(std::min<std::size_t>({queued, by_peer, by_network, max_payload}));
    if (length != 0) {
        const std::uint32_t room = paced_room(pipe, length, now);
        if (room < std::min(length, full)) {
            limited_by(send_limit::pacing, now);
            return false;
        }
        length = std::min(length, room);
    }
    if (cwr_due_) length = std::min(length, full); // told once, not by each piece that this is cut into
    // Whole segments, unless this is the end of the data and may be small.
    if (length > full && (length < queued || !(no_delay_ || fin_queued_))) length -= length % full;
    // The FIN needs its place in the peer's window too; the network does not mind. [RFC 9293 3.4]
    const bool with_fin = fin && length == queued && (by_peer > length);
    const bool sends = with_fin || (length != 0 && worth_sending(length, queued));
    cwnd_limited_ = by_network < std::min(queued, by_peer) || by_network - length < full;
    if (!sends) {
        const std::uint32_t wanted = std::min(queued, full);
        limited_by(by_peer < wanted      ? send_limit::window
                   : by_network < wanted ? send_limit::cwnd
                                         : send_limit::small_segment,
                   now);
        if (pipe == 0) wait_for_window(now);
        return false;
    }
    timers_.clear(timer_id::persist);
    send_range(later(snd_nxt_, data_begin()), length, with_fin, now, parts, out);
    if (ecn_ == ecn_use::on && out.payload_size != 0)
        allow_marks(out);
    else
        sent_plain();
    if (unsent() == 0 && !fin_unsent()) hold();
    return true;
}

void tcb::limited_by(send_limit limit, instant now) {
    if (limit == limit_) return;
    limit_ = limit;
    if (stack_->trace_ != nullptr) stack_->trace_->limit_changed(flow(), limit, now);
}

// Nothing in flight whose acknowledgement would tell us of the window: ask. [RFC 9293 3.8.6.1]
void tcb::wait_for_window(instant now) {
    if (timers_.armed(timer_id::persist)) return;
    if (timeout_will_tell()) return; // what is presumed to have arrived, too
    timers_.clear(timer_id::retransmit);
    const config& c = stack_->config_;
    const duration wait = rtt_.backed_off(persist_backoff_, rto_limits());
    timers_.set(timer_id::persist, now + std::clamp(wait, c.persist_min, c.persist_max));
}

} // namespace tapir::tcp
