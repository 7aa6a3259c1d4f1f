// What a reactor needs from below: time, a wait, and operations that complete later. Two back ends implement
// it: uring_backend (io_uring, real time) and sim_backend (virtual time).
#pragma once

#include <tapir/framework/time.hpp>

#include <cstdint>

namespace tapir {

/// One operation in flight. It belongs to the caller and must stay alive, with the memory it names, until
/// `complete` has been called for the last time: "cancel found it" is not the end, only the terminal
/// completion is.
class io_operation {
  public:
    enum class kind : std::uint8_t {
        nop,              ///< completes at the next turn
        read,             ///< fd, address, length, offset (-1: the file position)
        write,            ///< fd, address, length, offset (-1: the file position)
        writev,           ///< fd, address (iovec[]), length (how many), offset (-1: the file position)
        recv,             ///< fd, address, length, flags (MSG_*)
        recv_multishot,   ///< fd, buffer_group; as read_multishot; 0: the end (uring only)
        send,             ///< fd, address, length, flags (MSG_*)
        accept,           ///< fd, flags (SOCK_*)
        accept_multishot, ///< the same, completes again and again while `more` is set (uring only)
        connect,          ///< fd, address (sockaddr), length
        shutdown,         ///< fd, flags (SHUT_*)
        poll,             ///< fd, flags (POLL*); result: the events
        poll_multishot,   ///< the same, completes again and again while `more` is set
        read_multishot,   ///< fd, buffer_group; result: bytes in the buffer named by `buffer_id` (uring only)
        open,             ///< address (path), flags (O_*), length (mode); fd is the directory (AT_FDCWD)
        statx,            ///< fd, address (struct statx)
        close,            ///< fd
    };

    /// What the kernel (or the simulator) answered.
    struct completion {
        std::int32_t result = 0; ///< as the system call's: >= 0, or -errno
        bool more = false;       ///< a multishot operation goes on
        bool has_buffer = false; ///< a provided buffer was used
        std::uint16_t buffer_id = 0;
    };

    using handler = void (*)(io_operation&, const completion&);
    io_operation(kind k, handler on_complete) : what(k), complete(on_complete) {}
    io_operation(const io_operation&) = delete;
    io_operation& operator=(const io_operation&) = delete;

    kind what;
    bool registered = false; ///< fd is a number of uring_backend::register_file() (uring only)
    std::uint16_t buffer_group = 0;
    std::int32_t fd = -1;
    std::uint32_t length = 0;
    std::uint32_t flags = 0;
    std::uint64_t offset = ~std::uint64_t{0};
    const void* address = nullptr;
    handler complete;
    std::uint64_t serial = 0; ///< the back end's own
    bool in_flight = false;   ///< kept by the back end
};

class uring_backend;

class backend {
  public:
    /// What is still in flight ends like after retire(); its owner finds `in_flight` false.
    virtual ~backend() = default;

    virtual instant now() = 0;
    /// The timer wheel's resolution over this back end.
    virtual duration timer_resolution() const = 0;

    /// Sleeps until something completes or `deadline` comes (a deadline that has passed: only looks). Returns
    /// false when nothing can ever happen any more: no operation in flight and no deadline.
    virtual bool wait(instant deadline) = 0;
    /// Whether dispatch() has something to do, without sleeping; cheap enough to be asked again and again.
    virtual bool look() = 0;
    /// Calls `complete` for what has completed.
    virtual void dispatch() = 0;

    virtual void submit(io_operation& operation) = 0;
    /// Asks for an early end; the operation still completes once (with -ECANCELED, or with what it achieved).
    virtual void cancel(io_operation& operation) = 0;
    /// Ends an operation here and now, for an owner that is being destroyed: cancels it, waits (blocking)
    /// until its memory is no longer touched, and returns what it came to instead of calling `complete`.
    /// Buffers of a group that it had filled are not given back.
    virtual io_operation::completion retire(io_operation& operation) = 0;

    /// Ends a wait(). The only member that other threads may call.
    virtual void wake() = 0;
    /// True in virtual time: no other threads, no stall detector.
    virtual bool simulated() const = 0;
    /// The real thing, for links that use io_uring beyond this interface; null in virtual time.
    virtual uring_backend* uring() { return nullptr; }
};

} // namespace tapir
