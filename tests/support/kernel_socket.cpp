#include "tests/support/kernel_socket.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdexcept>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

namespace tapir::test {
namespace {

[[noreturn]] void fail(const std::string& call) {
    throw std::runtime_error(call + ": " +
                             (errno == EAGAIN ? "nothing happened for 20 s" : std::strerror(errno)));
}

sockaddr_in address_of(const std::string& address, std::uint16_t port) {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_port = htons(port);
    if (::inet_pton(AF_INET, address.c_str(), &a.sin_addr) != 1) throw std::runtime_error(address);
    return a;
}

} // namespace

kernel_socket::kernel_socket(int fd) : fd_(fd) {
    if (fd < 0) fail("socket");
    const timeval limit{20, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

kernel_socket::~kernel_socket() {
    if (fd_ >= 0) ::close(fd_);
}

kernel_socket kernel_socket::connected(const std::string& address, std::uint16_t port) {
    kernel_socket s(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_in to = address_of(address, port);
    if (::connect(s.fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0)
        fail("connect to " + address);
    return s;
}

kernel_socket kernel_socket::connecting(const std::string& address, std::uint16_t port) {
    kernel_socket s(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const sockaddr_in to = address_of(address, port);
    if (::connect(s.fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0 && errno != EINPROGRESS)
        fail("connect to " + address);
    if (::fcntl(s.fd_, F_SETFL, 0) != 0) fail("fcntl");
    return s;
}

kernel_socket kernel_socket::fast_opened(const std::string& address, std::uint16_t port,
                                         std::string_view text) {
    kernel_socket s(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_in to = address_of(address, port);
    const ssize_t n = ::sendto(s.fd_, text.data(), text.size(), MSG_FASTOPEN | MSG_NOSIGNAL,
                               reinterpret_cast<const sockaddr*>(&to), sizeof to);
    if (n < 0) fail("connect to " + address);
    s.write(text.substr(static_cast<std::size_t>(n)));
    return s;
}

kernel_socket kernel_socket::listening(const std::string& address, std::uint16_t port) {
    kernel_socket s(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int yes = 1;
    ::setsockopt(s.fd_, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    const sockaddr_in at = address_of(address, port);
    if (::bind(s.fd_, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0) fail("bind to " + address);
    if (::listen(s.fd_, 64) != 0) fail("listen");
    return s;
}

kernel_socket kernel_socket::accept() const {
    const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) fail("accept");
    return kernel_socket(fd);
}

void kernel_socket::write(std::string_view text) const {
    while (!text.empty()) {
        const ssize_t n = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
        if (n < 0) fail("send");
        text.remove_prefix(static_cast<std::size_t>(n));
    }
}

std::string kernel_socket::read(std::size_t size) const {
    std::string part(size, '\0');
    const ssize_t n = ::recv(fd_, part.data(), part.size(), 0);
    if (n < 0) fail("recv");
    part.resize(static_cast<std::size_t>(n));
    return part;
}

std::string kernel_socket::read_exactly(std::size_t size) const {
    std::string all;
    while (all.size() < size) {
        const std::string part = read(std::min<std::size_t>(size - all.size(), 65536));
        if (part.empty()) break;
        all += part;
    }
    return all;
}

std::string kernel_socket::read_to_end() const {
    std::string all;
    for (std::string part = read(); !part.empty(); part = read()) all += part;
    return all;
}

std::string kernel_socket::read_head() const {
    std::string head;
    while (!head.ends_with("\r\n\r\n")) {
        const std::string next = read(1);
        if (next.empty()) break;
        head += next;
    }
    return head;
}

void kernel_socket::finish() const {
    if (::shutdown(fd_, SHUT_WR) != 0) fail("shutdown");
}

bool kernel_socket::established() const {
    tcp_info info{};
    socklen_t size = sizeof info;
    if (::getsockopt(fd_, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) fail("TCP_INFO");
    return info.tcpi_state == TCP_ESTABLISHED;
}

void kernel_socket::allow_fast_open() const {
    const int pending = 16;
    if (::setsockopt(fd_, IPPROTO_TCP, TCP_FASTOPEN, &pending, sizeof pending) != 0) fail("TCP_FASTOPEN");
}

bool kernel_socket::was_fast_opened() const {
    tcp_info info{};
    socklen_t size = sizeof info;
    if (::getsockopt(fd_, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) fail("TCP_INFO");
    return (info.tcpi_options & TCPI_OPT_SYN_DATA) != 0;
}

void kernel_socket::reset_on_close() const {
    const linger at_once{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

} // namespace tapir::test
