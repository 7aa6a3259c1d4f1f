// What a stack counted. Layers do not log: they count by reason, and tapstat prints.
#pragma once

#include <tapir/framework/visit_counters.hpp>

#include <cstdint>

namespace tapir::tcp {

struct counters {
    // Segments
    std::uint64_t segments_in = 0;
    std::uint64_t segments_out = 0;
    std::uint64_t bytes_in = 0;  ///< payload accepted in order
    std::uint64_t bytes_out = 0; ///< payload sent, retransmissions included
    std::uint64_t resets_in = 0; ///< RSTs that ended a connection
    std::uint64_t resets_out = 0;

    // Dropped on arrival
    std::uint64_t bad_header = 0; ///< truncated, impossible data offset or port 0
    std::uint64_t bad_checksum = 0;
    std::uint64_t bad_address = 0;       ///< from or to a multicast, broadcast or unspecified address
    std::uint64_t malformed_options = 0; ///< the options were cut, the segment was processed
    std::uint64_t no_connection = 0;     ///< for no flow and no listener: answered by RST unless one itself
    std::uint64_t out_of_window = 0;
    std::uint64_t paws_rejected = 0; ///< an old duplicate by its timestamp
    std::uint64_t missing_timestamp = 0;
    std::uint64_t bad_ack = 0;     ///< acknowledges what was never sent, or is far too old
    std::uint64_t blind_reset = 0; ///< RST in the window but not at rcv_nxt
    std::uint64_t unexpected_syn = 0;
    std::uint64_t challenge_acks = 0;
    std::uint64_t challenge_acks_suppressed = 0;       ///< by the limit of their connection
    std::uint64_t challenge_acks_total_suppressed = 0; ///< by the limit of all
    std::uint64_t urgent_segments = 0;                 ///< with URG: their data is delivered in line
    std::uint64_t out_of_order = 0;
    std::uint64_t sack_blocks_in = 0;  ///< data held beyond a hole, says the peer
    std::uint64_t sack_duplicates = 0; ///< D-SACK: data that came to the peer twice [RFC 2883]
    std::uint64_t sack_invalid = 0;    ///< blocks that name what was never sent: ignored
    std::uint64_t sack_ignored = 0;    ///< blocks past config::max_sack_ranges
    std::uint64_t sack_reneged = 0;    ///< times a peer did not have what it had said to hold
    std::uint64_t sack_blocks_out = 0; ///< in our ACKs, duplicates included
    std::uint64_t duplicate_data = 0;
    std::uint64_t reassembly_full = 0; ///< out-of-order data dropped at the bound on ranges
    std::uint64_t acks_suppressed = 0; ///< above max_acks_owed in one batch
    std::uint64_t acks_deferred = 0;   ///< put off while input waited, each counted once

    // Memory
    std::uint64_t memory_dropped = 0;          ///< segments: no memory for their data
    std::uint64_t memory_shed_ahead = 0;       ///< times a connection lost what it held beyond a hole
    std::uint64_t memory_shed_unaccepted = 0;  ///< ended before anybody accepted them: their data
    std::uint64_t memory_shed_connections = 0; ///< idle ones, reset for the received data they held
    std::uint64_t memory_shed_writers = 0;     ///< reset for a send queue that stood still
    std::uint64_t memory_looked_at = 0;        ///< in search of these: what shedding costs in time
    std::uint64_t folded = 0;                  ///< times an idle connection was, config::dormant_after
    std::uint64_t unfolded = 0;                ///< by a segment, a call or a keepalive

    // Handshake
    std::uint64_t active_opens = 0;
    std::uint64_t passive_opens = 0; ///< half-open connections that were established
    std::uint64_t failed_opens = 0;
    std::uint64_t half_open_overflow = 0; ///< SYNs dropped: SYN queue full
    std::uint64_t half_open_evicted = 0;  ///< the oldest made room for a SYN that reuses a TIME_WAIT
    std::uint64_t accept_overflow = 0;    ///< final ACKs, and SYNs that want a cookie: accept queue full
    std::uint64_t half_open_timeouts = 0;
    std::uint64_t half_open_resets = 0;
    std::uint64_t syn_ack_retransmits = 0;
    std::uint64_t syn_cookies_sent = 0;
    std::uint64_t syn_cookies_accepted = 0;
    std::uint64_t syn_cookies_wrong = 0; ///< ACKs that came while cookies were out, and held none

