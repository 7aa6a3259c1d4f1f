// The kernel's TCP as a plain program uses it: one thread, epoll, read() and write(). The services of
// server.cpp at the same ports, and the same response.

#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string>
#include <string_view>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <system_error>
#include <unistd.h>
#include <vector>

#include "samples/support/command_line.hpp"

namespace {

constexpr std::string_view response =
    "HTTP/1.1 200 OK\r\nServer: epoll\r\nDate: Sun, 29 Nov 2026 07:00:00 GMT\r\n"
    "Content-Type: text/plain\r\nContent-Length: 13\r\n\r\nhello, world\n";

enum class role : std::uint8_t { http, source, sink, echo };

struct descriptor {
    role what = role::http;
    bool listens = false;
    bool asked_to_close = false;
    std::uint8_t matched = 0; ///< bytes of the blank line that ends a request
};

int must(int outcome, const char* what) {
    if (outcome < 0) throw std::system_error(errno, std::system_category(), what);
    return outcome;
}

class server {
  public:
    server(const std::string& address, std::uint16_t port) : poll_(must(::epoll_create1(0), "epoll")) {
        for (int i = 0; i < 4; ++i) {
            sockaddr_in a{};
            a.sin_family = AF_INET;
            a.sin_port = htons(static_cast<std::uint16_t>(port + i));
            must(::inet_pton(AF_INET, address.c_str(), &a.sin_addr) - 1, "address");
            const int s = must(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
            const int on = 1;
            ::setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
            must(::bind(s, reinterpret_cast<sockaddr*>(&a), sizeof a), "bind");
            must(::listen(s, 1024), "listen");
            watch(s, EPOLLIN, {.what = static_cast<role>(i), .listens = true});
        }
    }

    [[noreturn]] void run() {
        std::array<epoll_event, 256> events;
        for (;;) {
            const int n = ::epoll_wait(poll_, events.data(), static_cast<int>(events.size()), -1);
            for (int i = 0; i < n; ++i) {
                const epoll_event& e = events[static_cast<std::size_t>(i)];
                const int fd = e.data.fd;
                if (at(fd).listens)
                    accept(fd);
                else if (at(fd).what == role::source && (e.events & (EPOLLERR | EPOLLHUP)) == 0)
                    send(fd, {zeros_.data(), zeros_.size()});
                else
                    readable(fd);
            }
        }
    }

  private:
    descriptor& at(int fd) { return all_[static_cast<std::size_t>(fd)]; }

    void watch(int fd, std::uint32_t events, descriptor d) {
        if (all_.size() <= static_cast<std::size_t>(fd)) all_.resize(static_cast<std::size_t>(fd) * 2);
        at(fd) = d;
        epoll_event e{};
        e.events = events;
        e.data.fd = fd;
        must(::epoll_ctl(poll_, EPOLL_CTL_ADD, fd, &e), "epoll_ctl");
    }

    void accept(int listener) {
        for (int i = 0; i < 64; ++i) {
            const int fd = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
            if (fd < 0) return;
            const int on = 1;
            ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            watch(fd, at(listener).what == role::source ? EPOLLOUT : EPOLLIN, {.what = at(listener).what});
        }
    }

    void send(int fd, std::string_view bytes) {
        if (::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0 && errno != EAGAIN) ::close(fd);
    }

    void readable(int fd) {
        const ssize_t n = ::read(fd, buffer_.data(), buffer_.size());
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) {
            ::close(fd);
            return;
        }
        const std::string_view bytes(buffer_.data(), static_cast<std::size_t>(n));
        if (at(fd).what == role::echo) send(fd, bytes);
        if (at(fd).what == role::http) request(fd, bytes);
    }

    void request(int fd, std::string_view bytes) {
        descriptor& d = at(fd);
        if (bytes.find("onnection: close") != bytes.npos || bytes.find("HTTP/1.0") != bytes.npos)
            d.asked_to_close = true;
        constexpr std::string_view blank_line = "\r\n\r\n";
        answers_.clear();
        for (const char c : bytes) {
            d.matched = c == blank_line[d.matched] ? static_cast<std::uint8_t>(d.matched + 1) : c == '\r';
            if (d.matched == 4) {
                d.matched = 0;
                answers_ += response;
            }
        }
        if (answers_.empty()) return;
        send(fd, answers_);
        if (d.asked_to_close) ::close(fd);
    }

    int poll_;
    std::vector<descriptor> all_ = std::vector<descriptor>(1024);
    std::vector<char> buffer_ = std::vector<char>(64 * 1024);
    std::vector<char> zeros_ = std::vector<char>(64 * 1024);
    std::string answers_;
};

} // namespace

int main(int argc, char** argv) {
    samples::command_line line("epoll_server: source, sink, echo and HTTP on the kernel's sockets");
    std::string address = "127.0.0.1/24";
    std::uint16_t port = 8000;
    line.option("--address", address);
    line.option("--port", port);
    if (const auto status = line.parse(argc, argv)) return *status;
    std::signal(SIGPIPE, SIG_IGN);
    try {
        server s(address.substr(0, address.find('/')), port);
        std::puts("ready epoll");
        std::fflush(stdout);
        s.run();
    } catch (const std::exception& e) {
        std::fprintf(stderr, "epoll_server: %s\n", e.what());
        return 1;
    }
}
