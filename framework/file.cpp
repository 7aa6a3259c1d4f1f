#include <tapir/framework/file.hpp>
#include <tapir/framework/io_await.hpp>

#include <sys/stat.h>
#include <unistd.h>

namespace tapir {

namespace {

task<result<file>> open_at(int directory, std::string path, int flags, unsigned mode) {
    const auto fd = co_await io::open(directory, path.c_str(), flags, mode);
    if (!fd) co_return fd.error();
    co_return file(static_cast<int>(*fd));
}

} // namespace

file& file::operator=(file&& other) noexcept {
    if (this != &other) {
        if (fd_ >= 0) ::close(fd_);
        fd_ = other.release();
    }
    return *this;
}

file::~file() {
    if (fd_ >= 0) ::close(fd_);
}

task<result<file>> file::open(std::string path, int flags, unsigned mode) {
    return open_at(AT_FDCWD, std::move(path), flags, mode);
}

task<result<file>> file::open_in(const file& directory, std::string path, int flags, unsigned mode) {
    return open_at(directory.fd_, std::move(path), flags, mode);
}

task<result<std::size_t>> file::read_at(std::uint64_t offset, mutable_bytes to) {
    if (fd_ < 0) co_return errc::closed;
    if (to.empty()) co_return errc::invalid_argument;
    const auto n = co_await io::read(fd_, to, offset);
    if (!n) co_return n.error();
    co_return std::size_t{*n};
}

task<result<>> file::write_at(std::uint64_t offset, bytes from) {
    if (fd_ < 0) co_return errc::closed;
    while (!from.empty()) {
        const auto n = co_await io::write(fd_, from, offset);
        if (!n) co_return n.error();
        if (*n == 0) co_return errno_code(EIO);
        from = from.subspan(*n);
        offset += *n;
    }
    co_return result<>();
}

task<result<file_info>> file::info() {
    if (fd_ < 0) co_return errc::closed;
    struct statx status{};
    const auto done = co_await io::statx(fd_, status);
    if (!done) co_return done.error();
    file_info info;
    if (S_ISREG(status.stx_mode)) info.what = file_info::type::regular;
    if (S_ISDIR(status.stx_mode)) info.what = file_info::type::directory;
    info.size = status.stx_size;
    info.modified = status.stx_mtime.tv_sec;
    info.inode = status.stx_ino;
    co_return info;
}

task<result<std::uint64_t>> file::size() {
    const result<file_info> status = co_await info();
    if (!status) co_return status.error();
    co_return status->size;
}

task<result<>> file::close() {
    if (fd_ < 0) co_return errc::closed;
    const auto done = co_await io::close(std::exchange(fd_, -1));
    if (!done) co_return done.error();
    co_return result<>();
}

} // namespace tapir
