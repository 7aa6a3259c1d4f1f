// Awaiting one operation of the back end.
//
//     result<std::uint32_t> n = co_await io::read(fd, buffer, 0);
//
// A stopped coroutine asks the kernel to cancel and resumes only when the operation has really ended, so the
// memory that it names may live in the coroutine's frame. What the operation achieved all the same is handed
// on; otherwise the result is errc::cancelled. Other failures are errno values of the system category.
//
// A frame that is destroyed while it waits (a reactor being torn down) blocks until the kernel has let go,
// and closes a descriptor that nobody was there to take.
#pragma once

#include <tapir/framework/backend.hpp>
#include <tapir/framework/bytes.hpp>
#include <tapir/framework/error.hpp>
#include <tapir/framework/parked.hpp>
#include <tapir/framework/reactor.hpp>

#include <cerrno>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <limits>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace tapir {

class [[nodiscard]] io_awaiter : parked, io_operation {
  public:
    /// `what` is shown in the tree of coroutines: "file read", "accept".
    io_awaiter(kind k, const char* name, int descriptor, const void* memory = nullptr, std::size_t size = 0,
               std::uint32_t op_flags = 0, std::uint64_t position = ~std::uint64_t{0})
        : io_operation(k, &completed), name_(name) {
        fd = descriptor;
        address = memory;
        // One operation moves at most this much; callers see a short read or write.
        length = static_cast<std::uint32_t>(size < std::numeric_limits<std::int32_t>::max()
                                                ? size
                                                : std::numeric_limits<std::int32_t>::max());
        flags = op_flags;
        offset = position;
    }
    /// Only on its way into the coroutine's frame, before it is submitted.
    io_awaiter(io_awaiter&& other) noexcept
        : io_awaiter(other.what, other.name_, other.fd, other.address, other.length, other.flags,
                     other.offset) {}
    ~io_awaiter() {
        if (in_flight) result_ = io_->retire(*this).result;
        if (makes_descriptor() && !taken_ && result_ >= 0) ::close(result_);
    }

    bool await_ready() const noexcept { return false; }
    template <tapir_promise P>
    bool await_suspend(std::coroutine_handle<P> h) {
        promise_base& who = h.promise();
        const bool cancellable = what != kind::close;
        if (cancellable && who.stop().stop_requested()) {
            stopped_ = true;
            return false;
        }
        io_ = &who.reactor().io();
        io_->submit(*this);
        park(who, name_, cancellable ? &stop : nullptr);
        return true;
    }
    /// What the system call would have returned, when not negative.
    result<std::uint32_t> await_resume() {
        taken_ = true;
        if (result_ >= 0) return static_cast<std::uint32_t>(result_);
        if (stopped_ && (result_ == -ECANCELED || result_ == -EINTR)) return errc::cancelled;
        return errno_code(-result_);
    }

  private:
    static void completed(io_operation& op, const completion& c) {
        auto& self = static_cast<io_awaiter&>(op);
        self.result_ = c.result;
        self.wake();
    }
    static void stop(parked& p) {
        auto& self = static_cast<io_awaiter&>(p);
        self.stopped_ = true;
        self.io_->cancel(self); // completed() follows
    }
    bool makes_descriptor() const { return what == kind::accept || what == kind::open; }

    const char* name_;
    backend* io_ = nullptr;
    std::int32_t result_ = -ECANCELED;
    bool stopped_ = false;
    bool taken_ = false;
};

/// The operations that a back end knows. Descriptors are blocking ones: the kernel waits on its own.
namespace io {

inline constexpr std::uint64_t current_position = ~std::uint64_t{0};

inline io_awaiter nop() {
    return io_awaiter(io_operation::kind::nop, "nop", -1);
}
inline io_awaiter read(int fd, mutable_bytes to, std::uint64_t offset = current_position) {
    return io_awaiter(io_operation::kind::read, "read", fd, to.data(), to.size(), 0, offset);
}
inline io_awaiter write(int fd, bytes from, std::uint64_t offset = current_position) {
    return io_awaiter(io_operation::kind::write, "write", fd, from.data(), from.size(), 0, offset);
}
inline io_awaiter recv(int fd, mutable_bytes to, int flags = 0) {
    return io_awaiter(io_operation::kind::recv, "socket read", fd, to.data(), to.size(),
                      static_cast<std::uint32_t>(flags));
}
/// Never raises SIGPIPE.
inline io_awaiter send(int fd, bytes from, int flags = 0) {
    return io_awaiter(io_operation::kind::send, "socket write", fd, from.data(), from.size(),
                      static_cast<std::uint32_t>(flags | MSG_NOSIGNAL));
}
/// The result is a descriptor, closed on exec.
inline io_awaiter accept(int fd) {
    return io_awaiter(io_operation::kind::accept, "socket accept", fd, nullptr, 0, SOCK_CLOEXEC);
}
inline io_awaiter connect(int fd, const sockaddr* to, socklen_t size) {
    return io_awaiter(io_operation::kind::connect, "socket connect", fd, to, size);
}
/// `events` as for poll(2); the result is the events that came.
inline io_awaiter poll(int fd, short events) {
    return io_awaiter(io_operation::kind::poll, "poll", fd, nullptr, 0, static_cast<std::uint16_t>(events));
}
/// The result is a descriptor, closed on exec. `path` must live until then.
inline io_awaiter open(int directory, const char* path, int flags, unsigned mode = 0) {
    return io_awaiter(io_operation::kind::open, "file open", directory, path, mode,
                      static_cast<std::uint32_t>(flags | O_CLOEXEC));
}
inline io_awaiter statx(int fd, struct statx& to) {
    return io_awaiter(io_operation::kind::statx, "file status", fd, &to);
}
/// Not cancellable: afterwards the descriptor is closed, whatever the result.
inline io_awaiter close(int fd) {
    return io_awaiter(io_operation::kind::close, "close", fd);
}

} // namespace io

} // namespace tapir
