// One frame on its way in or out: bytes in a shared buffer with room in front for headers, the instant it
// arrived, and what is left to be done about checksums and segmentation (after virtio_net_hdr).
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/time.hpp>

#include <cstddef>
#include <cstdint>
#include <utility>

namespace tapir {

enum class checksum_state : std::uint8_t {
    none,    ///< complete in the packet, not verified by anybody
    partial, ///< the field holds the pseudo-header sum; the rest is to be added from csum_start on
    valid,   ///< verified below us
};
enum class segmentation : std::uint8_t { none, tcp4, tcp6 };

/// Places count from the front of the Ethernet frame, also while its header is off.
struct offload {
    checksum_state csum = checksum_state::none;
    segmentation gso_type = segmentation::none;
    std::uint16_t csum_start = 0;  ///< in bytes
    std::uint16_t csum_offset = 0; ///< from csum_start
    std::uint16_t gso_size = 0;    ///< payload bytes of each segment
    std::uint16_t hdr_len = 0;     ///< all headers together
};

class frame {
  public:
    /// Room for a virtio-net header (10) + Ethernet (14) + IPv4 with options (60) + TCP with options (60).
    static constexpr std::size_t default_headroom = 144;

    frame() = default;
    /// An empty frame whose first byte will stand at `headroom`.
    frame(buffer storage, std::size_t headroom)
        : storage_(std::move(storage)), begin_(headroom), end_(headroom) {}
    /// The bytes [begin, end) of `storage`.
    frame(buffer storage, std::size_t begin, std::size_t end)
        : storage_(std::move(storage)), begin_(begin), end_(end) {
        assert(begin <= end && end <= storage_.capacity());
    }

    bytes data() const { return storage_.span().subspan(begin_, end_ - begin_); }
    mutable_bytes mutable_data() { return storage_.span().subspan(begin_, end_ - begin_); }
    std::size_t size() const { return end_ - begin_; }
    std::size_t headroom() const { return begin_; }
    /// Nobody else looks at its buffer: headers may be written in front.
    bool unique() const { return storage_.unique(); }
    std::size_t tailroom() const { return storage_.capacity() - end_; }

    /// Grows to the front by n bytes and returns them, uninitialised. Needs n <= headroom().
    mutable_bytes push_front(std::size_t n) {
        assert(n <= begin_);
        begin_ -= n;
        return mutable_data().first(n);
    }
    /// Grows at the back by n bytes and returns them, uninitialised. Needs n <= tailroom().
    mutable_bytes push_back(std::size_t n) {
        assert(n <= tailroom());
        end_ += n;
        return mutable_data().last(n);
    }
    void drop_front(std::size_t n) {
        assert(n <= size());
        begin_ += n;
    }
    void drop_back(std::size_t n) {
        assert(n <= size());
        end_ -= n;
    }

    /// A slice of the contents that shares this frame's buffer.
    chunk share(std::size_t offset, std::size_t n) const { return chunk(storage_, begin_ + offset, n); }

    /// A deep copy, for middleware that keeps or changes a frame others may still look at.
    frame copy(buffer_pool& pool) const {
        frame other(pool.allocate(begin_ + size()), begin_, begin_ + size());
        copy_bytes(other.mutable_data(), data());
        other.arrived = arrived;
        other.meta = meta;
        return other;
    }

    /// This frame if nobody else looks at its buffer, a deep copy if somebody does: for links that keep a
    /// frame longer than the call.
    frame owned(buffer_pool& pool) && { return storage_.unique() ? std::move(*this) : copy(pool); }

    instant arrived{}; ///< when it was read from the link, not when it is processed
    offload meta;

  private:
    buffer storage_;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
};

} // namespace tapir
