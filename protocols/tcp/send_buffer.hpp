// Bytes written and not yet acknowledged, oldest first. Writers' bytes are copied once, into chunks of up to
// 64 KiB that segments are gathered from without copying again; large chunks handed over are shared.
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/bytes.hpp>
#include <tapir/protocols/tcp/ring.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

namespace tapir::tcp {

class send_buffer {
  public:
    static constexpr std::size_t largest_chunk = 64 * 1024; ///< of those that hold copies

    explicit send_buffer(std::uint32_t bound) : bound_(bound) {}

    std::uint32_t size() const { return size_; }
    std::uint32_t bound() const { return bound_; }
    void raise_bound(std::uint32_t bound) { bound_ = bound > bound_ ? bound : bound_; }
    /// Capacities of all buffers held, in bytes; a chunk that was handed over counts with all it keeps alive.
    std::size_t true_size() const { return true_size_; }

    /// Bytes that write() takes when buffers of `memory` bytes more may be held.
    std::uint32_t room(std::size_t memory) const;
    /// Takes the prefix that fits and returns its length.
    std::size_t write(bytes data, buffer_pool& pool, std::size_t memory);
    /// The same, sharing the chunk unless copying it is cheaper than keeping it apart.
    std::size_t write(chunk data, buffer_pool& pool, std::size_t memory);

    /// Fills `parts` with slices that share the bytes from `offset` on, at most `length`; returns how many
    /// parts, and in `length` how many bytes they have: less only when `parts` is too short.
    /// Looks first where the last one ended: what is new is sent in order. They must be there, and not none.
    std::size_t gather(std::size_t offset, std::size_t& length, std::span<chunk> parts);

    /// The first n bytes are acknowledged.
    void drop_front(std::uint32_t n);
    void clear();
    /// Empty as it is, it gives back what memory it needed when it was long.
    void trim() { chunks_.trim(); }
    /// Of one that is empty.
    void reset_bound(std::uint32_t bound) { bound_ = bound; }

  private:
    std::uint32_t spare() const { return static_cast<std::uint32_t>(tail_.capacity()) - tail_used_; }

    ring<chunk> chunks_;
    std::uint32_t last_chunk_ = 0;  ///< where gather() ended
    std::uint32_t before_last_ = 0; ///< bytes in front of it
    std::uint32_t size_ = 0;
    std::uint32_t true_size_ = 0;
    std::uint32_t bound_;
    std::uint32_t tail_used_ = 0; ///< bytes used in `tail_`
    buffer tail_;                 ///< of the last chunk, when we may still write behind it
};

} // namespace tapir::tcp
