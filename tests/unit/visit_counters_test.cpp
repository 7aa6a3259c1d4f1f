// Counters have their names in one place, and none is forgotten.
#include <tapir/framework/visit_counters.hpp>
#include <tapir/protocols/ethernet/input.hpp>
#include <tapir/protocols/tcp/counters.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <string_view>

using namespace tapir;

namespace {

struct forgets_one {
    std::uint64_t sent = 0;
    std::uint64_t lost = 0;
    template <class Self, class F>
    static constexpr void visit(Self& c, F f) {
        f("sent", c.sent);
    }
};
struct says_one_twice {
    std::uint64_t sent = 0;
    std::uint64_t lost = 0;
    template <class Self, class F>
    static constexpr void visit(Self& c, F f) {
        f("sent", c.sent);
        f("lost", c.sent);
    }
};

} // namespace

TEST_CASE("counters: one that is forgotten, or named twice, is noticed when compiling") {
    static_assert(!visits_every_counter<forgets_one>());
    static_assert(!visits_every_counter<says_one_twice>());
    static_assert(visits_every_counter<tcp::counters>());
}

TEST_CASE("counters: each has its name and its value, and reasons are names of their own") {
    ethernet::input::counters c;
    c.received = 7;
    c.dropped[ethernet::drop::not_ours] = 3;
    c.dropped[ethernet::drop::length_field] = 2;
    std::string all;
    for_each_counter(c, [&](std::string_view name, std::uint64_t value) {
        all += std::string(name) + "=" + std::to_string(value) + " ";
    });
    CHECK(all == "received=7 dropped.frame_too_short=0 dropped.ieee_802_3_length_field=2 "
                 "dropped.bad_source_address=0 dropped.not_for_this_station=3 ");
}
