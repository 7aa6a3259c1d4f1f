// What there is to see from outside: the stack calls these as things happen, for ladders, pcaps and test
// hashes. Default bodies do nothing: override what you draw. A sink must not call back into the stack.
#pragma once

#include <tapir/framework/time.hpp>
#include <tapir/protocols/tcp/endpoint.hpp>
#include <tapir/protocols/tcp/flow.hpp>
#include <tapir/protocols/tcp/path_of_states.hpp>
#include <tapir/protocols/tcp/segment.hpp>

#include <cstdint>
#include <string_view>

namespace tapir::tcp {

/// What told a sender that data is lost, so that it began to recover. (A timeout is told of as such.)
enum class loss_sign : std::uint8_t {
    duplicate_acks, ///< three of them, of a peer without SACK [RFC 5681 3.2]
    newer_arrived,  ///< something that was sent later has arrived [RFC 8985 6.2]
    overdue,        ///< the same, and the time that reordering may take has passed since [RFC 8985 6.3]
    tail_probe,     ///< the probe for the last of the data filled a hole, and so is all the recovery [RFC
                    ///< 8985 7.4]
    path_mtu,       ///< a router does not carry packets so large [RFC 1191 6.5]
};
std::string_view to_string(loss_sign s);

/// How much a sender may have in flight, and how fast.
struct send_rate {
    send_rate(std::uint32_t window, std::uint32_t threshold, std::uint64_t pace)
        : cwnd(window), ssthresh(threshold), pacing_rate(pace) {}

    std::uint32_t cwnd;        ///< bytes
    std::uint32_t ssthresh;    ///< bytes
    std::uint64_t pacing_rate; ///< bytes a second; zero: not paced
};

struct trace_sink {
    virtual ~trace_sink() = default;
    virtual void segment_in(const flow_key&, const segment&, instant) {}
    virtual void segment_out(const flow_key&, const outgoing_segment&, instant) {}
    virtual void state_changed(const flow_key&, const edge&) {}
    virtual void retransmission_timeout(const flow_key&, duration /*rto*/, unsigned /*backoff*/, instant) {}
    virtual void recovery_began(const flow_key&, loss_sign, seq /*snd_una*/, instant) {}
    /// All that was sent before it began is acknowledged; after a timeout, too.
    virtual void recovery_ended(const flow_key&, instant) {}
    /// So many bytes more count as lost, for something sent later has arrived.
    virtual void marked_lost(const flow_key&, std::uint32_t /*bytes*/, instant) {}
    /// Recovery was for nothing: the window is what it was.
    virtual void recovery_undone(const flow_key&, std::uint32_t /*cwnd*/, instant) {}
    /// A segment with data was marked by a router: ACKs say so from now on.
    virtual void congestion_marked(const flow_key&, seq /*begin*/, instant) {}
    /// The peer tells of a mark: the window goes down to `window`.
    virtual void window_reduced_by_ecn(const flow_key&, std::uint32_t /*window*/, instant) {}
    virtual void tail_probe(const flow_key&, seq /*begin*/, instant) {}
    /// Packets of `from` bytes do not arrive any more; they are `to` bytes from now on.
    virtual void black_hole_found(const flow_key&, std::uint16_t /*from*/, std::uint16_t /*to*/, instant) {}
    virtual void mtu_probe_sent(const flow_key&, seq /*begin*/, std::uint16_t /*size*/, instant) {}
    /// Of the probe under way; packets may be so large, or this time it was lost.
    virtual void mtu_probe_done(const flow_key&, std::uint16_t /*size*/, bool /*arrived*/, instant) {}
    virtual void rate_changed(const flow_key&, const send_rate&, instant) {}
    /// What keeps the sender from sending more is another thing than before.
    virtual void limit_changed(const flow_key&, send_limit, instant) {}
    /// A segment that was not processed any further; `reason` is the name of a counter.
    virtual void dropped(const flow_key&, const segment&, std::string_view /*reason*/, instant) {}
};

} // namespace tapir::tcp
