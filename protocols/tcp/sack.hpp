// Selective acknowledgement, the receiver's side: which ranges beyond the hole an ACK names, and in which
// order. The range that the newest segment joined comes first, then the others, newest first; data that came
// twice is named in front of them all, once. [RFC 2018 4] [RFC 2883 4]
//
// Only what is held is ever named. A segment that was dropped for want of room counts as lost in the network;
// RFC 2018 (8) would name it once, and keep its sender from sending it again before a timeout. Held data may
// be shed later (reneging): the sender keeps it until it is acknowledged. [RFC 2018 8]
#pragma once

#include <tapir/protocols/tcp/header.hpp>
#include <tapir/protocols/tcp/ring.hpp>
#include <tapir/protocols/tcp/seq.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

namespace tapir::tcp {

/// The ranges held beyond a hole, sorted and apart from each other, and what came twice.
class sack_ranges {
  public:
    std::size_t size() const { return ranges_.size(); }
    /// Whether there is anything to say.
    bool empty() const { return ranges_.empty() && duplicates_.empty(); }

    /// Whether [begin, end) overlaps or adjoins a range: it would start none.
    bool touches(seq begin, seq end) const;
    /// A segment [begin, end) came: it joins what it touches, and its range is the newest.
    void received(seq begin, seq end);
    /// [begin, end) had been received before. One report each; past `bound` waiting ones it is forgotten.
    void duplicate(seq begin, seq end, std::size_t bound);
    /// Everything before `next` has been delivered.
    void delivered(seq next);
    void forget_ranges() { ranges_.clear(); }
    void forget_duplicates() { duplicates_.clear(); }

    /// Fills `blocks` and returns how many; the oldest duplicate, if it is among them, is told by that.
    std::size_t report(std::span<sack_block> blocks);

  private:
    struct range {
        seq begin;
        seq end;
        std::uint32_t stamp = 0; ///< of the newest segment in it
        bool contains(const sack_block& b) const { return begin <= b.begin && b.end <= end; }
    };
    /// The first range that ends at or behind `s`.
    std::size_t first_reaching(seq s) const;

    ring<range> ranges_;
    ring<sack_block> duplicates_;
    std::uint32_t stamp_ = 0;
};

/// How many blocks fit into `room` bytes of a segment that has `used` bytes of options already.
constexpr std::size_t sack_blocks_in(std::size_t room, std::size_t used) {
    constexpr std::size_t most_options = 40;
    const std::size_t left = used < most_options ? most_options - used : 0;
    const std::size_t bytes = room < left ? room : left;
    return bytes < 12 ? 0 : (bytes - 4) / 8; // two NOPs, kind and length, then eight bytes each
}

/// What a block that the peer sent us says of our data.
enum class sack_meaning : std::uint8_t {
    held,      ///< the peer holds it beyond a hole
    duplicate, ///< it came twice [RFC 2883 4]
    invalid,   ///< never sent, or empty, or too old to be a duplicate
};
/// `una` and `max`: the oldest byte not acknowledged, and one past the newest sent; `window`: the largest the
/// peer ever offered, so the farthest back that a duplicate can be under way.
sack_meaning meaning_of(const sack_block& b, seq una, seq max, std::uint32_t window);

} // namespace tapir::tcp
