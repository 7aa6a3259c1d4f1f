#include <tapir/framework/io_await.hpp>
#include <tapir/framework/kernel_multishot.hpp>
#include <tapir/framework/kernel_stream.hpp>
#include <tapir/framework/sleep.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <linux/sockios.h>
#include <memory>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <optional>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace tapir::kernel {

namespace {

/// The kernel's errno values that have a name of their own among the outcomes of a stream.
std::error_code outcome_of(std::error_code e) {
    if (e.category() != std::system_category()) return e;
    switch (e.value()) {
    case ECONNRESET:
    case EPIPE:
    case ENOTCONN: return errc::reset;
    case ECONNREFUSED: return errc::refused;
    case ECONNABORTED: return errc::aborted;
    case ETIMEDOUT: return errc::timed_out;
    case EHOSTUNREACH:
    case EHOSTDOWN: return errc::host_unreachable;
    case ENETUNREACH:
    case ENETDOWN: return errc::network_unreachable;
    case EADDRINUSE: return errc::address_in_use;
    case EADDRNOTAVAIL: return errc::address_unavailable;
    case ENOBUFS:
    case ENOMEM: return errc::no_memory;
    case EOPNOTSUPP: return errc::not_supported;
    default: return e;
    }
}

std::size_t asked(int fd, unsigned long request) {
    int n = 0;
    return ::ioctl(fd, request, &n) == 0 && n > 0 ? static_cast<std::size_t>(n) : 0;
}

address name_of(int fd, int (*get)(int, sockaddr*, socklen_t*)) {
    sockaddr_storage raw{};
    socklen_t size = sizeof raw;
    if (get(fd, reinterpret_cast<sockaddr*>(&raw), &size) != 0) return {};
    return address::from(raw, size);
}

} // namespace

namespace detail {

/// Shared by the handle and the calls that are under way, so that the descriptor's number is not used again
/// while an operation that names it may still have to be submitted.
struct stream_socket : std::enable_shared_from_this<stream_socket> {
    stream_socket(int descriptor, bool is_tcp)
        : fd(descriptor), tcp(is_tcp), local(name_of(fd, &::getsockname)),
          remote(name_of(fd, &::getpeername)), in(descriptor) {}
    stream_socket(const stream_socket&) = delete;
    stream_socket& operator=(const stream_socket&) = delete;
    ~stream_socket() { release(); }

    /// When nobody uses the descriptor any more, the kernel included.
    void release() {
        if (in.in_flight) {
            if (!in.was_let_go()) in.let_go(shared_from_this());
        } else if (fd >= 0) {
            ::close(std::exchange(fd, -1));
        }
    }
    bool idle() const { return !reading && !writing && !closing; }

    /// RST, now. The descriptor goes when nobody uses it any more.
    void reset() {
        const linger none{1, 0};
        ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
        sockaddr unspecified{};
        unspecified.sa_family = AF_UNSPEC;
        if (!tcp || ::connect(fd, &unspecified, sizeof unspecified) != 0) ::shutdown(fd, SHUT_RDWR);
    }
    void abort() {
        if (ended() || aborted) return;
        aborted = true;
        reset();
        if (idle()) release();
    }
    bool ended() const { return fd < 0 || closed; }

    int tcp_state() const {
        tcp_info info{};
        socklen_t size = sizeof info;
        return ::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 ? int{info.tcpi_state}
                                                                          : int{TCP_CLOSE};
    }
    /// As far as the kernel has told us.
    std::error_code failed() {
        if (!failure && in.error() != 0) failure = outcome_of(errno_code(in.error()));
        return failure;
    }
    /// An error that the kernel reports once is kept for all who ask later.
    std::error_code error() {
        int value = 0;
        socklen_t size = sizeof value;
        if (!failed() && ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &size) == 0 && value != 0)
            failure = outcome_of(errno_code(value));
        return failure;
    }

    /// What the kernel takes at once. The first write of a turn is cheaper so, by a turn of the loop; several
    /// are cheaper together.
    result<std::uint32_t> send_now(bytes from, reactor& on) const {
        shared_by_sockets* const shared = shared_by_sockets::of(on.io());
        if (shared == nullptr || !shared->first_write_of(on.now())) return 0U;
        const ssize_t n = ::send(fd, from.data(), from.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n >= 0) return static_cast<std::uint32_t>(n);
        if (errno == EAGAIN || errno == EINTR) return 0U;
        return errno_code(errno);
    }
    std::size_t unread() const { return in.unread() + asked(fd, FIONREAD); }
    /// What has become of the bytes written so far. The FIN counts as one in the kernel's answers.
    void count_unacknowledged(close_report& report) const {
        if (!tcp) return;
        const std::size_t unsent = asked(fd, SIOCOUTQNSD);
        const std::size_t queued = std::max(asked(fd, SIOCOUTQ), unsent);
        const int state = tcp_state();
        const std::size_t fin =
            finished && (state == TCP_FIN_WAIT1 || state == TCP_CLOSING || state == TCP_LAST_ACK) ? 1 : 0;
        const std::size_t fin_unsent = std::min(unsent, fin);
        report.unsent = unsent - fin_unsent;
        report.unacked = queued - unsent - std::min(queued - unsent, fin - fin_unsent);
    }

