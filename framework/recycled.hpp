// For classes of which one is made and one freed with every connection: what was freed serves the next one,
// on the same thread. Blocks are exactly as large as the class (frame_pool.hpp rounds up, and idle
// connections would pay for it), and no more than `most_kept` are kept.
//
//     class endpoint : public recycled<endpoint> { ... };
//
// Under AddressSanitizer every object is its own allocation, or use after free would go unseen.
#pragma once

#include <tapir/framework/frame_pool.hpp>

#include <cstddef>
#include <new>
#include <utility>

namespace tapir {

template <class T>
class recycled {
  public:
    static void* operator new(std::size_t size) {
        if (size != sizeof(T) || kept.first == nullptr) return ::operator new(size);
        node* const again = kept.first;
        kept.first = again->next;
        --kept.count;
        return again;
    }
    static void operator delete(void* memory, std::size_t size) noexcept {
        if (!pools_memory || size != sizeof(T) || kept.count >= most_kept || kept.over)
            return ::operator delete(memory);
        if (kept.count == 0) static thread_local const at_end_of_thread frees;
        kept.first = new (memory) node{kept.first};
        ++kept.count;
    }

  private:
    static constexpr std::size_t most_kept = 1024; ///< as buffer_pool keeps of each size
    struct node {
        node* next;
    };
    struct list { // trivial, and so reached without a check whether it was made already
        node* first = nullptr;
        std::size_t count = 0;
        bool over = false; ///< the thread ends; what static objects free then is not kept
    };
    static inline constinit thread_local list kept{};
    struct at_end_of_thread {
        at_end_of_thread() = default;
        ~at_end_of_thread() {
            kept.over = true;
            while (kept.first != nullptr) ::operator delete(std::exchange(kept.first, kept.first->next));
        }
    };
};

} // namespace tapir
