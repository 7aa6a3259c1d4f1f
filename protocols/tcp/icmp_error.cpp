// What routers and hosts say about our segments. Anybody can forge that, so it must quote a sequence number
// that is in flight, and once a connection is established it is only remembered.
// [RFC 9293 3.9.2.2] [RFC 5927 4, 5, 7] [RFC 5461]
#include <tapir/protocols/tcp/stack.hpp>
#include <tapir/protocols/tcp/tcb.hpp>

#include <algorithm>

namespace tapir::tcp {

namespace {
errc meaning(icmp_kind kind) {
    switch (kind) {
    case icmp_kind::network_unreachable: return errc::network_unreachable;
    case icmp_kind::host_unreachable: return errc::host_unreachable;
    case icmp_kind::port_unreachable: return errc::refused;
    case icmp_kind::packet_too_big:
    case icmp_kind::time_exceeded: break;
    }
    return errc::host_unreachable;
}
} // namespace

bool stack::icmp_error(icmp_kind kind, const ip::address& local, const ip::address& remote, bytes quoted,
                       std::uint16_t mtu, instant now) {
    now_ = std::max(now_, now);
    if (quoted.size() < 8) {
        ++counters_.icmp_ignored;
        return false;
    }
    const flow_key flow(local, load_be16(quoted, 0), remote, load_be16(quoted, 2));
    const seq about(load_be32(quoted, 4));
    const flow_ref found = find(flow, hash_of(flow));
    const bool ends = kind != icmp_kind::time_exceeded && kind != icmp_kind::packet_too_big;

    if (found.kind == flow_kind::half_open && half_open_[found.index].iss == about && ends) {
        ++counters_.icmp_hard;
        half_open_ends(found.index, event::unreachable, now);
        return true;
    }
    tcb* const of = found.kind == flow_kind::connection ? found.connection->tcb_ : nullptr;
    if (of == nullptr || !of->is_outstanding(about)) { // who is dormant has sent nothing lately
        ++counters_.icmp_ignored;                      // [RFC 5927 4.1]
        return false;
    }
    tcb& c = *of;
    const std::error_code why = make_error_code(meaning(kind));
    if (kind == icmp_kind::packet_too_big) {
        c.lower_path_mtu(mtu, about, now);
    } else if (ends && !is_synchronized(c.state())) {
        // [RFC 9293 3.9.2.2 MUST-56] keeps "unreachable" from ending connections; while still connecting it
        // does, or every attempt at an absent host would take minutes. [RFC 5461 4.2]
        ++counters_.icmp_hard;
        c.end(event::unreachable, ending::unreachable, why, now);
    } else {
        // Port unreachable would be a hard error [SHLD-26]; blind attackers made everybody treat it as soft
        // once connected. [RFC 5927 5.2]
        ++counters_.icmp_soft;
        c.soft_error(why);
    }
    settle(c, now);
    return true;
}

void stack::unreachable(const ip::address& remote, errc why, instant now) {
    now_ = std::max(now_, now);
    for (auto at = all_.begin(); at != all_.end();) {
        endpoint& user = *at;
        ++at; // it may end here
        if (user.flow_.remote != remote) continue;
        if (is_synchronized(user.state())) {
            user.soft_error_ = make_error_code(why);
        } else {
            user.tcb_->end(event::unreachable, ending::unreachable, make_error_code(why), now);
            settle(*user.tcb_, now);
        }
    }
    half_open_.for_each([&](std::uint32_t i, const half_open_entry& e) {
        if (e.remote == remote) half_open_ends(i, event::unreachable, now);
    });
    // A SYN|ACK that still waits for the link would make a client believe in an entry that is gone.
    for (std::size_t n = replies_.size(); n != 0; --n) {
        reply waiting = replies_.pop_front();
        if (waiting.to.remote == remote)
            ++counters_.replies_dropped;
        else
            replies_.push_back(std::move(waiting));
    }
}

} // namespace tapir::tcp
