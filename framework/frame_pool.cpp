#include <tapir/framework/frame_pool.hpp>

#include <pthread.h>

namespace tapir {
namespace detail {
namespace {

// A key of the thread and no thread_local object: it is called when all of those have been destroyed, and
// what they gave back stands in the lists.
void return_all(void*) noexcept {
    for (pooled_node*& first : frames.free)
        while (first != nullptr) free_block(std::exchange(first, first->next));
}

struct key_of_each_thread {
    key_of_each_thread() { made = ::pthread_key_create(&key, return_all) == 0; }
    pthread_key_t key{};
    bool made; ///< if not, what is in the lists when a thread ends is lost
};

} // namespace

TAPIR_KEEPS_REGISTERS void* TAPIR_LIBRARY_OF::allocate_new(std::size_t size) noexcept {
    static const key_of_each_thread at_end;
    if (at_end.made && ::pthread_getspecific(at_end.key) == nullptr)
        ::pthread_setspecific(at_end.key, &frames); // only now: who has asked for nothing keeps nothing
    const std::size_t c = frame_lists::class_of(size);
    const std::size_t bytes = pools_memory && c < frame_lists::classes ? c * frame_lists::granule : size;
    void* block = ::operator new(frame_margin + bytes, std::align_val_t(frame_margin), std::nothrow);
    if (block == nullptr) return nullptr;
    ++frames.blocks;
    return static_cast<std::byte*>(block) + frame_margin;
}

void no_memory() {
    throw std::bad_alloc();
}

void free_block(void* frame) noexcept {
    --frames.blocks;
    ::operator delete(static_cast<std::byte*>(frame) - frame_margin, std::align_val_t(frame_margin));
}

} // namespace detail

std::size_t live_frames() noexcept {
    std::size_t live = detail::frames.blocks - detail::frames.others;
    for (const detail::pooled_node* first : detail::frames.free)
        for (; first != nullptr; first = first->next) --live;
    return live;
}

} // namespace tapir
