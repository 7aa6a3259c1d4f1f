#include <tapir/framework/frame_pool.hpp>

#include <array>
#include <cstdint>
#include <new>

namespace tapir {
namespace {

constexpr std::size_t granule = 64;
// Up to 4 KiB: a coroutine that holds a request or a response by value is past 2 KiB, and runs once for each.
// Larger frames are rare and go to operator new.
constexpr std::size_t classes = 65;

struct free_frame_node {
    free_frame_node* next;
};

struct frame_pool {
    std::array<free_frame_node*, classes> free{};
    std::size_t live = 0;
    bool over = false; ///< what static objects return at the end of the program goes to operator delete
    ~frame_pool() {
        over = true;
        for (auto*& node : free)
            while (node != nullptr) {
                auto* next = node->next;
                ::operator delete(node);
                node = next;
            }
    }
};

thread_local frame_pool frames;

} // namespace

void* allocate_pooled(std::size_t size) {
    const std::size_t c = (size + granule - 1) / granule;
    if (!pools_memory || c >= classes) return ::operator new(size);
    free_frame_node* node = frames.free[c];
    if (node == nullptr) return ::operator new(c * granule);
    frames.free[c] = node->next;
    return node;
}

void free_pooled(void* memory, std::size_t size) noexcept {
    const std::size_t c = (size + granule - 1) / granule;
    if (pools_memory && c < classes && !frames.over) {
        frames.free[c] = new (memory) free_frame_node{frames.free[c]};
        return;
    }
    ::operator delete(memory);
}

void* allocate_frame(std::size_t size) {
    void* frame = allocate_pooled(size);
    ++frames.live;
    return frame;
}

void free_frame(void* frame, std::size_t size) noexcept {
    --frames.live;
    free_pooled(frame, size);
}

std::size_t live_frames() noexcept {
    return frames.live;
}

} // namespace tapir
