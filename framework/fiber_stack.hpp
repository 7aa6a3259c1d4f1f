// Stacks for fibers: mapped memory above a guard that may not be touched, so that an overflow ends in a
// SIGSEGV at the place where it happens and not in somebody else's data. Kept per thread for reuse.
#pragma once

#include <cstddef>

namespace tapir {

class fiber_stack {
  public:
    /// Larger than a page: a frame with an array of a few kilobytes must not step over it.
    static constexpr std::size_t guard_size = 64 * 1024;

    /// Throws std::bad_alloc.
    explicit fiber_stack(std::size_t size);
    fiber_stack(const fiber_stack&) = delete;
    fiber_stack& operator=(const fiber_stack&) = delete;
    ~fiber_stack();

    /// The lowest usable byte.
    void* bottom() const { return bottom_; }
    /// Where the stack pointer starts.
    void* top() const { return static_cast<std::byte*>(bottom_) + size_; }
    std::size_t size() const { return size_; }

    /// Stacks that wait for reuse in this thread.
    static std::size_t pooled() noexcept;

  private:
    void* bottom_;
    std::size_t size_;
};

} // namespace tapir
