// A set of bytes of the sequence space, kept as ranges that are sorted and do not touch: what the peer holds,
// what counts as lost. Every operation takes time logarithmic in the number of ranges, and more only for
// ranges that it makes disappear, so that a peer which names ten thousand of them pays for each itself.
//
// All members lie within half a circle: [RFC 9293 3.4] has no order for more.
#pragma once

#include <tapir/protocols/tcp/seq.hpp>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <optional>

namespace tapir::tcp {

/// [begin, end)
struct byte_range {
    seq begin;
    seq end;
    std::uint32_t size() const { return end - begin; }
    bool operator==(const byte_range&) const = default;
};

class range_set {
  public:
    bool empty() const { return ranges_.empty(); }
    std::size_t count() const { return ranges_.size(); }
    std::uint32_t bytes() const { return bytes_; }
    byte_range front() const { return {ranges_.begin()->first, ranges_.begin()->second}; }
    /// The range that has the byte at `s`.
    std::optional<byte_range> find(seq s) const;
    bool contains(seq s) const { return find(s).has_value(); }
    /// Whether [begin, end) overlaps or adjoins a range: it would start none.
    bool touches(seq begin, seq end) const;

    void add(seq begin, seq end);
    /// Returns how many bytes went.
    std::uint32_t remove(seq begin, seq end);
    void drop_below(seq s);
    void clear() {
        ranges_.clear();
        bytes_ = 0;
    }

    /// Calls f(begin, end) for each part of [begin, end) that is not in the set, in order.
    template <class F>
    void gaps(seq begin, seq end, F f) const {
        for (auto at = first_behind(begin); begin < end; ++at) {
            const bool last = at == ranges_.end() || at->first >= end;
            const seq stop = last ? end : at->first;
            if (begin < stop) f(begin, stop);
            if (last) return;
            begin = at->second;
        }
    }

    static constexpr std::size_t node_bytes = 48; ///< of memory for each range: a node of the tree

  private:
    using ranges = std::map<seq, seq>; ///< begin -> end
    /// The first range that ends behind `s`.
    ranges::const_iterator first_behind(seq s) const;

    ranges ranges_;
    std::uint32_t bytes_ = 0;
};

} // namespace tapir::tcp
