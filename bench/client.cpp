// The client of every network measure but keep-alive HTTP: the kernel's sockets, no tricks, the same program
// against both stacks. Prints one line of "name value" pairs.
//
//     client bulk-send 192.0.2.2 8001 --seconds 1         the server sends, as seen from it
//     client bulk-receive 192.0.2.2 8002 --seconds 1 --concurrent 8
//                                                         the server receives, from eight connections
//     client pingpong 192.0.2.2 8003 --seconds 1          one byte there and back, one at a time
//     client connections 192.0.2.2 8000 --seconds 1 --concurrent 64
//                                                         connect, one HTTP request, read to the FIN, close
//     client hold 192.0.2.2 8000 --concurrent 10000       that many idle connections, until its input ends

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

#include "samples/support/command_line.hpp"

namespace {

using clock_type = std::chrono::steady_clock;
using seconds = std::chrono::duration<double>;

[[noreturn]] void fail(const char* what) {
    throw std::system_error(errno, std::system_category(), what);
}

class socket_fd {
  public:
    explicit socket_fd(int fd) : fd_(fd) {
        if (fd < 0) fail("socket");
    }
    socket_fd(socket_fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    socket_fd& operator=(socket_fd&&) = delete;
    ~socket_fd() {
        if (fd_ >= 0) ::close(fd_);
    }
    int get() const { return fd_; }

  private:
    int fd_;
};

sockaddr_in address_of(const std::string& host, std::uint16_t port) {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_port = htons(port);
    if (::inet_pton(AF_INET, host.c_str(), &a.sin_addr) != 1)
        throw std::runtime_error("no IPv4 address: " + host);
    return a;
}

const sockaddr* generic(const sockaddr_in& a) {
    return reinterpret_cast<const sockaddr*>(&a);
}

socket_fd connect_to(const sockaddr_in& to) {
    socket_fd s(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int on = 1;
    ::setsockopt(s.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const timeval patience{10, 0}; // a server that hangs is a failure, not an endless run
    ::setsockopt(s.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ::setsockopt(s.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (::connect(s.get(), generic(to), sizeof to) != 0) fail("connect");
    return s;
}

constexpr std::size_t piece = 128 * 1024;

void print_rate(std::uint64_t moved, seconds took) {
    std::printf("gbit_per_s %.4f bytes %llu\n", static_cast<double>(moved) * 8 / took.count() / 1e9,
                static_cast<unsigned long long>(moved));
}

/// Many connections to one port, served in turn by one thread. With one there is nothing to wait for but it.
class bulk_client {
  public:
    bulk_client(const sockaddr_in& to, std::size_t connections) : buffer_(piece) {
        for (std::size_t i = 0; i < connections; ++i) {
            sockets_.push_back(connect_to(to));
            if (connections > 1) ::fcntl(sockets_.back().get(), F_SETFL, O_NONBLOCK);
        }
    }

    /// The server sends.
    void read_for(seconds duration) {
        std::uint64_t moved = 0;
        const auto begin = clock_type::now();
        seconds took{};
        while (took < duration) {
            for (const socket_fd& s : ready(POLLIN)) {
                const ssize_t n = ::recv(s.get(), buffer_.data(), buffer_.size(), 0);
                if (n == 0 || (n < 0 && errno != EAGAIN)) fail("the source ended");
                if (n > 0) moved += static_cast<std::uint64_t>(n);
            }
            took = clock_type::now() - begin;
        }
        print_rate(moved, took);
    }

    /// Ends when the server has said, by its FINs, that it has read everything: what counts is what arrived.
    void write_for(seconds duration) {
        std::uint64_t moved = 0;
        const auto begin = clock_type::now();
        while (clock_type::now() - begin < duration) {
            for (const socket_fd& s : ready(POLLOUT)) {
                const ssize_t n = ::send(s.get(), buffer_.data(), buffer_.size(), MSG_NOSIGNAL);
                if (n < 0 && errno != EAGAIN) fail("send");
                if (n > 0) moved += static_cast<std::uint64_t>(n);
            }
        }
        for (const socket_fd& s : sockets_) {
            ::fcntl(s.get(), F_SETFL, 0);
            ::shutdown(s.get(), SHUT_WR);
        }
        for (const socket_fd& s : sockets_)
            if (::recv(s.get(), buffer_.data(), buffer_.size(), 0) != 0) fail("the sink did not end");
        print_rate(moved, clock_type::now() - begin);
    }

  private:
    /// Those that have something, or room, if there are several.
    std::span<const socket_fd> ready(short events) {
        if (sockets_.size() > 1) {
            waiting_.clear();
            for (const socket_fd& s : sockets_) waiting_.push_back({s.get(), events, 0});
            if (::poll(waiting_.data(), waiting_.size(), 10'000) <= 0) fail("nothing moves");
        }
        return sockets_;
    }

    std::vector<socket_fd> sockets_;
    std::vector<pollfd> waiting_;
    std::vector<char> buffer_;
};

void pingpong(const sockaddr_in& to, seconds duration) {
    const socket_fd s = connect_to(to);
    std::vector<double> rtt;
    rtt.reserve(1 << 20);
    char byte = 'x';
    const auto begin = clock_type::now();
    auto now = begin;
    while (now - begin < duration && rtt.size() < rtt.capacity()) {
        const auto sent = now;
        if (::send(s.get(), &byte, 1, MSG_NOSIGNAL) != 1) fail("send");
        if (::recv(s.get(), &byte, 1, 0) != 1) fail("recv");
        now = clock_type::now();
        rtt.push_back(std::chrono::duration<double, std::micro>(now - sent).count());
    }
    std::ranges::sort(rtt);
    const auto at = [&](double q) {
        return rtt[static_cast<std::size_t>(q * static_cast<double>(rtt.size() - 1))];
    };
    std::printf("p50_us %.2f p99_us %.2f p999_us %.2f count %zu\n", at(0.5), at(0.99), at(0.999), rtt.size());
}

/// Opens `count` connections, says so, and holds them until its input ends; then tells how many are still
/// there.
void hold(const sockaddr_in& to, std::size_t count) {
    std::vector<socket_fd> all;
    const auto begin = clock_type::now();
    for (std::size_t i = 0; i < count; ++i) all.push_back(connect_to(to));
    std::printf("holding %zu seconds %.2f\n", all.size(), seconds(clock_type::now() - begin).count());
    std::fflush(stdout);
    char none = 0;
    while (::read(STDIN_FILENO, &none, 1) > 0) {
    }
    std::size_t alive = 0;
    for (const socket_fd& s : all) {
        ::fcntl(s.get(), F_SETFL, O_NONBLOCK);
        alive += ::recv(s.get(), &none, 1, 0) < 0 && errno == EAGAIN ? 1 : 0;
        const linger at_once{1, 0}; // a RST for each: nothing is left in TIME_WAIT
        ::setsockopt(s.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
    std::printf("alive %zu\n", alive);
}

/// Many connections on one thread, so that the client costs as little as it can.
class connection_client {
  public:
    connection_client(const sockaddr_in& to, std::string_view request, std::size_t concurrent)
        : to_(to), request_(request), slots_(concurrent, -1), answered_(concurrent, false),
          poll_(::epoll_create1(EPOLL_CLOEXEC)) {}

    void run(seconds duration) {
        std::array<epoll_event, 64> events;
        const auto begin = clock_type::now();
        for (std::size_t i = 0; i < slots_.size(); ++i) open(i);
        seconds took{};
        while (took < duration) {
            const int n = ::epoll_wait(poll_.get(), events.data(), static_cast<int>(events.size()), 10'000);
            if (n <= 0) fail("no answer for ten seconds");
            for (int i = 0; i < n; ++i) ready(events[static_cast<std::size_t>(i)]);
            took = clock_type::now() - begin;
        }
        for (const int fd : slots_) ::close(fd);
        std::printf("connections_per_s %.1f count %llu failed %llu\n",
                    static_cast<double>(done_) / took.count(), static_cast<unsigned long long>(done_),
                    static_cast<unsigned long long>(failed_));
    }

  private:
    void open(std::size_t i) {
        const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0) fail("socket");
        slots_[i] = fd;
        answered_[i] = false;
        if (::connect(fd, generic(to_), sizeof to_) != 0 && errno != EINPROGRESS) fail("connect");
        epoll_event e{};
        e.events = EPOLLOUT;
        e.data.u64 = i;
        if (::epoll_ctl(poll_.get(), EPOLL_CTL_ADD, fd, &e) != 0) fail("epoll_ctl");
    }

    void ready(const epoll_event& seen) {
        const std::size_t i = seen.data.u64;
        const int fd = slots_[i];
        if ((seen.events & EPOLLOUT) != 0) {
            const ssize_t n = ::send(fd, request_.data(), request_.size(), MSG_NOSIGNAL);
            if (n != static_cast<ssize_t>(request_.size())) return again(i, false);
            epoll_event e{};
            e.events = EPOLLIN;
            e.data.u64 = i;
            if (::epoll_ctl(poll_.get(), EPOLL_CTL_MOD, fd, &e) != 0) fail("epoll_ctl");
            return;
        }
        std::array<char, 4096> buffer;
        for (;;) {
            const ssize_t n = ::recv(fd, buffer.data(), buffer.size(), 0);
            if (n < 0 && errno == EAGAIN) return;
            if (n <= 0) return again(i, n == 0 && answered_[i]);
            answered_[i] = true;
        }
    }

    void again(std::size_t i, bool well) {
        ++(well ? done_ : failed_);
        ::close(slots_[i]);
        open(i);
    }

    sockaddr_in to_;
    std::string_view request_;
    std::vector<int> slots_;
    std::vector<bool> answered_;
    socket_fd poll_;
    std::uint64_t done_ = 0;
    std::uint64_t failed_ = 0;
};

} // namespace

int main(int argc, char** argv) {
    samples::command_line line("client: kernel sockets for bench/run");
    std::string what;
    std::string host;
    std::uint16_t port = 0;
    double duration = 1;
    std::size_t concurrent = 0;
    line.option("what", what)
        .required()
        .one_of({"bulk-send", "bulk-receive", "pingpong", "connections", "hold"});
    line.option("host", host).required();
    line.option("port", port).required();
    line.option("--seconds", duration).within(0.01, 60.0);
    line.option("--concurrent", concurrent, "connections at a time (default: 1 for bulk, 64 for connections)")
        .within(1, 1'000'000);
    if (const auto status = line.parse(argc, argv)) return *status;
    try {
        const sockaddr_in to = address_of(host, port);
        const seconds t(duration);
        if (concurrent == 0) concurrent = what == "connections" ? 64 : 1;
        if (what == "bulk-send") bulk_client(to, concurrent).read_for(t);
        if (what == "bulk-receive") bulk_client(to, concurrent).write_for(t);
        if (what == "hold") hold(to, concurrent);
        if (what == "pingpong") pingpong(to, t);
        if (what == "connections") {
            const std::string request = "GET / HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n";
            connection_client(to, request, concurrent).run(t);
        }
    } catch (const std::exception& e) {
        std::fprintf(stderr, "client %s: %s\n", what.c_str(), e.what());
        return 1;
    }
    return 0;
}
