#include <tapir/framework/fiber_stack.hpp>

#include <algorithm>
#include <new>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#define TAPIR_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TAPIR_ASAN 1
#endif
#endif
#ifdef TAPIR_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace tapir {
namespace {

constexpr std::size_t stacks_kept = 64; // per thread

struct mapping {
    mapping(void* b, std::size_t s) : bottom(b), size(s) {}
    void* bottom;
    std::size_t size;
};

void unmap(const mapping& m) noexcept {
    ::munmap(static_cast<std::byte*>(m.bottom) - fiber_stack::guard_size, m.size + fiber_stack::guard_size);
}

struct stack_pool {
    std::vector<mapping> free;
    stack_pool() { free.reserve(stacks_kept); }
    ~stack_pool() {
        for (const mapping& m : free) unmap(m);
    }
};

thread_local stack_pool stacks;

} // namespace

fiber_stack::fiber_stack(std::size_t size) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    size_ = std::max((size + page - 1) / page, std::size_t{4}) * page;
    const auto found =
        std::ranges::find_if(stacks.free, [this](const mapping& m) { return m.size == size_; });
    if (found != stacks.free.end()) {
        bottom_ = found->bottom;
        *found = stacks.free.back();
        stacks.free.pop_back();
        return;
    }
    void* all = ::mmap(nullptr, guard_size + size_, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (all == MAP_FAILED) throw std::bad_alloc();
    bottom_ = static_cast<std::byte*>(all) + guard_size;
    if (::mprotect(bottom_, size_, PROT_READ | PROT_WRITE) != 0) {
        ::munmap(all, guard_size + size_);
        throw std::bad_alloc();
    }
}

fiber_stack::~fiber_stack() {
    const mapping m(bottom_, size_);
#ifdef TAPIR_ASAN
    ASAN_UNPOISON_MEMORY_REGION(bottom_, size_); // what its last frames left behind
#endif
    if (stacks.free.size() < stacks_kept) {
        stacks.free.push_back(m);
    } else {
        unmap(m);
    }
}

std::size_t fiber_stack::pooled() noexcept {
    return stacks.free.size();
}

} // namespace tapir
