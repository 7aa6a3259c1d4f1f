// The state machine, said once. Events are what the processing of a segment, a timer or a call *concluded*,
// not raw flags. From this one table come the legality check of every change, the exhaustive test and the
// drawing in the documentation.
//
// A segment yields at most one event, with one exception that RFC 9293 spells out: a segment that completes
// the handshake and carries a FIN enters ESTABLISHED and then CLOSE_WAIT, so that whoever waits for
// ESTABLISHED sees it.
//
// SYN_RECEIVED remembers how it was reached: a passive open falls back to LISTEN, an active one to CLOSED.
// [RFC 9293 3.3.2 figure 5, 3.10]
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace tapir::tcp {

enum class state : std::uint8_t {
    closed,
    listen,
    syn_sent,
    syn_received,
    established,
    fin_wait_1,
    fin_wait_2,
    close_wait,
    closing,
    last_ack,
    time_wait,
};
inline constexpr std::size_t state_count = 11;

enum class event : std::uint8_t {
    call_open,                  ///< connect()
    call_listen,                ///< listen()
    call_close,                 ///< finish() or close(): our FIN is queued
    call_abort,                 ///< abort(), a dropped handle, unread data at close
    rcv_syn,                    ///< a SYN without an acceptable ACK
    rcv_syn_ack,                ///< a SYN that acknowledges ours
    our_syn_acked,              ///< the ACK that ends the handshake
    peer_fin,                   ///< the peer's FIN, all data before it received
    our_fin_acked,              ///< everything we sent, FIN included, is acknowledged
    peer_fin_and_our_fin_acked, ///< both by one segment
    rst,                        ///< an acceptable RST
    timeout,                    ///< the peer did not answer for as long as the configuration allows
    unreachable,                ///< a hard ICMP error, or no route, while connecting
    time_wait_expired,          ///< 2 MSL have passed
    superseded,                 ///< a new SYN took the place of a TIME_WAIT
    host_stopped,               ///< the stack was stopped
};
inline constexpr std::size_t event_count = 16;

/// How SYN_RECEIVED was reached.
enum class opening : std::uint8_t {
    active,
    passive,
    /// By a SYN with a cookie: the connection has a user already, who may close it, and falls back into no
    /// LISTEN. To the table it is an active one. [RFC 7413 4.2.2]
    fast,
};

/// Where an arc comes from.
enum class arc_kind : std::uint8_t {
    figure_5,  ///< drawn in RFC 9293 figure 5
    text,      ///< required by the text of the named section
    deviation, ///< differs from RFC 9293 for the reason in the named section
};

struct arc {
    state from;
    event cause;
    state to;
    arc_kind kind;
    const char* section;
    std::optional<opening> only{}; ///< for SYN_RECEIVED: only when reached this way
};

/// All legal arcs. Figure 5's LISTEN -> SYN_SENT (SEND on a listener) is absent: we offer no such call.
inline constexpr std::array arcs = {
    arc{state::closed, event::call_open, state::syn_sent, arc_kind::figure_5, "RFC 9293 3.10.1"},
    arc{state::closed, event::call_listen, state::listen, arc_kind::figure_5, "RFC 9293 3.10.1"},

    arc{state::listen, event::rcv_syn, state::syn_received, arc_kind::figure_5, "RFC 9293 3.10.7.2"},
    arc{state::listen, event::call_close, state::closed, arc_kind::figure_5, "RFC 9293 3.10.4"},
    arc{state::listen, event::host_stopped, state::closed, arc_kind::text, "RFC 9293 3.10.5"},

    arc{state::syn_sent, event::rcv_syn_ack, state::established, arc_kind::figure_5, "RFC 9293 3.10.7.3"},
    arc{state::syn_sent, event::rcv_syn, state::syn_received, arc_kind::figure_5, "RFC 9293 3.10.7.3"},
    arc{state::syn_sent, event::call_close, state::closed, arc_kind::figure_5, "RFC 9293 3.10.4"},
    arc{state::syn_sent, event::call_abort, state::closed, arc_kind::text, "RFC 9293 3.10.5"},
    arc{state::syn_sent, event::rst, state::closed, arc_kind::text, "RFC 9293 3.10.7.3"},
    arc{state::syn_sent, event::timeout, state::closed, arc_kind::text, "RFC 9293 3.8.3"},
    arc{state::syn_sent, event::unreachable, state::closed, arc_kind::text, "RFC 9293 3.9.2.2"},
    arc{state::syn_sent, event::host_stopped, state::closed, arc_kind::text, "RFC 9293 3.10.5"},

    arc{state::syn_received, event::our_syn_acked, state::established, arc_kind::figure_5,
        "RFC 9293 3.10.7.4"},
    arc{state::syn_received, event::call_close, state::fin_wait_1, arc_kind::figure_5, "RFC 9293 3.10.4",
        opening::active},
    arc{state::syn_received, event::rst, state::listen, arc_kind::figure_5, "RFC 9293 3.10.7.4",
        opening::passive},
    arc{state::syn_received, event::rcv_syn, state::listen, arc_kind::text, "RFC 9293 3.10.7.4",
        opening::passive},
    arc{state::syn_received, event::timeout, state::listen, arc_kind::text, "RFC 9293 3.8.3",
        opening::passive},
    arc{state::syn_received, event::unreachable, state::listen, arc_kind::text, "RFC 9293 3.9.2.2",
        opening::passive},
    arc{state::syn_received, event::rst, state::closed, arc_kind::text, "RFC 9293 3.10.7.4", opening::active},
    arc{state::syn_received, event::timeout, state::closed, arc_kind::text, "RFC 9293 3.8.3",
        opening::active},
    arc{state::syn_received, event::unreachable, state::closed, arc_kind::text, "RFC 9293 3.9.2.2",
        opening::active},
    arc{state::syn_received, event::call_abort, state::closed, arc_kind::text, "RFC 9293 3.10.5"},
    arc{state::syn_received, event::host_stopped, state::closed, arc_kind::text, "RFC 9293 3.10.5"},

    arc{state::established, event::call_close, state::fin_wait_1, arc_kind::figure_5, "RFC 9293 3.10.4"},
    arc{state::established, event::peer_fin, state::close_wait, arc_kind::figure_5, "RFC 9293 3.10.7.4"},
    arc{state::established, event::rst, state::closed, arc_kind::text, "RFC 9293 3.10.7.4"},
    arc{state::established, event::call_abort, state::closed, arc_kind::text, "RFC 9293 3.10.5"},
    arc{state::established, event::timeout, state::closed, arc_kind::text, "RFC 9293 3.8.3"},
    arc{state::established, event::host_stopped, state::closed, arc_kind::text, "RFC 9293 3.10.5"},

    arc{state::fin_wait_1, event::our_fin_acked, state::fin_wait_2, arc_kind::figure_5, "RFC 9293 3.10.7.4"},
    arc{state::fin_wait_1, event::peer_fin, state::closing, arc_kind::figure_5, "RFC 9293 3.10.7.4"},
    arc{state::fin_wait_1, event::peer_fin_and_our_fin_acked, state::time_wait, arc_kind::text,
        "RFC 9293 3.3.2 note 2"},
    arc{state::fin_wait_1, event::rst, state::closed, arc_kind::text, "RFC 9293 3.10.7.4"},
    arc{state::fin_wait_1, event::call_abort, state::closed, arc_kind::text, "RFC 9293 3.10.5"},
    arc{state::fin_wait_1, event::timeout, state::closed, arc_kind::text, "RFC 9293 3.8.3"},
    arc{state::fin_wait_1, event::host_stopped, state::closed, arc_kind::text, "RFC 9293 3.10.5"},

    arc{state::fin_wait_2, event::peer_fin, state::time_wait, arc_kind::figure_5, "RFC 9293 3.10.7.4"},
    arc{state::fin_wait_2, event::rst, state::closed, arc_kind::text, "RFC 9293 3.10.7.4"},
    arc{state::fin_wait_2, event::call_abort, state::closed, arc_kind::text, "RFC 9293 3.10.5"},
    arc{state::fin_wait_2, event::timeout, state::closed, arc_kind::text, "RFC 9293 3.8.4"},
    arc{state::fin_wait_2, event::host_stopped, state::closed, arc_kind::text, "RFC 9293 3.10.5"},

    arc{state::close_wait, event::call_close, state::last_ack, arc_kind::figure_5, "RFC 9293 3.10.4"},
    arc{state::close_wait, event::rst, state::closed, arc_kind::text, "RFC 9293 3.10.7.4"},
    arc{state::close_wait, event::call_abort, state::closed, arc_kind::text, "RFC 9293 3.10.5"},
    arc{state::close_wait, event::timeout, state::closed, arc_kind::text, "RFC 9293 3.8.3"},
    arc{state::close_wait, event::host_stopped, state::closed, arc_kind::text, "RFC 9293 3.10.5"},

    arc{state::closing, event::our_fin_acked, state::time_wait, arc_kind::figure_5, "RFC 9293 3.10.7.4"},
    arc{state::closing, event::rst, state::closed, arc_kind::text, "RFC 9293 3.10.7.4"},
    arc{state::closing, event::call_abort, state::closed, arc_kind::text, "RFC 9293 3.10.5"},
    arc{state::closing, event::timeout, state::closed, arc_kind::text, "RFC 9293 3.8.3"},
    arc{state::closing, event::host_stopped, state::closed, arc_kind::text, "RFC 9293 3.10.5"},

    arc{state::last_ack, event::our_fin_acked, state::closed, arc_kind::figure_5, "RFC 9293 3.10.7.4"},
    arc{state::last_ack, event::rst, state::closed, arc_kind::text, "RFC 9293 3.10.7.4"},
    arc{state::last_ack, event::call_abort, state::closed, arc_kind::text, "RFC 9293 3.10.5"},
    arc{state::last_ack, event::timeout, state::closed, arc_kind::text, "RFC 9293 3.8.3"},
    arc{state::last_ack, event::host_stopped, state::closed, arc_kind::text, "RFC 9293 3.10.5"},

    arc{state::time_wait, event::time_wait_expired, state::closed, arc_kind::figure_5, "RFC 9293 3.10.8"},
    arc{state::time_wait, event::superseded, state::closed, arc_kind::text, "RFC 6191 2"},
    arc{state::time_wait, event::host_stopped, state::closed, arc_kind::text, "RFC 9293 3.10.5"},
    // RFC 9293 3.10.7.4 closes here; RFC 1337 3 shows what that costs and ignores the RST.
    arc{state::time_wait, event::rst, state::time_wait, arc_kind::deviation, "RFC 1337 3 (F1)"},
};

namespace detail {
struct transition_table {
    /// Two rows for SYN_RECEIVED: active in its own, passive in the extra last one.
    std::array<std::array<std::optional<state>, event_count>, state_count + 1> to{};

    static constexpr std::size_t row(state s, opening how) {
        return s == state::syn_received && how == opening::passive ? state_count
                                                                   : static_cast<std::size_t>(s);
    }
    constexpr transition_table() {
        for (const arc& a : arcs) {
            const auto column = static_cast<std::size_t>(a.cause);
            if (a.only != opening::passive) to[row(a.from, opening::active)][column] = a.to;
            if (a.only != opening::active) to[row(a.from, opening::passive)][column] = a.to;
        }
    }
};
inline constexpr transition_table transitions{};
} // namespace detail

/// The state after `cause` in `from`, or nothing where that cannot happen. Constant time.
constexpr std::optional<state> next_state(state from, event cause, opening how = opening::active) {
    return detail::transitions.to[detail::transition_table::row(from, how)][static_cast<std::size_t>(cause)];
}

/// Whether a connection in `from` can still enter `wanted`, by any events (`from` itself does not count).
bool can_still_enter(state from, state wanted);

constexpr bool is_synchronized(state s) {
    return s >= state::established;
}
/// Whether the application may still queue data.
constexpr bool may_send(state s) {
    return s == state::syn_sent || s == state::syn_received || s == state::established ||
           s == state::close_wait;
}
/// Whether data of the peer is still to be expected. [RFC 9293 3.10.7.4, seventh]
constexpr bool may_receive(state s) {
    return s == state::established || s == state::fin_wait_1 || s == state::fin_wait_2;
}

std::string_view name(state s); ///< "SYN_SENT", "FIN_WAIT_1", ...
std::string_view name(event e); ///< "rcv_syn_ack", ...

/// What was behind an event, for whoever explains a connection to a user.
enum class cause_class : std::uint8_t { call, segment, timer, icmp };
cause_class class_of(event e);

/// The table as a Mermaid state diagram, one line for each arc; `all` includes those beyond figure 5.
std::string draw_mermaid(bool all);

} // namespace tapir::tcp
