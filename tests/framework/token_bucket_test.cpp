#include <tapir/framework/count_by.hpp>
#include <tapir/framework/token_bucket.hpp>

#include <doctest/doctest.h>

using namespace tapir;

namespace {
int taken(token_bucket& b, instant now, int attempts) {
    int n = 0;
    for (int i = 0; i < attempts; ++i) n += b.take(now) ? 1 : 0;
    return n;
}
} // namespace

TEST_CASE("a token bucket gives its burst at once and then its rate, never more") {
    token_bucket b(4, 2);
    instant now{};
    CHECK(taken(b, now, 5) == 2);
    int n = 0;
    for (int ms = 1; ms <= 10'000; ++ms) n += taken(b, now + std::chrono::milliseconds(ms), 3);
    CHECK(n == 40);
}

TEST_CASE("a token bucket saves up its burst and no more, however long the silence") {
    token_bucket b(1000, 5);
    CHECK(taken(b, instant::min(), 10) == 5);
    CHECK(taken(b, instant{}, 10) == 5);
    CHECK(taken(b, instant{} + 100h, 10) == 5);
}

TEST_CASE("a bucket of one token gives one per interval") {
    token_bucket b(1, 1);
    const instant now{7s};
    CHECK(taken(b, now, 3) == 1);
    CHECK(taken(b, now + 999'999'999ns, 3) == 0);
    CHECK(taken(b, now + 1s, 3) == 1);
}

TEST_CASE("a token bucket says when it will give the next token") {
    token_bucket b(4, 2);
    instant now{7s};
    CHECK(b.next(now) == now);
    CHECK(taken(b, now, 2) == 2);
    CHECK(b.next(now) == now + 250ms);
    CHECK(taken(b, now + 250ms - 1ns, 1) == 0);
    now += 250ms;
    CHECK(b.next(now) == now);
    CHECK(taken(b, now, 2) == 1);
    CHECK(b.next(now + 1h) == now + 1h);
}

TEST_CASE("every reason has a counter of its own") {
    enum class reason : std::uint8_t { first, second, last };
    count_by<reason, reason::last> count;
    ++count[reason::first];
    ++count[reason::last];
    ++count[reason::last];
    CHECK(count.total() == 3);
    std::uint64_t seen = 0;
    int reasons = 0;
    count.for_each([&](reason r, std::uint64_t n) {
        CHECK(n == count[r]);
        seen = seen * 10 + n;
        ++reasons;
    });
    CHECK(reasons == 3);
    CHECK(seen == 102);
}
