#include <tapir/framework/buffer_ring.hpp>
#include <tapir/framework/uring_backend.hpp>

#include <atomic>
#include <bit>
#include <cassert>
#include <cerrno>
#include <stdexcept>
#include <sys/mman.h>
#include <system_error>
#include <utility>

namespace tapir {

// The kernel's struct io_uring_buf. The ring is an array of these; its tail lies in the last two bytes of the
// first one, which is why a slot is filled field by field.
struct buffer_ring::slot {
    std::uint64_t address;
    std::uint32_t length;
    std::uint16_t id;
    std::uint16_t tail;
};

buffer_ring::buffer_ring(uring_backend& io, std::uint32_t entries) : io_(io), entries_(entries) {
    static_assert(sizeof(slot) == 16);
    if (!std::has_single_bit(entries) || entries > max_entries)
        throw std::invalid_argument("a buffer ring has a power of two of entries, at most 32768");
    ring_ =
        ::mmap(nullptr, entries * sizeof(slot), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (ring_ == MAP_FAILED) throw std::system_error(errno, std::system_category(), "mmap of a buffer ring");
    try {
        group_ = io.register_buffer_ring(ring_, entries);
    } catch (...) {
        ::munmap(ring_, entries * sizeof(slot));
        throw;
    }
}

buffer_ring::~buffer_ring() {
    io_.unregister_buffer_ring(group_);
    ::munmap(ring_, entries_ * sizeof(slot));
}

void buffer_ring::provide(std::uint16_t id, mutable_bytes memory) {
    assert(id < entries_);
    slot& s = static_cast<slot*>(ring_)[tail_ & (entries_ - 1)];
    s.address = reinterpret_cast<std::uint64_t>(memory.data());
    s.length = static_cast<std::uint32_t>(memory.size());
    s.id = id;
    ++tail_;
}

void buffer_ring::publish() {
    std::atomic_ref(static_cast<slot*>(ring_)->tail).store(tail_, std::memory_order_release);
}

pooled_buffer_ring::pooled_buffer_ring(uring_backend& io, buffer_pool& pool, std::uint32_t entries,
                                       std::size_t buffer_size)
    : pool_(pool), buffer_size_(buffer_size), ring_(io, entries) {
    buffers_.reserve(entries);
    for (std::uint32_t id = 0; id < entries; ++id) {
        buffers_.push_back(pool.allocate(buffer_size));
        recycle(static_cast<std::uint16_t>(id));
    }
    publish();
}

buffer pooled_buffer_ring::take(std::uint16_t id) {
    buffer fresh = pool_.allocate(buffer_size_);
    buffer taken = std::exchange(buffers_[id], std::move(fresh));
    recycle(id);
    return taken;
}

void pooled_buffer_ring::recycle(std::uint16_t id) {
    ring_.provide(id, buffers_[id].span().first(buffer_size_));
}

} // namespace tapir
