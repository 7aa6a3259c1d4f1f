// Bytes received in order and not yet read. Payloads are shared with the frames they came in, except small
// ones: a payload under half of its buffer is copied behind its predecessor, so that a peer that sends single
// bytes pins single bytes and not a frame each. While nothing came there is nothing but a pointer.
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/bytes.hpp>
#include <tapir/framework/recycled.hpp>
#include <tapir/protocols/tcp/ring.hpp>

#include <cstddef>
#include <memory>

namespace tapir::tcp {

class receive_queue {
  public:
    std::size_t size() const { return queued_ ? queued_->size : 0; }
    bool empty() const { return size() == 0; }
    /// Capacities of all buffers held, in bytes: what the queue really costs.
    std::size_t true_size() const { return queued_ ? queued_->true_size : 0; }

    void append(chunk payload, buffer_pool& pool);
    /// Copies out at most `to.size()` bytes.
    std::size_t read(mutable_bytes to);
    /// The next chunk, cut to at most `max` bytes; empty when nothing is queued.
    chunk read_chunk(std::size_t max);
    /// Gives the memory of the queue itself back as well: between two segments it would soon be wanted again.
    void clear() { queued_.reset(); }

  private:
    struct contents : recycled<contents> {
        ring<chunk> chunks;
        std::size_t size = 0;
        std::size_t true_size = 0;
        buffer slab; ///< of the last chunk, when it is a copy and has room left
        std::size_t slab_used = 0;
    };
    void append_copy(bytes payload, buffer_pool& pool);

    std::unique_ptr<contents> queued_;
};

} // namespace tapir::tcp
