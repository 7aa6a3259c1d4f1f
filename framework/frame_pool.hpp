// Where coroutine frames come from: per-thread free lists by size class, so that a coroutine costs no malloc
// once the program is warm. Under AddressSanitizer every frame is its own allocation, or use after free would
// go unseen.
#pragma once

#include <cstddef>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#define TAPIR_POOLS_MEMORY false
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TAPIR_POOLS_MEMORY false
#endif
#endif
#ifndef TAPIR_POOLS_MEMORY
#define TAPIR_POOLS_MEMORY true
#endif

namespace tapir {

inline constexpr bool pools_memory = TAPIR_POOLS_MEMORY;

void* allocate_frame(std::size_t size);
void free_frame(void* frame, std::size_t size) noexcept;

/// The same lists for what is not a frame, and is not counted by live_frames().
void* allocate_pooled(std::size_t size);
void free_pooled(void* memory, std::size_t size) noexcept;

/// For containers that live about as long as a frame does: the fields of one response.
template <class T>
struct pool_allocator {
    using value_type = T;
    pool_allocator() = default;
    template <class U>
    pool_allocator(const pool_allocator<U>&) noexcept {}

    T* allocate(std::size_t n) {
        static_assert(alignof(T) <= alignof(std::max_align_t));
        if (n > static_cast<std::size_t>(-1) / sizeof(T)) throw std::bad_array_new_length();
        return static_cast<T*>(allocate_pooled(n * sizeof(T)));
    }
    void deallocate(T* memory, std::size_t n) noexcept { free_pooled(memory, n * sizeof(T)); }
    bool operator==(const pool_allocator&) const = default;
};

/// Frames taken and not yet returned by this thread; a test for leaks reads it.
std::size_t live_frames() noexcept;

} // namespace tapir
