#include <tapir/framework/crossing.hpp>
#include <tapir/framework/random.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/sim_backend.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/framework/team.hpp>
#include <tapir/framework/uring_backend.hpp>

#include <doctest/doctest.h>

#include <array>
#include <deque>
#include <stdexcept>
#include <thread>
#include <vector>

using namespace tapir;

namespace {

std::vector<std::byte> record(std::uint64_t number, std::size_t size) {
    std::vector<std::byte> r(size);
    for (std::size_t i = 0; i < size; ++i) r[i] = static_cast<std::byte>(number * 7 + i);
    return r;
}

bool same(bytes a, bytes b) {
    return std::ranges::equal(a, b);
}

task<> pass_time(duration d) {
    (void)co_await sleep_for(d);
}

std::unique_ptr<reactor> on_the_ring() {
    return std::make_unique<reactor>(make_uring_backend());
}

} // namespace

TEST_CASE("crossing: records of any size go around the ring whole, in order, until it is full") {
    record_ring ring(4096);
    tapir::random draws(7);
    std::deque<std::vector<std::byte>> inside;
    std::uint64_t number = 0;
    std::size_t refused = 0;
    for (int step = 0; step < 20'000; ++step) {
        if (draws.below(2) == 0) {
            const auto r = record(number++, draws.below(700));
            const std::size_t cut = r.empty() ? 0 : draws.below(static_cast<std::uint32_t>(r.size()));
            const std::array parts{bytes(r).first(cut), bytes(r).subspan(cut)};
            std::size_t held = 0;
            for (const auto& each : inside) held += each.size() + 15;
            if (ring.put(parts)) {
                inside.push_back(r);
            } else {
                ++refused;
                CHECK(held + r.size() + 2 * 715 > 4096); // less than a record is skipped at the end, twice
            }
        } else if (const auto got = ring.front(ring.written())) {
            REQUIRE(!inside.empty());
            CHECK(same(*got, inside.front()));
            inside.pop_front();
            ring.pop();
        } else {
            CHECK(inside.empty());
        }
    }
    CHECK(refused > 100);
    const auto too_large = record(0, 5000);
    const std::array one{bytes(too_large)};
    CHECK_FALSE(ring.put(one));
}

TEST_CASE(
    "crossing: what was put before its reader opened arrives; what comes after it closed is forgotten") {
    reactor r(make_sim_backend());
    const auto between = std::make_shared<crossing>(2, 4096);
    int received = 0;
    const auto one = record(1, 10);
    const std::array parts{bytes(one)};
    CHECK(between->put(0, 1, parts));
    between->open(1, r, [&](bytes b) {
        CHECK(same(b, one));
        ++received;
    });
    CHECK(received == 0); // not inside of a call
    r.run(pass_time(1ms));
    CHECK(received == 1);
    between->close(1);
    for (int i = 0; i < 1000; ++i) CHECK((between->put(0, 1, parts) || i > 100));
    r.run(pass_time(1ms));
    CHECK(received == 1);
}

TEST_CASE("crossing: two threads hand each other 50,000 records, and none sleeps over one") {
    constexpr std::uint64_t count = 50'000;
    team both(2, on_the_ring);
    const auto between = std::make_shared<crossing>(2, 1 << 16);
    std::array<std::uint64_t, 2> received{};
    std::array<bool, 2> intact{true, true};
    const int status = both.run([&](std::size_t me) -> task<int> {
        promise_base& self = co_await this_coroutine;
        event all;
        between->open(me, self.reactor(), [&, me](bytes b) {
            const std::uint64_t number = received[me]++;
            intact[me] = intact[me] && same(b, record(number, number % 300));
            if (received[me] == count) all.set();
        });
        if (!co_await both.meet(me)) co_return 1;
        for (std::uint64_t i = 0; i < count;) {
            const auto r = record(i, i % 300);
            const std::array parts{bytes(r)};
            const bool room = between->put(me, 1 - me, parts);
            if (room) ++i;
            // It looks at its own, and now and then falls asleep and has to be woken.
            if ((!room || i % 100 == 0) && !co_await sleep_for(i % 5000 == 0 ? 2ms : 0ms)) co_return 2;
        }
        const auto done = co_await with_timeout(
            20s, [](event* e) -> task<result<>> { co_return co_await e->wait(); }(&all));
        (void)co_await both.meet(me);
        between->close(me);
        co_return done ? 0 : 3;
    });
    CHECK(status == 0);
    for (const std::size_t me : {0u, 1u}) {
        CHECK(received[me] == count);
        CHECK(intact[me]);
    }
}

TEST_CASE("team: members meet as often as they like, each on a thread of its own") {
    team four(4, on_the_ring);
    std::array<int, 4> stage{};
    std::array<std::thread::id, 4> thread{};
    const int status = four.run([&](std::size_t me) -> task<int> {
        thread[me] = std::this_thread::get_id();
        for (int n = 1; n <= 20; ++n) {
            stage[me] = n;
            if (!co_await four.meet(me)) co_return 1;
            for (const int other : stage)
                if (other != n) co_return 2;
            if (!co_await four.meet(me)) co_return 3;
        }
        co_return me == 2 ? 7 : 0;
    });
    CHECK(status == 7);
    for (std::size_t i = 1; i < 4; ++i) CHECK(thread[i] != thread[0]);
    CHECK(thread[0] == std::this_thread::get_id());
}

TEST_CASE("team: whoever is not well, or has ended, is known to all; nobody waits for it") {
    for (const bool throws : {false, true}) {
        team three(3, on_the_ring);
        std::array<bool, 3> well{true, true, true};
        const auto run = [&] {
            return three.run([&](std::size_t me) -> task<int> {
                if (me == 1 && throws) throw std::runtime_error("not me");
                if (me == 1) {
                    well[1] = co_await three.meet(1, false);
                    co_return 5;
                }
                well[me] = co_await three.meet(me);
                CHECK_FALSE(co_await three.meet(me));
                co_return 0;
            });
        };
        if (throws) {
            CHECK_THROWS_WITH(run(), "not me");
        } else {
            CHECK(run() == 5);
        }
        CHECK_FALSE(well[0]);
        CHECK_FALSE(well[2]);
    }
}

TEST_CASE("team: who is stopped while it waits for the others, and ends, counts once") {
    team three(3, on_the_ring);
    std::atomic<bool> last_has_come = false;
    std::atomic<bool> second_has_ended = false;
    bool early = false;
    const int status = three.run([&](std::size_t me) -> task<int> {
        if (me == 1) {
            (void)co_await with_timeout(1ms, [](team* t) -> task<result<>> {
                (void)co_await t->meet(1);
                co_return result<>();
            }(&three));
            second_has_ended = true;
            co_return 0;
        }
        while (!second_has_ended) (void)co_await sleep_for(1ms);
        (void)co_await sleep_for(me == 2 ? 50ms : 10ms);
        if (me == 2) last_has_come = true;
        (void)co_await three.meet(me);
        if (me == 0) early = !last_has_come;
        co_return 0;
    });
    CHECK(status == 0);
    CHECK_FALSE(early);
}

TEST_CASE("team: a reactor that cannot be made is an exception, and no program runs") {
    std::atomic<int> made = 0;
    team three(3, [&]() -> std::unique_ptr<reactor> {
        if (++made == 2) throw std::runtime_error("no ring");
        return on_the_ring();
    });
    bool ran = false;
    CHECK_THROWS_WITH(three.run([&](std::size_t) -> task<int> {
        ran = true;
        co_return 0;
    }),
                      "no ring");
    CHECK_FALSE(ran);
}