    int fd;
    const bool tcp;
    const address local;
    const address remote;
    receiver in;
    std::error_code failure;
    bool reading = false;
    bool writing = false;
    bool closing = false;
    bool finished = false; ///< our FIN is queued
    bool aborted = false;
    bool closed = false;
};

struct listening_socket : std::enable_shared_from_this<listening_socket> {
    listening_socket(int descriptor, const address& at) : fd(descriptor), local(at), accepts(descriptor) {
        if (const std::string path = local.path(); !path.empty()) (void)::lstat(path.c_str(), &bound);
    }
    listening_socket(const listening_socket&) = delete;
    listening_socket& operator=(const listening_socket&) = delete;
    ~listening_socket() {
        close();
        ::close(fd);
    }
    void close() {
        if (std::exchange(closed, true)) return;
        remove_path();
        ::shutdown(fd, SHUT_RDWR); // waiting accepts end with EINVAL
        accepts.drop_unaccepted();
        if (accepts.in_flight) accepts.let_go(shared_from_this());
    }

    const int fd;
    const address local;
    acceptor accepts;
    struct stat bound{}; ///< what bind() has put at the path
    bool closed = false;

  private:
    /// Before the socket is deaf: who finds a path where nobody listens may bind it anew, and what he has
    /// bound is not ours to remove. So is what else has come to stand there since, as far as one can tell:
    /// between the look and the removal the system has no lock. Programs that share a path need one of their
    /// own.
    void remove_path() const {
        const std::string path = local.path();
        struct stat now{};
        if (path.empty() || ::lstat(path.c_str(), &now) != 0) return;
        if (S_ISSOCK(now.st_mode) && now.st_dev == bound.st_dev && now.st_ino == bound.st_ino)
            ::unlink(path.c_str());
    }
};

} // namespace detail

namespace {

using socket_ptr = std::shared_ptr<detail::stream_socket>;

/// Marks a call as under way; the last to leave an aborted socket closes its descriptor.
class [[nodiscard]] under_way {
  public:
    under_way(detail::stream_socket& s, bool& flag) : socket_(s), flag_(flag) { flag_ = true; }
    under_way(const under_way&) = delete;
    under_way& operator=(const under_way&) = delete;
    ~under_way() {
        flag_ = false;
        if (socket_.aborted && socket_.idle()) socket_.release();
    }

