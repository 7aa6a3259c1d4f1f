// Every limit and every time of TCP, in one place, with its unit and the reason for its default.
#pragma once

#include <tapir/framework/time.hpp>
#include <tapir/protocols/ip/flow_share.hpp>
#include <tapir/protocols/tcp/congestion/control.hpp>
#include <tapir/protocols/tcp/congestion/pacing.hpp>

#include <cstddef>
#include <cstdint>

namespace tapir::tcp {

/// Who finds out how large packets to the peer may be, where routers do not say so. [RFC 4821] [RFC 8899]
enum class mtu_probing : std::uint8_t {
    off,        ///< nobody: what routers drop in silence is lost again and again
    black_hole, ///< once large segments do not arrive any more: small ones go, and then probes for larger
    always,     ///< begins with small segments, and probes for larger ones
};

/// What may differ between connections of one host. Listeners hand theirs to what they accept.
struct connection_options {
    connection_options() = default;

    /// Bytes queued but not yet acknowledged. Zero: as many as the path turns out to need, between
    /// config::first_buffer and config::most_buffer.
    std::uint32_t send_buffer = 0;
    /// Bytes received but not yet read; also the largest window offered. Zero: twice what the user reads in a
    /// round trip, between the same bounds.
    std::uint32_t receive_buffer = 0;
    /// Nagle's algorithm off: small segments go at once. [RFC 9293 3.7.4 MUST-17]
    bool no_delay = false;
    congestion_algorithm congestion = congestion_algorithm::cubic;
    /// Explicit Congestion Notification, if the peer is willing: routers mark packets where they would drop
    /// them, and the window comes down as after a loss, without one. Off: most paths have no router that
    /// marks, and some middleboxes drop SYNs that ask, which costs such connections an initial RTO.
    /// [RFC 3168 6.1] [RFC 9293 3.8.2 SHLD-8]
    bool ecn = false;
    /// What the congestion window allows is spread over the round trip, but for the first ten segments after
    /// a rest: config::pacing. Off: it goes in bursts, clocked by ACKs alone.
    bool paced = true;
    /// Routers that tell are believed in each mode. [RFC 1191] By default nothing is asked of a path that
    /// works.
    mtu_probing path_mtu = mtu_probing::black_hole;
    /// Times below are kept in milliseconds, at most 49 days.
    /// Silence after which a probe asks whether the peer is still there; zero: never, the default that
    /// [RFC 9293 3.8.4 MUST-25] asks for. Two hours at least is customary. [MUST-28]
    duration keepalive_idle{0};
    duration keepalive_interval = 75s; ///< between unanswered probes
    std::uint8_t keepalive_probes = 9; ///< unanswered probes until errc::timed_out [MUST-29]
    /// How long close() may take until it becomes an abort; also bounds FIN_WAIT_2, which the RFC does not,
    /// from the moment on at which nobody reads any more. A half-close with a reader may last.
    duration close_timeout = 60s;
    /// How long sent data may stay unacknowledged (R2, at least 100 s).
    /// [RFC 9293 3.8.3 SHLD-11] [RFC 9293 3.8.3 MUST-21]
    duration give_up_after = 120s;
    /// The user timeout, local part: where set, it takes the place of give_up_after, be it shorter or longer;
    /// and with keepalive on it, not the number of probes, says how long the peer may be silent once one is
    /// unanswered. A shut window whose probes are answered is no silence. It may change while the connection
    /// lives, and is not told to the peer. [RFC 5482 3, 4] [RFC 9293 3.9.1.2] [RFC 9293 3.8.6.1 MUST-37]
    duration user_timeout{0};
    /// How long a SYN may stay unanswered; at least 180 s unless the application says less.
    /// [RFC 9293 3.8.3 MUST-23]
    duration connect_timeout = 180s;
    /// How often a SYN is sent again before connect_timeout; 255: as often as that allows.
    std::uint8_t syn_retries = 255;
    /// connect() may send its first data in the SYN, where the server has given a cookie for that; else the
    /// SYN asks for one. The server may get that data twice, as if somebody had connected once more: only for
    /// requests that may be repeated. [RFC 7413 2, 6]
    bool fast_open = false;
    /// The first retransmission timeout, of the SYN and until there is a round-trip sample; each next one is
    /// twice as long. Zero: config::initial_rto. [RFC 6298 2.1, 5.5]
    duration initial_rto{0};
};

struct listen_options {
    listen_options() = default;

