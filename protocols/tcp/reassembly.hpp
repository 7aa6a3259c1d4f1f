// Data that arrived ahead of a hole. Ranges are kept sorted and apart; where two segments claim the same
// bytes, the first received wins, so that a later forgery cannot replace what is already held. Bounded by the
// window in bytes and by a named limit in ranges.
// [RFC 9293 3.10.7.4, seventh]
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/protocols/tcp/ring.hpp>
#include <tapir/protocols/tcp/seq.hpp>

#include <cstddef>
#include <cstdint>

namespace tapir::tcp {

class reassembly {
  public:
    bool empty() const { return ranges_.empty(); }
    std::size_t ranges() const { return ranges_.size(); }
    std::uint32_t size() const { return size_; } ///< bytes

    /// Keeps what of `payload` is not yet there. False: nothing new. Small payloads are copied.
    bool insert(seq begin, chunk payload, buffer_pool& pool);

    /// Removes and returns the bytes at `next`, if there are any; what lies before `next` is dropped.
    chunk take(seq next);

    void clear();

  private:
    struct range {
        seq begin;
        chunk payload;
        seq end() const { return begin + static_cast<std::uint32_t>(payload.size()); }
    };
    ring<range> ranges_;
    std::uint32_t size_ = 0;
};

} // namespace tapir::tcp
