// Streams of the kernel for tests: over AF_UNIX in the abstract namespace, by multishot operations and
// without, and over TCP on 127.0.0.1 inside a network namespace of the test's own.
#pragma once

#include <tapir/framework/kernel_stream.hpp>
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/uring_backend.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstring>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <string>
#include <string_view>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

#include "tests/skip.hpp"

namespace tapir::test {

inline kernel::address at(std::string_view text) {
    const auto parsed = kernel::address::parse(text);
    REQUIRE_MESSAGE(parsed, std::string(text));
    return *parsed;
}

/// This thread, in a network namespace of its own whose only interface is lo; back where it was at the end.
class own_network {
  public:
    own_network() {
        before_ = ::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
        if (before_ < 0 || ::unshare(CLONE_NEWNET) != 0) return;
        inside_ = true;
        const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        ifreq lo{};
        std::strcpy(lo.ifr_name, "lo");
        lo.ifr_flags = IFF_UP | IFF_RUNNING;
        ::ioctl(fd, SIOCSIFFLAGS, &lo);
        ::close(fd);
    }
    own_network(const own_network&) = delete;
    own_network& operator=(const own_network&) = delete;
    ~own_network() {
        if (inside_) ::setns(before_, CLONE_NEWNET);
        if (before_ >= 0) ::close(before_);
    }
    bool inside() const { return inside_; }

  private:
    int before_ = -1;
    bool inside_ = false;
};

inline std::string abstract_name() {
    static int next = 0;
    return "unix:@tapir-test-" + std::to_string(::getpid()) + "-" + std::to_string(++next);
}

/// Test(reactor&, address to listen at), over both families.
template <class Test>
void over_both(Test test) {
    SUBCASE("AF_UNIX") {
        reactor r(make_uring_backend());
        test(r, at(abstract_name()));
    }
    SUBCASE("AF_UNIX, an operation for each call") {
        uring_config plain;
        plain.multishot_sockets = false;
        reactor r(make_uring_backend(plain));
        test(r, at(abstract_name()));
    }
    SUBCASE("TCP") {
        const own_network net;
        if (!net.inside()) return test::skip("needs the right to make a network namespace");
        reactor r(make_uring_backend());
        test(r, at("127.0.0.1:0"));
    }
}

template <class Test>
void over_tcp(Test test) {
    const own_network net;
    if (!net.inside()) return test::skip("needs the right to make a network namespace");
    reactor r(make_uring_backend());
    test(r, at("127.0.0.1:0"));
}

struct two_ends {
    two_ends(kernel::stream c, kernel::stream s) : client(std::move(c)), server(std::move(s)) {}
    kernel::stream client;
    kernel::stream server;
};

inline task<two_ends> connected(kernel::address where) {
    auto listener = kernel::listen(where);
    REQUIRE(listener);
    auto client = co_await kernel::connect(listener->local());
    REQUIRE(client);
    auto server = co_await listener->accept();
    REQUIRE(server);
    co_return two_ends(std::move(*client), std::move(*server));
}

inline task<result<std::string>> read_text(kernel::stream* s) {
    std::array<std::byte, 256> memory{};
    const auto n = co_await s->read(memory);
    if (!n) co_return n.error();
    co_return std::string(as_text(std::span(memory).first(*n)));
}

inline task<result<std::string>> read_all(kernel::stream* s) {
    std::string all;
    for (;;) {
        const auto part = co_await read_text(s);
        if (!part) co_return part.error();
        if (part->empty()) co_return all;
        all += *part;
    }
}

} // namespace tapir::test