    std::uint32_t backlog = 1024;       ///< established connections that wait for accept()
    std::uint32_t half_open_max = 1024; ///< connections in SYN_RECEIVED
    /// Gives cookies to clients that ask for one, and takes data from the SYNs of those that show one:
    /// accept() then returns a connection that is still in SYN_RECEIVED, and can answer. Only for requests
    /// that may come twice. [RFC 7413 2, 6]
    bool fast_open = false;
    connection_options accepted;
};

/// What becomes of a SYN for which the SYN queue has no room. [RFC 4987 3.6]
enum class syn_cookie_mode : std::uint8_t {
    off,       ///< it is dropped
    when_full, ///< it is answered by a cookie, which costs no memory
    always,    ///< every SYN is; for tests
};

struct config {
    config() = default;

    connection_options connections; ///< for connect() without options of its own
    /// The flows that this stack has, of a host that is split over several: connect() opens no others.
    ip::flow_share share;

    // Buffers whose size is left to us. They grow as windows prove to be the limit, while memory is not
    // tight.
    /// 256 KiB fill 10 Gbit/s at 0.2 ms, 100 Mbit/s at 20 ms.
    std::uint32_t first_buffer = 256 * 1024;
    /// 16 MB fill 1 Gbit/s at 128 ms. Also decides the window scale. [RFC 7323 2.3]
    std::uint32_t most_buffer = 0xffff << 8;
    std::uint32_t first_receive_buffer(const connection_options& o) const {
        return o.receive_buffer != 0 ? o.receive_buffer : first_buffer;
    }
    std::uint32_t most_receive_buffer(const connection_options& o) const {
        return o.receive_buffer != 0 ? o.receive_buffer : most_buffer;
    }

    // Retransmission
    duration initial_rto = 1s; ///< [RFC 6298 2.1]
    /// RFC 6298 (2.4) says one second; 200 ms is what every widely used stack has found safe with timestamps
    /// and delayed ACKs of at most 40 ms.
    duration min_rto = 200ms;
    duration max_rto = 120s; ///< at least 60 s [RFC 6298 2.5]
    /// The RTO is at least this far above the smoothed round trip (in the place of G, RFC 6298 2.3), as in
    /// Linux: on a path whose round trip hardly varies a delayed ACK alone would time out, and no tail probe
    /// come first.
    duration rtt_floor = 200ms;
    duration persist_min = 200ms; ///< first zero window probe, if the RTO is less [RFC 9293 3.8.6.1]
    duration persist_max = 60s;

    // Acknowledgements
    /// Below the 500 ms of [RFC 9293 3.8.6.3 MUST-40] and far below every minimum RTO in use.
    duration delayed_ack = 40ms;
    /// In-order data is acknowledged once per batch, not every second segment (a SHOULD): but never more
    /// than this many bytes by one ACK, so that the sender's clock does not stall; or, where that is more,
    /// than this part of the receive buffer. As a buffer grows to twice what comes in a round trip, a sender
    /// that fills it hears of us four times in each.
    std::uint32_t max_stretch_bytes = 64 * 1024;
    std::uint32_t max_stretch_part = 8;
    /// While more input waits or is to be expected (reactor::more_input_waits()), acknowledgements of text
    /// that keeps coming wait, too, until this part of the receive buffer has come, and one tells of it all:
    /// two in each round trip, to a sender that fills it. So much that was read is worth a window update,
    /// too, so that a smaller divisor changes little.
    std::uint32_t max_deferred_part = 4;
    /// Text keeps coming while no more than this passes without: of several senders each has its turn, and
    /// what waits in a queue may be that of all others. Who has stopped hears of it this much later.
    duration text_pause = 300us;
    /// But neither part is more than this, in bytes. Measured with senders on another CPU of the same
    /// machine: with 512 KiB less is moved, with 4 MiB, too, and they wait for us. (bench/README.md has what
    /// may be the reason: their CPU's cache.) A remote sender whose window grows by two segments an ACK [RFC
    /// 3465 2.2] grows it the more slowly, as long as input keeps waiting here.
    std::uint32_t max_part_bytes = 1024 * 1024;
    /// Acknowledgements owed to duplicates and out-of-order segments of one batch; more are dropped.
    std::uint8_t max_acks_owed = 64;
    /// ACKs that one connection sends within a second to segments that fit nowhere and carry nothing. Per
    /// connection: a limit shared by all could be read from outside by watching one's own. [RFC 5961 7]
    std::uint8_t challenge_acks_per_second = 10;
    /// And all connections together, on average; each second draws its own limit between half of this and
    /// half more. Were it known, an attacker would use up the rest with a connection of its own and learn
    /// from what is missing that a guess at another's numbers had hit (CVE-2016-5696). [RFC 9293 3.10.7.4]
    std::uint32_t challenge_acks_total_per_second = 1000;

