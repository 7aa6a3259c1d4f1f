// Pairs of file descriptors for tests, and how many are open.
#pragma once

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <fcntl.h>
#include <filesystem>
#include <iterator>
#include <string_view>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace tapir::test {

/// A descriptor pair, closed at the end.
struct fds {
    int a = -1;
    int b = -1;
    static fds pipe() {
        std::array<int, 2> p{};
        REQUIRE(::pipe2(p.data(), O_CLOEXEC) == 0);
        return fds(p[0], p[1]);
    }
    static fds socketpair(int type = SOCK_STREAM) {
        std::array<int, 2> p{};
        REQUIRE(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, p.data()) == 0);
        return fds(p[0], p[1]);
    }
    fds(int first, int second) : a(first), b(second) {}
    fds(fds&& other) noexcept : a(std::exchange(other.a, -1)), b(std::exchange(other.b, -1)) {}
    ~fds() {
        if (a >= 0) ::close(a);
        if (b >= 0) ::close(b);
    }
    void put(std::string_view text) const {
        REQUIRE(::write(b, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    }
};

inline std::size_t open_descriptors() {
    const std::filesystem::directory_iterator all("/proc/self/fd");
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

} // namespace tapir::test
