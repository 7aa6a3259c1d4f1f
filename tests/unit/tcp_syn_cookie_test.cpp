#include <tapir/protocols/tcp/syn_cookie.hpp>

#include <doctest/doctest.h>

namespace tapir::test {
namespace {
using namespace std::chrono_literals;
using tcp::cookie_options;
using tcp::seq;

constexpr seq irs(0xfffffff0);
constexpr duration period = 60s;

tcp::flow_key flow_from(std::uint16_t port = 5000) {
    return {ip::address::v4(192, 0, 2, 1), 80, ip::address::v4(198, 51, 100, 7), port};
}

tcp::syn_cookies fresh(std::uint32_t periods_of_a_secret = 16, std::uint64_t seed = 1) {
    return tcp::syn_cookies(siphash_key{3, 4}, random(seed), period, periods_of_a_secret);
}

cookie_options with_timestamps(std::uint16_t mss, std::uint8_t scale, bool sack) {
    cookie_options o;
    o.mss = mss;
    o.timestamps = true;
    o.scaled = scale <= 14;
    o.scale = o.scaled ? scale : std::uint8_t{0};
    o.sack_permitted = sack;
    return o;
}

TEST_CASE("a cookie keeps the MSS, rounded down to a value of its table") { // [RFC 4987 3.6]
    auto cookies = fresh();
    const auto kept = [&](std::uint16_t mss) {
        cookie_options o;
        o.mss = mss;
        const auto made = cookies.make(flow_from(), irs, o, 77, instant(100s));
        const auto back = cookies.check(flow_from(), irs, made.iss, std::nullopt, instant(100s));
        REQUIRE(back);
        CHECK_FALSE(back->timestamps);
        CHECK_FALSE(back->scaled);
        CHECK_FALSE(back->sack_permitted);
        return back->mss;
    };
    for (const std::uint16_t mss : tcp::syn_cookies::mss_table) CHECK(kept(mss) == mss);
    CHECK(kept(1) == 88); // the stack gives nobody less
    CHECK(kept(1459) == 1452);
    CHECK(kept(1400) == 1380);
    CHECK(kept(65535) == 1460);
}

TEST_CASE("with timestamps a cookie keeps every window scale, SACK-permitted and ECN") {
    auto cookies = fresh();
    for (std::uint8_t scale = 0; scale <= 15; ++scale) { // 15: the client does not scale
        for (const unsigned more : {0u, 1u, 2u, 3u}) {
            auto wanted = with_timestamps(1460, scale, (more & 1) != 0);
            wanted.ecn = (more & 2) != 0;
            const auto made = cookies.make(flow_from(), irs, wanted, 1000, instant(100s));
            const auto back = cookies.check(flow_from(), irs, made.iss, made.clock, instant(100s));
            REQUIRE(back);
            CHECK(*back == wanted);
        }
    }
}

TEST_CASE("without timestamps a cookie keeps neither scale nor SACK nor ECN, whatever the client said") {
    auto cookies = fresh();
    cookie_options o = with_timestamps(1460, 7, true);
    o.timestamps = false;
    o.ecn = true;
    const auto made = cookies.make(flow_from(), irs, o, 1000, instant(100s));
    const auto back = cookies.check(flow_from(), irs, made.iss, std::nullopt, instant(100s));
    REQUIRE(back);
    CHECK_FALSE(back->scaled);
    CHECK_FALSE(back->sack_permitted);
    CHECK_FALSE(back->ecn);
}

TEST_CASE("the clock that carries options is never ahead of the real one, and at most 127 ms behind") {
    auto cookies = fresh();
    for (const std::uint32_t base : {0u, 0x7fffffe0u, 0xffffffc0u, 12345u}) {
        for (std::uint32_t ms = 0; ms < 128; ++ms) {
            const std::uint32_t clock = base + ms;
            const auto made =
                cookies.make(flow_from(), irs, with_timestamps(1460, 14, true), clock, instant(1s));
            CHECK(clock - made.clock <= 127); // also across the wrap
        }
    }
}

TEST_CASE("a cookie is good for its own 4-tuple, SYN and options, and for no other") {
    auto cookies = fresh();
    const instant now(100s);
    const auto made = cookies.make(flow_from(), irs, with_timestamps(1460, 7, true), 1000, now);
    REQUIRE(cookies.check(flow_from(), irs, made.iss, made.clock, now));
    const tcp::flow_key flow = flow_from();
    const ip::address other = ip::address::v4(198, 51, 100, 8);
    CHECK_FALSE(cookies.check(flow_from(5001), irs, made.iss, made.clock, now));
    CHECK_FALSE(
        cookies.check({flow.local, 81, flow.remote, flow.remote_port}, irs, made.iss, made.clock, now));
    CHECK_FALSE(cookies.check({flow.local, 80, other, flow.remote_port}, irs, made.iss, made.clock, now));
    CHECK_FALSE(cookies.check({other, 80, flow.remote, flow.remote_port}, irs, made.iss, made.clock, now));
    CHECK_FALSE(cookies.check(flow, irs + 1, made.iss, made.clock, now));
    CHECK_FALSE(cookies.check(flow, irs, made.iss, std::nullopt, now));
    CHECK_FALSE(cookies.check(flow, irs, made.iss, made.clock ^ 0x10, now)); // SACK forged
    CHECK_FALSE(cookies.check(flow, irs, made.iss, made.clock ^ 0x20, now)); // ECN forged
    CHECK_FALSE(cookies.check(flow, irs, made.iss, made.clock ^ 0x01, now)); // the scale forged
    for (unsigned bit = 0; bit < 32; ++bit)                                  // and no bit of it is free
        CHECK_FALSE(cookies.check(flow, irs, seq(made.iss.value() ^ (1u << bit)), made.clock, now));
}

TEST_CASE("nobody makes cookies without the secret") {
    auto ours = fresh(16, 1);
    auto other_draw = fresh(16, 2);
    auto other_master = tcp::syn_cookies(siphash_key{3, 5}, random(1), period, 16);
    for (tcp::syn_cookies* theirs : {&other_draw, &other_master}) {
        const auto made = theirs->make(flow_from(), irs, cookie_options(), 0, instant(100s));
        CHECK_FALSE(ours.check(flow_from(), irs, made.iss, std::nullopt, instant(100s)));
    }
    unsigned guessed = 0;
    random draw(7);
    for (int i = 0; i < 20'000; ++i)
        if (ours.check(flow_from(), irs, seq(draw.next_u32()), std::nullopt, instant(100s))) ++guessed;
    CHECK(guessed == 0);
}

TEST_CASE("a cookie lives for its period and the next: 60 to 120 s") {
    auto cookies = fresh();
    const instant begins(600s); // a period begins here
    const auto early = cookies.make(flow_from(), irs, cookie_options(), 0, begins);
    const auto late = cookies.make(flow_from(1), irs, cookie_options(), 0, begins + period - 1ns);
    CHECK(cookies.check(flow_from(), irs, early.iss, std::nullopt, begins + 2 * period - 1ns));
    CHECK(cookies.check(flow_from(1), irs, late.iss, std::nullopt, begins + 2 * period - 1ns));
    CHECK_FALSE(cookies.check(flow_from(), irs, early.iss, std::nullopt, begins + 2 * period));
    CHECK_FALSE(cookies.check(flow_from(1), irs, late.iss, std::nullopt, begins + 2 * period));
    CHECK(cookies.longest_life() == 120s);
    // Nor does one come back when the period count's low bits do.
    for (int periods = 2; periods < 300; ++periods)
        CHECK_FALSE(cookies.check(flow_from(), irs, early.iss, std::nullopt, begins + periods * period));
}

TEST_CASE("secrets rotate, and a cookie of the last one is still believed for its period") {
    auto cookies = fresh(2); // a secret serves 0-120 s, the next 120-240 s ...
    const auto first = cookies.make(flow_from(), irs, cookie_options(), 0, instant(119s));
    const auto second = cookies.make(flow_from(), irs, cookie_options(), 0, instant(121s));
    CHECK(first.iss != second.iss);
    CHECK(cookies.check(flow_from(), irs, first.iss, std::nullopt, instant(179s)));
    CHECK(cookies.check(flow_from(), irs, second.iss, std::nullopt, instant(179s)));
    CHECK_FALSE(cookies.check(flow_from(), irs, first.iss, std::nullopt, instant(181s)));
}

TEST_CASE("after a long silence neither secret is an old one") {
    auto cookies = fresh(2);
    const auto made = cookies.make(flow_from(), irs, cookie_options(), 0, instant(100s));
    // Another stack drew the same first secret and never rotated it: had ours kept it, its seal would hold.
    auto stale = tcp::syn_cookies(siphash_key{3, 4}, random(1), period, 1'000'000);
    CHECK(stale.make(flow_from(), irs, cookie_options(), 0, instant(100s)).iss == made.iss);
    const auto forged = stale.make(flow_from(), irs, cookie_options(), 0, instant(10'000s));
    CHECK_FALSE(cookies.check(flow_from(), irs, forged.iss, std::nullopt, instant(10'000s)));
}

TEST_CASE("the same seed and times make the same cookies") {
    auto a = fresh(2);
    auto b = fresh(2);
    for (int s = 0; s < 1000; s += 37)
        CHECK(a.make(flow_from(), irs, cookie_options(), 0, instant(s * 1s)).iss ==
              b.make(flow_from(), irs, cookie_options(), 0, instant(s * 1s)).iss);
}

} // namespace
} // namespace tapir::test
