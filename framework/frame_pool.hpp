// Where coroutine frames come from: per-thread free lists by size class, so that a coroutine costs no malloc
// once the program is warm. Under AddressSanitizer every frame is its own allocation, or use after free would
// go unseen.
#pragma once

#include <cstddef>

namespace tapir {

void* allocate_frame(std::size_t size);
void free_frame(void* frame, std::size_t size) noexcept;

/// Frames taken and not yet returned by this thread; a test for leaks reads it.
std::size_t live_frames() noexcept;

} // namespace tapir
