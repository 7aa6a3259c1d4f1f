// What a control socket tells: one struct for each kind of line. An answer is JSON lines; a line's "type"
// names its struct, and the fields of the JSON are those that visit() names here, in that order, the optional
// ones only where they mean something. Names and meanings are stable: later versions add fields and types,
// and who reads must pass over those that it does not know.
//
//     {"type":"process","version":1,"pid":17,"program":"http_server","host":"tapir"}
//     {"type":"tcp","local":"192.0.2.2:80","remote":"192.0.2.1:40000","state":"CLOSE_WAIT","recv_q":0, ...}
//     {"type":"end","rows":1}
//
// Times are microseconds, from the moment at which the line was written: "..._ago_us" back, "in_us" forth.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace tapir::control {

inline constexpr std::uint64_t protocol_version = 1;

/// Counters by name, in the order of their declaration; an object in JSON.
using named_counts = std::vector<std::pair<std::string, std::uint64_t>>;

/// The first line of every answer that is not an error.
struct process_row {
    static constexpr std::string_view type = "process";
    std::uint64_t version = protocol_version;
    std::uint64_t pid = 0;
    std::string program;
    std::string host; ///< host_config::name

    template <class Self, class F>
    static void visit(Self& r, F f) {
        f("version", r.version);
        f("pid", r.pid);
        f("program", r.program);
        f("host", r.host);
    }
    bool operator==(const process_row&) const = default;
};

/// What a socket waits for.
struct timer_row {
    /// "retransmit", "persist", "delayed_ack", "keepalive", "give_up", "close_deadline", "syn_ack",
    /// "time_wait".
    std::string name;
    std::int64_t in_us = 0;
    std::uint64_t count = 0; ///< how often it has fired in a row

    template <class Self, class F>
    static void visit(Self& r, F f) {
        f("name", r.name);
        f("in_us", r.in_us);
        f("count", r.count);
    }
    bool operator==(const timer_row&) const = default;
};

/// The two queues of a listener, and what they have lost.
struct queues_row {
    std::uint64_t acceptable = 0; ///< established, nobody has accepted them yet
    std::uint64_t backlog = 0;    ///< the bound of those
    std::uint64_t half_open = 0;
    std::uint64_t half_open_max = 0;
    named_counts counters; ///< those of tcp::listening_endpoint

    template <class Self, class F>
    static void visit(Self& r, F f) {
        f("acceptable", r.acceptable);
        f("backlog", r.backlog);
        f("half_open", r.half_open);
        f("half_open_max", r.half_open_max);
        f("counters", r.counters);
    }
    bool operator==(const queues_row&) const = default;
};

/// Which coroutine has the connection, and since when. Absent while it waits to be accepted.
struct owner_row {
    std::uint64_t task = 0; ///< that made the last call
    std::string opened_at;  ///< file:line where connect() or accept() was awaited
    std::int64_t opened_ago_us = 0;
    std::string last_call_at; ///< of the last read(), write(), finish(), close() ...
    std::int64_t last_call_ago_us = 0;

    template <class Self, class F>
    static void visit(Self& r, F f) {
        f("task", r.task);
        f("opened_at", r.opened_at);
        f("opened_ago_us", r.opened_ago_us);
        f("last_call_at", r.last_call_at);
        f("last_call_ago_us", r.last_call_ago_us);
    }
    bool operator==(const owner_row&) const = default;
};

