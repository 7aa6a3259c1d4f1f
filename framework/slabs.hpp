// For classes of which there may be a million objects, visited at random. From malloc they would lie on pages
// so many that each visit waited for a walk through page tables besides the memory itself, and begin in the
// middle of a cache line. Here they stand in slabs of 2 MiB, on large pages where the system has them, each
// at the begin of a line. What was freed last serves next; a slab without objects goes back to the system,
// but for one.
//
//     class endpoint : public in_slabs<endpoint> { ... };
//
// The first slab takes small pages, so that who has a few objects pays for a few. Objects are freed on the
// thread that made them; those that it leaves behind, on one other. Under AddressSanitizer every object is
// its own allocation, or use after free would go unseen.
#pragma once

#include <tapir/framework/frame_pool.hpp>
#include <tapir/framework/intrusive_list.hpp>
#include <tapir/framework/large_pages.hpp>
#include <tapir/framework/prefetch.hpp>

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

namespace tapir {

/// One thread's slabs for objects of one size.
class slabs {
  public:
    /// Of `size` bytes, little beside a slab; the first `before` of them, less than a line, end where one
    /// ends.
    explicit slabs(std::size_t size, std::size_t before = 0)
        : stride_((size + cache_line - 1) / cache_line * cache_line), first_(room_of_slab - before),
          capacity_(static_cast<std::uint32_t>((large_page - first_) / stride_)) {}
    slabs(const slabs&) = delete;
    slabs& operator=(const slabs&) = delete;
    /// What is still in use stays, and each slab goes with the last of its objects.
    ~slabs();

    void* allocate() {
        if (open_.empty()) add();
        slab& s = open_.front();
        if (&s == empty_) empty_ = nullptr;
        if (++s.used == capacity_) {
            s.remove();
            full_.push_back(s);
        }
        if (s.freed != nullptr) return std::exchange(s.freed, s.freed->next);
        return reinterpret_cast<std::byte*>(&s) + first_ + stride_ * s.fresh++;
    }
    static void free(void* object) noexcept {
        slab& s = *reinterpret_cast<slab*>(reinterpret_cast<std::uintptr_t>(object) & ~(large_page - 1));
        s.freed = new (object) node{s.freed};
        --s.used;
        if (s.of == nullptr || s.used == 0 || s.used == s.of->capacity_ - 1) has_room(s);
    }
    std::size_t count() const { return count_; } ///< of slabs

  private:
    struct node {
        node* next;
    };
    struct slab : list_hook<> {
        slabs* of = nullptr; ///< null when the thread has ended
        node* freed = nullptr;
        std::uint32_t used = 0;
        std::uint32_t fresh = 0; ///< those from here on were never used
    };
    static constexpr std::size_t room_of_slab = 2 * cache_line;
    static_assert(sizeof(slab) <= room_of_slab - cache_line);

    void add();
    static void has_room(slab& s) noexcept;
    static void release(slab& s) noexcept;

    std::size_t stride_;
    std::size_t first_;      ///< object of a slab
    std::uint32_t capacity_; ///< objects of a slab
    std::size_t count_ = 0;
    intrusive_list<slab> open_; ///< those with room
    intrusive_list<slab> full_;
    slab* empty_ = nullptr; ///< the one that is kept
};

/// The first `before` bytes of each object are hardly looked at, and spare the line that what follows begins.
template <class T, std::size_t before = 0>
class in_slabs {
  public:
    static void* operator new(std::size_t size) {
        if (!pools_memory || size != sizeof(T)) return ::operator new(size);
        return own().allocate();
    }
    static void operator delete(void* memory, std::size_t size) noexcept {
        if (!pools_memory || size != sizeof(T)) return ::operator delete(memory);
        slabs::free(memory);
    }

  private:
    static slabs& own() {
        static_assert(before < cache_line && before % alignof(T) == 0);
        thread_local slabs of_this_thread(sizeof(T), before);
        return of_this_thread;
    }
};

} // namespace tapir