  private:
    detail::stream_socket& socket_;
    bool& flag_;
};

std::error_code why_not(const socket_ptr& s) {
    if (s == nullptr) return errc::closed;
    if (s->aborted) return errc::aborted;
    if (s->ended()) return errc::closed;
    if (s->closing) return errc::busy;
    return {};
}

/// For `closing` the socket is busy, and wants to know whether anything comes.
task<result<std::size_t>> read_from(socket_ptr s, mutable_bytes to, bool closing = false) {
    if (const std::error_code no = why_not(s); no && !closing) co_return no;
    if (to.empty()) co_return errc::invalid_argument;
    if (s->reading) co_return errc::busy;
    promise_base& self = co_await this_coroutine;
    const under_way mark(*s, s->reading);
    for (;;) {
        if (const std::size_t n = s->in.take(to); n != 0) co_return n;
        if (const std::error_code failed = s->failed()) co_return failed;
        if (s->in.over()) co_return std::size_t{0};
        if (!s->in.lasts(self.reactor().io())) break;
        const result<std::size_t> n = co_await s->in.next(to);
        if (s->aborted) co_return errc::aborted;
        if (!n || *n != 0) co_return n;
    }
    const auto n = co_await io::recv(s->fd, to);
    if (s->aborted) co_return errc::aborted;
    if (!n) co_return outcome_of(n.error());
    s->in.read_alone(*n);
    if (*n == 0 && s->failure) co_return s->failure; // the kernel has told somebody else, and tells once
    co_return std::size_t{*n};
}

task<result<>> readable(socket_ptr s) {
    if (const std::error_code no = why_not(s)) co_return no;
    if (s->reading) co_return errc::busy;
    promise_base& self = co_await this_coroutine;
    const under_way mark(*s, s->reading);
    if (const std::error_code failed = s->failed(); failed && s->in.unread() == 0) co_return failed;
    while (s->in.unread() == 0 && !s->in.over()) {
        if (!s->in.lasts(self.reactor().io())) {
            const auto events = co_await io::poll(s->fd, POLLIN);
            if (s->aborted) co_return errc::aborted;
            if (!events) co_return outcome_of(events.error());
            break;
        }
        const result<std::size_t> come = co_await s->in.next({});
        if (s->aborted) co_return errc::aborted;
        if (!come) co_return come.error();
    }
    co_return result<>();
}

task<write_result> write_to(socket_ptr s, bytes from) {
    if (const std::error_code no = why_not(s)) co_return write_result(no, 0);
    if (s->finished) co_return write_result(errc::finished, 0);
    if (s->writing) co_return write_result(errc::busy, 0);
    if (const std::error_code failed = s->failed()) co_return write_result(failed, 0);
    promise_base& self = co_await this_coroutine;
    const under_way mark(*s, s->writing);
    std::size_t taken = 0;
    result<std::uint32_t> n = 0U;
    if (!self.stop().stop_requested()) n = s->send_now(from, self.reactor());
    for (;;) {
        if (n) taken += *n;
        if (s->aborted) co_return write_result(errc::aborted, taken);
        if (!n) {
            const std::error_code failed = s->failed();
            co_return write_result(failed ? failed : outcome_of(n.error()), taken);
        }
        if (taken >= from.size()) break;
        n = co_await io::send(s->fd, from.subspan(taken));
    }
    co_return write_result(taken);
}

/// Queues the FIN behind all data.
std::error_code send_fin(detail::stream_socket& s) {
    if (s.finished) return {};
    if (::shutdown(s.fd, SHUT_WR) != 0) {
        const std::error_code cause = outcome_of(errno_code(errno));
        const std::error_code failed = s.error();
        return failed ? failed : cause;
    }
    s.finished = true;
    return {};
}

/// Until our FIN is acknowledged, and the peer's has come if `both`. The kernel tells of neither, so it is
/// asked: at once, which suffices on one machine, then ever more seldom.
task<result<>> fin_acknowledged(socket_ptr s, bool both, instant deadline) {
    promise_base& self = co_await this_coroutine;
    const under_way mark(*s, s->writing);
    for (duration pause = 100us; s->tcp; pause = std::min<duration>(2 * pause, 50ms)) {
        const int state = s->tcp_state();
        if (state == TCP_CLOSE || state == TCP_TIME_WAIT) {
            if (s->aborted) co_return errc::aborted;
            if (const std::error_code failed = s->error()) co_return failed;
            break;
        }
        if (!both && state == TCP_FIN_WAIT2) break;
        if (self.reactor().now() >= deadline) co_return errc::deadline_exceeded;
        const auto slept = co_await sleep_until(std::min(deadline, self.reactor().now() + pause));
        if (!slept) co_return slept.error();
    }
    co_return result<>();
}

task<result<>> finish_writing(socket_ptr s) {
    if (const std::error_code no = why_not(s)) co_return no;
    if (s->writing) co_return errc::busy;
    if (const std::error_code failed = s->failed()) co_return failed;
    if (const std::error_code failed = send_fin(*s)) co_return failed;
    co_return co_await fin_acknowledged(s, false, never);
}

ending how_it_failed(std::error_code e) {
    if (e == errc::deadline_exceeded) return ending::close_timeout;
    if (e == errc::timed_out) return ending::timed_out;
    if (e == errc::aborted) return ending::aborted;
    if (e == errc::host_unreachable || e == errc::network_unreachable) return ending::unreachable;
    return ending::reset;
}

task<result<close_report>> close_both(socket_ptr s, std::optional<instant> until) {
    if (const std::error_code no = why_not(s)) co_return no;
    if (s->reading || s->writing) co_return errc::busy;
    promise_base& self = co_await this_coroutine;
    const instant deadline = until ? *until : self.reactor().now() + stream::default_close_timeout;
    close_report report;
    std::error_code failed;
    {
        const under_way mark(*s, s->closing);
        report.unread = s->unread();
        if (report.unread != 0) {
            report.how = ending::unread_data; // [RFC 2525 2.17]
        } else if (failed = send_fin(*s); !failed) {
            std::array<std::byte, 64> late{};
            const result<std::size_t> n = co_await with_deadline(deadline, read_from(s, late, true));
            if (!n) {
                failed = n.error();
            } else if (*n != 0) {
                report.unread = *n + s->unread();
                report.how = ending::data_after_close; // [RFC 9293 3.6.1 SHLD-3]
            } else if (const result<> both = co_await fin_acknowledged(s, true, deadline); !both) {
                failed = both.error();
            } else {
                report.how = ending::orderly;
            }
        }
        if (failed == errc::cancelled) {
            s->abort();
            co_return errc::cancelled;
        }
        if (failed) report.how = how_it_failed(failed);
        if (s->aborted) report.how = ending::aborted;
        s->count_unacknowledged(report);
        if (report.how != ending::orderly && !s->aborted) s->reset();
        s->closed = true;
    }
    s->release();
    co_return report;
}

task<result<socket_ptr>> accept_from(std::shared_ptr<detail::listening_socket> s) {
    promise_base& self = co_await this_coroutine;
    for (;;) {
        if (s == nullptr || s->closed) co_return errc::closed;
        result<std::uint32_t> fd = errc::closed;
        if (s->accepts.lasts(self.reactor().io()))
            fd = co_await s->accepts.next();
        else
            fd = co_await io::accept(s->fd);
        if (fd) co_return std::make_shared<detail::stream_socket>(static_cast<int>(*fd), !s->local.is_unix());
        if (s->closed) co_return errc::closed;
        // accept(2): a network error that was pending on the new socket is no fault of the listener.
        switch (fd.error().value()) {
        case ECONNABORTED:
        case EPROTO:
        case ENETDOWN:
        case ENETUNREACH:
        case EHOSTDOWN:
        case EHOSTUNREACH:
        case EINTR:
            if (fd.error().category() == std::system_category()) continue;
            [[fallthrough]];
        default: co_return outcome_of(fd.error());
        }
    }
}

} // namespace

