#include "tests/support/siege.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

namespace tapir::test {

namespace {
/// Byte i of every honest stream.
std::byte pattern(std::size_t i) {
    return static_cast<std::byte>((i * 7 + i / 251) & 0xff);
}
} // namespace

siege::siege(const tcp::config& victim_config, const tcp::listen_options& listening)
    : wheel_(1us, now), victim(victim_config, siphash_key{1, 2}, random(3), victim_pool_, wheel_),
      honest(tcp::config(), siphash_key{4, 5}, random(6), honest_pool_, wheel_),
      listener_(std::move(*victim.listen({victim_address(), port}, listening, now))) {}

tcp::path siege::path_to_victim(const ip::address& from) const {
    return {victim_address(), from, ip::pseudo_header_sum(from, victim_address(), ip::protocol::tcp)};
}

// --- the network -------------------------------------------------------------------------------------------

void siege::carry(bool from_victim, const tcp::path& to, const tcp::outgoing_segment& s) {
    const bool between_honest = to.remote == honest_address() || to.remote == victim_address();
    if (!between_honest) {
        ++answers;
        if (!keep_heard) return;
        heard_segment h{to.remote, s.header, {}};
        for (const bytes part : s.payload) h.text += as_text(part);
        heard.push_back(std::move(h));
        return;
    }
    const std::pair direction(!from_victim, from_victim ? s.header.destination_port : s.header.source_port);
    last_[direction] = s.header;
    ++count_[direction];
    buffer b = (from_victim ? honest_pool_ : victim_pool_).allocate(s.size());
    std::size_t at = s.header.size();
    for (const bytes part : s.payload) {
        copy_bytes(b.span().subspan(at), part);
        at += part.size();
    }
    tcp::emit(b.span().first(s.header.size()), s.header, to.pseudo_header_sum, s.payload);
    in_flight_.emplace(std::pair(now + 5ms, order_++),
                       arrival{!from_victim, to.local, chunk(b, 0, s.size())});
}

void siege::deliver(const arrival& a) {
    tcp::path p = path_to_victim(a.from);
    if (!a.at_victim) p.local = honest_address();
    p.pseudo_header_sum = ip::pseudo_header_sum(p.remote, p.local, ip::protocol::tcp);
    (a.at_victim ? victim : honest).receive(p, a.segment, tcp::checksum_known::no, now, now);
}

void siege::inject(const ip::address& from, const tcp::header& h, std::string_view text) {
    const std::size_t size = h.size() + text.size();
    buffer b = victim_pool_.allocate(size);
    copy_bytes(b.span().subspan(h.size()), as_bytes(text));
    const std::array parts = {as_bytes(text)};
    tcp::emit(b.span().first(h.size()), h, path_to_victim(from).pseudo_header_sum, parts);
    deliver(arrival{true, from, chunk(b, 0, size)});
}

void siege::inject_into_honest(const ip::address& from, const tcp::header& h, std::string_view text) {
    const std::size_t size = h.size() + text.size();
    buffer b = honest_pool_.allocate(size);
    copy_bytes(b.span().subspan(h.size()), as_bytes(text));
    const std::array parts = {as_bytes(text)};
    tcp::emit(b.span().first(h.size()), h, ip::pseudo_header_sum(from, honest_address(), ip::protocol::tcp),
              parts);
    deliver(arrival{false, from, chunk(b, 0, size)});
}

void siege::inject_raw(const ip::address& from, std::string segment) {
    buffer b = victim_pool_.allocate(segment.size());
    const mutable_bytes room = b.span().first(segment.size());
    copy_bytes(room, as_bytes(segment));
    store_be16(room, 16, 0);
    ip::checksum sum(path_to_victim(from).pseudo_header_sum);
    sum.add_u16(static_cast<std::uint16_t>(segment.size()));
    sum.add(room);
    store_be16(room, 16, sum.value());
    deliver(arrival{true, from, chunk(b, 0, segment.size())});
}

// --- time --------------------------------------------------------------------------------------------------

void siege::flush() {
    turn();
    victim.flush(now, victim_end_);
    honest.flush(now, honest_end_);
    most_victim_bytes = std::max(most_victim_bytes, victim_bytes());
}

void siege::run_for(duration d) {
    const instant end = now + d;
    for (flush();; flush()) {
        instant next = wheel_.next();
        if (!in_flight_.empty()) next = std::min(next, in_flight_.begin()->first.first);
        if (visitor_ == nullptr && visiting) next = std::min(next, next_visit_);
        if (next > end) break;
        now = std::max(now, next);
        while (!in_flight_.empty() && in_flight_.begin()->first.first <= now) {
            const arrival a = std::move(in_flight_.begin()->second);
            in_flight_.erase(in_flight_.begin());
            deliver(a);
        }
        timers_fired += wheel_.advance(now);
    }
    now = end;
}

// --- users -------------------------------------------------------------------------------------------------

siege::session::session(siege& s, std::unique_ptr<tcp::endpoint> endpoint)
    : owner(s), e(std::move(endpoint)) {
    e->set_observer(this);
    changed(*e);
}

void siege::session::changed(tcp::endpoint&) {
    if (queued) return;
    queued = true;
    owner.ready_.push_back(this);
}

void siege::turn() {
    while (auto accepted = listener_->accept()) {
        const auto who = std::pair(accepted->remote().addr, accepted->remote().port);
        drop_session(who.first, who.second);
        sessions_.emplace(who, std::make_unique<session>(*this, std::move(accepted)));
    }
    std::vector<session*> now_ready;
    now_ready.swap(ready_);
    for (session* s : now_ready) {
        s->queued = false;
        if (treatment && s->e->remote().addr != honest_address())
            treatment(*s->e);
        else
            serve(*s);
        if (s->e->ended()) {
            const auto who = std::pair(s->e->remote().addr, s->e->remote().port);
            std::erase(ready_, s);
            sessions_.erase(who);
        }
    }
    visit();
}

// An echo server: reads no more than it can write back.
void siege::serve(session& s) {
    tcp::endpoint& e = *s.e;
    std::array<std::byte, 4096> block;
    for (;;) {
        const std::size_t n = e.read(std::span(block).first(std::min(block.size(), e.writable())));
        if (n == 0) break;
        e.write(std::span(block).first(n));
    }
    if (e.at_end()) e.close(now);
}

tcp::endpoint* siege::session_of(const ip::address& remote, std::uint16_t remote_port) {
    const auto found = sessions_.find(std::pair(remote, remote_port));
    return found == sessions_.end() ? nullptr : found->second->e.get();
}

void siege::drop_session(const ip::address& remote, std::uint16_t remote_port) {
    const auto found = sessions_.find(std::pair(remote, remote_port));
    if (found == sessions_.end()) return;
    std::erase(ready_, found->second.get());
    sessions_.erase(found);
}

void siege::visit() {
    if (visitor_ == nullptr) {
        if (!visiting || now < next_visit_) return;
        tcp::path p = path_to_victim(honest_address());
        std::swap(p.local, p.remote);
        visitor_ = std::move(*honest.connect(p, port, 0, tcp::connection_options(), now));
        visitor_sent_ = visitor_received_ = 0;
        visit_began_ = now;
    }
    tcp::endpoint& e = *visitor_;
    std::array<std::byte, 4096> block;
    bool intact = true;
    while (visitor_sent_ < visit_bytes && e.writable() > 0) {
        const std::size_t n = std::min({block.size(), visit_bytes - visitor_sent_, e.writable()});
        for (std::size_t i = 0; i < n; ++i) block[i] = pattern(visitor_sent_ + i);
        visitor_sent_ += e.write(std::span(block).first(n));
    }
    if (visitor_sent_ == visit_bytes && e.state() == tcp::state::established) e.finish(now);
    for (std::size_t n = e.read(block); n != 0; n = e.read(block)) {
        for (std::size_t i = 0; i < n; ++i) intact = intact && block[i] == pattern(visitor_received_ + i);
        visitor_received_ += n;
    }
    if (!intact) last_failure = "a byte was not what the honest client had sent";
    if (!e.ended() && intact) return;
    if (intact && visitor_received_ == visit_bytes && e.report().how == tcp::ending::orderly) {
        ++visits;
        slowest = std::max(slowest, now - visit_began_);
    } else {
        ++failures;
        if (intact)
            last_failure = "visit ended: " + std::string(name(e.report().how)) + " after " +
                           std::to_string(visitor_received_) + " bytes, " + e.error().message();
    }
    visitor_.reset();
    next_visit_ = now + pause;
}

bool siege::honest_clients_go_on(std::size_t n, duration patience) {
    const std::size_t wanted = visits + n;
    const instant latest = now + static_cast<int>(n + 1) * (undisturbed_visit() + patience + pause) + pause;
    while (visits < wanted && failures == 0 && now < latest) run_for(undisturbed_visit());
    const duration longest = std::exchange(slowest, duration{0});
    const bool fine = failures == 0 && visits >= wanted && longest <= undisturbed_visit() + patience;
    if (!fine)
        std::printf("%zu visits of %zu, %zu failed (%s), the slowest took %lld us instead of %lld\n",
                    n - (wanted - std::min(visits, wanted)), n, failures, last_failure.c_str(),
                    static_cast<long long>(longest / 1us), static_cast<long long>(undisturbed_visit() / 1us));
    return fine;
}

duration siege::undisturbed_visit() const {
    static std::map<std::size_t, duration> measured;
    const auto known = measured.find(visit_bytes);
    if (known != measured.end()) return known->second;
    siege s;
    s.visit_bytes = visit_bytes;
    for (int i = 0; i < 60 && s.visits < 3; ++i) s.run_for(1s);
    return measured[visit_bytes] = s.visits >= 3 && s.failures == 0 ? s.slowest : duration{0};
}

// --- raw_peer ----------------------------------------------------------------------------------------------

tcp::header raw_peer::header(tcp::seq seq, tcp::seq ack, tcp::flags f) const {
    tcp::header h;
    h.source_port = port_;
    h.destination_port = siege::port;
    h.seq = seq;
    h.flags = f;
    if (tcp::has(f, tcp::flags::ack)) h.ack = ack;
    h.window = window;
    h.options = options;
    if (syn_options.ts) h.options.ts = tcp::timestamps{clock, their_clock};
    return h;
}

bool raw_peer::open() {
    if (!syn_options.mss) syn_options.mss = std::uint16_t{1460};
    tcp::header syn = header(next, {}, tcp::flags::syn);
    syn.options = syn_options;
    if (syn_options.ts) syn.options.ts = tcp::timestamps{clock, 0};
    at_.inject(from_, syn);
    at_.flush();
    for (const heard_segment& h : take()) {
        if (!h.header.syn() || !h.header.has_ack()) continue;
        next += 1;
        send(tcp::flags::ack);
        at_.flush();
        return true;
    }
    return false;
}

void raw_peer::send(tcp::flags f, std::string_view text, std::uint16_t urgent) {
    send_at(next, expects, f, text, urgent);
}

void raw_peer::send_at(tcp::seq seq, tcp::seq ack, tcp::flags f, std::string_view text,
                       std::uint16_t urgent) {
    tcp::header h = header(seq, ack, f);
    h.urgent = urgent;
    at_.inject(from_, h, text);
}

std::vector<heard_segment> raw_peer::take() {
    std::vector<heard_segment> mine;
    std::vector<heard_segment> others;
    for (heard_segment& h : at_.heard)
        (h.to == from_ && h.header.destination_port == port_ ? mine : others).push_back(std::move(h));
    at_.heard = std::move(others);
    for (const heard_segment& h : mine) {
        const tcp::seq end = h.header.seq + static_cast<std::uint32_t>(h.text.size()) +
                             ((h.header.syn() ? 1u : 0u) + (h.header.fin() ? 1u : 0u));
        if (h.header.syn() || (h.header.seq <= expects && expects < end)) expects = end;
        if (h.header.options.ts) their_clock = h.header.options.ts->value;
    }
    return mine;
}

} // namespace tapir::test
