// read() and write() without a wait, as the system has them. The C library's are cancellation points: in a
// program of several threads they say with an atomic operation before and another behind that the thread
// might be cancelled meanwhile, and nobody here cancels threads. Its syscall() is none, but one call more to
// return from: a processor seems to have forgotten where to when the kernel has run something else meanwhile.
#pragma once

#include <cerrno>
#include <cstddef>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

namespace tapir {

namespace detail {
inline ssize_t system_call(long number, int fd, const void* memory, std::size_t size) {
#if defined(__x86_64__) && defined(__LP64__)
    long result = number;
    asm volatile("syscall"
                 : "+a"(result)
                 : "D"(static_cast<long>(fd)), "S"(memory), "d"(size)
                 : "rcx", "r11", "memory");
    if (result >= 0) return result;
    errno = static_cast<int>(-result);
    return -1;
#else
    return ::syscall(number, fd, memory, size);
#endif
}
} // namespace detail

/// -1 and errno, as read(2).
inline ssize_t system_read(int fd, void* to, std::size_t size) {
    return detail::system_call(SYS_read, fd, to, size);
}
inline ssize_t system_write(int fd, const void* from, std::size_t size) {
    return detail::system_call(SYS_write, fd, from, size);
}

} // namespace tapir
