#include <tapir/protocols/tcp/tcb.hpp>

#include <algorithm>
#include <cassert>
#include <cstring>

namespace tapir::tcp {

// Everything but the buffers and records that data in flight needs. Who is idle has none (dormant.hpp).
static_assert(sizeof(tcb) <= 768);

plain_tcb::limits::milliseconds plain_tcb::compact(duration d) {
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(d).count();
    return limits::milliseconds(
        static_cast<std::uint32_t>(std::clamp<std::int64_t>(ms, d > duration{0} ? 1 : 0, UINT32_MAX)));
}

void tcb::fired(timer& t, instant now) {
    tcb& c = static_cast<tcb&>(t);
    c.stack_->timer_fired(c, now);
}

plain_tcb::limits::limits(const connection_options& o, const config& c)
    : receive_buffer(std::clamp<std::uint32_t>(c.first_receive_buffer(o), 1, 1u << 30)),
      keepalive_idle(compact(o.keepalive_idle)), keepalive_interval(compact(o.keepalive_interval)),
      close_timeout(compact(o.close_timeout)), give_up_after(compact(o.give_up_after)),
      user_timeout(compact(o.user_timeout)), connect_timeout(compact(o.connect_timeout)),
      keepalive_probes(o.keepalive_probes), syn_retries(o.syn_retries) {}

// Told that somebody looks at it, a compiler must not leave out what no member's constructor lets it see.
blank_memory::blank_memory(void* at, std::size_t size) {
    std::memset(at, 0, size);
    asm volatile("" : : "r"(at) : "memory");
}

plain_tcb::plain_tcb(const config& c, const tcp::path& p, const connection_options& options)
    : blank_memory(this, sizeof(plain_tcb)), network_header_(static_cast<std::uint8_t>(p.network_header)),
      mtu_(p.mtu), link_mtu_(p.link_mtu), pseudo_header_sum_(p.pseudo_header_sum), probing_(options.path_mtu),
      no_delay_(options.no_delay), paced_(options.paced), tunes_send_(options.send_buffer == 0),
      tunes_receive_(options.receive_buffer == 0),
      fast_open_(options.fast_open ? fast_open_use::wanted : fast_open_use::off), peer_mss_(c.default_mss),
      rcv_mss_(std::min<std::uint16_t>(c.default_mss, p.receive_mss())),
      congestion_(options.congestion, options.paced), rtt_(rto_limits_of(c)), limits_(options, c) {
    if (options.ecn) ecn_ = ecn_use::offered;
    if (options.initial_rto > duration{0}) rtt_.set_rto(std::min(options.initial_rto, c.max_rto));
}

tcb::tcb(stack& s, endpoint& user, const tcp::path& p, const connection_options& options)
    : plain_tcb(s.config_, p, options), timer(&fired), stack_(&s), user_(&user),
      buffer_(std::min<std::uint32_t>(tunes_send_ ? s.config_.first_buffer : options.send_buffer, 1u << 30)) {
    size_segments();
}

// The only place where a connection's state changes.
void tcb::enter(event cause, instant now) {
    const edge e = stack_->change_state(flow(), state_, cause, opening_, now);
    state_ = e.to;
    user_->path_.append(e.to, e.cause, e.when);
    if ((state_ == state::time_wait || state_ == state::closed) && user_->report_.how == ending::open) {
        user_->report_ = report();
        user_->report_.how = ending::orderly;
    }
    user_->notify();
}

// For every end but the orderly one.
void tcb::end(event cause, ending how, std::error_code why, instant now) {
    counters& count = stack_->counters_;
    if (how == ending::reset) ++count.resets_in;
    if (how == ending::timed_out) ++count.timeouts;
    if (state_ == state::syn_sent) fast_open_unanswered(cause, now);
    if (!is_synchronized(state_)) ++count.failed_opens;
    user_->report_ = report();
    user_->report_.how = how;
    user_->error_ = why;
    enter(cause, now);
}

close_report tcb::report() const {
    close_report r;
    r.unsent = buffer_.size();
    const seq from = data_begin();
    if (!fin_acked() && snd_nxt_ > from) {
        const std::uint32_t sent_bytes = std::min(snd_nxt_ - from, buffer_.size());
        r.unacked = sent_bytes;
        r.unsent -= sent_bytes;
    }
    r.unread = user_->report_.unread; // dropped; endpoint::report() adds what is still to be read
    return r;
}

// Milliseconds, from where nobody can tell how long we have been up. [RFC 7323 5.4, 5.5]
std::uint32_t tcb::ts_clock(instant at) const {
    return stack_->timestamp(at) + ts_offset_;
}

// [RFC 7323 2.2]: without a scale, 65535 bytes of even the largest buffer.
std::uint32_t tcb::largest_window() const {
    return std::min(limits_.receive_buffer, 0xffffu << rcv_scale_);
}

info tcb::info() const {
    assert(mss_ == payload_in(mtu_));
    tcp::info i;
    i.state = state_;
    i.snd_una = snd_una_;
    i.snd_nxt = snd_nxt_;
    i.rcv_nxt = rcv_nxt_;
    i.send_queue = buffer_.size();
    i.unsent = static_cast<std::uint32_t>(report().unsent);
    i.receive_queue = static_cast<std::uint32_t>(user_->unread_.size());
    i.receive_memory = static_cast<std::uint32_t>(held());
    i.send_memory = static_cast<std::uint32_t>(queued_memory());
    if (ahead_) {
        i.out_of_order = ahead_->size();
        i.out_of_order_ranges = static_cast<std::uint32_t>(ahead_->ranges());
    }
    i.srtt = rtt_.srtt();
    i.rttvar = rtt_.rttvar();
    i.min_rtt = rtt_.min_rtt();
    i.rto = current_rto();
    i.backoff = backoff_;
    i.limited_by = limit_;
    i.cwnd = congestion_.cwnd();
    i.ssthresh = congestion_.ssthresh();
    i.pacing_rate = paced_ ? pacer_.rate() : 0;
    i.congestion = congestion_.algorithm();
    i.in_flight = in_flight();
    i.in_recovery = phase_ == recovery_phase::fast;
    i.in_loss = phase_ == recovery_phase::timeout;
    i.sacked = board_.sacked();
    i.lost = board_.lost();
    i.recoveries_undone = undone_;
    i.reordering_seen = recovery_ && recovery_->arrivals.reordering_seen();
    i.send_mss = static_cast<std::uint16_t>(mss());
    i.receive_mss = receive_mss();
    i.send_window = snd_wnd_;
    i.receive_window = rcv_adv_ - rcv_nxt_;
    i.send_scale = snd_scale_;
    i.receive_scale = rcv_scale_;
    i.timestamps = timestamps_;
    i.window_scaling = scaling_;
    i.sack_permitted = sack_permitted_;
    i.no_delay = no_delay_;
    i.path_mtu = mtu_;
    if (discovery_) {
        i.mtu_search = discovery_->search.state();
        i.mtu_floor = discovery_->search.size();
        i.mtu_ceiling = discovery_->search.ceiling();
    }
    i.orphan = orphan_;
    i.urgent_segments = user_->urgent_segments_;
    i.urgent_ahead = urgent_ahead();
    i.from_cookie = from_cookie_;
    i.fast_opened = opening_ == opening::fast || fast_open_ == fast_open_use::taken;
    i.bytes_sent = bytes_sent_;
    i.bytes_acked = bytes_acked_;
    i.bytes_received = bytes_received_;
    i.bytes_retransmitted = bytes_retransmitted_;
    i.segments_in = segments_in_;
    i.segments_out = segments_out_;
    i.retransmits = retransmits_;
    i.fast_retransmits = fast_retransmits_;
    i.rto_fired = rto_fired_;
    i.duplicate_acks = duplicate_acks_;
    i.ecn = ecn_ == ecn_use::on;
    i.ecn_echoing = ecn_echoing_;
    i.ce_received = user_->ce_received_;
    i.ecn_reductions = recovery_ ? recovery_->reductions : 0;
    i.last_send = last_data_send_;
    i.last_receive = last_receive_;
    i.next_timer = timers_.next();
    i.next_timer_id = timers_.next_id();
    return i;
}

} // namespace tapir::tcp
