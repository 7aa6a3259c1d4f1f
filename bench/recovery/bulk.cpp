// The kernel's end of a transfer: one connection over the kernel's sockets, no tricks.
//
//     bulk receive 192.0.2.2:8001 --seconds 60      prints "ready", then one line when the transfer is over
//     bulk send 192.0.2.2:8001 --bytes 20000000     then shuts down and waits for the receiver's end
//
// Nothing of it can hang: the receiver ends by its limits, the sender when it gets rid of nothing for so
// long.

#include <arpa/inet.h>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdexcept>
#include <string>
#include <sys/socket.h>
#include <system_error>
#include <unistd.h>
#include <vector>

#include "bench/recovery/pattern.hpp"
#include "bench/recovery/tally.hpp"
#include "samples/support/command_line.hpp"

namespace {

using clock_type = std::chrono::steady_clock;
using seconds = std::chrono::duration<double>;

[[noreturn]] void fail(const std::string& what) {
    throw std::system_error(errno, std::system_category(), what);
}

class socket_fd {
  public:
    explicit socket_fd(int fd) : fd_(fd) {
        if (fd < 0) fail("socket");
    }
    socket_fd(const socket_fd&) = delete;
    socket_fd& operator=(const socket_fd&) = delete;
    ~socket_fd() { ::close(fd_); }
    int get() const { return fd_; }

    /// What has not ended in order by then ends with a RST, also when this process is killed: the kernel
    /// would go on sending what is left, into the next transfer's path.
    void close_with_reset() const {
        const linger at_once{1, 0};
        ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }

    /// False when `events` did not come in time.
    bool wait(short events, seconds patience) const {
        pollfd p{fd_, events, 0};
        const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(patience).count();
        return ::poll(&p, 1, static_cast<int>(ms)) > 0;
    }

  private:
    int fd_;
};

/// "192.0.2.2:8001"
sockaddr_in parse(const std::string& text) {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    const auto colon = text.rfind(':');
    const std::string host = text.substr(0, colon);
    const long port = colon == std::string::npos ? 0 : std::strtol(text.c_str() + colon + 1, nullptr, 10);
    if (port < 1 || port > 65'535 || ::inet_pton(AF_INET, host.c_str(), &a.sin_addr) != 1)
        throw std::runtime_error("'" + text + "' is not an IPv4 address with a port, as 192.0.2.2:8001");
    a.sin_port = htons(static_cast<std::uint16_t>(port));
    return a;
}

const sockaddr* generic(const sockaddr_in& a) {
    return reinterpret_cast<const sockaddr*>(&a);
}

void receive(const sockaddr_in& at, const bench::tally_limits& limits) {
    const socket_fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int on = 1;
    ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (::bind(listener.get(), generic(at), sizeof at) != 0) fail("bind");
    if (::listen(listener.get(), 1) != 0) fail("listen");
    std::printf("ready\n");
    std::fflush(stdout);
    bench::tally seen(limits);
    if (!listener.wait(POLLIN, seconds(limits.stalled))) {
        seen.print();
        return;
    }
    const socket_fd peer(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    const auto begin = clock_type::now();
    const auto since = [&] { return seconds(clock_type::now() - begin); };
    std::vector<std::byte> buffer(bench::pattern::piece);
    constexpr seconds look(0.05); // so often the limits are looked at when nothing comes
    while (!seen.over(since())) {
        const ssize_t n = ::recv(peer.get(), buffer.data(), buffer.size(), 0);
        if (n > 0) {
            seen.received(tapir::bytes(buffer).first(static_cast<std::size_t>(n)), since());
        } else if (n == 0) {
            seen.end_of_stream();
        } else if (errno == EAGAIN) {
            (void)peer.wait(POLLIN, look);
        } else {
            seen.broken(std::to_string(errno));
        }
    }
    seen.print();
    if (!seen.complete()) peer.close_with_reset();
}

void send(const sockaddr_in& to, std::uint64_t bytes, seconds stalled) {
    const socket_fd s(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    s.close_with_reset();
    if (::connect(s.get(), generic(to), sizeof to) != 0 && errno != EINPROGRESS) fail("connect");
    if (!s.wait(POLLOUT, stalled)) throw std::runtime_error("no connection within the time for a stall");
    const bench::pattern content;
    std::uint64_t sent = 0;
    std::string ended = "complete";
    while (sent < bytes) {
        const tapir::bytes next = content.at(
            sent, static_cast<std::size_t>(std::min<std::uint64_t>(bytes - sent, bench::pattern::piece)));
        const ssize_t n = ::send(s.get(), next.data(), next.size(), MSG_NOSIGNAL);
        if (n > 0) {
            sent += static_cast<std::uint64_t>(n);
        } else if (errno != EAGAIN) {
            ended = "by_the_receiver"; // which had enough
            break;
        } else if (!s.wait(POLLOUT, stalled)) {
            ended = "stalled";
            break;
        }
    }
    ::shutdown(s.get(), SHUT_WR);
    (void)s.wait(POLLIN, stalled);
    tcp_info info{};
    socklen_t size = sizeof info;
    if (::getsockopt(s.get(), IPPROTO_TCP, TCP_INFO, &info, &size) != 0) fail("TCP_INFO");
    std::array<char, 16> cc{};
    size = cc.size();
    if (::getsockopt(s.get(), IPPROTO_TCP, TCP_CONGESTION, cc.data(), &size) != 0) fail("TCP_CONGESTION");
    std::printf("sent %llu ended %s cc %s mss %u retransmits %u\n", static_cast<unsigned long long>(sent),
                ended.c_str(), cc.data(), info.tcpi_snd_mss, info.tcpi_total_retrans);
}

} // namespace

int main(int argc, char** argv) {
    samples::command_line line("bulk: the kernel's end of a transfer, for bench/recovery/run");
    std::string what;
    std::string where;
    std::uint64_t bytes = 20'000'000;
    bench::tally_limits limits;
    line.option("what", what).required().one_of({"send", "receive"});
    line.option("where", where, "where the receiver listens").required();
    line.option("--bytes", bytes, "to be sent");
    line.option("--seconds", limits.seconds, "receive no longer").within(0.1, 36'000.0);
    line.option("--stalled", limits.stalled, "seconds without a byte that end it").within(0.1, 3600.0);
    line.option("--warm-up", limits.warm_up, "seconds whose bytes are not counted").within(0.0, 3600.0);
    if (const auto status = line.parse(argc, argv)) return *status;
    try {
        const sockaddr_in at = parse(where);
        if (what == "receive") {
            receive(at, limits);
        } else {
            send(at, bytes, seconds(limits.stalled));
        }
    } catch (const std::exception& e) {
        std::fprintf(stderr, "bulk %s %s: %s\n", what.c_str(), where.c_str(), e.what());
        return 1;
    }
    return 0;
}
