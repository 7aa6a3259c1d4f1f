// Data in the SYN, of a connection: how a client sends it and what it makes of the answer, and how a server's
// connection begins with it. [RFC 7413 4.2]
//
//     SYN, request      ->  SYN|ACK, cookie             the first time; then
//     SYN, cookie, data ->  SYN|ACK of data, answer     ->  ACK
#include <tapir/protocols/tcp/tcb.hpp>

#include <algorithm>

namespace tapir::tcp {

// --- of a client -------------------------------------------------------------------------------------------

// The first SYN asks for a cookie, or shows one and brings data: so many bytes. A SYN that goes again is a
// plain one: what is new may have been what did not pass. [RFC 7413 4.2.1]
std::uint32_t tcb::add_fast_open(header& syn, std::size_t max_payload, instant now) {
    if (fast_open_ != fast_open_use::wanted || snd_nxt_ != iss_) return 0;
    const auto known = stack_->fast_open_cache_.for_syn(flow(), now);
    if (!known) return 0;
    syn.options.fast_open = known->cookie;
    if (known->cookie.size == 0) {
        fast_open_ = fast_open_use::asked;
        return 0;
    }
    fast_open_ = fast_open_use::shown;
    // Who searches for what the path takes begins with what arrives nearly everywhere. [RFC 4821 7.2]
    const std::uint16_t mtu =
        probing_ == mtu_probing::always ? std::min(mtu_, stack_->config_.base_path_mtu) : mtu_;
    const std::size_t most = std::min(known->mss, mss_of(mtu, network_header_));
    const std::size_t options = syn.options.size();
    std::size_t room = most > options ? most - options : 0;
    if (max_payload != 0) room = std::min(room, max_payload); // else nothing below is narrower than the path
    return static_cast<std::uint32_t>(std::min<std::size_t>(buffer_.size(), room));
}

// `taken`: bytes of our data that the SYN|ACK acknowledges. [RFC 7413 4.2.1]
void tcb::fast_open_answered(const header& syn_ack, std::uint32_t taken, instant now) {
    if (fast_open_ != fast_open_use::asked && fast_open_ != fast_open_use::shown) return;
    const fast_open_cookie given = syn_ack.options.fast_open.value_or(fast_open_cookie());
    const bool refused = sent_with_syn() != 0 && taken == 0;
    if (refused) ++stack_->counters_.fast_open_data_refused;
    fast_open_outcome outcome = fast_open_outcome::accepted;
    if (given.size != 0) // to a SYN that had more than a plain one
        outcome = fast_open_outcome::granted;
    else if (taken != 0)
        outcome = fast_open_outcome::taken;
    else if (refused || syn_retransmitted_)
        outcome = fast_open_outcome::in_vain;
    else if (fast_open_ == fast_open_use::asked)
        outcome = fast_open_outcome::no_cookie;
    if (taken != 0) fast_open_ = fast_open_use::taken;
    stack_->fast_open_cache_.learn(flow(), given, peer_mss_, now);
    stack_->fast_open_cache_.conclude(flow(), outcome, now);
}

// SYN_SENT ends, and there was no SYN|ACK. A user who leaves while a SYN is on its way the first time has not
// waited for one; a port where nobody listens refuses plain SYNs as well. [RFC 7413 4.1.3.1]
void tcb::fast_open_unanswered(event cause, instant now) {
    if (fast_open_ != fast_open_use::asked && fast_open_ != fast_open_use::shown) return;
    const bool refused = cause == event::rst || cause == event::unreachable;
    if (cause == event::host_stopped || !(refused ? sent_with_syn() != 0 : syn_retransmitted_)) return;
    stack_->fast_open_cache_.conclude(flow(), fast_open_outcome::failed, now);
}

// --- of a server -------------------------------------------------------------------------------------------

// What the SYN brought is there to be read at once, and may be answered: whoever sent it has shown a cookie.
// [RFC 7413 4.2.2]
void tcb::open_fast(const half_open_entry& e, std::uint32_t ts_offset, const segment& syn, instant now) {
    open_passive(e, ts_offset);
    board_.clear(); // our SYN|ACK has yet to go
    snd_nxt_ = iss_;
    syn_due_ = true;
    syn_retransmitted_ = false;
    fast_open_ = e.wants_fast_open ? fast_open_use::gives : fast_open_use::off;
    opening_ = opening::fast;
    snd_wnd_ = max_snd_wnd_ = syn.header.window; // never scaled in a SYN [RFC 7323 2.2]
    last_progress_ = last_receive_ = syn.arrived;
    if (probing_ == mtu_probing::always) begin_mtu_search();
    congestion_.start(mss(), stack_->config_.initial_window_segments);
    if (!syn.payload.empty()) text_arrives(syn.header.seq + 1, syn, false, now);
    tell_user();
}

} // namespace tapir::tcp
