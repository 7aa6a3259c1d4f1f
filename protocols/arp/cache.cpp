#include <tapir/protocols/arp/cache.hpp>

#include <algorithm>
#include <cassert>
#include <iterator>

namespace tapir::arp {

namespace {

template <class T>
std::optional<T> pop(std::deque<T>& queue) {
    if (queue.empty()) return std::nullopt;
    std::optional<T> front(std::move(queue.front()));
    queue.pop_front();
    return front;
}

// [RFC 1112 6.4]: the low 23 bits of the group address behind 01:00:5e.
ethernet::mac_address group_mac(ip::address group) {
    const auto& o = group.octets();
    return {0x01, 0x00, 0x5e, static_cast<std::uint8_t>(o[13] & 0x7f), o[14], o[15]};
}

/// 127/8, 224/4, 240/4 with the broadcast address: none is the address of a station on a link.
bool is_never_a_station(ip::address a) {
    const std::uint32_t top = a.v4_value() >> 24;
    return top == 127 || top >= 224;
}

} // namespace

cache::cache(const cache_config& config, ethernet::mac_address own)
    : config_(config), own_mac_(own), strangers_(config.requests_per_second, config.request_burst),
      known_(config.known_requests_per_second, config.known_request_burst) {
    assert(config.max_entries >= 1 && config.max_queued_frames >= 1);
    assert(config.max_unanswered >= 1);
    assert(config.max_broadcast_requests >= 1);
    assert(own.is_station());
}

void cache::add_address(ip::prefix own) {
    own_.push_back({.prefix = own, .defended = std::nullopt});
    if (const auto station = table_.find(own.broadcast().v4_value());
        own.length < 31 && station != table_.end())
        evict(station);
}

bool cache::is_own(ip::address a) const {
    return std::ranges::any_of(own_, [&](const own_address& o) { return o.prefix.addr == a; });
}

bool cache::is_own_broadcast(ip::address a) const {
    return std::ranges::any_of(
        own_, [&](const own_address& o) { return o.prefix.length < 31 && o.prefix.broadcast() == a; });
}

bool cache::is_on_link(ip::address a) const {
    return std::ranges::any_of(own_, [&](const own_address& o) { return o.prefix.contains(a); });
}

ip::address cache::source_for(ip::address next_hop) const {
    for (const own_address& o : own_)
        if (o.prefix.contains(next_hop)) return o.prefix.addr;
    return own_.empty() ? ip::address() : own_.front().prefix.addr;
}

arp::state cache::state_of(const entry& e, instant now) const {
    return e.state == state::reachable && now >= e.reachable_until ? state::stale : e.state;
}

void cache::arm(entry& e, instant at) {
    e.deadline = at;
    next_deadline_ = std::min(next_deadline_, at);
}

void cache::transmit(ethernet::mac_address destination, const packet& p, std::uint64_t& counter) {
    if (transmissions_.size() >= config_.max_transmissions) {
        ++count_.transmissions_dropped;
        return;
    }
    transmissions_.push_back({.destination = destination, .packet = p});
    ++counter;
}

// One request, to the station itself while its address is still believed, else to everybody: at once if
// nobody waits and the rate allows it, else in turn.
void cache::ask(ip::address a, entry& e, instant now) {
    if (e.state == state::probing) {
        packet p = packet::request(own_mac_, source_for(a), a);
        p.target_mac = e.mac;
        transmit(e.mac, p, count_.unicast_requests_sent);
        ++e.requests;
        arm(e, now + config_.retry_interval); // [RFC 1122 2.3.2.1]: no flooding, a request a second at most
        return;
    }
    share& s = share_of(e);
    if (s.line.empty() && s.requests.take(now)) return broadcast(a, e, now);
    ++count_.requests_limited;
    e.waits = true;
    e.deadline = never;
    s.line.push_back(a.v4_value());
    next_deadline_ = std::min(next_deadline_, s.requests.next(now));
}

void cache::broadcast(ip::address a, entry& e, instant now) {
    transmit(ethernet::mac_address::broadcast(), packet::request(own_mac_, source_for(a), a),
             count_.broadcast_requests_sent);
    ++e.requests;
    e.first_asked = std::min(e.first_asked, now);
    arm(e, now + config_.retry_interval);
}

void cache::serve(share& s, instant now) {
    while (!s.line.empty()) {
        if (!s.requests.take(now)) {
            next_deadline_ = std::min(next_deadline_, s.requests.next(now));
            return;
        }
        const std::uint32_t a = s.line.front();
        s.line.pop_front();
        entry& e = table_.at(a);
        e.waits = false;
        broadcast(ip::address::v4(a), e, now);
    }
}

void cache::leave_line(std::uint32_t a, entry& e) {
    if (!std::exchange(e.waits, false)) return;
    std::deque<std::uint32_t>& line = share_of(e).line;
    line.erase(std::ranges::find(line, a));
}

// What goes first when the table is full: the least recently used stale entry. Then, for our own needs only,
// the oldest question that has had a second for its answer, whose frames are lost; so that neither a sweep
// over silent addresses nor strangers who ask for us displace a station we talk to. Last, when nobody is
// asked for, the least recently used of those. Once the questions are max_unanswered they make room for each
// other only.
bool cache::make_room(creator by, instant now) {
    if (table_.size() < std::min(config_.max_unanswered, config_.max_entries)) return true;
    enum { stale, overdue, in_use, fresh };
    std::pair<int, instant> first_of_all(fresh, never);
    std::pair<int, instant> first_question(fresh, never);
    auto victim = table_.end();
    auto question = table_.end();
    std::size_t questions = 0;
    for (auto at = table_.begin(); at != table_.end(); ++at) {
        const entry& e = at->second;
        const bool unanswered = e.state == state::incomplete && !e.answered;
        int rank = state_of(e, now) == state::stale ? stale : in_use;
        if (unanswered) rank = now < after(e.first_asked, config_.retry_interval) ? fresh : overdue;
        const std::pair order(rank, e.last_used);
        if (order < first_of_all) {
            first_of_all = order;
            victim = at;
        }
        if (!unanswered) continue;
        ++questions;
        if (order < first_question) {
            first_question = order;
            question = at;
        }
    }
    if (by == creator::us && questions >= config_.max_unanswered) {
        if (first_question.first != overdue) return false;
        evict(question);
    } else if (table_.size() >= config_.max_entries) {
        const int last = by == creator::a_packet ? stale : questions > 0 ? overdue : in_use;
        if (first_of_all.first > last) return false;
        evict(victim);
    }
    return true;
}

void cache::evict(table::iterator at) {
    leave_line(at->first, at->second);
    queued_ -= at->second.queue.size();
    count_.queue_dropped += at->second.queue.size();
    ++count_.evicted;
    table_.erase(at);
}

cache::entry* cache::create(ip::address a, creator by, instant now) {
    if (!make_room(by, now)) {
        ++(by == creator::us ? count_.not_asked : count_.table_full);
        return nullptr;
    }
    entry& e = table_[a.v4_value()];
    e.last_used = now;
    return &e;
}

std::optional<ethernet::mac_address> cache::resolve(ip::address next_hop, instant now) {
    assert(next_hop.is_v4());
    const auto found = table_.find(next_hop.v4_value()); // which holds neither groups nor broadcast addresses
    if (found == table_.end()) {
        if (next_hop.is_broadcast() || is_own_broadcast(next_hop)) return ethernet::mac_address::broadcast();
        if (next_hop.is_multicast()) return group_mac(next_hop);
        if (entry* e = create(next_hop, creator::us, now)) ask(next_hop, *e, now);
        return std::nullopt;
    }
    entry& e = found->second;
    e.last_used = now;
    if (e.state == state::incomplete) return std::nullopt;
    if (state_of(e, now) == state::stale) { // [RFC 1122 2.3.2.1 (2)]: unicast poll
        e.state = config_.max_unicast_requests > 0 ? state::probing : state::incomplete;
        e.requests = 0;
        ask(next_hop, e, now);
        if (e.state == state::incomplete) return std::nullopt;
    }
    return e.mac;
}

bool cache::is_asked_for(ip::address next_hop) const {
    const auto found = table_.find(next_hop.v4_value());
    return found != table_.end() && found->second.state == state::incomplete;
}

bool cache::make_queue_room(entry& e) {
    entry* from = &e;
    if (e.queue.size() < config_.max_queued_frames) {
        if (queued_ < config_.max_queued_total) return true;
        const auto longest =
            std::ranges::max_element(table_, {}, [](const auto& one) { return one.second.queue.size(); });
        if (longest->second.queue.size() > e.queue.size() + 1) from = &longest->second;
    }
    ++count_.queue_dropped;
    if (from->queue.empty()) return false;
    from->queue.erase(from->queue.begin());
    --queued_;
    return true;
}

void cache::enqueue(ip::address next_hop, frame packet, instant now) {
    if (const auto mac = resolve(next_hop, now)) {
        releases_.emplace_back(*mac, std::move(packet));
        return;
    }
    const auto found = table_.find(next_hop.v4_value());
    if (found == table_.end()) { // not asked for
        ++count_.queue_dropped;
        return;
    }
    // [RFC 1122 2.3.2.2]: at least the latest frame is kept.
    if (!make_queue_room(found->second)) return;
    found->second.queue.push_back(std::move(packet));
    ++queued_;
}

void cache::learn(ip::address a, entry& e, ethernet::mac_address mac, instant now) {
    leave_line(a.v4_value(), e);
    e.answered = true;
    e.first_asked = never;
    if (e.state == state::incomplete)
        ++count_.resolved;
    else if (e.mac != mac)
        ++count_.moved;
    e.state = state::reachable;
    e.requests = 0;
    e.mac = mac;
    e.reachable_until = now + config_.reachable_time;
    arm(e, e.last_used + config_.idle_lifetime);
    for (frame& f : e.queue) releases_.emplace_back(mac, std::move(f));
    queued_ -= e.queue.size();
    e.queue.clear();
}

void cache::on_packet(bytes payload, instant now) {
    const auto v = view::parse(payload);
    if (!v)
        ++count_.malformed_packets[v.error()];
    else
        on_packet(packet::of(*v), now);
}

void cache::on_packet(const packet& p, instant now) {
    ++(p.op == operation::request ? count_.requests_received : count_.replies_received);
    if (p.sender_mac == own_mac_) {
        ++count_.own;
        return;
    }
    if (!p.sender_mac.is_station() || is_never_a_station(p.sender_ip) || is_own_broadcast(p.sender_ip)) {
        ++count_.bad_sender;
        return;
    }
    if (is_own(p.sender_ip)) {
        on_conflict(p.sender_ip, p.sender_mac, now);
        return;
    }
    if (ends_probing(p)) return;

    // [RFC 826]: a known sender is refreshed by any packet, a new one remembered only if
    // the packet is for us. Stricter than that: not from a mere reply, which nobody here asked for.
    const bool for_us = is_own(p.target_ip);
    const auto known = table_.find(p.sender_ip.v4_value());
    if (known != table_.end()) {
        learn(p.sender_ip, known->second, p.sender_mac, now);
    } else if (p.op == operation::reply) {
        ++count_.unsolicited;
    } else if (for_us && !p.sender_ip.is_unspecified() && is_on_link(p.sender_ip)) {
        if (entry* e = create(p.sender_ip, creator::a_packet, now)) {
            e->state = state::reachable;
            e->mac = p.sender_mac;
            learn(p.sender_ip, *e, p.sender_mac, now);
        }
    }

    if (!for_us)
        ++count_.not_ours;
    else if (p.op == operation::request) // an RFC 5227 probe, with sender 0.0.0.0, is answered like any other
        transmit(p.sender_mac, packet::reply_to(p, own_mac_), count_.replies_sent);
}

// [RFC 5227 2.4 (c)]: the address is configured and kept; it is defended once per interval, no more often, so
// that two such hosts do not shout at each other without end.
void cache::on_conflict(ip::address own, ethernet::mac_address other, instant now) {
    ++count_.conflicts;
    for (own_address& o : own_) {
        if (o.prefix.addr != own || (o.defended && now - *o.defended < config_.defend_interval)) continue;
        o.defended = now;
        events_.push_back({.what = address_event::kind::conflict, .address = o.prefix, .other = other});
        transmit(ethernet::mac_address::broadcast(), packet::announcement(own_mac_, own),
                 count_.announcements_sent);
    }
}

void cache::probe(ip::prefix own, random draws, instant now) {
    probed_address a{.prefix = own, .draws = draws};
    a.next = now + a.draws.below(1'000'001) * (config_.probe_wait / 1'000'000);
    next_deadline_ = std::min(next_deadline_, a.next);
    probed_.push_back(a);
}

// [RFC 5227 2.1.1]: who speaks from the address has it; who probes for it at the same time gets it no more
// than we do.
bool cache::ends_probing(const packet& p) {
    const auto found = std::ranges::find_if(probed_, [&](const probed_address& a) {
        const bool probes_too = p.op == operation::request && p.sender_ip.is_unspecified();
        return a.prefix.addr == p.sender_ip || (probes_too && a.prefix.addr == p.target_ip);
    });
    if (found == probed_.end()) return false;
    ++count_.addresses_taken;
    events_.push_back({.what = address_event::kind::taken, .address = found->prefix, .other = p.sender_mac});
    probed_.erase(found);
    return true;
}

void cache::send_probes(instant now) {
    for (probed_address& a : probed_) {
        if (a.next > now || a.sent >= config_.probe_num) continue;
        transmit(ethernet::mac_address::broadcast(), packet::request(own_mac_, ip::address(), a.prefix.addr),
                 count_.probes_sent);
        ++a.sent;
        const auto range = (config_.probe_max - config_.probe_min) / 1'000'000;
        const duration pause = config_.probe_min + a.draws.below(1'000'001) * range;
        a.next = now + (a.sent < config_.probe_num ? pause : config_.announce_wait);
    }
    bool any = false;
    for (const probed_address& a : probed_) {
        if (a.next > now) continue; // all probes are out, and nobody has answered
        add_address(a.prefix);
        events_.push_back({.what = address_event::kind::usable, .address = a.prefix});
        any = true;
    }
    std::erase_if(probed_, [&](const probed_address& a) { return a.next <= now; });
    if (any) announce(now);
    for (const probed_address& a : probed_) next_deadline_ = std::min(next_deadline_, a.next);
}

void cache::announce(instant now) {
    announcements_left_ = config_.announcements;
    send_announcements(now);
}

void cache::send_announcements(instant now) {
    announce_at_ = never;
    if (announcements_left_ == 0) return;
    for (const own_address& o : own_)
        transmit(ethernet::mac_address::broadcast(), packet::announcement(own_mac_, o.prefix.addr),
                 count_.announcements_sent);
    if (--announcements_left_ == 0) return;
    announce_at_ = now + config_.announce_interval;
    next_deadline_ = std::min(next_deadline_, announce_at_);
}

void cache::give_up(table::iterator at) {
    queued_ -= at->second.queue.size();
    ++count_.failed;
    failures_.emplace_back(ip::address::v4(at->first), std::move(at->second.queue));
    table_.erase(at);
}

void cache::on_entry_timer(table::iterator at, instant now) {
    const ip::address a = ip::address::v4(at->first);
    entry& e = at->second;
    switch (e.state) {
    case state::incomplete:
        if (e.requests < config_.max_broadcast_requests)
            ask(a, e, now);
        else
            give_up(at);
        break;
    case state::probing:
        if (e.requests >= config_.max_unicast_requests) { // [RFC 1122 2.3.2.1 (2)]: forget what it said
            e.state = state::incomplete;
            e.mac = ethernet::mac_address();
            e.requests = 0;
        }
        ask(a, e, now);
        break;
    case state::reachable:
    case state::stale:
        if (now - e.last_used < config_.idle_lifetime) { // used since the deadline was set
            arm(e, e.last_used + config_.idle_lifetime);
        } else {
            ++count_.expired;
            table_.erase(at);
        }
        break;
    }
}

void cache::on_timer(instant now) {
    if (now < next_deadline_) return;
    next_deadline_ = never;
    if (announce_at_ <= now)
        send_announcements(now);
    else
        next_deadline_ = announce_at_;
    send_probes(now);
    for (auto at = table_.begin(); at != table_.end();) {
        const auto current = at++;
        if (current->second.deadline <= now)
            on_entry_timer(current, now);
        else
            next_deadline_ = std::min(next_deadline_, current->second.deadline);
    }
    serve(strangers_, now);
    serve(known_, now);
}

std::optional<cache::transmission> cache::next_transmission() {
    return pop(transmissions_);
}
std::optional<cache::release> cache::next_release() {
    return pop(releases_);
}
std::optional<cache::failure> cache::next_failure() {
    return pop(failures_);
}

std::optional<address_event> cache::next_event() {
    return pop(events_);
}

std::vector<cache::entry_info> cache::entries(instant now) const {
    std::vector<entry_info> all;
    all.reserve(table_.size());
    for (const auto& [a, e] : table_)
        all.push_back({.address = ip::address::v4(a),
                       .mac = e.mac,
                       .state = state_of(e, now),
                       .queued = e.queue.size()});
    return all;
}

} // namespace tapir::arp