    // Fast Open: of servers, then of clients
    std::uint64_t fast_open_asked = 0;    ///< SYNs that asked for a cookie: the answer has one
    std::uint64_t fast_open_accepted = 0; ///< SYNs with a good cookie that opened a connection
    std::uint64_t fast_open_wrong = 0;    ///< with a cookie that is not good: usual handshake
    std::uint64_t fast_open_overflow =
        0;                            ///< with a good one, but max_fast_opening or the accept queue was full
    std::uint64_t fast_open_used = 0; ///< our SYNs that took data along
    std::uint64_t fast_open_data_refused = 0; ///< of these, whose data was not acknowledged with them

    // Loss
    std::uint64_t retransmits = 0; ///< segments
    std::uint64_t rto_fired = 0;
    std::uint64_t fast_retransmits = 0;  ///< recoveries that began without a timeout
    std::uint64_t recoveries_undone = 0; ///< nothing had been lost
    std::uint64_t tail_probes = 0;
    std::uint64_t tail_losses = 0; ///< that a tail probe repaired
    std::uint64_t window_probes = 0;
    std::uint64_t keepalive_probes = 0;
    std::uint64_t timeouts = 0; ///< connections given up

    // Explicit Congestion Notification
    std::uint64_t ecn_negotiated = 0; ///< connections
    std::uint64_t ecn_refused = 0;    ///< by a peer that does not know it, or does not want it
    std::uint64_t ecn_reflected = 0;  ///< SYN|ACKs with both flags: bits of our SYN sent back, so no ECN
    std::uint64_t ecn_withdrawn = 0;  ///< connections whose SYN had no answer and went again without
    std::uint64_t ecn_declined = 0;   ///< SYNs that asked for it at a listener whose option is off
    std::uint64_t ecn_ce_in = 0;      ///< segments with data that a router has marked
    std::uint64_t ecn_echoes_out = 0; ///< segments of ours that tell of it
    std::uint64_t ecn_cwr_in = 0;     ///< peers said that their window has come down
    std::uint64_t ecn_echoes_in = 0;  ///< ACKs that tell of marks on our data
    std::uint64_t ecn_reductions = 0; ///< of the window, for these
    std::uint64_t ecn_cwr_out = 0;
    std::uint64_t ecn_black_holes = 0; ///< connections whose ECN-capable packets never arrived

    // Ends
    std::uint64_t orphan_overflow = 0; ///< closing connections reset: max_orphans reached

    // TIME_WAIT
    std::uint64_t time_wait_entered = 0;
    std::uint64_t time_wait_evicted = 0;
    std::uint64_t time_wait_reused = 0;
    std::uint64_t time_wait_rst_ignored = 0; ///< [RFC 1337]

    // Everything else
    std::uint64_t replies_dropped = 0;           ///< max_replies reached, or the destination unreachable
    std::uint64_t resets_suppressed = 0;         ///< config::resets_per_second reached
    std::uint64_t stateless_acks_suppressed = 0; ///< config::stateless_acks_per_second reached
    std::uint64_t icmp_ignored = 0;              ///< for no flow, or outside what is in flight
    std::uint64_t icmp_soft = 0;
    std::uint64_t icmp_hard = 0;
    std::uint64_t path_mtu_lowered = 0;
    std::uint64_t path_mtu_raised = 0;
    std::uint64_t black_holes_found = 0; ///< times a connection's large segments arrived no more
    std::uint64_t mtu_probes_sent = 0;
    std::uint64_t mtu_probes_acked = 0; ///< larger segments from then on
    std::uint64_t mtu_probes_lost = 0;  ///< while all around them arrived