stream& stream::operator=(stream&& other) noexcept {
    if (this != &other) {
        if (socket_) socket_->abort();
        socket_ = std::move(other.socket_);
    }
    return *this;
}

stream::~stream() {
    if (socket_) socket_->abort();
}

task<result<std::size_t>> stream::read(mutable_bytes to) {
    return read_from(socket_, to);
}
task<result<>> stream::until_readable() {
    return readable(socket_);
}
task<write_result> stream::write(bytes from) {
    return write_to(socket_, from);
}
task<result<>> stream::finish() {
    return finish_writing(socket_);
}
task<result<close_report>> stream::close(instant deadline) {
    return close_both(socket_, deadline);
}
task<result<close_report>> stream::close() {
    return close_both(socket_, std::nullopt);
}
void stream::abort() {
    if (socket_) socket_->abort();
}
address stream::local() const {
    return socket_ ? socket_->local : address();
}
address stream::remote() const {
    return socket_ ? socket_->remote : address();
}
result<credentials> stream::peer() const {
    if (!socket_ || socket_->ended() || socket_->aborted) return errc::closed;
    if (socket_->tcp) return errc::not_supported;
    ucred who{};
    socklen_t size = sizeof who;
    if (::getsockopt(socket_->fd, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0) return errno_code(errno);
    return credentials(who.pid, who.uid, who.gid);
}

listener& listener::operator=(listener&& other) noexcept {
    if (this != &other) {
        if (socket_) socket_->close();
        socket_ = std::move(other.socket_);
    }
    return *this;
}

listener::~listener() {
    if (socket_) socket_->close();
}

task<result<stream>> listener::accept() {
    // A static coroutine holds the socket: the listener itself may go while somebody waits.
    const auto work = [](std::shared_ptr<detail::listening_socket> s) -> task<result<stream>> {
        result<socket_ptr> accepted = co_await accept_from(std::move(s));
        if (!accepted) co_return accepted.error();
        co_return stream(std::move(*accepted));
    };
    return work(socket_);
}

void listener::close() {
    if (socket_) socket_->close();
}

address listener::local() const {
    return socket_ ? socket_->local : address();
}

result<listener> listen(const address& at, int backlog, mode_t path_mode) {
    const int fd = ::socket(at.family(), SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return outcome_of(errno_code(errno));
    if (at.is_unix()) ::fchmod(fd, path_mode); // on Linux bind() gives the path the mode that the socket has
    const int on = 1;
    if (at.family() == AF_INET) ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (::bind(fd, at.data(), at.size()) != 0 || ::listen(fd, backlog) != 0) {
        const std::error_code error = outcome_of(errno_code(errno));
        ::close(fd);
        return error;
    }
    return listener(std::make_shared<detail::listening_socket>(fd, name_of(fd, &::getsockname)));
}

task<result<stream>> connect(address to) {
    const int fd = ::socket(to.family(), SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) co_return outcome_of(errno_code(errno));
    struct closer {
        explicit closer(int descriptor) : fd(descriptor) {}
        closer(const closer&) = delete;
        closer& operator=(const closer&) = delete;
        ~closer() {
            if (fd >= 0) ::close(fd);
        }
        int fd;
    } owner(fd);
    const auto done = co_await io::connect(fd, to.data(), to.size());
    if (!done) {
        if (done.error() == errno_code(EADDRNOTAVAIL)) co_return errc::no_ports;
        if (done.error() == errno_code(ENOENT)) co_return errc::refused;
        co_return outcome_of(done.error());
    }
    owner.fd = -1;
    co_return stream(std::make_shared<detail::stream_socket>(fd, !to.is_unix()));
}

} // namespace tapir::kernel
