// What a stack does when strangers want more than its tables hold: cookies instead of half-open entries, and
// the episodes of pressure that each listener tells of.
// [RFC 4987 3.6]
#include <tapir/protocols/tcp/stack.hpp>

#include <algorithm>
#include <optional>

namespace tapir::tcp {

namespace {
/// How often a listener is asked whether its queues are half empty, once it is quiet there.
constexpr duration look_again = 1s;
} // namespace

bool stack::accept_queue_full(const listening_endpoint& l) const {
    return l.accept_queue_.size() >= l.options_.backlog || connection_count_ >= config_.max_connections;
}

bool stack::half_open_full(const listening_endpoint& l) const {
    return half_open_.full() || l.half_open_ >= l.options_.half_open_max;
}

bool stack::under_pressure(const listening_endpoint& l) const {
    return half_open_.more_than_half_full() || l.half_open_ > l.options_.half_open_max / 2;
}

// --- cookies -----------------------------------------------------------------------------------------------

// `e` is all that there is of this SYN; it is gone when this returns.
void stack::syn_without_room(listening_endpoint& l, half_open_entry e, const segment& s, const flow_key& flow,
                             instant now) {
    if (config_.syn_cookies == syn_cookie_mode::off) {
        ++l.counters_.half_open_overflow;
        drop(&counters::half_open_overflow, "half_open_overflow", flow, s, now);
        pressed(l, pressure::half_open_overflow, now);
        return;
    }
    if (accept_queue_full(l)) { // the client would believe in a connection that we cannot take
        accept_overflows(l, s, flow, now);
        return;
    }
    cookie_options keep;
    keep.mss = e.peer_mss;
    keep.timestamps = e.timestamps;
    e.scaled = keep.scaled = e.scaled && e.timestamps;
    keep.scale = e.peer_scale;
    e.sack_permitted = keep.sack_permitted = e.sack_permitted && e.timestamps;
    e.ecn = keep.ecn = e.ecn && e.timestamps;
    const syn_cookies::cookie made = cookies_.make(flow, e.irs, keep, timestamp(now), now);
    e.iss = made.iss;
    queue_reply(path_of(e), syn_ack_of(e, flow, made.clock));
    ++counters_.syn_cookies_sent;
    ++l.counters_.syn_cookies_sent;
    l.cookies_until_ = after(now, cookies_.longest_life());
    pressed(l, pressure::syn_cookies, now);
}

// A listener that sent no cookie lately is not asked: guesses cannot even be tried there.
std::optional<half_open_entry> stack::cookie_in(listening_endpoint& l, const path& p, const segment& s,
                                                const flow_key& flow, instant now) {
    const header& h = s.header;
    if (now >= l.cookies_until_ || h.syn()) return std::nullopt;
    std::optional<std::uint32_t> echoed;
    if (config_.use_timestamps && h.options.ts) echoed = h.options.ts->echo - timestamp_offset(flow);
    const auto kept = cookies_.check(flow, h.seq - 1, h.ack - 1, echoed, now);
    const auto local = local_index(p.local);
    if (!kept || !local) {
        ++counters_.syn_cookies_wrong;
        ++l.counters_.syn_cookies_wrong;
        return std::nullopt;
    }
    half_open_entry e = entry_for(l, p, s, *local, now);
    e.iss = h.ack - 1;
    e.irs = h.seq - 1;
    e.peer_mss = kept->mss;
    e.timestamps = kept->timestamps;
    e.scaled = kept->scaled;
    e.peer_scale = kept->scale & 15;
    e.sack_permitted = kept->sack_permitted;
    e.ecn = kept->ecn;
    e.from_cookie = true;
    return e;
}

// --- pressure ----------------------------------------------------------------------------------------------

void stack::accept_overflows(listening_endpoint& l, const segment& s, const flow_key& flow, instant now) {
    ++l.counters_.accept_overflow;
    drop(&counters::accept_overflow, "accept_overflow", flow, s, now);
    pressed(l, pressure::accept_overflow, now);
}

void stack::pressed(listening_endpoint& l, pressure what, instant now) {
    if (!l.events_.happened(what, now)) return;
    const instant look = after(now, config_.pressure_quiet);
    if (!pressure_timer_.armed() || look < pressure_timer_.deadline()) wheel_.arm(pressure_timer_, look);
    l.notify();
}

bool stack::has_eased(const listening_endpoint& l, pressure what, instant now) const {
    if (now < after(l.events_.newest(what), config_.pressure_quiet)) return false;
    if (what == pressure::accept_overflow) return l.accept_queue_.size() <= l.options_.backlog / 2;
    return !under_pressure(l);
}

void stack::ease_pressure(instant now) {
    now_ = std::max(now_, now);
    instant next = never;
    for (listening_endpoint* l : listeners_) {
        if (l == nullptr || !l->events_.any_active()) continue;
        bool any_ended = false;
        for (const pressure p : all_pressures) {
            if (!l->events_.active(p)) continue;
            if (has_eased(*l, p, now)) {
                l->events_.ended(p, now);
                any_ended = true;
            } else {
                next = std::min(next, std::max(after(l->events_.newest(p), config_.pressure_quiet),
                                               after(now, look_again)));
            }
        }
        if (any_ended) l->notify();
    }
    if (next != never) wheel_.arm(pressure_timer_, next);
}

} // namespace tapir::tcp
