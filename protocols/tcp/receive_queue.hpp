// Bytes received in order and not yet read. Payloads are shared with the frames they came in, except small
// ones: a payload under half of its buffer is copied behind its predecessor, so that a peer that sends single
// bytes pins single bytes and not a frame each.
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/bytes.hpp>
#include <tapir/protocols/tcp/ring.hpp>

#include <cstddef>

namespace tapir::tcp {

class receive_queue {
  public:
    std::size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }
    /// Capacities of all buffers held, in bytes: what the queue really costs.
    std::size_t true_size() const { return true_size_; }

    void append(chunk payload, buffer_pool& pool);
    /// Copies out at most `to.size()` bytes.
    std::size_t read(mutable_bytes to);
    /// The next chunk, cut to at most `max` bytes; empty when nothing is queued.
    chunk read_chunk(std::size_t max);
    void clear();

  private:
    void append_copy(bytes payload, buffer_pool& pool);

    ring<chunk> chunks_;
    std::size_t size_ = 0;
    std::size_t true_size_ = 0;
    buffer slab_; ///< of the last chunk, when it is a copy and has room left
    std::size_t slab_used_ = 0;
};

} // namespace tapir::tcp
