// One frame on its way in or out: bytes in a shared buffer with room in front for headers, the instant it
// arrived, and what is left to be done about checksums and segmentation (after virtio_net_hdr).
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/time.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
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
        : storage_(std::move(storage)), place_(placed(headroom, headroom)) {}
    /// The bytes [begin, end) of `storage`.
    frame(buffer storage, std::size_t begin, std::size_t end)
        : storage_(std::move(storage)), place_(placed(begin, end)) {
        assert(begin <= end && end <= storage_.capacity());
    }

    // Frames change hands several times on their way, and hardly any has a tail.
    frame(const frame&) = default;
    frame(frame&& other) noexcept
        : arrived(other.arrived), meta(other.meta), storage_(std::move(other.storage_)),
          place_(other.place_) {
        if (other.parts_ != 0) take_tail(other);
    }
    frame& operator=(const frame&) = default;
    frame& operator=(frame&& other) noexcept {
        arrived = other.arrived;
        meta = other.meta;
        storage_ = std::move(other.storage_);
        place_ = other.place_;
        if ((parts_ | other.parts_) != 0) take_tail(other);
        return *this;
    }

    /// What follows data() without having been copied there, at most `most_parts` slices that nobody writes
    /// to: of large segments, for links that gather (link_capabilities). All others get frames in one piece.
    static constexpr std::size_t most_parts = 2;
    std::span<const chunk> tail() const { return std::span(tail_).first(parts_); }
    void share_back(const chunk& part) {
        assert(parts_ < most_parts);
        tail_[parts_++] = part;
        tail_size_ += static_cast<std::uint32_t>(part.size());
    }
    /// The same in one piece: itself, or a copy if it has a tail.
    frame in_one_piece(buffer_pool& pool) && { return parts_ == 0 ? std::move(*this) : copy(pool); }

    bytes data() const { return storage_.span().subspan(begin(), end() - begin()); }
    mutable_bytes mutable_data() { return storage_.span().subspan(begin(), end() - begin()); }
    std::size_t size() const { return end() - begin() + tail_size_; } ///< with its tail
    std::size_t headroom() const { return begin(); }
    /// Nobody else looks at its buffer: headers may be written in front.
    bool unique() const { return storage_.unique(); }
    std::size_t tailroom() const { return storage_.capacity() - end(); }

    /// Grows to the front by n bytes and returns them, uninitialised. Needs n <= headroom().
    mutable_bytes push_front(std::size_t n) {
        assert(n <= begin());
        place_ -= n;
        return mutable_data().first(n);
    }
    /// Grows at the back by n bytes and returns them, uninitialised. Needs n <= tailroom(), and no tail.
    mutable_bytes push_back(std::size_t n) {
        assert(n <= tailroom() && parts_ == 0);
        place_ += std::uint64_t{n} << 32;
        return mutable_data().last(n);
    }
    void drop_front(std::size_t n) {
        assert(n <= size());
        place_ += n;
    }
    /// Needs a frame without a tail.
    void drop_back(std::size_t n) {
        assert(n <= size() && parts_ == 0);
        place_ -= std::uint64_t{n} << 32;
    }

    /// A slice of the contents that shares this frame's buffer.
    chunk share(std::size_t offset, std::size_t n) const { return chunk(storage_, begin() + offset, n); }

    /// A deep copy in one piece, for middleware that keeps or changes a frame others may still look at.
    frame copy(buffer_pool& pool) const {
        frame other(pool.allocate(begin() + size()), begin(), begin() + size());
        mutable_bytes to = other.mutable_data();
        copy_bytes(to, data());
        to = to.subspan(data().size());
        for (const bytes part : tail()) {
            copy_bytes(to, part);
            to = to.subspan(part.size());
        }
        other.arrived = arrived;
        other.meta = meta;
        return other;
    }

    /// This frame if nobody else looks at its buffers, a deep copy if somebody does: for links that keep a
    /// frame longer than the call.
    frame owned(buffer_pool& pool) && {
        return storage_.unique() && parts_ == 0 ? std::move(*this) : copy(pool);
    }

    instant arrived{}; ///< when it was read from the link, not when it is processed
    offload meta;

  private:
    void take_tail(frame& other) {
        tail_ = std::move(other.tail_);
        tail_size_ = std::exchange(other.tail_size_, 0);
        parts_ = std::exchange(other.parts_, 0);
    }

    static constexpr std::uint64_t placed(std::size_t begin, std::size_t end) {
        return std::uint64_t{end} << 32 | static_cast<std::uint32_t>(begin);
    }
    std::size_t begin() const { return static_cast<std::uint32_t>(place_); }
    std::size_t end() const { return place_ >> 32; }

    buffer storage_;
    std::uint64_t place_ = 0; ///< where data() stands: both numbers in one, as in a chunk
    std::array<chunk, most_parts> tail_{};
    std::uint32_t tail_size_ = 0;
    std::uint32_t parts_ = 0;
};

} // namespace tapir
