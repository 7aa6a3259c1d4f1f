#include <tapir/framework/random.hpp>
#include <tapir/protocols/tcp/half_open.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

using namespace tapir;
using namespace std::chrono_literals;

TEST_CASE("half-open: tens of thousands come and go, and each is found while it is there") {
    tapir::random r(5);
    std::vector<std::uint64_t> hashes;
    tcp::half_open_table table(20'000, 1s, 60s,
                               [&](const tcp::half_open_entry& e) { return hashes[e.ts_recent]; });
    const auto find = [&](std::uint32_t n) {
        return table.find(hashes[n], [&](const tcp::half_open_entry& e) { return e.ts_recent == n; });
    };
    std::vector<std::uint32_t> where;
    for (std::uint32_t n = 0; n < 20'000; ++n) {
        hashes.push_back(r.next() & 0xffffffff00000fff); // crowded on purpose
        tcp::half_open_entry e;
        e.ts_recent = n;
        where.push_back(table.insert(e, hashes[n]));
    }
    CHECK(table.full());
    CHECK(table.bytes() <= 20'000 * 64);
    for (std::uint32_t n = 0; n < 20'000; n += 2) table.erase(where[n], hashes[n]);
    for (std::uint32_t n = 0; n < 20'000; ++n)
        REQUIRE(find(n) == (n % 2 == 1 ? where[n] : tcp::half_open_table::none));
    CHECK(table.size() == 10'000);
}

TEST_CASE(
    "half-open: when the SYN came is known to a millisecond, and when the SYN|ACK went to a microsecond") {
    tcp::half_open_entry e;
    e.sent(instant(1h + 1us), instant(1h + 5ms + 3us));
    CHECK(e.last_sent.at() == instant(1h + 5ms + 3us));
    CHECK(e.arrived() == instant(1h + 3us));
    e.sent(e.arrived(), instant(2h)); // 0xffff ms at most
    CHECK(e.arrived() == instant(2h - 65'535ms));
    CHECK(tcp::brief_instant(instant(24h * 365 * 8)).at() == instant(24h * 365 * 8));
}

// Found by a soak: over a path with an hour of round trip all that were left went out in one instant.
TEST_CASE("half-open: retransmissions keep their distance when the SYN is more than 71 minutes old") {
    constexpr duration first_wait = 2h;
    constexpr duration longest_wait = 8h;
    tcp::half_open_table table(4, first_wait, longest_wait, [](const auto&) { return 0; });
    instant now(1h);
    tcp::half_open_entry e;
    e.sent(now, now);
    const std::uint32_t i = table.insert(e, 0);
    duration wait = first_wait;
    for (int n = 0; n < 6; ++n) {
        CHECK(table.next_deadline() == now + wait);
        CHECK(table.due(now + wait - 1ms) == tcp::half_open_table::none);
        now += wait;
        REQUIRE(table.due(now) == i);
        table.retransmitted(i, now);
        CHECK(table[i].last_sent.at() == now);
        CHECK(table.due(now) == tcp::half_open_table::none);
        wait = wait * 2 < longest_wait ? wait * 2 : longest_wait;
    }
}
