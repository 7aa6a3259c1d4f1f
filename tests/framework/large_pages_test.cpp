#include <tapir/framework/large_pages.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

using namespace tapir;

TEST_CASE("large pages: a large table begins on one; a small one is as any other") {
    using table = std::vector<std::uint32_t, large_page_allocator<std::uint32_t>>;
    constexpr std::size_t words = large_page / sizeof(std::uint32_t);
    for (const std::size_t size : {std::size_t{1}, words - 1, words, words + 1, 3 * words + 7}) {
        CAPTURE(size);
        table t(size);
        std::iota(t.begin(), t.end(), 1u);
        CHECK(t.back() == size);
        if (size >= words) CHECK(reinterpret_cast<std::uintptr_t>(t.data()) % large_page == 0);
        table other = t;
        t.assign(1, 0);
        t.shrink_to_fit();
        CHECK(other.front() == 1);
        CHECK(other.back() == size);
    }
}
