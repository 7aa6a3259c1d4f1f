// The search for the path MTU, as a function of which probes arrive. [RFC 4821 7] [RFC 8899 5]
#include <tapir/protocols/tcp/mtu_search.hpp>

#include <doctest/doctest.h>

#include <vector>

namespace tapir::test {
namespace {
using namespace std::chrono_literals;
using tcp::mtu_search;
using tcp::mtu_state;
using sizes = std::vector<int>;

constexpr instant start(1s);

tcp::mtu_limits usual() {
    tcp::mtu_limits l;
    l.least = 552;
    l.base = 1024;
    l.step = 8;
    l.probes = 3;
    l.raise_after = 10min;
    return l;
}

mtu_search low(std::uint16_t most = 1500) {
    mtu_search s(usual(), most, most);
    s.start_low();
    return s;
}

/// Probes until the search rests, over a path that carries `carries`; what was asked.
sizes probe(mtu_search& s, std::uint16_t carries, instant now = start) {
    sizes asked;
    while (const std::uint16_t size = s.next(now)) {
        REQUIRE(asked.size() < 100);
        asked.push_back(size);
        s.sent(size);
        CHECK(s.next(now) == 0); // one at a time
        if (size <= carries)
            s.arrived(now);
        else
            s.lost(now);
    }
    return asked;
}

TEST_CASE("mtu search: nothing is asked before the base is known to arrive; then the ceiling is") {
    mtu_search s = low();
    CHECK(s.state() == mtu_state::base);
    CHECK(s.size() == 1024);
    CHECK(s.next(start) == 0);
    s.proven(start);
    CHECK(s.state() == mtu_state::searching);
    CHECK(probe(s, 1500) == sizes{1500});
    CHECK(s.state() == mtu_state::complete);
    CHECK(s.size() == 1500);
}

TEST_CASE("mtu search: each size three times, those of known tunnels first, and no more than is worth it") {
    mtu_search s = low();
    s.proven(start);
    CHECK(probe(s, 1400) == sizes{1500, 1500, 1500, 1280, 1400, 1450, 1450, 1450, 1420, 1420, 1420, 1410,
                                  1410, 1410, 1405, 1405, 1405});
    CHECK(s.size() == 1400);
    CHECK(s.state() == mtu_state::complete);
}

TEST_CASE("mtu search: whatever the path carries is found, but for the last few bytes") {
    for (int most : {1500, 9000, 65535})
        for (int carries = 1024; carries <= most; carries += most / 500) {
            mtu_search s = low(static_cast<std::uint16_t>(most));
            s.proven(start);
            const sizes asked = probe(s, static_cast<std::uint16_t>(carries));
            CAPTURE(carries);
            CHECK(asked.size() < 60);
            CHECK(s.size() <= carries);
            CHECK(s.size() > carries - 8);
            CHECK(s.state() == mtu_state::complete);
        }
}

TEST_CASE("mtu search: a size that is lost once or twice is no failure, nor is one lost with others") {
    mtu_search s = low();
    s.proven(start);
    for (int i = 0; i < 2; ++i) {
        s.sent(s.next(start));
        s.lost(start);
    }
    for (int i = 0; i < 10; ++i) {
        s.sent(s.next(start));
        s.inconclusive();
    }
    CHECK(s.next(start) == 1500);
    CHECK(s.ceiling() == 1500);
}

TEST_CASE("mtu search: it rests for ten minutes, then asks for the most again") { // [RFC 8899 5.1.1]
    mtu_search s = low();
    s.proven(start);
    probe(s, 1280);
    CHECK(s.size() == 1280);
    CHECK(s.next(start + 10min - 1ns) == 0);
    CHECK(probe(s, 1500, start + 10min) == sizes{1500});
    CHECK(s.size() == 1500);
    CHECK(s.next(start + 30min) == 0); // there is no more
}

TEST_CASE("mtu search: a black hole leads to the base, then to the least, then nowhere") {
    mtu_search s(usual(), 1500, 1500);
    CHECK(s.size_below() == 1024);
    s.black_hole();
    CHECK(s.size() == 1024);
    CHECK(s.state() == mtu_state::base);
    CHECK(s.size_below() == 552);
    s.black_hole();
    CHECK(s.size() == 552);
    CHECK(s.state() == mtu_state::error);
    s.black_hole();
    CHECK(s.size() == 552);
    s.proven(start);
    probe(s, 1000);
    CHECK(s.size() > 1000 - 8);
    CHECK(s.size() <= 1000);
}

TEST_CASE("mtu search: what seemed a black hole and was none costs one probe") {
    mtu_search s(usual(), 1500, 1500);
    s.black_hole();
    s.proven(start);
    CHECK(probe(s, 1500) == sizes{1500});
}

TEST_CASE("mtu search: what a router says is the ceiling, and what is asked next") { // [RFC 8899 4.6.2]
    mtu_search s = low();
    s.proven(start);
    s.sent(1500);
    s.limit(1300, start);
    s.lost(start);
    CHECK(s.ceiling() == 1300);
    CHECK(probe(s, 1300) == sizes{1300});
    s.limit(1400, start); // no news
    CHECK(s.ceiling() == 1300);
    s.limit(800, start + 5min); // below what has arrived: the path has changed
    CHECK(s.size() == 800);
    CHECK(s.next(start + 12min) == 0); // ten minutes from then on
    CHECK(s.next(start + 15min) == 1500);
}

TEST_CASE("mtu search: where nothing can be larger there is nothing to search") {
    mtu_search s(usual(), 540, 540);
    CHECK_FALSE(s.start_low());
    CHECK(s.size_below() == 540); // below the least goes nobody
    mtu_search jumbo(usual(), 9000, 9000);
    CHECK(jumbo.start_low());
}

} // namespace
} // namespace tapir::test