    // Congestion
    std::uint32_t initial_window_segments = 10; ///< [RFC 6928 2]
    pacing_limits pacing;
    bool limited_transmit = true; ///< [RFC 3042]
    bool tail_loss_probe = true;  ///< ask for the last of the data before the RTO [RFC 8985 7]
    /// How long a peer may hold back the ACK of a single segment: what a tail probe waits more for one.
    /// [RFC 8985 7.2]
    duration peer_delayed_ack = 200ms;
    /// And the ACK of the last of several segments whose others it has acknowledged: the probe for that one
    /// waits for twice the round trip, but at least for what most stacks delay ACKs by. Were it as patient as
    /// for a lone segment, the timeout would come first.
    duration tail_delayed_ack = 40ms;
    /// Ranges beyond a hole that a peer may name; each costs up to 200 bytes. A window of 16 MB with every
    /// second segment lost has 5,700.
    std::uint32_t max_sack_ranges = 10000;

    // Segments
    /// A peer that announces less gets this much anyway: tiny MSS values make us send floods of headers.
    std::uint16_t min_mss = 88;
    std::uint16_t default_mss = 536;  ///< of a peer that announces none [RFC 9293 3.7.1 MUST-15]
    std::uint16_t min_path_mtu = 552; ///< ICMP cannot push the path MTU below [RFC 5927 7.2]
    /// Packets of this size arrive nearly everywhere: where the search for larger ones begins. [RFC 4821 7.2]
    std::uint16_t base_path_mtu = 1024;
    /// Timeouts and lost retransmissions of one segment until it counts as too large for its path: the third
    /// comes 1.4 s after the segment at the least RTO. Two are common in outages, and in what loses a tenth.
    std::uint8_t black_hole_losses = 3;
    /// Probes of one size that must be lost until it counts as too large [RFC 8899 5.1.2, MAX_PROBES]
    std::uint8_t mtu_probes = 3;
    std::uint16_t mtu_search_step = 8; ///< bytes that are not worth another probe: half a percent
    /// Data that must follow a probe at once, in segments: three tell that it was lost, one may be itself.
    std::uint8_t mtu_probe_followers = 4;
    /// A path MTU that ICMP lowered may rise again after this long, if the path given says so [RFC 1191 6.3];
    /// and a search that has found one begins anew. [RFC 8899 5.1.1, PMTU_RAISE_TIMER]
    duration path_mtu_raise_after = 10min;
    bool use_timestamps = true;   ///< [RFC 7323 3]
    bool use_window_scale = true; ///< [RFC 7323 2]
    bool use_sack = true;         ///< tell what is held beyond a hole [RFC 2018] [RFC 2883]

    // Explicit Congestion Notification
    /// SYNs that ask for it before one goes without; at least 1. More would make connections through a box
    /// that drops such SYNs wait for 3 s; a SYN lost for another reason costs its connection no more than
    /// ECN. [RFC 3168 6.1.1.1]
    std::uint8_t ecn_syn_tries = 1;
    /// So many losses or timeouts before anything ECN-capable has arrived, and a connection sends such
    /// packets no more: the path swallows them. Two, since one may be of any congestion. 1 to 3.
    std::uint8_t ecn_black_hole_losses = 2;

    // Handshake
    duration syn_ack_timeout{0};      ///< wait after the first SYN|ACK, then doubled; zero: initial_rto
    std::uint8_t syn_ack_retries = 5; ///< 1+2+4+8+16+32 s, about a minute in SYN_RECEIVED
    /// The same while the table, or the listener's share of it, is more than half full: 3 s. A client that is
    /// there has answered by then, or sends its SYN again.
    std::uint8_t syn_ack_retries_under_pressure = 1;
    /// Over all listeners: 512 KiB. 0 is taken as 1: who reuses a TIME_WAIT needs an entry, since a cookie
    /// could not promise numbers above the old ones. (syn_cookie_mode::always serves everybody else by
    /// cookie.)
    std::uint32_t max_half_open = 8192;
    syn_cookie_mode syn_cookies = syn_cookie_mode::when_full;
    /// A cookie is believed in the period that made it and in the next: 1 to 2 minutes, longer than clients
    /// wait between their retransmissions, and short for whoever collects cookies. At least twice the longest
    /// round-trip time.
    duration syn_cookie_period = 60s;
    std::uint32_t syn_cookie_secret_periods = 16; ///< a secret serves so many periods: 16 minutes
    /// Cookies and overflows of a listener have ended when there was none for so long and the queue is at
    /// most half full: rare ones in a row are one episode, with one event at each end.
    duration pressure_quiet = 5s;

