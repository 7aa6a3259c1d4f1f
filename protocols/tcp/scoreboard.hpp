// What is in flight, as far as the sender can know: when each byte went out, last and first, which bytes the
// peer holds beyond a hole, which count as lost, which went out again.
//
// A connection that loses nothing has a queue of what went out when, and no more: it is sorted by time and by
// sequence number alike. Only the first hole brings the sets that tell of exceptions; they go with the last.
// Bytes in flight are those sent, less those the peer holds, less those lost and not sent again: the `pipe`.
// [RFC 6675 4] [RFC 8985 5.1]
//
// Costs are logarithmic in the number of ranges, beyond what makes ranges disappear; who bounds the ranges
// that the peer may name (config::max_sack_ranges) bounds the memory.
#pragma once

#include <tapir/framework/time.hpp>
#include <tapir/protocols/tcp/range_set.hpp>
#include <tapir/protocols/tcp/ring.hpp>
#include <tapir/protocols/tcp/seq.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>

namespace tapir::tcp {

/// What one ACK told to be delivered that was not known to be.
struct delivery {
    std::uint32_t bytes = 0;
    std::uint32_t cumulative = 0; ///< of these, below the acknowledgement number
    bool once = false;            ///< some of it was sent just once
    bool resent = false;          ///< some of it was sent more than once: no round trip by these [RFC 6298 3]
    instant newest_again{};       ///< the last sending of those that were in flight once more; zero: none was

    /// The sending that went out last among those that arrived; of equal times the one that ends highest.
    /// [RFC 8985 6.2, step 2]
    instant newest_at{};
    seq newest_end{};
    bool has_newest = false;

    instant oldest_once{}; ///< when the lowest byte that was sent just once went out; valid if `once`
    seq highest_end{};     ///< of all that arrived; valid if `bytes` is not zero
    seq lowest_once_end{}; ///< the end of the lowest piece that was sent just once; valid if `once`
};

class scoreboard {
  public:
    bool empty() const { return originals_.empty(); }
    /// Bytes from the oldest not acknowledged to the newest sent.
    std::uint32_t outstanding() const {
        return originals_.empty() ? 0 : originals_.back().end - originals_.front().begin;
    }
    std::uint32_t sacked() const { return holes_ ? holes_->sacked.bytes() : 0; }
    std::uint32_t lost() const { return holes_ ? holes_->lost.bytes() : 0; }
    std::uint32_t in_flight() const { return outstanding() - sacked() - lost(); }
    std::size_t sacked_ranges() const { return holes_ ? holes_->sacked.count() : 0; }
    /// Whether anything was sent again, or is lost, or held beyond a hole.
    bool has_exceptions() const { return holes_ != nullptr; }
    /// The lowest range to be sent again; there must be one.
    byte_range first_lost() const { return holes_->lost.front(); }
    bool is_sacked(seq s) const { return holes_ && holes_->sacked.contains(s); }
    /// Whether exactly [begin, end) is to be sent again.
    bool lost_is(seq begin, seq end) const {
        return lost() == end - begin && holes_->lost.front() == byte_range{begin, end};
    }
    /// Whether any of [begin, end) was sent more than once.
    bool was_resent(seq begin, seq end) const;
    /// Bytes outstanding that were sent more than once.
    std::uint32_t resent_bytes() const { return holes_ ? holes_->ever_again.bytes() : 0; }
    /// Bytes of memory: all of it, and what the exceptions have of it.
    std::size_t true_size() const { return originals_.bytes() + size_of_exceptions(); }
    std::size_t size_of_exceptions() const { return holes_ ? size_of_holes() : 0; }

    /// New data [begin, end) goes out.
    void sent(seq begin, seq end, instant now);
    /// Data that was sent before goes out again, lost or not.
    void resent(seq begin, seq end, instant now);

    /// Everything before `una` is acknowledged. Of bytes that were sent again the newest sending is believed
    /// to be what arrived only if it went out no later than `believe`; else an earlier one did.
    void acknowledge(seq una, instant believe, delivery& d);
    /// The peer holds [begin, end), which lies in what is outstanding. False, and nothing happens, when that
    /// would make more than `most` ranges.
    bool sack(seq begin, seq end, instant believe, std::size_t most, delivery& d);

    struct judgement {
        std::uint32_t lost = 0;    ///< bytes that count as lost from now on
        bool lost_again = false;   ///< among them some that had been sent again
        bool oldest_again = false; ///< and these begin with the oldest outstanding
        instant next_look = never; ///< when the next would count as lost
    };
    /// What went out before the sending (`at`, `end`), that the peer has, is lost once it is older than
    /// `patience`. [RFC 8985 6.2, step 5]
    judgement judge(instant at, seq end, duration patience, instant now);
    /// [begin, end) is lost, but for what the peer holds.
    void mark_lost(seq begin, seq end);
    void mark_all_lost();
    /// Nothing that was sent just once is lost after all, though it may be late.
    void unmark_lost();
    /// judge() is to look at all sendings once more.
    void look_again();
    /// The peer has dropped what it held, or may have. [RFC 2018 8]
    void forget_sacked();
    void clear();
    /// Empty as it is, it gives back what memory it needed when there was much.
    void trim() { originals_.trim(); }

  private:
    struct sending {
        seq begin;
        seq end;
        instant at{};
    };
    struct resending {
        seq end;
        instant at{};
    };
    using resendings = std::map<seq, resending>; ///< by begin; they do not overlap

    /// Exceptions from what `originals_` says.
    struct holes {
        range_set sacked;
        range_set lost;       ///< and not sent again since
        range_set ever_again; ///< sent more than once
        resendings again;     ///< the last sending of what is in flight for another time
        ring<sending> order;  ///< the same by time; entries that `again` does not confirm are stale
        seq judged;           ///< originals before it have been looked at
    };

    holes& with_holes();
    std::size_t size_of_holes() const;
    void delivered(seq begin, seq end, instant believe, delivery& d);
    static void count_delivered(seq begin, seq end, delivery& d);
    static void delivered_once(instant first, instant last, seq end, delivery& d);
    static void note(instant at, seq end, delivery& d);
    const sending& original_of(seq s) const;
    /// Cuts [begin, end) out of `again`; f(begin, end, at) for each piece.
    template <class F>
    void take_again(seq begin, seq end, F f);
    void settle();

    ring<sending> originals_;
    std::unique_ptr<holes> holes_;
};

} // namespace tapir::tcp
