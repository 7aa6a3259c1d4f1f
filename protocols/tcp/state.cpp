#include <tapir/protocols/tcp/state.hpp>

namespace tapir::tcp {

bool can_still_enter(state from, state wanted) {
    std::array<bool, state_count> reached{};
    reached[static_cast<std::size_t>(from)] = true;
    // A connection, unlike the socket of figure 5, is never opened twice: CLOSED is the end, unless it is
    // where it starts, which callers do not ask about. LISTEN is no state of a connection.
    for (bool grew = true; grew;) {
        grew = false;
        for (const arc& a : arcs) {
            if (a.from == state::closed || a.from == a.to) continue;
            if (!reached[static_cast<std::size_t>(a.from)]) continue;
            if (a.to == wanted) return true;
            if (!reached[static_cast<std::size_t>(a.to)]) {
                reached[static_cast<std::size_t>(a.to)] = true;
                grew = a.to != state::listen || grew;
            }
        }
    }
    return false;
}

std::string_view name(state s) {
    switch (s) {
    case state::closed: return "CLOSED";
    case state::listen: return "LISTEN";
    case state::syn_sent: return "SYN_SENT";
    case state::syn_received: return "SYN_RECEIVED";
    case state::established: return "ESTABLISHED";
    case state::fin_wait_1: return "FIN_WAIT_1";
    case state::fin_wait_2: return "FIN_WAIT_2";
    case state::close_wait: return "CLOSE_WAIT";
    case state::closing: return "CLOSING";
    case state::last_ack: return "LAST_ACK";
    case state::time_wait: return "TIME_WAIT";
    }
    return "?";
}

std::string_view name(event e) {
    switch (e) {
    case event::call_open: return "call_open";
    case event::call_listen: return "call_listen";
    case event::call_close: return "call_close";
    case event::call_abort: return "call_abort";
    case event::rcv_syn: return "rcv_syn";
    case event::rcv_syn_ack: return "rcv_syn_ack";
    case event::our_syn_acked: return "our_syn_acked";
    case event::peer_fin: return "peer_fin";
    case event::our_fin_acked: return "our_fin_acked";
    case event::peer_fin_and_our_fin_acked: return "peer_fin_and_our_fin_acked";
    case event::rst: return "rst";
    case event::timeout: return "timeout";
    case event::unreachable: return "unreachable";
    case event::time_wait_expired: return "time_wait_expired";
    case event::superseded: return "superseded";
    case event::host_stopped: return "host_stopped";
    }
    return "?";
}

cause_class class_of(event e) {
    switch (e) {
    case event::call_open:
    case event::call_listen:
    case event::call_close:
    case event::call_abort:
    case event::host_stopped: return cause_class::call;
    case event::rcv_syn:
    case event::rcv_syn_ack:
    case event::our_syn_acked:
    case event::peer_fin:
    case event::our_fin_acked:
    case event::peer_fin_and_our_fin_acked:
    case event::rst:
    case event::superseded: return cause_class::segment;
    case event::timeout:
    case event::time_wait_expired: return cause_class::timer;
    case event::unreachable: return cause_class::icmp;
    }
    return cause_class::call;
}

std::string draw_mermaid(bool all) {
    std::string text = "stateDiagram-v2\n";
    for (const arc& a : arcs) {
        if (!all && a.kind != arc_kind::figure_5) continue;
        text += "    ";
        text += name(a.from);
        text += " --> ";
        text += name(a.to);
        text += ": ";
        text += name(a.cause);
        if (a.only == opening::active) text += " (active open)";
        if (a.only == opening::passive) text += " (passive open)";
        if (a.kind != arc_kind::figure_5) {
            text += a.kind == arc_kind::deviation ? ", deviation, " : ", ";
            text += a.section;
        }
        text += '\n';
    }
    return text;
}

} // namespace tapir::tcp
