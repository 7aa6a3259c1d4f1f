// How the simulator finds the few faults that matter.

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <vector>

#include "tests/simulation/shrink.hpp"

using namespace tapir::test;

namespace {

std::vector<int> numbers(int n) {
    std::vector<int> out(static_cast<std::size_t>(n));
    std::iota(out.begin(), out.end(), 0);
    return out;
}
bool has(const std::vector<int>& list, int n) {
    return std::ranges::find(list, n) != list.end();
}

} // namespace

TEST_CASE("shrink: one guilty entry of a thousand is left, in far fewer runs than there are entries") {
    const auto few = minimise(numbers(1000), [](const std::vector<int>& l) { return has(l, 617); }, 300);
    CHECK(few.list == std::vector<int>{617});
    CHECK(few.minimal);
    CHECK(few.runs < 60);
}

TEST_CASE("shrink: entries that are guilty only together are all left, in their order") {
    const auto together = [](const std::vector<int>& l) { return has(l, 3) && has(l, 500) && has(l, 999); };
    const auto few = minimise(numbers(1000), together, 1000);
    CHECK(few.list == std::vector<int>{3, 500, 999});
    CHECK(few.minimal);
}

TEST_CASE("shrink: what fails without any entry needs none, and one run shows it") {
    const auto few = minimise(numbers(50), [](const std::vector<int>&) { return true; }, 300);
    CHECK(few.list.empty());
    CHECK(few.minimal);
    CHECK(few.runs == 1);
}

TEST_CASE("shrink: where every entry is needed all stay") {
    const auto few = minimise(numbers(20), [](const std::vector<int>& l) { return l.size() == 20; }, 300);
    CHECK(few.list == numbers(20));
    CHECK(few.minimal);
}

TEST_CASE("shrink: the number of runs is bounded, and what was reached by then still fails") {
    std::size_t asked = 0;
    const auto even = [&](const std::vector<int>& l) {
        ++asked;
        return std::ranges::count_if(l, [](int n) { return n % 2 == 0; }) == 500;
    };
    const auto few = minimise(numbers(1000), even, 100);
    CHECK(asked == 100);
    CHECK(few.runs == 100);
    CHECK_FALSE(few.minimal);
    CHECK(std::ranges::count_if(few.list, [](int n) { return n % 2 == 0; }) == 500);
}
