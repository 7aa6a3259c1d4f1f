#include <tapir/framework/bytes.hpp>
#include <tapir/protocols/tcp/fast_open.hpp>
#include <tapir/protocols/tcp/flow.hpp>
#include <tapir/protocols/tcp/stack.hpp>
#include <tapir/protocols/tcp/tcb.hpp>

#include <algorithm>

namespace tapir::tcp {

namespace {

fast_open_cookie seal(const siphash_key& secret, const ip::address& server, const ip::address& client) {
    const std::uint64_t sum = hash_flow(secret, flow_key(server, 0, client, 0), hash_purpose::fast_open);
    fast_open_cookie made;
    made.size = 8;
    store_be32(made.octets, 0, static_cast<std::uint32_t>(sum >> 32));
    store_be32(made.octets, 4, static_cast<std::uint32_t>(sum));
    return made;
}

} // namespace

fast_open_cookie fast_open_cookies::make(const ip::address& server, const ip::address& client, instant now) {
    secrets_.rotate(now.time_since_epoch() / period_);
    return seal(secrets_.newest(), server, client);
}

fast_open_cookies::verdict fast_open_cookies::check(const fast_open_cookie& shown, const ip::address& server,
                                                    const ip::address& client, instant now) {
    secrets_.rotate(now.time_since_epoch() / period_);
    if (shown == seal(secrets_.newest(), server, client)) return verdict::good;
    return shown == seal(secrets_.before(), server, client) ? verdict::old : verdict::wrong;
}

std::optional<fast_open_cache::entry> fast_open_cache::for_syn(const ip::address& server, instant now) {
    const auto known = servers_.find(server);
    if (known == servers_.end()) return entry{};
    known->second.asked = now;
    if (now < known->second.not_before) return std::nullopt;
    return known->second;
}

void fast_open_cache::learn(const ip::address& server, const fast_open_cookie& cookie, std::uint16_t mss,
                            instant now) {
    entry* e = room_for(server);
    if (e == nullptr) return;
    e->cookie = cookie;
    e->mss = mss;
    e->asked = now;
    e->lost = 0;
}

bool fast_open_cache::knows(const ip::address& server) const {
    const auto known = servers_.find(server);
    return known != servers_.end() && known->second.cookie.size != 0;
}

void fast_open_cache::passed(const ip::address& server) {
    if (const auto known = servers_.find(server); known != servers_.end()) known->second.lost = 0;
}

void fast_open_cache::passed_not(const ip::address& server, instant until, instant now) {
    entry* e = room_for(server);
    if (e == nullptr) return;
    e->asked = now;
    if (++e->lost >= losses_to_put_off) put_off(server, until, now);
}

void fast_open_cache::put_off(const ip::address& server, instant until, instant now) {
    entry* e = room_for(server);
    if (e == nullptr) return;
    e->cookie = {};
    e->lost = 0;
    e->not_before = until;
    e->asked = now;
}

// Looking at all of them is bearable once for each server that is met for the first time.
fast_open_cache::entry* fast_open_cache::room_for(const ip::address& server) {
    if (const auto known = servers_.find(server); known != servers_.end()) return &known->second;
    if (bound_ == 0) return nullptr;
    if (servers_.size() >= bound_)
        servers_.erase(
            std::ranges::min_element(servers_, {}, [](const auto& known) { return known.second.asked; }));
    return &servers_[server];
}

// --- of listeners ------------------------------------------------------------------------------------------

// [RFC 7413 4.2.2, 5.1]
bool stack::opens_fast(listening_endpoint& l, half_open_entry& e, const path& p, const segment& s,
                       const flow_key& flow, instant now) {
    const fast_open_cookie& shown = *s.header.options.fast_open;
    const auto verdict = shown.size == 0 ? fast_open_cookies::verdict::wrong
                                         : fast_open_cookies_.check(shown, flow.local, flow.remote, now);
    e.wants_fast_open = verdict != fast_open_cookies::verdict::good;
    if (verdict == fast_open_cookies::verdict::wrong) {
        ++(shown.size == 0 ? counters_.fast_open_asked : counters_.fast_open_wrong);
        return false;
    }
    if (!may_open_fast(l, now)) {
        ++counters_.fast_open_overflow;
        return false;
    }
    ++counters_.fast_open_accepted;
    ++fast_opening_;
    e.iss = initial_sequence(flow, now);
    change_state(flow, state::listen, event::rcv_syn, opening::passive, now);
    tcb& c = open_accepted(l, e, p, flow);
    c.open_fast(e, timestamp_offset(flow), s, now);
    settle(c, now);
    l.notify();
    return true;
}

bool stack::may_open_fast(const listening_endpoint& l, instant now) {
    while (!fast_open_resets_.empty() && fast_open_resets_.front() <= now) {
        fast_open_resets_.pop_front();
        --fast_opening_;
    }
    return fast_opening_ < config_.max_fast_opening && !accept_queue_full(l);
}

// Who sends SYNs in somebody else's name makes that one answer by RST: it frees no place at once.
void stack::fast_opening_ends(bool by_reset, instant now) {
    if (by_reset)
        fast_open_resets_.push_back(after(now, config_.fast_open_reset_counts_for));
    else
        --fast_opening_;
}

// --- of connections ----------------------------------------------------------------------------------------

// What the SYN brought is there to be read at once, and may be answered: whoever sent it has shown a cookie.
// [RFC 7413 4.2.2]
void tcb::open_fast(const half_open_entry& e, std::uint32_t ts_offset, const segment& syn, instant now) {
    open_passive(e, ts_offset);
    board_.clear(); // our SYN|ACK has yet to go
    snd_nxt_ = iss_;
    syn_due_ = true;
    syn_retransmitted_ = false;
    fast_opened_ = true;
    offers_fast_open_ = e.wants_fast_open;
    opening_ = opening::fast;
    snd_wnd_ = max_snd_wnd_ = syn.header.window; // never scaled in a SYN [RFC 7323 2.2]
    last_progress_ = last_receive_ = syn.arrived;
    if (probing_ == mtu_probing::always) begin_mtu_search();
    congestion_.start(mss(), stack_->config_.initial_window_segments);
    if (!syn.payload.empty()) text_arrives(syn.header.seq + 1, syn.payload, false, now);
}

// The first SYN asks for a cookie, or shows one and brings data: so many bytes. A SYN that goes again is a
// plain one: what is new may have been what did not pass. [RFC 7413 4.2.1]
std::uint32_t tcb::add_fast_open(header& syn, std::size_t max_payload, instant now) {
    const auto known = stack_->fast_open_cache_.for_syn(flow().remote, now);
    if (!known) return 0;
    tried_fast_open_ = true;
    syn.options.fast_open = known->cookie;
    if (known->cookie.size == 0) return 0;
    const std::size_t most = std::min<std::size_t>(known->mss, path_mss());
    const std::size_t options = syn.options.size();
    std::size_t room = most > options ? most - options : 0;
    if (max_payload != 0) room = std::min(room, max_payload); // else nothing below is narrower than the path
    return static_cast<std::uint32_t>(std::min<std::size_t>(buffer_.size(), room));
}

// What the SYN|ACK says of it. `taken`: bytes of our data that it acknowledges. [RFC 7413 4.2.1]
void tcb::conclude_fast_open(const header& syn_ack, std::uint32_t taken, instant now) {
    if (!tried_fast_open_) return;
    fast_open_cache& cache = stack_->fast_open_cache_;
    const instant later_on = after(now, stack_->config_.fast_open_retry_after);
    fast_opened_ = taken != 0;
    if (sent_with_syn() != 0 && taken == 0) ++stack_->counters_.fast_open_data_refused;
    const auto& given = syn_ack.options.fast_open;
    if (given && given->size != 0) // it answers a SYN that had more than a plain one
        cache.learn(flow().remote, *given, peer_mss_, now);
    else if (syn_retransmitted_ && taken == 0)
        cache.passed_not(flow().remote, later_on, now);
    else if (!cache.knows(flow().remote))
        cache.put_off(flow().remote, later_on, now);
    else if (taken != 0)
        cache.passed(flow().remote);
}

// A middlebox may have done it, who does not like such SYNs: the next one is plain.
void tcb::fast_open_refused(instant now) {
    if (sent_with_syn() != 0)
        stack_->fast_open_cache_.put_off(flow().remote, after(now, stack_->config_.fast_open_retry_after),
                                         now);
}

} // namespace tapir::tcp
