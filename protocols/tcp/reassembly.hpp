// Data that arrived ahead of a hole, in sorted pieces. Where two segments claim the same bytes, the first
// received wins, so that a later forgery cannot replace what is already held. Bounded by the window in bytes
// and by the caller in ranges (pieces that adjoin are one). Small neighbours are joined, so that a window
// full of one-byte segments costs little more than a window. [RFC 9293 3.10.7.4, seventh]
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/protocols/tcp/ring.hpp>
#include <tapir/protocols/tcp/seq.hpp>

#include <cstddef>
#include <cstdint>

namespace tapir::tcp {

class reassembly {
  public:
    bool empty() const { return pieces_.empty(); }
    std::size_t ranges() const { return ranges_; }
    std::size_t pieces() const { return pieces_.size(); }
    std::uint32_t size() const { return size_; } ///< bytes

    /// Whether [begin, begin + length) overlaps or adjoins what is held: it would start no new range.
    bool touches(seq begin, std::uint32_t length) const;

    /// Whether bytes at or behind `s` are held.
    bool reaches_beyond(seq s) const { return !pieces_.empty() && pieces_.back().end() > s; }

    /// Keeps what of `payload` is not yet there. False: nothing new. Small payloads are copied.
    bool insert(seq begin, chunk payload, buffer_pool& pool);

    /// Removes and returns the bytes at `next`, if there are any; what lies before `next` is dropped.
    chunk take(seq next);

    void clear();

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
    std::uint32_t size_ = 0;
    std::uint32_t ranges_ = 0;
};

} // namespace tapir::tcp
