#include <tapir/framework/frame_pool.hpp>

#include <pthread.h>
#include <system_error>

namespace tapir {
namespace detail {
namespace {

// A key of the thread and no thread_local object: it is called when all of those have been destroyed, and
// what they gave back stands in the lists.
void return_all(void*) noexcept {
    for (pooled_node*& first : frames.free)
        while (first != nullptr) {
            ::operator delete(std::exchange(first, first->next));
            --frames.blocks;
        }
}

pthread_key_t at_end_of_thread() {
    static const pthread_key_t key = [] {
        pthread_key_t made{};
        if (const int failed = ::pthread_key_create(&made, return_all); failed != 0)
            throw std::system_error(failed, std::system_category(), "pthread_key_create");
        return made;
    }();
    return key;
}

} // namespace

#if defined(__clang__) && defined(__x86_64__)
[[clang::preserve_most]]
#endif
void* allocate_new(std::size_t size) {
    // Nothing is kept before something was asked for.
    if (const pthread_key_t key = at_end_of_thread(); ::pthread_getspecific(key) == nullptr)
        ::pthread_setspecific(key, &frames);
    const std::size_t c = frame_lists::class_of(size);
    void* block = ::operator new(pools_memory && c < frame_lists::classes ? c * frame_lists::granule : size);
    ++frames.blocks;
    return block;
}

} // namespace detail

std::size_t live_frames() noexcept {
    std::size_t live = detail::frames.blocks - detail::frames.others;
    for (const detail::pooled_node* first : detail::frames.free)
        for (; first != nullptr; first = first->next) --live;
    return live;
}

} // namespace tapir
