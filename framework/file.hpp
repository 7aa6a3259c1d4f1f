// Files through the reactor's back end: a slow disk holds up the coroutine that reads, and no other. Works in
// virtual time too, where completions are late by a delay drawn from the seed.
//
//     auto f = co_await tapir::file::open("index.html");
//     if (!f) co_return f.error();                                  // an errno value: ENOENT, EACCES ...
//     auto n = co_await f->read_at(0, buffer);                      // 0 at the end of the file
#pragma once

#include <tapir/framework/bytes.hpp>
#include <tapir/framework/error.hpp>
#include <tapir/framework/task.hpp>

#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <string>
#include <utility>

namespace tapir {

/// What a server asks of a file before it sends it.
struct file_info {
    enum class type : std::uint8_t { regular, directory, other };
    file_info() = default;
    type what = type::other;
    std::uint64_t size = 0;    ///< bytes
    std::int64_t modified = 0; ///< seconds since 1970
    std::uint64_t inode = 0;
};

/// Owns a descriptor and closes it when destroyed. No operation may be under way then, nor while the file is
/// moved. Every call is cancellable (errc::cancelled) but close().
class file {
  public:
    file() = default;
    /// Adopts a descriptor.
    explicit file(int descriptor) noexcept : fd_(descriptor) {}
    file(file&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    file& operator=(file&& other) noexcept;
    ~file();

    /// `flags` and `mode` as for open(2); O_CLOEXEC is added.
    static task<result<file>> open(std::string path, int flags = O_RDONLY, unsigned mode = 0644);
    /// `path` is relative to `directory`.
    static task<result<file>> open_in(const file& directory, std::string path, int flags = O_RDONLY,
                                      unsigned mode = 0644);

    /// At least one byte, or 0 at the end of the file.
    task<result<std::size_t>> read_at(std::uint64_t offset, mutable_bytes to);
    /// All of it. After an error an unknown part may have been written.
    task<result<>> write_at(std::uint64_t offset, bytes from);
    task<result<file_info>> info();
    task<result<std::uint64_t>> size();
    /// Unlike the destructor it does not block, and tells what the last write came to. Runs even in a stopped
    /// coroutine.
    task<result<>> close();

    explicit operator bool() const { return fd_ >= 0; }
    int descriptor() const { return fd_; }
    int release() { return std::exchange(fd_, -1); }

  private:
    int fd_ = -1;
};

} // namespace tapir
