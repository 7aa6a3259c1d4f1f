// Data that arrived ahead of a hole, in sorted pieces. Where two segments claim the same bytes, the first
// received wins, so that a later forgery cannot replace what is already held. Bounded by the window in bytes
// and by the caller in ranges (pieces that adjoin are one). Small neighbours are joined, so that a window
// full of one-byte segments costs little more than a window. [RFC 9293 3.10.7.4, seventh]
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/protocols/tcp/ring.hpp>
#include <tapir/protocols/tcp/sack.hpp>
#include <tapir/protocols/tcp/seq.hpp>

#include <cstddef>
#include <cstdint>

namespace tapir::tcp {

class reassembly {
  public:
    bool empty() const { return pieces_.empty(); }
    std::size_t ranges() const { return sack_.size(); }
    std::size_t pieces() const { return pieces_.size(); }
    std::uint32_t size() const { return size_; } ///< bytes
    /// Capacities of all buffers held, in bytes.
    std::uint32_t true_size() const { return true_size_; }

    /// Whether [begin, begin + length) overlaps or adjoins what is held: it would start no new range.
    bool touches(seq begin, std::uint32_t length) const { return sack_.touches(begin, begin + length); }

    /// Whether bytes at or behind `s` are held.
    bool reaches_beyond(seq s) const { return !pieces_.empty() && pieces_.back().end() > s; }

    /// What an insertion found to be there already: its first run of known bytes, if begin != end.
    struct outcome {
        bool kept = false; ///< something was new
        seq known_begin{};
        seq known_end{};
        explicit operator bool() const { return kept; }
    };
    /// Keeps what of `payload` is not yet there. Small payloads are copied.
    outcome insert(seq begin, chunk payload, buffer_pool& pool);

    /// Removes and returns the bytes at `next`, if there are any; what lies before `next` is dropped.
    chunk take(seq next);

    void clear();

    /// What to tell the peer about.
    sack_ranges& sack() { return sack_; }
    const sack_ranges& sack() const { return sack_; }

  private:
    struct piece {
        seq begin;
        chunk payload;
        seq end() const { return begin + static_cast<std::uint32_t>(payload.size()); }
    };
    /// The first piece that ends behind `s`.
    std::size_t first_behind(seq s) const;
    void place(std::size_t i, piece p, buffer_pool& pool);
    void join_small(std::size_t i, buffer_pool& pool);

    ring<piece> pieces_;
    sack_ranges sack_;
    std::uint32_t size_ = 0;
    std::uint32_t true_size_ = 0;
};

} // namespace tapir::tcp
