#include <tapir/framework/coroutine_tree.hpp>
#include <tapir/framework/event.hpp>
#include <tapir/framework/race.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/sim_backend.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/framework/task.hpp>
#include <tapir/framework/when_all.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

using namespace tapir;

namespace {

task<int> add(int a, int b) {
    co_return a + b;
}

task<int> depth(int n) {
    if (n == 0) co_return 0;
    co_return 1 + co_await depth(n - 1);
}

task<bool> stopped_below(int n) {
    if (n > 0) co_return co_await stopped_below(n - 1);
    const promise_base& self = co_await this_coroutine;
    const bool before = self.stop().stop_requested();
    (void)co_await sleep_for(1h);
    co_return !before && self.stop().stop_requested();
}

task<int> loop(int n) {
    int sum = 0;
    for (int i = 0; i < n; ++i) sum += co_await add(i, 1);
    co_return sum;
}

task<int> fail_with(const char* what) {
    co_await yield();
    throw std::runtime_error(what);
}

task<int> answer_after(duration d, int value) {
    (void)co_await sleep_for(d);
    co_return value;
}

task<result<int>> slow_result(duration d) {
    auto slept = co_await sleep_for(d);
    if (!slept) co_return slept.error();
    co_return 7;
}

} // namespace

TEST_CASE("a task returns its value to whoever awaits it") {
    reactor r(make_sim_backend());
    CHECK(r.run(add(40, 2)) == 42);
}

