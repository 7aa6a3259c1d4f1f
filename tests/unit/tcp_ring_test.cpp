#include <tapir/protocols/tcp/ring.hpp>

#include <doctest/doctest.h>

namespace {
using tapir::tcp::ring;

ring<int>& filled(ring<int>& r, int n) {
    for (int i = 0; i < n; ++i) r.push_back(i);
    return r;
}
} // namespace

TEST_CASE("ring: first in, first out, beyond the end of its memory") {
    ring<int> r;
    int next = 0;
    for (int i = 0; i < 100; ++i) {
        r.push_back(2 * i);
        r.push_back(2 * i + 1);
        CHECK(r.pop_front() == next++);
    }
    CHECK(r.size() == 100);
    CHECK(r[0] == next);
    CHECK(r.back() == 199);
}

TEST_CASE("ring: an empty one keeps its first block, and no more than that") {
    ring<int> r;
    const std::size_t first_block = filled(r, 1).bytes();
    r.pop_front();
    r.trim();
    CHECK(r.bytes() == first_block);
    filled(r, 1000);
    CHECK(r.bytes() >= 1000 * sizeof(int));
    while (!r.empty()) r.pop_front();
    r.trim();
    CHECK(r.bytes() <= first_block);
    CHECK(filled(r, 3)[2] == 2);
}
