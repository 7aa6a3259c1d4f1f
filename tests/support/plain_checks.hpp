// doctest's assertions without a look at both sides: what fails is told as it is written, without values. To
// take expressions apart is a third of what there is to compile of tests. With TAPIR_QUICK this stands behind
// doctest in the precompiled header; the other presets have doctest's own, and tell the values.
#pragma once
#include <doctest/doctest.h>

namespace tapir::test {

[[gnu::noinline]] inline void check_failed(const char* file, int line, const char* what) {
    DOCTEST_ADD_FAIL_CHECK_AT(file, line, doctest::String(what));
}
[[gnu::noinline]] inline void requirement_failed(const char* file, int line, const char* what) {
    DOCTEST_ADD_FAIL_AT(file, line, doctest::String(what)); // throws
}

} // namespace tapir::test

#define TAPIR_PLAIN_CHECK(failed, text, ...)                                                                 \
    do {                                                                                                     \
        if (!static_cast<bool>(__VA_ARGS__)) tapir::test::failed(__FILE__, __LINE__, text);                  \
    } while (false)

#undef CHECK
#undef CHECK_FALSE
#undef REQUIRE
#undef REQUIRE_FALSE
#define CHECK(...) TAPIR_PLAIN_CHECK(check_failed, "CHECK(" #__VA_ARGS__ ")", __VA_ARGS__)
#define CHECK_FALSE(...) TAPIR_PLAIN_CHECK(check_failed, "CHECK_FALSE(" #__VA_ARGS__ ")", !(__VA_ARGS__))
#define REQUIRE(...) TAPIR_PLAIN_CHECK(requirement_failed, "REQUIRE(" #__VA_ARGS__ ")", __VA_ARGS__)
#define REQUIRE_FALSE(...)                                                                                   \
    TAPIR_PLAIN_CHECK(requirement_failed, "REQUIRE_FALSE(" #__VA_ARGS__ ")", !(__VA_ARGS__))
