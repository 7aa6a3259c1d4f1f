// Tables that are read at random, and are larger than what a processor can translate the addresses of: each
// access would wait for a walk through page tables besides the memory itself. Where the system has them
// (transparent huge pages, "madvise" or "always") these lie on pages of 2 MiB.
//
//     std::vector<slot, large_page_allocator<slot>> slots_;
#pragma once

#include <cstddef>
#include <limits>
#include <new>
#include <sys/mman.h>

namespace tapir {

inline constexpr std::size_t large_page = std::size_t{2} << 20;

/// Of memory that nobody has written to yet, from the begin of a large page on. What malloc hands out again
/// may lie on small ones, and would stay there: those go back first. Refused, it is as it was.
inline void take_large_pages(void* memory, std::size_t size) noexcept {
    const std::size_t whole = size / large_page * large_page;
    ::madvise(memory, whole, MADV_DONTNEED);
    ::madvise(memory, whole, MADV_HUGEPAGE);
}

/// What is smaller than a large page comes from where everything comes from.
template <class T>
struct large_page_allocator {
    using value_type = T;
    large_page_allocator() = default;
    template <class U>
    large_page_allocator(const large_page_allocator<U>&) noexcept {}

    T* allocate(std::size_t n) {
        static_assert(alignof(T) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__);
        if (n > std::numeric_limits<std::size_t>::max() / sizeof(T)) throw std::bad_array_new_length();
        const std::size_t size = n * sizeof(T);
        if (size < large_page) return static_cast<T*>(::operator new(size));
        void* const memory = ::operator new(size, std::align_val_t(large_page));
        take_large_pages(memory, size);
        return static_cast<T*>(memory);
    }
    void deallocate(T* memory, std::size_t n) noexcept {
        if (n * sizeof(T) < large_page)
            ::operator delete(memory);
        else
            ::operator delete(memory, std::align_val_t(large_page));
    }
    bool operator==(const large_page_allocator&) const = default;
};

} // namespace tapir