    template <class Self, class F>
    static constexpr void visit(Self& c, F f) {
        f("segments_in", c.segments_in);
        f("segments_out", c.segments_out);
        f("bytes_in", c.bytes_in);
        f("bytes_out", c.bytes_out);
        f("resets_in", c.resets_in);
        f("resets_out", c.resets_out);
        f("bad_header", c.bad_header);
        f("bad_checksum", c.bad_checksum);
        f("bad_address", c.bad_address);
        f("malformed_options", c.malformed_options);
        f("no_connection", c.no_connection);
        f("out_of_window", c.out_of_window);
        f("paws_rejected", c.paws_rejected);
        f("missing_timestamp", c.missing_timestamp);
        f("bad_ack", c.bad_ack);
        f("blind_reset", c.blind_reset);
        f("unexpected_syn", c.unexpected_syn);
        f("challenge_acks", c.challenge_acks);
        f("challenge_acks_suppressed", c.challenge_acks_suppressed);
        f("challenge_acks_total_suppressed", c.challenge_acks_total_suppressed);
        f("urgent_segments", c.urgent_segments);
        f("out_of_order", c.out_of_order);
        f("sack_blocks_in", c.sack_blocks_in);
        f("sack_duplicates", c.sack_duplicates);
        f("sack_invalid", c.sack_invalid);
        f("sack_ignored", c.sack_ignored);
        f("sack_reneged", c.sack_reneged);
        f("sack_blocks_out", c.sack_blocks_out);
        f("duplicate_data", c.duplicate_data);
        f("reassembly_full", c.reassembly_full);
        f("acks_suppressed", c.acks_suppressed);
        f("acks_deferred", c.acks_deferred);
        f("memory_dropped", c.memory_dropped);
        f("memory_shed_ahead", c.memory_shed_ahead);
        f("memory_shed_unaccepted", c.memory_shed_unaccepted);
        f("memory_shed_connections", c.memory_shed_connections);
        f("memory_shed_writers", c.memory_shed_writers);
        f("memory_looked_at", c.memory_looked_at);
        f("folded", c.folded);
        f("unfolded", c.unfolded);
        f("active_opens", c.active_opens);
        f("passive_opens", c.passive_opens);
        f("failed_opens", c.failed_opens);
        f("half_open_overflow", c.half_open_overflow);
        f("half_open_evicted", c.half_open_evicted);
        f("accept_overflow", c.accept_overflow);
        f("half_open_timeouts", c.half_open_timeouts);
        f("half_open_resets", c.half_open_resets);
        f("syn_ack_retransmits", c.syn_ack_retransmits);
        f("syn_cookies_sent", c.syn_cookies_sent);
        f("syn_cookies_accepted", c.syn_cookies_accepted);
        f("syn_cookies_wrong", c.syn_cookies_wrong);
        f("fast_open_asked", c.fast_open_asked);
        f("fast_open_accepted", c.fast_open_accepted);
        f("fast_open_wrong", c.fast_open_wrong);
        f("fast_open_overflow", c.fast_open_overflow);
        f("fast_open_used", c.fast_open_used);
        f("fast_open_data_refused", c.fast_open_data_refused);
        f("retransmits", c.retransmits);
        f("rto_fired", c.rto_fired);
        f("fast_retransmits", c.fast_retransmits);
        f("recoveries_undone", c.recoveries_undone);
        f("tail_probes", c.tail_probes);
        f("tail_losses", c.tail_losses);
        f("window_probes", c.window_probes);
        f("keepalive_probes", c.keepalive_probes);
        f("timeouts", c.timeouts);
        f("ecn_negotiated", c.ecn_negotiated);
        f("ecn_refused", c.ecn_refused);
        f("ecn_reflected", c.ecn_reflected);
        f("ecn_withdrawn", c.ecn_withdrawn);
        f("ecn_declined", c.ecn_declined);
        f("ecn_ce_in", c.ecn_ce_in);
        f("ecn_echoes_out", c.ecn_echoes_out);
        f("ecn_cwr_in", c.ecn_cwr_in);
        f("ecn_echoes_in", c.ecn_echoes_in);
        f("ecn_reductions", c.ecn_reductions);
        f("ecn_cwr_out", c.ecn_cwr_out);
        f("ecn_black_holes", c.ecn_black_holes);
        f("orphan_overflow", c.orphan_overflow);
        f("time_wait_entered", c.time_wait_entered);
        f("time_wait_evicted", c.time_wait_evicted);
        f("time_wait_reused", c.time_wait_reused);
        f("time_wait_rst_ignored", c.time_wait_rst_ignored);
        f("replies_dropped", c.replies_dropped);
        f("resets_suppressed", c.resets_suppressed);
        f("stateless_acks_suppressed", c.stateless_acks_suppressed);
        f("icmp_ignored", c.icmp_ignored);
        f("icmp_soft", c.icmp_soft);
        f("icmp_hard", c.icmp_hard);
        f("path_mtu_lowered", c.path_mtu_lowered);
        f("path_mtu_raised", c.path_mtu_raised);
        f("black_holes_found", c.black_holes_found);
        f("mtu_probes_sent", c.mtu_probes_sent);
        f("mtu_probes_acked", c.mtu_probes_acked);
        f("mtu_probes_lost", c.mtu_probes_lost);
    }
};
static_assert(visits_every_counter<counters>());

} // namespace tapir::tcp
