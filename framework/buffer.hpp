// Memory that packets and streams share without copying: a `buffer` is a ref-counted block from a pool, a
// `chunk` a slice of one. A block goes back to its pool when its last reference does; a pool lives as long as
// any of its blocks, so a chunk may outlive the connection and the host it came from. Counts are not atomic:
// blocks stay on the thread of their pool.
//
//     tapir::buffer_pool pool;
//     tapir::buffer b = pool.allocate(2048);
//     tapir::chunk c(b, 14, 100);        // shares b
#pragma once

#include <tapir/framework/bytes.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace tapir {

class buffer_pool;

namespace detail {
struct pool_state;

struct block {
    pool_state* pool;
    union {
        block* next_free;       ///< while it is free
        std::size_t size_class; ///< while it is not
    };
    std::uint32_t capacity;
    std::uint32_t refs;
    std::byte* data() { return reinterpret_cast<std::byte*>(this + 1); }
};

/// Powers of two from 256 bytes to 128 KiB, and then all that is larger, which is not kept.
constexpr std::size_t smallest_bits = 8;
constexpr std::size_t kept_classes = 10;
constexpr std::uint32_t kept_per_class = 1024;

struct pool_state {
    struct blocks_of_a_class {
        block* free = nullptr;
        std::uint32_t free_count = 0;
        std::uint32_t count = 0; ///< with those that are free
    };
    std::array<blocks_of_a_class, kept_classes + 1> by_class;
    std::size_t large_bytes = 0;
    std::uint32_t keep = kept_per_class; ///< none once the owner is gone
};

inline std::size_t class_of(std::size_t capacity) {
    constexpr std::size_t in_the_first = (std::size_t{1} << smallest_bits) - 1;
    const auto bits =
        static_cast<std::size_t>(std::bit_width((std::max<std::size_t>(capacity, 1) - 1) | in_the_first));
    return std::min(bits - smallest_bits, kept_classes);
}

block* new_block(pool_state& state, std::size_t c, std::size_t capacity);
void free_block(block* b) noexcept;

inline void release(block* b) noexcept {
    const std::size_t c = b->size_class;
    pool_state::blocks_of_a_class& same = b->pool->by_class[c];
    if (c == kept_classes || same.free_count >= b->pool->keep) return free_block(b);
    b->next_free = std::exchange(same.free, b);
    ++same.free_count;
}
} // namespace detail

class buffer {
  public:
    buffer() = default;
    buffer(const buffer& other) noexcept : block_(other.block_) {
        if (block_ != nullptr) ++block_->refs;
    }
    buffer(buffer&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
    buffer& operator=(buffer other) noexcept {
        std::swap(block_, other.block_);
        return *this;
    }
    ~buffer() {
        if (block_ != nullptr && --block_->refs == 0) detail::release(block_);
    }

    explicit operator bool() const { return block_ != nullptr; }
    std::byte* data() const { return block_ == nullptr ? nullptr : block_->data(); }
    std::size_t capacity() const { return block_ == nullptr ? 0 : block_->capacity; }
    mutable_bytes span() const { return {data(), capacity()}; }
    bool unique() const { return block_ != nullptr && block_->refs == 1; }

  private:
    friend class buffer_pool;
    explicit buffer(detail::block* b) noexcept : block_(b) {}
    detail::block* block_ = nullptr;
};

/// Blocks in size classes (powers of two from 256 bytes to 128 KiB), kept for reuse.
class buffer_pool {
  public:
    static constexpr std::size_t smallest = std::size_t{1} << detail::smallest_bits;
    /// From this capacity on a block starts a page.
    static constexpr std::size_t page_aligned_from = std::size_t{64} << 10;

    buffer_pool();
    buffer_pool(const buffer_pool&) = delete;
    buffer_pool& operator=(const buffer_pool&) = delete;
    ~buffer_pool();

    /// At least `capacity` bytes, uninitialised. Throws std::bad_alloc when the system has none,
    /// and for 4 GiB and more.
    buffer allocate(std::size_t capacity) {
        const std::size_t c = detail::class_of(capacity);
        detail::pool_state::blocks_of_a_class& same = state_->by_class[c];
        detail::block* const b = same.free;
        if (b == nullptr) return buffer(detail::new_block(*state_, c, capacity));
        same.free = b->next_free;
        --same.free_count;
        b->size_class = c;
        b->refs = 1;
        return buffer(b);
    }

    /// A new buffer that holds a copy of `b`.
    buffer copy_of(bytes b);

    std::size_t live_blocks() const;
    std::size_t live_bytes() const; ///< true size: capacities, not contents

  private:
    detail::pool_state* state_;
};

/// A slice of a buffer, sharing it.
class chunk {
  public:
    chunk() = default;
    explicit chunk(buffer b) : buffer_(std::move(b)), place_(placed(0, buffer_.capacity())) {}
    chunk(buffer b, std::size_t offset, std::size_t size)
        : buffer_(std::move(b)), place_(placed(offset, size)) {
        assert(offset + size <= buffer_.capacity());
    }

    bytes data() const { return buffer_.span().subspan(offset(), size()); }
    operator bytes() const { return data(); }
    std::size_t size() const { return place_ >> 32; }
    bool empty() const { return size() == 0; }
    /// What this slice keeps alive, in bytes: the capacity of its whole buffer.
    std::size_t true_size() const { return buffer_.capacity(); }

    void drop_front(std::size_t n) {
        assert(n <= size());
        place_ = placed(offset() + n, size() - n);
    }
    void drop_back(std::size_t n) {
        assert(n <= size());
        place_ = placed(offset(), size() - n);
    }
    chunk slice(std::size_t from, std::size_t n) const { return chunk(buffer_, offset() + from, n); }

  private:
    static constexpr std::uint64_t placed(std::size_t offset, std::size_t size) {
        return std::uint64_t{size} << 32 | static_cast<std::uint32_t>(offset);
    }
    std::size_t offset() const { return static_cast<std::uint32_t>(place_); }

    buffer buffer_;
    /// Both numbers in one, written and read as such: of two halves just written a processor cannot hand on
    /// the whole, as who moves a chunk wants it, before it has written them to its cache and all that stood
    /// before.
    std::uint64_t place_ = 0;
};

} // namespace tapir