TEST_CASE("a chain of a hundred thousand awaits uses no stack") {
    reactor r(make_sim_backend());
    CHECK(r.run(depth(100'000)) == 100'000);
    CHECK(r.run(loop(60'000)) == 1'800'030'000);
}

TEST_CASE(
    "one that waits below a hundred thousand awaits has the stop token of the outermost, and is found") {
    reactor r(make_sim_backend());
    stop_source stop;
    std::size_t lines = 0;
    const auto body = [&](scope& s) -> task<> {
        const auto outermost = [&]() -> task<> {
            CHECK(co_await stopped_below(100'000).under(stop.token()));
        };
        s.spawn(outermost);
        (void)co_await sleep_for(1s);
        for (const promise_base* p = &*r.strands().begin(); p != nullptr; p = p->awaited()) ++lines;
        stop.request_stop();
    };
    r.run(with_scope(body));
    CHECK(lines == 100'003); // the child's own frame, outermost, and the chain
}

TEST_CASE("an exception passes through tasks to the root") {
    reactor r(make_sim_backend());
    CHECK_THROWS_WITH(r.run(fail_with("so")), "so");
}

TEST_CASE("sleeping moves virtual time to the deadline exactly, and no real time passes") {
    reactor r(make_sim_backend());
    const instant before = r.now();
    auto days = []() -> task<> { (void)co_await sleep_for(50 * 24h); };
    r.run(days());
    CHECK(r.now() - before == 50 * 24h);
}

TEST_CASE("with_timeout stops the work and tells a deadline from a cancellation") {
    reactor r(make_sim_backend());
    CHECK(r.run(with_timeout(1s, slow_result(2s))).error() == errc::deadline_exceeded);
    CHECK(r.run(with_timeout(3s, slow_result(2s))).value() == 7);
}

TEST_CASE("a duration that reaches past the end of time means never, not at once") {
    reactor r(make_sim_backend());
    CHECK(r.run(with_timeout(duration::max(), slow_result(2s))).value() == 7);
    auto first = r.run(race(answer_after(duration::max(), 1), answer_after(1s, 2)));
    CHECK(first.index() == 1);
}

TEST_CASE("a deadline of never does not keep virtual time going") {
    reactor r(make_sim_backend());
    event never_set;
    auto waits = [](event* e) -> task<result<>> { co_return co_await e->wait(); };
    const instant before = r.now();
    CHECK_THROWS_AS((void)r.run(with_deadline(never, waits(&never_set))), deadlock);
    auto sleeps = []() -> task<> { (void)co_await sleep_until(never); };
    CHECK_THROWS_AS(r.run(sleeps()), deadlock);
    CHECK(r.now() == before);
}

TEST_CASE("work that is torn down under a deadline may still use its stop token") {
    struct leaves {
        explicit leaves(stop_token t) : token(t) {}
        leaves(const leaves&) = delete;
        leaves& operator=(const leaves&) = delete;
        ~leaves() { const stop_source below(token); }
        stop_token token;
    };
    auto work = []() -> task<result<>> {
        promise_base& self = co_await this_coroutine;
        const leaves last(self.stop());
        event never_set;
        co_return co_await never_set.wait();
    };
    reactor r(make_sim_backend());
    r.post([&r] { r.post([] { throw std::runtime_error("enough"); }); }); // in the turn after the first
    CHECK_THROWS_WITH((void)r.run(with_timeout(1h, work())), "enough");
    CHECK(r.timers().armed() == 0);
}

TEST_CASE("when_all gives every value, race the first, and losers have ended") {
    reactor r(make_sim_backend());
    auto [a, b] = r.run(when_all(answer_after(2s, 1), answer_after(1s, 2)));
    CHECK(a == 1);
    CHECK(b == 2);
    const instant before = r.now();
    auto first = r.run(race(answer_after(2s, 1), answer_after(1s, 2)));
    CHECK(first.index() == 1);
    CHECK(r.now() - before == 1s);
    CHECK(r.timers().armed() == 0);
}

TEST_CASE("the first exception in a scope stops the siblings and is rethrown after all have ended") {
    reactor r(make_sim_backend());
    int stopped = 0;
    auto sibling = [](int* count) -> task<> {
        auto slept = co_await sleep_for(1h);
        if (!slept && slept.error() == errc::cancelled) ++*count;
    };
    auto body = [&](scope& s) -> task<> {
        s.spawn(sibling, &stopped);
        s.spawn(sibling, &stopped);
        s.spawn(fail_with, "first");
        co_return;
    };
    CHECK_THROWS_WITH(r.run(with_scope(body)), "first");
    CHECK(stopped == 2);
}

TEST_CASE("a supervisor keeps the siblings of a child that failed") {
    reactor r(make_sim_backend());
    std::string told;
    int finished = 0;
    auto sibling = [](int* count) -> task<> {
        if (co_await sleep_for(1s)) ++*count;
    };
    auto body = [&](scope& s) -> task<int> {
        s.spawn(sibling, &finished);
        s.spawn(fail_with, "alone");
        co_return 5;
    };
    auto handler = [&](const child_failure& f) {
        try {
            std::rethrow_exception(f.error);
        } catch (const std::exception& e) {
            told = e.what();
        }
    };
    CHECK(r.run(with_supervisor(body, handler)) == 5);
    CHECK(finished == 1);
    CHECK(told == "alone");
}

TEST_CASE("a handler that throws fails its supervisor, not the reactor's run") {
    reactor r(make_sim_backend());
    bool sibling_cancelled = false;
    auto sleeper = [&]() -> task<> { sibling_cancelled = !co_await sleep_for(1h); };
    auto body = [&](scope& s) -> task<> {
        s.spawn(sleeper);
        s.spawn(fail_with, "child");
        co_return;
    };
    auto handler = [](const child_failure&) { throw std::runtime_error("handler"); };
    std::string caught;
    auto root = [&]() -> task<> {
        try {
            co_await with_supervisor(body, handler);
        } catch (const std::runtime_error& e) {
            caught = e.what();
        }
    };
    r.run(root());
    CHECK(caught == "handler");
    CHECK(sibling_cancelled);
}

TEST_CASE("a child spawned from outside when the last one has just ended is waited for, too") {
    reactor r(make_sim_backend());
    scope* service = nullptr;
    event last_words;
    bool second_ended = false;
    auto second = [&]() -> task<> {
        (void)co_await sleep_for(1s);
        second_ended = true;
    };
    auto first = [&]() -> task<> {
        last_words.set();
        co_return;
    };
    auto service_body = [&](scope& s) -> task<> {
        service = &s;
        s.spawn(first);
        co_return;
    };
    auto outside = [&]() -> task<> {
        (void)co_await last_words.wait();
        service->spawn(second);
    };
    auto serve = [&]() -> task<> {
        co_await with_scope(service_body);
        CHECK(second_ended);
    };
    auto body = [&](scope& s) -> task<> {
        s.spawn(outside);
        s.spawn(serve);
        co_return;
    };
    r.run(with_scope(body));
    CHECK(second_ended);
}

TEST_CASE("all frames are returned, also of children that ended while their scope goes on") {
    const std::size_t before = live_frames();
    {
        reactor r(make_sim_backend());
        auto body = [&](scope& s) -> task<> {
            for (int i = 0; i < 100; ++i) s.spawn(answer_after, 1ms, i);
            (void)co_await sleep_for(1s);
            CHECK(s.running() == 0);
            CHECK(live_frames() - before <= 4);
        };
        r.run(with_scope(body));
    }
    CHECK(live_frames() == before);
}

TEST_CASE("a task that is destroyed where it waits leaves the tree, and may outlive whoever awaited it") {
    event never_set;
    std::optional<task<>> held;
    std::string with;
    std::string without;
    const auto wait_for_it = [&]() -> task<> { (void)co_await never_set.wait(); };
    const auto await_held = [&]() -> task<> { co_await std::move(*held); };
    const auto watch = [&](bool destroy) -> task<> {
        held = wait_for_it();
        auto body = [&](scope& s) -> task<> {
            s.spawn(await_held);
            co_await yield();
            co_await yield();
            reactor& r = (co_await this_coroutine).reactor();
            with = coroutine_tree(r);
            if (destroy) held.reset();
            without = coroutine_tree(r);
        };
        co_await with_scope(body);
    };
    const auto lines = [](const std::string& text) { return std::ranges::count(text, '\n'); };
    for (const bool destroy : {true, false}) {
        {
            reactor r(make_sim_backend());
            CHECK_THROWS_AS(r.run(watch(destroy)), deadlock); // nobody ever resumes await_held()
        }
        CHECK(lines(with) == 4); // watch, body, await_held, wait_for_it
        CHECK(lines(without) == (destroy ? 3 : 4));
        held.reset();
    }
}

TEST_CASE(
    "the tree shows whom each awaits now: not who ended before it waited, nor who was waited for before") {
    reactor r(make_sim_backend());
    event never_set;
    std::string tree;
    const auto innermost = [&]() -> task<> { (void)co_await never_set.wait(); };
    const auto between = [&]() -> task<> {
        CHECK(co_await add(1, 2) == 3);
        CHECK(co_await answer_after(1ms, 4) == 4);
        CHECK(co_await loop(5) == 15);
        co_await innermost();
    };
    const auto outermost = [&]() -> task<> {
        CHECK(co_await answer_after(1ms, 5) == 5);
        co_await between();
    };
    const auto alone = [&]() -> task<> {
        stop_source stop;
        CHECK(co_await add(6, 7).under(stop.token()) == 13);
        (void)co_await never_set.wait();
    };
    const auto body = [&](scope& s) -> task<> {
        s.spawn(outermost);
        s.spawn(alone);
        (void)co_await sleep_for(3ms);
        tree = coroutine_tree(r);
        CHECK(coroutine_tree(r) == tree);
        never_set.set();
    };
    r.run(with_scope(body));
    // Beside body and alone three lines below one another; nothing of those that have ended.
    CHECK(std::ranges::count(tree, '\n') == 5);
    CHECK(tree.find("\n└─ ") != std::string::npos);
    CHECK(tree.find("\n   └─ ") != std::string::npos);
    CHECK(tree.find(": event") != std::string::npos);
    for (const char* gone : {"add(", "answer_after(", "loop("}) CHECK(tree.find(gone) == std::string::npos);
}

TEST_CASE("one that the budget keeps from beginning stands in the tree, with those who await it") {
    reactor_config config;
    config.budget = 1;
    reactor r(make_sim_backend(), config);
    std::string tree;
    const auto sums = [](int from) -> task<int> { co_return from + co_await loop(3); };
    const auto body = [&](scope& s) -> task<> {
        s.spawn(sums, 1);
        co_await yield();
        for (int turns = 0; turns < 10 && tree.find("loop(") == std::string::npos; ++turns) {
            co_await yield();
            tree = coroutine_tree(r);
        }
    };
    r.run(with_scope(body));
    CHECK(tree.find("loop(int)") != std::string::npos);
    CHECK(std::ranges::count(tree, '\n') == 3); // body, sums, loop
}

TEST_CASE("ids are given when they are asked for, once") {
    reactor r(make_sim_backend());
    const auto own_id = []() -> task<std::uint64_t> {
        promise_base& self = co_await this_coroutine;
        const std::uint64_t id = self.id();
        co_await yield();
        CHECK(self.id() == id);
        co_return id;
    };
    const auto body = [&]() -> task<> {
        CHECK(co_await add(1, 2) == 3); // never asked
        CHECK(co_await own_id() == 1);
        CHECK(co_await own_id() == 2);
    };
    r.run(body());
}

TEST_CASE("an outcome that a local's destructor replaces is destroyed") {
    struct throws_at_the_end {
        ~throws_at_the_end() noexcept(false) { throw std::runtime_error("late"); }
    };
    const auto kept = std::make_shared<int>(1);
    const auto late_failure = [](std::shared_ptr<int> value) -> task<std::shared_ptr<int>> {
        const throws_at_the_end last;
        co_return value;
    };
    const auto late_value = [](std::shared_ptr<int> value) -> task<std::shared_ptr<int>> {
        try {
            const throws_at_the_end last;
            co_return value;
        } catch (const std::runtime_error&) {
            co_return std::make_shared<int>(2);
        }
    };
    reactor r(make_sim_backend());
    CHECK_THROWS_WITH((void)r.run(late_failure(kept)), "late");
    CHECK(kept.use_count() == 1);
    CHECK(*r.run(late_value(kept)) == 2);
    CHECK(kept.use_count() == 1);
}

TEST_CASE("virtual time that can never go on throws with the tree of those who wait") {
    const std::size_t before = live_frames();
    {
        reactor r(make_sim_backend());
        event never_set;
        auto waits = [](event* e) -> task<> { (void)co_await e->wait(); };
        auto body = [&](scope& s) -> task<> {
            s.spawn(waits, &never_set);
            co_await waits(&never_set);
        };
        std::string what;
        try {
            r.run(with_scope(body));
        } catch (const deadlock& e) {
            what = e.what();
        }
        CHECK(what.find("task_test.cpp") != std::string::npos);
        CHECK(what.find(": event") != std::string::npos);
    }
    CHECK(live_frames() == before);
}
