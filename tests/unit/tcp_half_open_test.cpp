#include <tapir/protocols/tcp/half_open.hpp>

#include <doctest/doctest.h>

#include <cstdint>

using namespace tapir;
using namespace std::chrono_literals;

// Found by a soak: over a path with an hour of round trip all that were left went out in one instant.
TEST_CASE("half-open: retransmissions keep their distance when the SYN is more than 71 minutes old") {
    constexpr duration first_wait = 2h;
    constexpr duration longest_wait = 8h;
    tcp::half_open_table table(4, first_wait, longest_wait);
    instant now(1h);
    tcp::half_open_entry e;
    e.arrived = now;
    const std::uint32_t i = table.insert(e);
    duration wait = first_wait;
    for (int n = 0; n < 6; ++n) {
        CHECK(table.next_deadline() == now + wait);
        CHECK(table.due(now + wait - 1ms) == tcp::half_open_table::none);
        now += wait;
        REQUIRE(table.due(now) == i);
        table.retransmitted(i, now);
        CHECK(table[i].last_sent() == now);
        CHECK(table.due(now) == tcp::half_open_table::none);
        wait = wait * 2 < longest_wait ? wait * 2 : longest_wait;
    }
}