/// tcp::info; bytes and microseconds.
struct info_row {
    std::uint64_t unsent = 0;
    std::uint64_t send_memory =
        0; ///< true size of the buffers behind send_q, as receive_memory behind recv_q
    std::uint64_t receive_memory = 0;
    std::uint64_t out_of_order = 0;
    std::uint64_t out_of_order_ranges = 0;
    std::int64_t srtt_us = 0;
    std::int64_t rttvar_us = 0;
    std::int64_t min_rtt_us = 0;
    std::int64_t rto_us = 0;
    std::uint64_t backoff = 0;
    std::uint64_t cwnd = 0;
    std::string limited_by =
        "application"; ///< why no more was sent when it stopped last: application, window, cwnd, ...
    std::uint64_t ssthresh = 0;
    std::string congestion;        ///< "cubic" or "new_reno"
    std::uint64_t pacing_rate = 0; ///< bytes a second; zero: not paced
    std::uint64_t in_flight = 0;   ///< sent, and neither acknowledged nor sacked nor lost
    std::uint64_t sacked = 0;
    std::uint64_t lost = 0;
    bool in_recovery = false; ///< from losses found by what arrived
    bool in_loss = false;     ///< from a timeout
    bool reordering_seen = false;
    std::uint64_t recoveries_undone = 0;
    std::uint64_t send_mss = 0;
    std::uint64_t receive_mss = 0;
    std::uint64_t path_mtu = 0;
    std::string mtu_search;        ///< "base", "searching", "complete", "error"; "" while there is none
    std::uint64_t mtu_floor = 0;   ///< it has found
    std::uint64_t mtu_ceiling = 0; ///< it may find
    std::uint64_t send_window = 0;
    std::uint64_t receive_window = 0;
    std::uint64_t send_scale = 0;
    std::uint64_t receive_scale = 0;
    bool timestamps = false;
    bool window_scaling = false;
    bool sack_permitted = false;
    bool no_delay = false;
    bool ecn = false;                  ///< both are willing, and new data may be marked
    bool ecn_echoing = false;          ///< its ACKs tell of a mark that the peer has not answered yet
    bool from_cookie = false;          ///< accepted without a half-open entry
    bool fast_opened = false;          ///< data that went with the SYN was taken
    bool orphan = false;               ///< closing in the background, of tcp::config::max_orphans
    std::uint64_t urgent_segments = 0; ///< that came with URG
    std::uint64_t urgent_ahead = 0;    ///< bytes from the next to be read to the end of urgent data
    std::uint64_t bytes_sent = 0;
    std::uint64_t bytes_acked = 0;
    std::uint64_t bytes_received = 0;
    std::uint64_t bytes_retransmitted = 0;
    std::uint64_t segments_in = 0;
    std::uint64_t segments_out = 0;
    std::uint64_t retransmits = 0;
    std::uint64_t fast_retransmits = 0;
    std::uint64_t rto_fired = 0;
    std::uint64_t duplicate_acks = 0;
    std::uint64_t ce_received = 0;    ///< segments with data that were marked
    std::uint64_t ecn_reductions = 0; ///< of its window, for marks that the peer told of

    template <class Self, class F>
    static void visit(Self& r, F f) {
        f("unsent", r.unsent);
        f("send_memory", r.send_memory);
        f("receive_memory", r.receive_memory);
        f("out_of_order", r.out_of_order);
        f("out_of_order_ranges", r.out_of_order_ranges);
        f("srtt_us", r.srtt_us);
        f("rttvar_us", r.rttvar_us);
        f("min_rtt_us", r.min_rtt_us);
        f("rto_us", r.rto_us);
        f("backoff", r.backoff);
        f("cwnd", r.cwnd);
        f("limited_by", r.limited_by);
        f("ssthresh", r.ssthresh);
        f("congestion", r.congestion);
        f("pacing_rate", r.pacing_rate);
        f("in_flight", r.in_flight);
        f("sacked", r.sacked);
        f("lost", r.lost);
        f("in_recovery", r.in_recovery);
        f("in_loss", r.in_loss);
        f("reordering_seen", r.reordering_seen);
        f("recoveries_undone", r.recoveries_undone);
        f("send_mss", r.send_mss);
        f("receive_mss", r.receive_mss);
        f("path_mtu", r.path_mtu);
        f("mtu_search", r.mtu_search);
        f("mtu_floor", r.mtu_floor);
        f("mtu_ceiling", r.mtu_ceiling);
        f("send_window", r.send_window);
        f("receive_window", r.receive_window);
        f("send_scale", r.send_scale);
        f("receive_scale", r.receive_scale);
        f("timestamps", r.timestamps);
        f("window_scaling", r.window_scaling);
        f("sack_permitted", r.sack_permitted);
        f("no_delay", r.no_delay);
        f("ecn", r.ecn);
        f("ecn_echoing", r.ecn_echoing);
        f("from_cookie", r.from_cookie);
        f("fast_opened", r.fast_opened);
        f("orphan", r.orphan);
        f("urgent_segments", r.urgent_segments);
        f("urgent_ahead", r.urgent_ahead);
        f("bytes_sent", r.bytes_sent);
        f("bytes_acked", r.bytes_acked);
        f("bytes_received", r.bytes_received);
        f("bytes_retransmitted", r.bytes_retransmitted);
        f("segments_in", r.segments_in);
        f("segments_out", r.segments_out);
        f("retransmits", r.retransmits);
        f("fast_retransmits", r.fast_retransmits);
        f("rto_fired", r.rto_fired);
        f("duplicate_acks", r.duplicate_acks);
        f("ce_received", r.ce_received);
        f("ecn_reductions", r.ecn_reductions);
    }
    bool operator==(const info_row&) const = default;
};

