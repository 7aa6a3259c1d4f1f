// read() and write() without a wait, as the system has them. The C library's are cancellation points: in a
// program of several threads they say with an atomic operation before and another behind that the thread
// might be cancelled meanwhile, and nobody here cancels threads.
#pragma once

#include <cstddef>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

namespace tapir {

/// -1 and errno, as read(2).
inline ssize_t system_read(int fd, void* to, std::size_t size) {
    return ::syscall(SYS_read, fd, to, size);
}
inline ssize_t system_write(int fd, const void* from, std::size_t size) {
    return ::syscall(SYS_write, fd, from, size);
}

} // namespace tapir
