// Buffers handed to the kernel in advance, for operations that say only then which one they filled: a
// multishot read needs one buffer for each read that succeeds, not one for each file that waits.
//
//     tapir::pooled_buffer_ring ring(*r.io().uring(), pool, 256, 2048);
//     read.buffer_group = ring.group();                          // an io_operation of kind read_multishot
//     ... on completion c:
//     tapir::chunk got(ring.take(c.buffer_id), 0, static_cast<std::size_t>(c.result));
//     ring.publish();                                            // once for a batch
//
// When no buffer is left the read ends with -ENOBUFS and loses nothing; arm it again after publish(). What
// does not fit into a buffer is cut off by files that keep message boundaries (a TAP): size for the largest.
// A ring must not outlive its back end, nor a read that uses it.
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/bytes.hpp>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tapir {

class uring_backend;

/// Over memory that the caller owns.
class buffer_ring {
  public:
    static constexpr std::uint32_t max_entries = 32768;

    /// Registers an empty ring. `entries` is a power of two up to max_entries: std::invalid_argument
    /// otherwise, std::system_error when the kernel refuses.
    buffer_ring(uring_backend& io, std::uint32_t entries);
    buffer_ring(const buffer_ring&) = delete;
    buffer_ring& operator=(const buffer_ring&) = delete;
    ~buffer_ring();

    std::uint16_t group() const { return group_; }
    std::uint32_t entries() const { return entries_; }

    /// Queues `memory` for the kernel under `id` (below entries()). It belongs to the kernel from publish()
    /// until a completion names the id. At most entries() may be with the kernel at once.
    void provide(std::uint16_t id, mutable_bytes memory);
    /// The kernel sees all that was provided.
    void publish();

  private:
    struct slot;
    uring_backend& io_;
    std::uint32_t entries_;
    std::uint16_t tail_ = 0;
    std::uint16_t group_ = 0;
    void* ring_ = nullptr;
};

/// Over buffers of a pool: whoever receives one may keep it, a fresh one takes its place.
class pooled_buffer_ring {
  public:
    /// Fills the ring with `entries` buffers of at least `buffer_size` bytes and publishes them.
    pooled_buffer_ring(uring_backend& io, buffer_pool& pool, std::uint32_t entries, std::size_t buffer_size);

    std::uint16_t group() const { return ring_.group(); }
    std::size_t buffer_size() const { return buffer_size_; }

    /// What the kernel wrote under `id`; valid until recycle(id).
    const buffer& peek(std::uint16_t id) const { return buffers_[id]; }
    /// Hands the buffer to the caller and provides a fresh one. When the pool has none (std::bad_alloc),
    /// nothing has changed.
    buffer take(std::uint16_t id);
    /// The same buffer goes back to the kernel: its content has been copied, or was not wanted.
    void recycle(std::uint16_t id);
    void publish() { ring_.publish(); }

  private:
    buffer_pool& pool_;
    std::size_t buffer_size_;
    std::vector<buffer> buffers_;
    buffer_ring ring_;
};

} // namespace tapir
