#include "tests/simulation/beliefs.hpp"

#include <tapir/protocols/tcp/endpoint.hpp>
#include <tapir/protocols/tcp/stack.hpp>
#include <tapir/protocols/tcp/state.hpp>

#include <tuple>

namespace tapir::test {

namespace {

std::string us(instant at) {
    return std::to_string(at.time_since_epoch() / 1us) + "us";
}
std::string us(duration d) {
    return std::to_string(d / 1us) + "us";
}

/// "J+1200" after the initial sequence number J; the bare number when that was never seen.
std::string relative(const std::optional<tcp::seq>& first, char letter, tcp::seq s) {
    if (!first) return std::to_string(s.value());
    const std::uint32_t n = s - *first;
    return n == 0 ? std::string(1, letter) : std::string(1, letter) + "+" + std::to_string(n);
}

} // namespace

bool belief_book::by_flow::operator()(const tcp::flow_key& a, const tcp::flow_key& b) const {
    return std::tie(a.remote_port, a.local_port, a.remote, a.local) <
           std::tie(b.remote_port, b.local_port, b.remote, b.local);
}

// The newest of that flow: a port that is used again begins another.
belief_book::belief* belief_book::of(const tcp::flow_key& flow) {
    const auto found = newest_.find(flow);
    return found != newest_.end() ? &beliefs_[found->second] : open(flow);
}

belief_book::belief* belief_book::open(const tcp::flow_key& flow) {
    if (beliefs_.size() >= most_beliefs) {
        ++left_out_;
        return nullptr;
    }
    newest_[flow] = beliefs_.size();
    beliefs_.emplace_back().flow = flow;
    return &beliefs_.back();
}

void belief_book::segment_in(const tcp::flow_key& flow, const tcp::segment& s, instant now) {
    belief* b = of(flow);
    if (b == nullptr) return;
    ++b->segments_in;
    b->last_in = now;
    if (s.header.syn()) {
        b->last_syn_in = s.header.seq;
        if (!b->irs) b->irs = s.header.seq;
    }
    b->window_in = s.header.window;
    if (s.header.has_ack() && b->iss && (s.header.ack > b->snd_una || b->snd_una == *b->iss) &&
        s.header.ack <= b->snd_max)
        b->snd_una = s.header.ack;
}

void belief_book::segment_out(const tcp::flow_key& flow, const tcp::outgoing_segment& s, instant now) {
    belief* b = of(flow);
    if (b == nullptr) return;
    ++b->segments_out;
    b->last_out = now;
    const tcp::header& h = s.header;
    if (h.syn() && !b->iss) {
        b->iss = h.seq;
        b->snd_una = b->snd_max = h.seq;
    }
    b->snd_nxt =
        h.seq + (static_cast<std::uint32_t>(s.payload_size) + (h.syn() ? 1u : 0u) + (h.fin() ? 1u : 0u));
    if (!h.rst() && b->snd_nxt > b->snd_max) b->snd_max = b->snd_nxt;
    if (h.has_ack()) b->rcv_nxt = h.ack;
    b->window_out = h.window;
}

void belief_book::state_changed(const tcp::flow_key& flow, const tcp::edge& e) {
    if (flow.remote_port == 0) return; // a listener: no connection
    belief* b = of(flow);
    if (b == nullptr) return;
    const bool opens = e.from == tcp::state::closed || e.from == tcp::state::listen;
    if (opens && !b->path.empty()) {
        const std::optional<tcp::seq> syn = b->last_syn_in;
        b = open(flow);
        if (b == nullptr) return;
        if (e.from == tcp::state::listen) b->irs = syn;
    }
    b->path.push_back(e);
}

void belief_book::timed_out(const tcp::flow_key& flow, duration rto, unsigned backoff) {
    belief* b = of(flow);
    if (b == nullptr) return;
    ++b->timeouts;
    b->last_rto = rto;
    b->last_backoff = backoff;
}

void belief_book::dropped(const tcp::flow_key& flow, std::string_view reason) {
    if (belief* b = of(flow); b != nullptr) ++b->drops[std::string(reason)];
}

std::string belief_book::text_of(const belief& b) {
    std::string out = "  " + b.flow.local_endpoint().to_string() + " to " +
                      b.flow.remote_endpoint().to_string() + "\n    path of states: ";
    if (b.path.empty())
        out += "none: no connection";
    else
        out += std::string(name(b.path.front().from));
    for (const tcp::edge& e : b.path)
        out +=
            " --" + std::string(name(e.cause)) + "--> " + std::string(name(e.to)) + " (" + us(e.when) + ")";
    out += "\n    snd_una " + relative(b.iss, 'J', b.snd_una) + ", snd_nxt " +
           relative(b.iss, 'J', b.snd_nxt) + ", snd_max " + relative(b.iss, 'J', b.snd_max) + "; rcv_nxt " +
           relative(b.irs, 'K', b.rcv_nxt) + "; window field received " + std::to_string(b.window_in) +
           ", sent " + std::to_string(b.window_out);
    if (b.iss) out += "; J = " + std::to_string(b.iss->value());
    if (b.irs) out += ", K = " + std::to_string(b.irs->value());
    out += "\n    " + std::to_string(b.segments_in) + " segments in (last " + us(b.last_in) + "), " +
           std::to_string(b.segments_out) + " out (last " + us(b.last_out) + ")";
    if (b.timeouts != 0)
        out += "; " + std::to_string(b.timeouts) + " retransmission timeouts, the last with RTO " +
               us(b.last_rto) + ", backoff " + std::to_string(b.last_backoff);
    for (const auto& [reason, count] : b.drops)
        out += "; dropped as " + reason + ": " + std::to_string(count);
    return out + "\n";
}

std::string info_text(const tcp::endpoint& e) {
    const tcp::info i = e.info();
    return std::string(name(i.state)) + ", snd_una " + std::to_string(i.snd_una.value()) + ", snd_nxt " +
           std::to_string(i.snd_nxt.value()) + ", rcv_nxt " + std::to_string(i.rcv_nxt.value()) +
           ", send queue " + std::to_string(i.send_queue) + " (" + std::to_string(i.unsent) +
           " unsent), in flight " + std::to_string(i.in_flight) + ", receive queue " +
           std::to_string(i.receive_queue) + ", out of order " + std::to_string(i.out_of_order) + "; cwnd " +
           std::to_string(i.cwnd) + ", ssthresh " + std::to_string(i.ssthresh) + ", send window " +
           std::to_string(i.send_window) + ", receive window " + std::to_string(i.receive_window) + ", mss " +
           std::to_string(i.send_mss) + "; srtt " + us(i.srtt) + ", rto " + us(i.rto) + ", backoff " +
           std::to_string(i.backoff) +
           (i.next_timer == never ? ", no timer" : ", next timer " + us(i.next_timer)) +
           (i.in_recovery ? ", in recovery" : "") + (e.error() ? "; error: " + e.error().message() : "");
}

std::string belief_book::text(tcp::stack* living) const {
    std::string out;
    for (std::size_t i = 0; i < beliefs_.size(); ++i) {
        const belief& b = beliefs_[i];
        out += text_of(b);
        if (living == nullptr || newest_.at(b.flow) != i) continue;
        living->for_each_connection([&](tcp::endpoint& e) {
            if (e.flow() == b.flow) out += "    now: " + info_text(e) + "\n";
        });
    }
    if (left_out_ != 0) out += "  and more than can be read\n";
    return out.empty() ? "  no connections\n" : out;
}

} // namespace tapir::test
