#include <tapir/framework/io_await.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/framework/uring_backend.hpp>

#include <doctest/doctest.h>

#include <array>
#include <stdexcept>
#include <string>
#include <system_error>

#include "tests/support/descriptors.hpp"

using namespace tapir;
using test::fds;
using test::open_descriptors;

namespace {

task<std::string> read_some(int fd) {
    std::array<std::byte, 64> memory{};
    const auto n = co_await io::read(fd, memory);
    if (!n) co_return n.error().message();
    co_return std::string(as_text(std::span(memory).first(*n)));
}

} // namespace

TEST_CASE("io_await: an operation's result is the system call's") {
    reactor r(make_uring_backend());
    const fds p = fds::pipe();
    p.put("hello");
    CHECK(r.run(read_some(p.a)) == "hello");
    CHECK(r.run(read_some(-1)) == errno_code(EBADF).message());
}

TEST_CASE("io_await: a stopped coroutine resumes with errc::cancelled when the kernel has let go") {
    reactor r(make_uring_backend());
    const fds p = fds::pipe();
    std::error_code seen;
    const auto reader = [](int fd, std::error_code* to) -> task<> {
        std::array<std::byte, 16> memory{};
        const auto n = co_await io::read(fd, memory);
        if (!n) *to = n.error();
        const auto again = co_await io::read(fd, memory); // stopped already: nothing is submitted
        CHECK(again.error() == errc::cancelled);
    };
    const auto body = [&](scope& s) -> task<> {
        s.spawn(reader, p.a, &seen);
        (void)co_await sleep_for(5ms);
        s.request_stop();
    };
    r.run(with_scope(body));
    CHECK(seen == errc::cancelled);
    CHECK(r.io().uring()->in_flight() == 0);
}

TEST_CASE("io_await: a frame destroyed while it waits gives up its memory only when the kernel has") {
    const std::size_t before = open_descriptors();
    {
        reactor r(make_uring_backend());
        const fds p = fds::pipe();
        const auto reader = [](int fd) -> task<> {
            std::array<std::byte, 16> memory{};
            (void)co_await io::read(fd, memory);
        };
        const auto fails = [&](reactor* on, int fd) -> task<> {
            promise_base& self = co_await this_coroutine;
            scope s(self, scope::policy::fail_together);
            s.spawn(reader, fd);
            (void)co_await sleep_for(2ms);
            on->post([] { throw std::runtime_error("out of the loop"); });
            (void)co_await sleep_for(1s);
        };
        CHECK_THROWS_WITH(r.run(fails(&r, p.a)), "out of the loop");
        CHECK(r.io().uring()->in_flight() == 0);
    }
    CHECK(open_descriptors() == before);
}
