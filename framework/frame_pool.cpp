#include <tapir/framework/frame_pool.hpp>

namespace tapir {
namespace detail {
namespace {

struct at_end_of_thread {
    at_end_of_thread() { frames.kept = true; }
    ~at_end_of_thread() {
        frames.kept = false;
        for (pooled_node*& first : frames.free)
            while (first != nullptr) {
                ::operator delete(std::exchange(first, first->next));
                --frames.blocks;
            }
    }
};

} // namespace

void* allocate_new(std::size_t size) {
    // Nothing is kept before something was asked for.
    static thread_local const at_end_of_thread returns;
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