/// A connection, a half-open or TIME_WAIT entry, or a listener.
struct tcp_row {
    static constexpr std::string_view type = "tcp";
    std::string local;                        ///< "192.0.2.2:80"
    std::optional<std::string> remote;        ///< not of a listener
    std::string state;                        ///< as RFC 9293 writes it: "SYN_RECEIVED", "FIN_WAIT_1"
    std::uint64_t recv_q = 0;                 ///< bytes unread; of a listener, connections to accept
    std::uint64_t send_q = 0;                 ///< bytes not acknowledged; of a listener, its backlog
    std::optional<std::uint64_t> id;          ///< of a connection: counts up in order of opening
    std::optional<std::int64_t> state_ago_us; ///< when it entered this state
    std::optional<std::string> soft_error;    ///< the last ICMP error, in words
    std::optional<timer_row> timer;
    std::optional<queues_row> queues;
    std::optional<std::uint64_t> shard; ///< that has it, of a host that is split
    std::optional<owner_row> owner;     ///< when asked for
    std::optional<info_row> info;       ///< when asked for, of a connection with a TCB

    template <class Self, class F>
    static void visit(Self& r, F f) {
        f("local", r.local);
        f("remote", r.remote);
        f("state", r.state);
        f("recv_q", r.recv_q);
        f("send_q", r.send_q);
        f("id", r.id);
        f("state_ago_us", r.state_ago_us);
        f("soft_error", r.soft_error);
        f("timer", r.timer);
        f("queues", r.queues);
        f("shard", r.shard);
        f("owner", r.owner);
        f("info", r.info);
    }
    bool operator==(const tcp_row&) const = default;
};

/// A bound UDP port.
struct udp_row {
    static constexpr std::string_view type = "udp";
    std::string local;
    std::optional<std::string> remote;  ///< of a connected one
    std::uint64_t recv_q = 0;           ///< bytes of memory that waiting datagrams keep
    std::uint64_t datagrams = 0;        ///< that wait to be received
    std::optional<std::uint64_t> shard; ///< that has it, of a host that is split
    named_counts counters;              ///< those of udp::binding

    template <class Self, class F>
    static void visit(Self& r, F f) {
        f("local", r.local);
        f("remote", r.remote);
        f("recv_q", r.recv_q);
        f("datagrams", r.datagrams);
        f("shard", r.shard);
        f("counters", r.counters);
    }
    bool operator==(const udp_row&) const = default;
};

/// What one layer counted.
struct counters_row {
    static constexpr std::string_view type = "counters";
    std::string layer;                    ///< "tcp", "ipv4", "reassembly", "icmp", "host", "arp", ...
    std::optional<std::string> interface; ///< of what each interface has: its first address, "192.0.2.2/24"
    std::optional<std::uint64_t> shard;   ///< whose they are, of a host that is split
    named_counts values;

    template <class Self, class F>
    static void visit(Self& r, F f) {
        f("layer", r.layer);
        f("interface", r.interface);
        f("shard", r.shard);
        f("values", r.values);
    }
    bool operator==(const counters_row&) const = default;
};

/// The only line of an answer to a request that was refused or not understood.
struct error_row {
    static constexpr std::string_view type = "error";
    std::string error;

    template <class Self, class F>
    static void visit(Self& r, F f) {
        f("error", r.error);
    }
    bool operator==(const error_row&) const = default;
};

/// The last line: without it the answer was cut.
struct end_row {
    static constexpr std::string_view type = "end";
    std::uint64_t rows = 0; ///< between the first line and this one

    template <class Self, class F>
    static void visit(Self& r, F f) {
        f("rows", r.rows);
    }
    bool operator==(const end_row&) const = default;
};

/// std::monostate: a type that this version does not know.
using row = std::variant<std::monostate, process_row, tcp_row, udp_row, counters_row, error_row, end_row>;

} // namespace tapir::control
