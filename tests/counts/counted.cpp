#include "tests/counts/counted.hpp"

#include <array>
#include <cstdarg>
#include <cstdlib>
#include <dlfcn.h>
#include <malloc.h>
#include <new>
#include <sys/syscall.h>
#include <unistd.h>

namespace tapir::test {
namespace {
thread_local constinit counts here;
} // namespace

counts counted() {
    return here;
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

// What framework/system_call.hpp calls; and whoever else does: futexes.
long syscall(long number, ...) noexcept {
    if (number == SYS_read) ++here.reads;
    if (number == SYS_write) ++here.writes;
    std::array<long, 6> with{}; // what the system takes at most; those that were not given mean nothing
    va_list given;
    va_start(given, number);
    for (long& one : with) one = va_arg(given, long);
    va_end(given);
    static const auto next = reinterpret_cast<long (*)(long, ...)>(::dlsym(RTLD_NEXT, "syscall"));
    return next(number, with[0], with[1], with[2], with[3], with[4], with[5]);
}

ssize_t read(int fd, void* to, std::size_t size) {
    return ::syscall(SYS_read, fd, to, size);
}

ssize_t write(int fd, const void* from, std::size_t size) {
    return ::syscall(SYS_write, fd, from, size);
}
}
