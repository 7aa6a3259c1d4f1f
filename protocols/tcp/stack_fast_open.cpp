// What listeners make of a SYN that asks for a cookie, or shows one and has data. [RFC 7413 4.2.2]
#include <tapir/protocols/tcp/stack.hpp>
#include <tapir/protocols/tcp/tcb.hpp>

namespace tapir::tcp {

// Whether `s` has opened a connection; else `e` says what the SYN|ACK is to have. `certain`: that it is no
// old duplicate; one that continues a TIME_WAIT is so only once its handshake is complete, and the client is
// told that the next one need not wait.
bool stack::opens_fast(listening_endpoint& l, half_open_entry& e, const path& p, const segment& s,
                       const flow_key& flow, bool certain, instant now) {
    const fast_open_cookie& shown = *s.header.options.fast_open;
    const auto verdict = shown.size == 0 ? fast_open_cookies::verdict::wrong
                                         : fast_open_cookies_.check(shown, flow.local, flow.remote, now);
    e.wants_fast_open = verdict != fast_open_cookies::verdict::good || !certain;
    if (verdict == fast_open_cookies::verdict::wrong) {
        ++(shown.size == 0 ? counters_.fast_open_asked : counters_.fast_open_wrong);
        return false;
    }
    if (!certain) return false;
    if (fast_open_pending_.full(now) || accept_queue_full(l)) {
        ++counters_.fast_open_overflow;
        return false;
    }
    ++counters_.fast_open_accepted;
    fast_open_pending_.begin();
    e.iss = initial_sequence(flow, now);
    change_state(flow, state::listen, event::rcv_syn, opening::passive, now);
    tcb& c = open_accepted(l, e, p, flow);
    c.open_fast(e, timestamp_offset(flow), s, now);
    settle(c, now);
    l.notify();
    return true;
}

// Of a connection that ends, or whose handshake is complete now.
void stack::fast_opening_ends(tcb& c) {
    const ending how = c.user().report_.how;
    if (how == ending::reset || how == ending::unreachable)
        fast_open_pending_.refused(now_);
    else
        fast_open_pending_.end();
}

} // namespace tapir::tcp
