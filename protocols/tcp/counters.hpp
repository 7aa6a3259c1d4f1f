// What a stack counted. Layers do not log: they count by reason, and tapstat prints.
#pragma once

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
    std::uint64_t challenge_acks_suppressed = 0;
    std::uint64_t out_of_order = 0;
    std::uint64_t sack_blocks_in = 0;  ///< data held beyond a hole, says the peer
    std::uint64_t sack_duplicates = 0; ///< D-SACK: data that came to the peer twice [RFC 2883]
    std::uint64_t sack_invalid = 0;    ///< blocks that name what was never sent: ignored
    std::uint64_t sack_blocks_out = 0; ///< in our ACKs, duplicates included
    std::uint64_t duplicate_data = 0;
    std::uint64_t reassembly_full = 0; ///< out-of-order data dropped at the bound on ranges
    std::uint64_t acks_suppressed = 0; ///< above max_acks_owed in one batch

    // Memory
    std::uint64_t memory_dropped = 0;          ///< segments: no memory for their data
    std::uint64_t memory_shed_ahead = 0;       ///< times a connection lost what it held beyond a hole
    std::uint64_t memory_shed_connections = 0; ///< idle ones, reset for the memory they held

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

    // Loss
    std::uint64_t retransmits = 0; ///< segments
    std::uint64_t rto_fired = 0;
    std::uint64_t fast_retransmits = 0;
    std::uint64_t window_probes = 0;
    std::uint64_t keepalive_probes = 0;
    std::uint64_t timeouts = 0; ///< connections given up

    // TIME_WAIT
    std::uint64_t time_wait_entered = 0;
    std::uint64_t time_wait_evicted = 0;
    std::uint64_t time_wait_reused = 0;
    std::uint64_t time_wait_rst_ignored = 0; ///< [RFC 1337]

    // Everything else
    std::uint64_t replies_dropped = 0;           ///< max_replies reached
    std::uint64_t resets_suppressed = 0;         ///< config::resets_per_second reached
    std::uint64_t stateless_acks_suppressed = 0; ///< config::stateless_acks_per_second reached
    std::uint64_t icmp_ignored = 0;              ///< for no flow, or outside what is in flight
    std::uint64_t icmp_soft = 0;
    std::uint64_t icmp_hard = 0;
    std::uint64_t path_mtu_lowered = 0;
};

} // namespace tapir::tcp
