#include "tests/counts/counted.hpp"

#include <array>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <malloc.h>
#include <new>
#include <string>
#include <unistd.h>

#include "tests/support/netns.hpp"

namespace tapir::test {
namespace {
thread_local constinit counts here;

} // namespace

counts counted() {
    return here;
}

// What has been read of the account itself is not counted.
calls calls_counted() {
    static thread_local std::uint64_t looks = 0;
    constexpr const char* path = "/proc/thread-self/io";
    std::array<char, 512> text{};
    const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t size = fd < 0 ? -1 : ::read(fd, text.data(), text.size() - 1);
    if (fd >= 0) ::close(fd);
    calls c;
    if (size <= 0 || std::sscanf(text.data(), "rchar: %*u wchar: %*u syscr: %" SCNu64 " syscw: %" SCNu64,
                                 &c.reads, &c.writes) != 2)
        throw lacking(std::string("a Linux with CONFIG_TASK_IO_ACCOUNTING: ") + path +
                      " does not tell of system calls");
    c.reads -= looks++;
    return c;
}
} // namespace tapir::test

using tapir::test::here;

// Not inlined: g++ would see malloc's memory given to operator delete, and warn.
[[gnu::noinline]] void* operator new(std::size_t size) {
    ++here.allocations;
    void* p = std::malloc(size == 0 ? 1 : size);
    if (p == nullptr) throw std::bad_alloc();
    here.heap += ::malloc_usable_size(p) + sizeof(std::size_t);
    return p;
}
[[gnu::noinline]] void operator delete(void* p) noexcept {
    if (p != nullptr) here.heap -= ::malloc_usable_size(p) + sizeof(std::size_t);
    std::free(p);
}
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept {
    operator delete(p);
}
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t alignment) {
    ++here.allocations;
    void* p = std::aligned_alloc(static_cast<std::size_t>(alignment), size);
    if (p == nullptr) throw std::bad_alloc();
    here.heap += ::malloc_usable_size(p) + sizeof(std::size_t);
    return p;
}
void operator delete(void* p, std::align_val_t) noexcept {
    operator delete(p);
}

extern "C" {

// By hand: a loop would become a call of memcpy.
void* memcpy(void* __restrict to, const void* __restrict from, std::size_t size) noexcept {
    if (size >= tapir::test::least_copy) here.copied += size;
    void* at = to;
    asm volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(size) : : "memory");
    return to;
}

void* memmove(void* to, const void* from, std::size_t size) noexcept {
    if (static_cast<char*>(to) <= from || static_cast<const char*>(from) + size <= to)
        return memcpy(to, from, size);
    if (size >= tapir::test::least_copy) here.copied += size;
    auto* last_to = static_cast<char*>(to) + size - 1;
    const auto* last_from = static_cast<const char*>(from) + size - 1;
    asm volatile("std\n\trep movsb\n\tcld" : "+D"(last_to), "+S"(last_from), "+c"(size) : : "memory");
    return to;
}
}
