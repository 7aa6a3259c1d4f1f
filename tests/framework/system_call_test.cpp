#include <tapir/framework/system_call.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <string_view>

#include "tests/support/descriptors.hpp"

using namespace tapir;

TEST_CASE("system calls: what was written is read, and an error is -1 and errno") {
    const auto ends = test::fds::pipe();
    std::array<char, 8> text{};
    CHECK(system_write(ends.b, "tapir", 5) == 5);
    CHECK(system_read(ends.a, text.data(), text.size()) == 5);
    CHECK(std::string_view(text.data()) == "tapir");
    errno = 0;
    CHECK(system_read(ends.b, text.data(), text.size()) == -1);
    CHECK(errno == EBADF);
    errno = 0;
    CHECK(system_write(-1, text.data(), text.size()) == -1);
    CHECK(errno == EBADF);
    errno = 0;
    CHECK(system_read(ends.a, nullptr, 0) == 0);
    CHECK(errno == 0);
}
