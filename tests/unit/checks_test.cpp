// Checks that do not hold are counted and shown, and a requirement ends the case: doctest's own, and those of
// tests/support/plain_checks.hpp where these stand for them.
#include <doctest/doctest.h>

namespace tapir::test {

TEST_CASE("checks: what does not hold is counted, and a requirement ends the case" *
          doctest::expected_failures(3)) {
    const int one = 1;
    CHECK(one == 1);
    CHECK_FALSE(one == 2);
    CHECK(one == 2);
    CHECK_FALSE(one == 1);
    REQUIRE(one == 2);
    CHECK(one == 3);
}

TEST_CASE("checks: so does a requirement of what must not be" * doctest::expected_failures(1)) {
    const int one = 1;
    REQUIRE(one == 1);
    REQUIRE_FALSE(one == 2);
    REQUIRE_FALSE(one == 1);
    CHECK(one == 3);
}

} // namespace tapir::test
