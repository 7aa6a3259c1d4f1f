// Where coroutine frames come from: per-thread free lists by size class, so that a coroutine costs no malloc
// once the program is warm. Under AddressSanitizer every frame is its own allocation, or use after free would
// go unseen.
#pragma once

#include <array>
#include <cstddef>
#include <new>
#include <utility>

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

/// A function that is seldom called, from code that runs often: itself saves all registers, so that the usual
/// way, which does not come there, needs to save none. It must not throw: unwinding does not restore them.
/// A program and a library of which only one knows of this would crash: instead they lack a name, and do not
/// link.
#if defined(__clang__) && defined(__x86_64__)
#define TAPIR_KEEPS_REGISTERS __attribute__((preserve_most, noinline))
#define TAPIR_LIBRARY_OF library_built_by_clang
#else
#define TAPIR_KEEPS_REGISTERS __attribute__((noinline))
#define TAPIR_LIBRARY_OF library_built_by_gcc
#endif

namespace tapir {

inline constexpr bool pools_memory = TAPIR_POOLS_MEMORY;

/// Bytes before each frame that are its promise's (promise.hpp), and what frames are aligned to: a cache
/// line.
inline constexpr std::size_t frame_margin = 64;

namespace detail {

struct pooled_node {
    pooled_node* next;
};

/// One thread's lists. Trivial, and so reached without a check whether it was made already.
struct frame_lists {
    static constexpr std::size_t granule = 64;
    // Up to 4 KiB: a coroutine that holds a request or a response by value is past 2 KiB, and runs once for
    // each. Larger frames are rare and go to operator new.
    static constexpr std::size_t classes = 65;
    static constexpr std::size_t class_of(std::size_t size) { return (size + granule - 1) / granule; }

    std::array<pooled_node*, classes> free;
    std::size_t blocks; ///< in use, and in the lists
    std::size_t others; ///< in use, and no frames
};
inline constinit thread_local frame_lists frames{};

inline namespace TAPIR_LIBRARY_OF {
TAPIR_KEEPS_REGISTERS void* allocate_new(std::size_t size) noexcept; ///< null: there is no memory
}
[[noreturn]] void no_memory();
void free_block(void* frame) noexcept;

} // namespace detail

inline void* allocate_frame(std::size_t size) {
    const std::size_t c = detail::frame_lists::class_of(size);
    if (!pools_memory || c >= detail::frame_lists::classes || detail::frames.free[c] == nullptr) {
        void* const made = detail::allocate_new(size);
        if (made == nullptr) detail::no_memory();
        return made;
    }
    return std::exchange(detail::frames.free[c], detail::frames.free[c]->next);
}

inline void free_frame(void* frame, std::size_t size) noexcept {
    const std::size_t c = detail::frame_lists::class_of(size);
    if (!pools_memory || c >= detail::frame_lists::classes) {
        detail::free_block(frame);
    } else {
        detail::frames.free[c] = new (frame) detail::pooled_node{detail::frames.free[c]};
    }
}

/// The same lists for what is not a frame, and is not counted by live_frames().
inline void* allocate_pooled(std::size_t size) {
    void* memory = allocate_frame(size);
    ++detail::frames.others;
    return memory;
}
inline void free_pooled(void* memory, std::size_t size) noexcept {
    --detail::frames.others;
    free_frame(memory, size);
}

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

/// Frames taken and not yet returned by this thread; a test for leaks reads it. It counts what is in the
/// lists.
std::size_t live_frames() noexcept;

} // namespace tapir
