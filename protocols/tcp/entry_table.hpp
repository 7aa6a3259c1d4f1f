// What strangers can make us remember by the million, half-open connections and TIME_WAITs: one array of
// entries that keep their positions, found by hash through chains of links. A link is a position and, in the
// bits that no position needs, some of the hash: who looks for a flow that is not there passes those of
// others without a look at their entries, each of which would be a cache miss. All of it costs an entry and
// six bytes; a place in the demultiplexer of connections would cost twenty-six more.
//
// An Entry has `next` (a position) and `used` for the table.
#pragma once

#include <tapir/framework/time.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace tapir::tcp {

/// A time to a microsecond, for nine years: in six bytes that need no alignment.
class brief_instant {
  public:
    brief_instant() = default;
    brief_instant(instant at) {
        const auto us = static_cast<std::uint64_t>(at.time_since_epoch() / std::chrono::microseconds(1));
        for (std::size_t i = 0; i < parts_.size(); ++i)
            parts_[i] = static_cast<std::uint16_t>(us >> (16 * i) & 0xffff);
    }
    instant at() const {
        std::int64_t us = 0;
        for (std::size_t i = parts_.size(); i-- > 0;) us = us << 16 | parts_[i];
        return instant(std::chrono::microseconds(us));
    }

  private:
    std::array<std::uint16_t, 3> parts_{};
};

template <class Entry>
class entry_table {
  public:
    static constexpr std::uint32_t none = 0xffffffff;
    /// Of the flow that an entry stands for: asked when the table grows.
    using hash_of_entry = std::function<std::uint64_t(const Entry&)>;

    std::uint32_t size() const { return size_; }
    bool full() const { return size_ >= bound_; }
    /// Of memory, at its largest so far; at most `bound` entries.
    std::size_t bytes() const {
        return entries_.capacity() * sizeof(Entry) +
               (behind_.capacity() + heads_.capacity()) * sizeof(std::uint32_t);
    }
    Entry& operator[](std::uint32_t i) { return entries_[i]; }
    const Entry& operator[](std::uint32_t i) const { return entries_[i]; }

    /// For whoever looks over several turns: an entry keeps its position, and positions only become more.
    std::uint32_t positions() const { return static_cast<std::uint32_t>(entries_.size()); }

    /// f(index, entry) in order of the table. f may erase the entry it is given.
    template <class F>
    void for_each(F f) {
        for (std::uint32_t i = 0; i < entries_.size(); ++i)
            if (entries_[i].used) f(i, entries_[i]);
    }

    /// The entry with this hash for which same(entry) holds, or `none`.
    template <class Same>
    std::uint32_t find(std::uint64_t hash, Same same) const {
        if (size_ == 0) return none;
        const std::uint32_t tag = tag_of(hash);
        for (std::uint32_t l = heads_[hash & (heads_.size() - 1)]; l != none; l = behind_[l & positions_])
            if ((l & ~positions_) == tag && same(entries_[l & positions_])) return l & positions_;
        return none;
    }

  protected:
    std::uint32_t bound() const { return bound_; }
    entry_table(std::uint32_t bound, hash_of_entry hash_of)
        : bound_(bound), positions_(static_cast<std::uint32_t>(std::bit_ceil(std::uint64_t{bound} + 1) - 1)),
          hash_of_(std::move(hash_of)) {}

    /// Precondition: not full.
    std::uint32_t take(const Entry& entry, std::uint64_t hash) {
        assert(!full());
        std::uint32_t i = free_;
        if (i == none) {
            i = static_cast<std::uint32_t>(entries_.size());
            if (i == behind_.size()) grow();
            entries_.push_back(entry);
        } else {
            free_ = entries_[i].next;
            entries_[i] = entry;
        }
        entries_[i].used = true;
        chain(i, hash);
        ++size_;
        return i;
    }
    void give_back(std::uint32_t i, std::uint64_t hash) {
        assert(entries_[i].used);
        std::uint32_t* at = &heads_[hash & (heads_.size() - 1)];
        while ((*at & positions_) != i) at = &behind_[*at & positions_];
        *at = behind_[i];
        entries_[i] = Entry{};
        entries_[i].next = free_;
        free_ = i;
        --size_;
    }

  private:
    std::uint32_t tag_of(std::uint64_t hash) const {
        return static_cast<std::uint32_t>(hash >> 32) & ~positions_;
    }
    void chain(std::uint32_t i, std::uint64_t hash) {
        std::uint32_t& head = heads_[hash & (heads_.size() - 1)];
        behind_[i] = head;
        head = tag_of(hash) | i;
    }
    // Doubles, but not past the bound. Two entries share a head when all are there.
    void grow() {
        const std::size_t room =
            std::min<std::size_t>(bound_, std::max<std::size_t>(16, 2 * entries_.size()));
        std::vector<std::uint32_t> heads(std::max<std::size_t>(std::bit_ceil(room) / 2, 1), none);
        std::vector<std::uint32_t> behind(room);
        entries_.reserve(room); // what throws has changed nothing
        heads_ = std::move(heads);
        behind_ = std::move(behind);
        for (std::uint32_t i = 0; i < entries_.size(); ++i) chain(i, hash_of_(entries_[i])); // all are used
    }

    std::uint32_t bound_;
    std::uint32_t positions_; ///< the bits of a link that are one; the one with all of them set is no entry's
    std::uint32_t size_ = 0;
    std::uint32_t free_ = none;
    std::vector<Entry> entries_;
    std::vector<std::uint32_t> behind_; ///< the link to who follows an entry in its chain
    std::vector<std::uint32_t> heads_;  ///< of chains: a power of two of them
    hash_of_entry hash_of_;
};

} // namespace tapir::tcp
