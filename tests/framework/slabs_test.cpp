#include <tapir/framework/random.hpp>
#include <tapir/framework/slabs.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

using namespace tapir;

namespace {
constexpr std::size_t size = 40'000; // bytes: 52 in a slab
constexpr std::size_t in_a_slab = 52;
} // namespace

TEST_CASE("slabs: objects begin at lines, and none touches another") {
    slabs all(size);
    tapir::random r(1);
    std::vector<std::pair<std::byte*, std::byte>> objects; // and what fills them
    const auto check_and_free = [&](std::size_t i) {
        const auto [at, filled] = std::exchange(objects[i], objects.back());
        objects.pop_back();
        CHECK(at[0] == filled);
        CHECK(at[size / 2] == filled);
        CHECK(at[size - 1] == filled);
        slabs::free(at);
    };
    for (int n = 0; n < 1'000; ++n) {
        if (objects.empty() || r.below(100) < 55) {
            auto* const at = static_cast<std::byte*>(all.allocate());
            CHECK(reinterpret_cast<std::uintptr_t>(at) % cache_line == 0);
            objects.emplace_back(at, static_cast<std::byte>(n));
            std::memset(at, n, size);
        } else {
            check_and_free(r.below(static_cast<std::uint32_t>(objects.size())));
        }
    }
    while (!objects.empty()) check_and_free(0);
    CHECK(all.count() == 1);
}

TEST_CASE("slabs: a line begins behind the first bytes of each object") {
    constexpr std::size_t before = 16;
    slabs all(cache_line * 7 - 8, before);
    std::vector<std::byte*> objects;
    while (all.count() < 3) objects.push_back(static_cast<std::byte*>(all.allocate()));
    for (std::byte* const at : objects) {
        CHECK(reinterpret_cast<std::uintptr_t>(at + before) % cache_line == 0);
        std::memset(at, 0xff, cache_line * 7 - 8); // and the slabs still know what is theirs
    }
    for (std::byte* const at : objects) slabs::free(at);
    CHECK(all.count() == 1);
}

TEST_CASE("slabs: what was freed last serves next, and those without objects go, but for one") {
    slabs all(size);
    std::vector<void*> objects;
    for (std::size_t i = 0; i < 3 * in_a_slab; ++i) objects.push_back(all.allocate());
    CHECK(all.count() == 3);
    slabs::free(objects[60]);
    slabs::free(objects[70]);
    CHECK(all.allocate() == objects[70]);
    CHECK(all.allocate() == objects[60]);
    CHECK(all.count() == 3);
    for (std::size_t i = 0; i + 1 < objects.size(); ++i) slabs::free(objects[i]);
    CHECK(all.count() == 2); // the last one's, and an empty one
    slabs::free(objects.back());
    CHECK(all.count() == 1);
    void* const again = all.allocate(); // from the one that was kept
    CHECK(all.count() == 1);
    slabs::free(again);
}

TEST_CASE("slabs: objects outlive the thread that made them") {
    struct one : in_slabs<one> {
        std::vector<int> numbers{1, 2, 3};
    };
    std::vector<std::unique_ptr<one>> kept;
    std::jthread([&] {
        for (int i = 0; i < 100'000; ++i) kept.push_back(std::make_unique<one>());
        kept.resize(kept.size() / 2);
    }).join();
    CHECK(kept.back()->numbers.size() == 3);
    kept.clear();
}
