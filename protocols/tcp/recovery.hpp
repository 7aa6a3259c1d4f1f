// What a connection remembers of its losses, from the first one on: which sendings have arrived (RACK), how
// fast to send while the window shrinks (PRR), what a tail loss probe was, and what to undo should the loss
// turn out to be none. Whoever loses nothing has none of it.
#pragma once

#include <tapir/framework/time.hpp>
#include <tapir/protocols/tcp/congestion/prr.hpp>
#include <tapir/protocols/tcp/rack.hpp>
#include <tapir/protocols/tcp/seq.hpp>

#include <cstdint>

namespace tapir::tcp {

enum class recovery_phase : std::uint8_t {
    none,
    fast,    ///< losses were found by what arrived; the window shrinks by PRR [RFC 9937]
    timeout, ///< by silence; slow start from one segment [RFC 5681 3.1]
};

/// Where the detection of a spurious timeout stands. [RFC 5682 3.1]
enum class f_rto : std::uint8_t {
    off,
    sent_first, ///< the oldest segment went again: what does the next ACK cover?
    sent_new,   ///< new data went instead of more of the old: does the next ACK cover what was sent once?
};

struct recovery {
    explicit recovery(seq una)
        : arrivals(una), ecn_reduced_at(una - 1), ecn_reduced_before(una - 1), plain_until(una),
          oversized_until(una - 1) {}

    rack arrivals;
    prr reduction;

    // Peers without SACK: a duplicate ACK says that one segment has left the network. [RFC 6582 3.2]
    std::uint32_t presumed = 0; ///< bytes
    std::uint8_t duplicates = 0;

    // Undo [RFC 3522] [RFC 4015] [RFC 5682]
    bool may_undo = false;
    bool timed_out = false;       ///< the window was reduced by a timeout, not by what arrived
    bool stamped = false;         ///< `stamp` is valid: something went again
    std::uint32_t stamp = 0;      ///< timestamp of the first that went again
    std::uint32_t unreported = 0; ///< bytes that went again and are not reported to have come twice
    seq undo_from;                ///< SND.UNA when the window was reduced
    seq undo_until;               ///< once this is acknowledged no report can be about it any more
    bool must_look_again = false; ///< judge all sendings anew, once something has arrived
    instant judge_by{};           ///< that was sent no earlier than this
    instant looked_again{};       ///< when an undo last had all sendings judged anew
    f_rto spurious_timeout = f_rto::off;

    // ECN [RFC 3168 6.1.2]
    seq ecn_reduced_at;           ///< where CWR is, or SND.NXT when the window last came down
    seq ecn_reduced_before;       ///< and the time before: an undo goes back there
    seq plain_until;              ///< new data before this may have gone in packets that cannot be marked
    bool cwr_was_due = false;     ///< then
    bool congested = false;       ///< ECN-Echo told of congestion, too: an undo leaves the window as it is
    std::uint32_t reductions = 0; ///< for ECN-Echo

    seq oversized_until; ///< what was sent before this may be larger than the path takes by now

    // Tail loss probe [RFC 8985 7]
    bool probing = false;
    bool probe_resent = false; ///< it repeated data; else it was new
    seq probe_end;             ///< SND.NXT when it was sent
};

} // namespace tapir::tcp
