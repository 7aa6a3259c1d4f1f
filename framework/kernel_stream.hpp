// Stream sockets of the kernel (TCP over IPv4, and AF_UNIX) on tapir's reactor: the second model of the
// stream concept. A server written against the concept runs over either. A listener accepts, and a stream
// that waits receives, by one operation for many completions (kernel_multishot.hpp); a write is tried at
// once.
//
//     auto listener = tapir::kernel::listen(*tapir::kernel::address::parse("127.0.0.1:7"));
//     auto peer = co_await listener->accept();
//     auto n = co_await peer->read(buffer);                  // 0: the peer's FIN
//
// One reader and one writer may wait at a time; a second of either gets errc::busy. Memory handed to a call
// must live until the call has ended. A moved-from handle answers errc::closed, and has no address.
#pragma once

#include <tapir/framework/bytes.hpp>
#include <tapir/framework/error.hpp>
#include <tapir/framework/kernel_address.hpp>
#include <tapir/framework/stream.hpp>
#include <tapir/framework/task.hpp>
#include <tapir/framework/time.hpp>

#include <cstddef>
#include <memory>
#include <string_view>
#include <sys/types.h>
#include <utility>

namespace tapir::kernel {

namespace detail {
struct stream_socket;
struct listening_socket;
} // namespace detail

/// A process at the other end, in the numbers of our own user namespace: users that it does not know are
/// 65534.
struct credentials {
    credentials() = default;
    credentials(pid_t process, uid_t user, gid_t group) : pid(process), uid(user), gid(group) {}
    pid_t pid = 0;
    uid_t uid = 0;
    gid_t gid = 0;
};

/// A connected socket. Destroyed while open, it is aborted.
class stream {
  public:
    stream(stream&&) noexcept = default;
    stream& operator=(stream&& other) noexcept;
    ~stream();

    /// At least one byte; 0 is the peer's end of stream. An empty span is errc::invalid_argument.
    task<result<std::size_t>> read(mutable_bytes to);
    /// Done when read() would not wait, for data, the peer's end or an error; takes nothing. It counts as a
    /// reader.
    task<result<>> until_readable();
    /// All of it, as the kernel's send buffer takes it. Never raises SIGPIPE. Cancelled or failed, the result
    /// tells how many bytes were taken.
    task<write_result> write(bytes from);
    task<write_result> write(std::string_view text) { return write(as_bytes(text)); }
    /// Half-close: this side sends no more. Over TCP it completes when the FIN has been acknowledged (asked
    /// of the kernel at growing intervals, since it has no event for that); cancelling the wait does not
    /// unsend the FIN.
    task<result<>> finish();
    /// Orderly end of both directions: FIN, then the peer's FIN and the acknowledgement of ours. Data that is
    /// unread at the call, or comes after it, resets the connection [RFC 2525 2.17], as does the deadline.
    /// Cancelled, it aborts.
    task<result<close_report>> close(instant deadline);
    /// The same within default_close_timeout.
    task<result<close_report>> close();
    static constexpr duration default_close_timeout = 10s;

    /// TCP: sends RST now. AF_UNIX has no reset: the peer reads the end of the stream. Whoever waits here
    /// resumes with errc::aborted.
    void abort();

    address local() const;
    address remote() const;
    /// Who is at the other end of an AF_UNIX connection: as the kernel noted it when they connected, so that
    /// nobody can pretend. errc::not_supported over TCP, errc::closed for a moved-from or ended handle.
    result<credentials> peer() const;

  private:
    friend class listener;
    friend task<result<stream>> connect(address to);
    explicit stream(std::shared_ptr<detail::stream_socket> s) : socket_(std::move(s)) {}
    std::shared_ptr<detail::stream_socket> socket_;
};

class listener {
  public:
    listener(listener&&) noexcept = default;
    listener& operator=(listener&& other) noexcept;
    ~listener();

    /// Any number of coroutines may wait. errc::closed after close(). Connections that failed before they
    /// could be accepted are passed over.
    task<result<stream>> accept();
    /// Waiting accepts resume with errc::closed; an AF_UNIX path is removed, unless somebody else has bound
    /// it since.
    void close();
    /// With the port that the kernel chose, if it was to choose one.
    address local() const;

  private:
    friend result<listener> listen(const address& at, int backlog, mode_t path_mode);
    explicit listener(std::shared_ptr<detail::listening_socket> s) : socket_(std::move(s)) {}
    std::shared_ptr<detail::listening_socket> socket_;
};

/// errc::address_in_use, errc::address_unavailable, or an errno value. TCP sets SO_REUSEADDR. An AF_UNIX path
/// comes into being with `path_mode`, from which the umask is taken: nobody else can connect even for a
/// moment.
result<listener> listen(const address& at, int backlog = 1024, mode_t path_mode = 0777);

/// errc::refused (AF_UNIX: also when there is no such path), errc::host_unreachable,
/// errc::network_unreachable, errc::timed_out, errc::no_ports, or an errno value. In virtual time, where the
/// kernel does not exist, errc::not_supported.
task<result<stream>> connect(address to);

static_assert(tapir::stream<stream>);
static_assert(tapir::stream_listener<listener>);

} // namespace tapir::kernel
