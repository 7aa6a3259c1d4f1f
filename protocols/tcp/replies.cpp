// Segments that no TCB sends: RSTs, SYN|ACKs, and what half-open and TIME_WAIT entries answer. They wait for
// the link in one bounded queue. All but SYN|ACKs are limited in rate (reply_limit.hpp).
#include <tapir/protocols/tcp/stack.hpp>

#include <algorithm>

namespace tapir::tcp {

void stack::queue_reply(const path& to, const header& h) {
    if (replies_.size() >= config_.max_replies) {
        ++counters_.replies_dropped;
        return;
    }
    if (h.rst()) ++counters_.resets_out;
    replies_.push_back(reply{to, h});
    announce_output();
}

// [RFC 9293 3.10.7.1] [RFC 9293 3.5.2]
void stack::reply_rst(const path& to, const segment& s, instant now) {
    if (s.header.rst()) return; // never a RST for a RST
    if (!resets_.take(hash_flow(secret_, flow_key({}, 0, to.remote, 0), hash_purpose::reply_limit), now)) {
        ++counters_.resets_suppressed;
        return;
    }
    header h;
    h.source_port = s.header.destination_port;
    h.destination_port = s.header.source_port;
    if (s.header.has_ack()) {
        h.seq = s.header.ack;
        h.flags = flags::rst;
    } else {
        h.ack = s.end();
        h.flags = flags::rst | flags::ack;
    }
    queue_reply(to, h);
}

// `clock` is that of our timestamp. [RFC 9293 3.10.7.2] [RFC 9293 3.7.1 MUST-14] [RFC 7323 2.2, 3.2]
header stack::syn_ack_of(const half_open_entry& e, const flow_key& flow, std::uint32_t clock) {
    const connection_options& accepted = listeners_[e.listener]->options_.accepted;
    header h;
    h.source_port = flow.local_port;
    h.destination_port = flow.remote_port;
    h.seq = e.iss;
    h.ack = e.irs + 1;
    h.flags = flags::syn | flags::ack;
    if (e.ecn) h.flags |= flags::ece; // [RFC 3168 6.1.1]
    h.window =
        static_cast<std::uint16_t>(std::min<std::uint32_t>(config_.first_receive_buffer(accepted), 0xffff));
    h.options.mss = path_of(e).receive_mss();
    if (e.scaled) h.options.window_scale = window_scale_for(config_.most_receive_buffer(accepted));
    h.options.sack_permitted = e.sack_permitted;
    if (e.timestamps) h.options.ts = timestamps{clock + timestamp_offset(flow), e.ts_recent};
    if (e.wants_fast_open) h.options.fast_open = fast_open_cookies_.make(flow.local, flow.remote, now_);
    return h;
}

void stack::reply_syn_ack(const half_open_entry& e, instant now) {
    queue_reply(path_of(e), syn_ack_of(e, flow_of(e), timestamp(now)));
}

bool stack::may_reply_ack(const flow_key& flow, instant now) {
    if (stateless_acks_.take(hash_flow(secret_, flow, hash_purpose::reply_limit), now)) return true;
    ++counters_.stateless_acks_suppressed;
    return false;
}

// Our place in the conversation, to one who seems to have lost it.
void stack::reply_ack(const half_open_entry& e, instant now) {
    const flow_key flow = flow_of(e);
    if (!may_reply_ack(flow, now)) return;
    header h;
    h.source_port = flow.local_port;
    h.destination_port = flow.remote_port;
    h.seq = e.iss + 1;
    h.ack = e.irs + 1;
    h.flags = flags::ack;
    const connection_options& accepted = listeners_[e.listener]->options_.accepted;
    const std::uint8_t scale =
        e.scaled ? window_scale_for(config_.most_receive_buffer(accepted)) : std::uint8_t{0};
    const std::uint32_t window = std::min<std::uint32_t>(config_.first_receive_buffer(accepted), 0xffff);
    h.window = static_cast<std::uint16_t>(window >> scale);
    if (e.timestamps) h.options.ts = timestamps{timestamp(now) + timestamp_offset(flow), e.ts_recent};
    queue_reply(path_of(e), h);
}

void stack::reply_ack(const time_wait_entry& e, instant now) {
    const flow_key flow = flow_of(e);
    if (!may_reply_ack(flow, now)) return;
    header h;
    h.source_port = e.local_port;
    h.destination_port = e.remote_port;
    h.seq = e.snd_nxt;
    h.ack = e.rcv_nxt;
    h.flags = flags::ack;
    if (e.timestamps != 0) h.options.ts = timestamps{timestamp(now) + timestamp_offset(flow), e.ts_recent};
    queue_reply(path_of(e), h);
}

} // namespace tapir::tcp
