// From a segment to what answers for it: a connection, a half-open entry, a TIME_WAIT entry, a listener, or
// nobody. What each of these makes of it follows in the same order; connections have files of their own.
// [RFC 9293 3.10.7]
#include <tapir/protocols/tcp/stack.hpp>
#include <tapir/protocols/tcp/tcb.hpp>

#include <algorithm>
#include <cassert>

namespace tapir::tcp {

namespace {
bool older(std::uint32_t timestamp, std::uint32_t than) {
    return static_cast<std::int32_t>(timestamp - than) < 0;
}
} // namespace

void stack::drop(std::uint64_t counters::* reason, std::string_view name, const flow_key& flow,
                 const segment& s, instant now) {
    ++(counters_.*reason);
    if (trace_ != nullptr) trace_->dropped(flow, s, name, now);
}

void stack::receive(const path& p, const chunk& bytes_of_segment, checksum_known checksum, instant arrived,
                    instant now, ip::ecn ecn, std::uint16_t piece) {
    const bytes all = bytes_of_segment.data();
    // [RFC 9293 3.1 MUST-3]
    if (checksum != checksum_known::valid && all.size() >= header_size &&
        !checksum_ok(all, p.pseudo_header_sum)) {
        ++counters_.segments_in;
        ++counters_.bad_checksum;
        return;
    }
    segment s;
    const auto header = parse(all, s.header);
    if (!header) {
        ++counters_.segments_in;
        ++counters_.bad_header;
        return;
    }
    s.payload = bytes_of_segment.slice(*header, all.size() - *header);
    s.arrived = arrived;
    s.ecn = ecn;
    s.piece = piece;
    receive(p, s, now);
}

void stack::receive(const path& p, const segment& s, instant now) {
    now_ = std::max(now_, now);
    ++counters_.segments_in;
    if (s.header.options.malformed) ++counters_.malformed_options;
    const flow_key flow(p.local, s.header.destination_port, p.remote, s.header.source_port);
    if (trace_ != nullptr) trace_->segment_in(flow, s, now);
    arrives(p, s, flow, now);
}

void stack::arrives(const path& p, const segment& s, const flow_key& flow, instant now) {
    known_flow& k = known(flow);
    if (k.connection != nullptr) {
        arrives_at_connection(*k.connection, p, s, now);
        return;
    }
    const std::uint64_t hash = hash_of(flow, k);
    if (endpoint* const user = find_connection(flow, hash)) {
        tcb* const c = user->awake();
        k.connection = c;
        arrives_at_connection(*c, p, s, now);
        return;
    }
    // No connection has such an address, and none is to come about. [RFC 9293 3.9.2.3 MUST-57, MUST-63]
    if (!p.remote.is_unicast() || !p.local.is_unicast()) {
        drop(&counters::bad_address, "bad_address", flow, s, now);
        return;
    }
    if (const std::uint32_t i = find_half_open(flow, hash); i != half_open_table::none) {
        arrives_at_half_open(i, p, s, flow, now);
        return;
    }
    if (const std::uint32_t i = find_time_wait(flow, hash); i != time_wait_table::none) {
        arrives_at_time_wait(i, p, s, flow, now);
        return;
    }
    if (listening_endpoint* l = find_listener(flow.local, flow.local_port); l != nullptr && !stopped_)
        arrives_at_listener(*l, p, s, flow, std::nullopt, now);
    else
        arrives_at_nobody(p, s, flow, now);
}

void stack::arrives_at_connection(tcb& c, const path& p, const segment& s, instant now) {
    c.follow_path(p, now);
    if (c.on_segment(s, now) == verdict::reset) reply_rst(p, s, now);
    settle(c, now);
}

// [RFC 9293 3.10.7.1]
void stack::arrives_at_nobody(const path& p, const segment& s, const flow_key& flow, instant now) {
    drop(&counters::no_connection, "no_connection", flow, s, now);
    reply_rst(p, s, now);
}

// [RFC 9293 3.10.7.2]
void stack::arrives_at_listener(listening_endpoint& l, const path& p, const segment& s, const flow_key& flow,
                                std::optional<seq> above, instant now) {
    const header& h = s.header;
    if (h.rst()) {
        drop(&counters::blind_reset, "blind_reset", flow, s, now);
        return;
    }
    if (h.has_ack()) { // of a cookie; or of a half-open connection that we have forgotten, or never had
        ack_arrives_at_listener(l, p, s, flow, now);
        return;
    }
    if (!h.syn()) {
        drop(&counters::no_connection, "no_syn", flow, s, now);
        return;
    }
    const auto local = local_index(p.local);
    if (!local) {
        ++l.counters_.half_open_overflow;
        drop(&counters::half_open_overflow, "half_open_overflow", flow, s, now);
        return;
    }
    half_open_entry e = entry_for(l, p, s, *local, now);
    if (has(h.flags, ecn_setup) && !e.ecn) ++counters_.ecn_declined;
    if (h.options.fast_open && l.options_.fast_open && opens_fast(l, e, p, s, flow, !above, now)) return;
    if (above) {
        // Who continues a connection in TIME_WAIT above its numbers is no forger. A cookie could not promise
        // an initial sequence number above the old ones. [RFC 9293 3.10.7.4 MAY-2]
        if (half_open_.full() && half_open_.stalest() != half_open_table::none) {
            ++counters_.half_open_evicted;
            half_open_ends(half_open_.stalest(), event::timeout, now);
        }
    } else if (half_open_full(l) || config_.syn_cookies == syn_cookie_mode::always) {
        syn_without_room(l, e, s, flow, now);
        return;
    }
    e.iss = initial_sequence(flow, now);
    if (above && e.iss <= *above) e.iss = *above + 1 + (random_.next_u32() >> 12);
    const std::uint32_t i = half_open_.insert(e, hash_of(flow));
    ++l.half_open_;
    change_state(flow, state::listen, event::rcv_syn, opening::passive, now);
    reply_syn_ack(half_open_[i], now);
    arm_tables();
}

void stack::ack_arrives_at_listener(listening_endpoint& l, const path& p, const segment& s,
                                    const flow_key& flow, instant now) {
    if (const auto e = cookie_in(l, p, s, flow, now)) {
        if (accept_queue_full(l)) { // nothing is remembered: the peer's data brings the cookie again
            accept_overflows(l, s, flow, now);
            return;
        }
        change_state(flow, state::listen, event::rcv_syn, opening::passive, now);
        establish(*e, p, s, flow, now);
        return;
    }
    refuse_ack(l, p, s, flow, now);
}

// Of nothing that we have sent, and no cookie.
void stack::refuse_ack(const listening_endpoint& l, const path& p, const segment& s, const flow_key& flow,
                       instant now) {
    drop(&counters::bad_ack, "bad_ack", flow, s, now);
    // What has overtaken the segment with the cookie, or follows one that was lost, is sent again.
    if (now < l.cookies_until_ && s.length() != 0 && !s.header.syn()) return;
    reply_rst(p, s, now);
}

// What a SYN says, but for the sequence number that we answer with. Data or FIN that came with the SYN is not
// kept, nor acknowledged: the peer sends it again.
half_open_entry stack::entry_for(const listening_endpoint& l, const path& p, const segment& s,
                                 std::uint16_t local_index, instant now) const {
    const header& h = s.header;
    half_open_entry e;
    e.remote = p.remote;
    e.irs = h.seq;
    e.remote_port = h.source_port;
    e.local_index = local_index & 0x3fff;
    e.listener = l.index_;
    e.peer_mss = h.options.mss.value_or(config_.default_mss);
    e.link_mtu = p.link_mtu;
    e.network_header_20s = p.network_header / 20 & 3;
    e.scaled = config_.use_window_scale && h.options.window_scale.has_value();
    e.peer_scale = std::min<std::uint8_t>(h.options.window_scale.value_or(0), 14) & 15;
    e.timestamps = config_.use_timestamps && h.options.ts.has_value();
    e.ts_recent = h.options.ts.value_or(timestamps{}).value;
    e.sack_permitted = config_.use_sack && h.options.sack_permitted; // [RFC 2018 2]
    e.ecn = l.options_.accepted.ecn && has(h.flags, ecn_setup);      // [RFC 3168 6.1.1]
    e.sent(s.arrived, now);
    return e;
}

// Passive SYN_RECEIVED. [RFC 9293 3.10.7.4]
void stack::arrives_at_half_open(std::uint32_t i, const path& p, const segment& s, const flow_key& flow,
                                 instant now) {
    half_open_entry& e = half_open_[i];
    const header& h = s.header;
    listening_endpoint& l = *listeners_[e.listener];

    // The SYN again: our SYN|ACK was lost, or is late.
    if (h.syn() && !h.has_ack() && !h.rst() && h.seq == e.irs) {
        e.repeated = true;
        // A client that asks no more for ECN has sent a SYN without, and will not use it. [RFC 3168 6.1.1]
        e.ecn = e.ecn && has(h.flags, ecn_setup);
        reply_syn_ack(e, now);
        return;
    }
    if (e.timestamps && !h.rst() && !h.options.ts) { // [RFC 7323 3.2]
        drop(&counters::missing_timestamp, "missing_timestamp", flow, s, now);
        return;
    }
    if (e.timestamps && !h.rst() && older(h.options.ts->value, e.ts_recent)) {
        drop(&counters::paws_rejected, "paws_rejected", flow, s, now);
        if (s.length() != 0) reply_ack(e, now); // as below
        return;
    }
    const seq rcv_nxt = e.irs + 1;
    const std::uint32_t window =
        std::min<std::uint32_t>(config_.first_receive_buffer(l.options_.accepted), 0xffff);
    const bool acceptable = s.length() == 0
                                ? h.seq - rcv_nxt <= window
                                : in_range(h.seq, rcv_nxt, window) || in_range(s.end() - 1, rcv_nxt, window);
    if (!acceptable) {
        drop(&counters::out_of_window, "out_of_window", flow, s, now);
        // Not an empty one: two half-open entries that agree on nothing, made by two forged SYNs, would
        // answer each other's answers for ever. Our SYN|ACK goes again anyway. [RFC 5961 7]
        if (!h.rst() && s.length() != 0) reply_ack(e, now);
        return;
    }
    if (h.rst()) { // back to LISTEN, nobody is told
        if (h.seq != rcv_nxt) {
            drop(&counters::blind_reset, "blind_reset", flow, s, now);
            reply_ack(e, now); // [RFC 5961 3.2]
            return;
        }
        ++counters_.half_open_resets;
        ++l.counters_.half_open_resets;
        half_open_ends(i, event::rst, now);
        return;
    }
    if (h.syn()) { // [RFC 9293 3.10.7.4, fourth]: back to LISTEN
        drop(&counters::unexpected_syn, "unexpected_syn", flow, s, now);
        half_open_ends(i, event::rcv_syn, now);
        return;
    }
    if (!h.has_ack()) {
        drop(&counters::bad_ack, "no_ack", flow, s, now);
        return;
    }
    half_open_entry done = e;
    if (h.ack != e.iss + 1) {
        // Its first SYN was answered by a cookie, a repeated one found room and made this entry; what reached
        // the peer is the cookie.
        const auto by_cookie = cookie_in(l, p, s, flow, now);
        if (!by_cookie) {
            refuse_ack(l, p, s, flow, now);
            return;
        }
        done = *by_cookie;
        done.sent(e.arrived(), now);
    }
    if (accept_queue_full(l)) {
        // Our SYN|ACK will go again, the peer's ACK will come again: later there may be room.
        accept_overflows(l, s, flow, now);
        return;
    }
    erase_half_open(i);
    establish(done, p, s, flow, now);
}

// The segment has passed every check that the connection will make of it: it leaves SYN_RECEIVED behind.
void stack::establish(const half_open_entry& e, const path& p, const segment& s, const flow_key& flow,
                      instant now) {
    listening_endpoint& l = *listeners_[e.listener];
    if (e.from_cookie) {
        ++counters_.syn_cookies_accepted;
        ++l.counters_.syn_cookies_accepted;
    }
    tcb& c = open_accepted(l, e, p, flow);
    const endpoint& accepted = c.user();
    c.open_passive(e, timestamp_offset(flow));
    arrives_at_connection(c, p, s, now);
    assert(accepted.entered(state::established));
    l.notify();
}

tcb& stack::open_accepted(listening_endpoint& l, const half_open_entry& e, const path& p,
                          const flow_key& flow) {
    std::unique_ptr<endpoint> user(new endpoint(*this, memory_, flow, state::listen, next_id_++));
    user->last_call_ = e.arrived();
    user->path_.append(state::syn_received, event::rcv_syn, e.arrived());
    tcb* c = make_tcb(*user, p, l.options_.accepted);
    user->tcb_ = c;
    demux_.insert(hash_of(flow), *user);
    known(flow).connection = c;
    all_.push_back(*user);
    ++connection_count_;
    ++l.counters_.established;
    l.accept_queue_.push_back(std::move(user));
    return *c;
}

// [RFC 9293 3.10.7.4, TIME-WAIT] [RFC 1337 3] [RFC 6191 2]
void stack::arrives_at_time_wait(std::uint32_t i, const path& p, const segment& s, const flow_key& flow,
                                 instant now) {
    const time_wait_entry& e = time_wait_[i];
    const header& h = s.header;
    if (h.rst()) { // [RFC 1337 3, fix F1]: it must not end TIME_WAIT
        change_state(flow, state::time_wait, event::rst, opening::active, now);
        drop(&counters::time_wait_rst_ignored, "time_wait_rst_ignored", flow, s, now);
        return;
    }
    const bool stamped = e.timestamps != 0 && h.options.ts.has_value();
    if (h.syn() && !h.has_ack()) {
        // A new incarnation, if it is certain that this is no duplicate of the old one. [RFC 6191 2]
        const bool newer = stamped ? older(e.ts_recent, h.options.ts->value) ||
                                         (h.options.ts->value == e.ts_recent && h.seq > e.rcv_nxt)
                                   : h.seq > e.rcv_nxt;
        listening_endpoint* l = find_listener(flow.local, flow.local_port);
        if (newer && l != nullptr && !stopped_) {
            const seq above = e.snd_nxt;
            ++counters_.time_wait_reused;
            erase_time_wait(i, event::superseded, now);
            arrives_at_listener(*l, p, s, flow, above, now);
            return;
        }
    }
    const bool repeated_fin = h.fin() && h.has_ack() && !h.syn() && s.end() == e.rcv_nxt;
    if (stamped && older(h.options.ts->value, e.ts_recent))
        drop(&counters::paws_rejected, "paws_rejected", flow, s, now);
    else if (repeated_fin) // our last ACK was lost: 2 MSL start anew
        time_wait_.restart(i, now + 2 * config_.msl);
    // Wherever it stands: two TIME_WAITs at odds would answer each other for ever. [RFC 5961 7]
    if (s.length() == 0) return;
    reply_ack(time_wait_[i], now);
}

} // namespace tapir::tcp