    // Fast Open [RFC 7413]
    /// How long a server's cookie is good at least; at most twice as long. Its user asks for data in SYNs all
    /// that time, also when it has moved and another one has its address.
    duration fast_open_cookie_period = 4h;
    /// Connections by Fast Open whose handshake is not complete. Beyond it SYNs get the usual handshake: who
    /// has collected cookies, and forges the addresses they are for, can fill no more than this. [RFC
    /// 7413 5.1]
    std::uint32_t max_fast_opening = 256;
    /// One of these that was reset, or that a router found no way to, counts so long still: a forged SYN
    /// makes its victim send a RST, which is not to clear the way for the next. [RFC 7413 5.1]
    duration fast_open_reset_counts_for = 60s;
    /// Whose cookies a client remembers, and as many services where it did no good: 100 bytes each.
    std::uint32_t max_fast_open_servers = 256;
    /// Where it did no good, connect() does not try Fast Open for so long: the service does not want it, or a
    /// middlebox drops such SYNs, which costs a timeout each time. [RFC 7413 4.1.3.1]
    duration fast_open_retry_after = 1h;

    // Answers that no connection stands for; see reply_limit.hpp. SYN|ACKs have no limit but the link's: one
    // answers one SYN and is no larger, and a lower limit would be a way to keep honest clients out.
    /// RSTs a second, and at once, to one of 64 groups of remote addresses: a port scan by one host is still
    /// answered, no host is sent more than 27 kB/s, all together at most 32,000 a second.
    std::uint32_t resets_per_second = 500;
    /// ACKs by which half-open and TIME_WAIT entries answer what does not fit, a second and at once, to one
    /// of 64 groups of flows. Honest peers draw one or two in a lifetime.
    std::uint32_t stateless_acks_per_second = 100;

    // TIME_WAIT
    /// RFC 9293 says 2 minutes, so 4 in TIME_WAIT. No path holds a segment for even 30 seconds today; like
    /// most stacks we wait 60 s in all.
    duration msl = 30s;
    std::uint32_t max_time_wait = 16384; ///< 1 MiB; past it the oldest ends early, counted

    // Turns; a segment goes in each, however little this is.
    /// Bytes of text that a connection sends before the others have their turn: eight segments of 64 KiB. A
    /// receiver joins what comes in a row.
    std::size_t most_in_turn = 512 * 1024;
    /// That all together send before input has its turn. Less than a millisecond, where the kernel takes 10
    /// GB/s; much less, and a receiver as fast as we falls asleep between two of them.
    std::size_t most_per_flush = 8 * 1024 * 1024;

    // Memory: true sizes of buffers, over all connections; memory.hpp has what happens when it runs short.
    /// Received and not yet read: 256 full buffers of the default size.
    std::size_t receive_memory = std::size_t{64} << 20;
    /// Written and not yet acknowledged. What passes it waits in its writer's memory. One connection alone
    /// has half of it at most, whatever its own buffer allows.
    std::size_t send_memory = std::size_t{64} << 20;
    /// What each connection may have of either whatever others hold: two segments of 1500-byte packets, so
    /// that nobody stands still; two full ones on paths with larger packets. 65536 connections could pass the
    /// budgets by 256 MiB.
    std::uint32_t memory_floor = 4096;
    /// Without progress for this long a connection may be shed for others. No sender of data is silent for
    /// as long: its timeouts come sooner. A reader has so long for `memory_floor` bytes: 400 bytes a second.
    duration memory_idle_after = 10s;

    // Tables. They grow as needed and do not shrink. The demultiplexing table has 16 bytes for each slot and
    // at most 2.7 slots for each connection; a half-open or TIME_WAIT entry takes 62 to 68 bytes, but twice
    // that just after a table has doubled.
    std::uint32_t max_connections = 65536;
    /// A connection that has nothing under way and has been silent for so long is folded into its endpoint
    /// (dormant.hpp) until the next segment or call, which unfolds it. Nobody can tell but by the
    /// memory. Longer than most round trips, so that a conversation does not pay; zero: never.
    duration dormant_after = 1s;
    /// While more connections than these are awake, one that has nothing under way is folded at the end of
    /// the turn: what is awake then stays in the processor's caches, which is worth more than what folding
    /// costs. A thousand TCBs and endpoints, with what they hold, take more than a megabyte; where a core has
    /// two, a segment for one of 2000 in turn costs a fifth less than with all of these awake. And while
    /// there are more connections than these, so is one that had been silent for `dormant_after` when it was
    /// woken: it will be again.
    std::uint32_t most_awake = 1000;
    /// Connections that nobody reads any more and whose FIN is queued: closing in the background. They depend
    /// on their peers alone; one more is reset instead. An eighth of all.
    std::uint32_t max_orphans = 8192;
    /// RSTs, SYN|ACKs and ACKs without a TCB that wait for the link; 544 KiB.
    std::uint32_t max_replies = 4096;
    std::uint16_t max_out_of_order_ranges = 256; ///< per connection, whatever the window
    std::uint16_t first_ephemeral_port = 49152;  ///< [RFC 6335 6]
    std::uint16_t last_ephemeral_port = 65535;
};

} // namespace tapir::tcp
