#include <tapir/framework/coroutine_tree.hpp>
#include <tapir/framework/event.hpp>
#include <tapir/framework/fiber.hpp>
#include <tapir/framework/fiber_stack.hpp>
#include <tapir/framework/io_await.hpp>
#include <tapir/framework/mutex.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/sim_backend.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/framework/uring_backend.hpp>
#include <tapir/framework/when_all.hpp>

#include <doctest/doctest.h>

#include <array>
#include <csignal>
#include <memory>
#include <stdexcept>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

using namespace tapir;

namespace {

using log_of = std::vector<std::string>;

task<int> later(int value) {
    (void)co_await sleep_for(1ms);
    co_return value;
}

task<int> fail_later(const char* what) {
    (void)co_await sleep_for(1ms);
    throw std::runtime_error(what);
}

/// Uses real stack, so that the optimiser cannot turn the recursion into a loop.
int deep(int levels) {
    std::array<volatile char, 128> frame{};
    frame[static_cast<std::size_t>(levels) % frame.size()] = 1;
    if (levels == 0) return fiber_await(later(1));
    return deep(levels - 1) + frame[static_cast<std::size_t>(levels) % frame.size()];
}

} // namespace

TEST_CASE("fiber: plain code waits for tasks, and its value is the task's") {
    reactor r(make_sim_backend());
    const auto work = [] {
        int sum = 0;
        for (int i = 1; i <= 10; ++i) sum += fiber_await(later(i));
        return sum;
    };
    const instant before = r.now();
    CHECK(r.run(run_in_fiber(work)) == 55);
    CHECK(r.now() == before + 10ms); // it waited each time
}

TEST_CASE("fiber: void, move-only and ready outcomes pass") {
    reactor r(make_sim_backend());
    const auto work = [] {
        fiber_await(yield());
        const auto boxed = [](int n) -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(n); };
        std::unique_ptr<int> got = fiber_await(boxed(7));
        event set;
        set.set();
        CHECK(fiber_await(set.wait())); // nothing to wait for: no switch
        *got += 1;
        return got;
    };
    CHECK(*r.run(run_in_fiber(work)) == 8);
}

TEST_CASE("fiber: only the fiber blocks; many of them and coroutines interleave") {
    reactor r(make_sim_backend());
    log_of log;
    const auto root = [&]() -> task<> {
        const auto fiber_of = [&](std::string name) {
            return [&log, name] {
                for (int i = 0; i < 2; ++i) {
                    log.push_back(name + std::to_string(i));
                    (void)fiber_await(sleep_for(2ms));
                }
            };
        };
        const auto a = fiber_of("a");
        const auto b = fiber_of("b");
        const auto coroutine = [&]() -> task<> {
            for (int i = 0; i < 2; ++i) {
                log.push_back("c" + std::to_string(i));
                (void)co_await sleep_for(2ms);
            }
        };
        (void)co_await when_all(run_in_fiber(a), run_in_fiber(b), coroutine());
    };
    r.run(root());
    CHECK(log == log_of{"a0", "b0", "c0", "a1", "b1", "c1"});
}

TEST_CASE("fiber: it may await from any depth of ordinary calls") {
    reactor r(make_sim_backend());
    const auto work = [] { return deep(200); };
    CHECK(r.run(run_in_fiber(work)) == 201);
}

TEST_CASE("fiber: fibers nest") {
    reactor r(make_sim_backend());
    struct nest {
        static int run(int levels) {
            if (levels == 0) return fiber_await(later(1));
            const auto inner = [levels] { return run(levels - 1); };
            return 1 + fiber_await(run_in_fiber(inner));
        }
    };
    const auto work = [] { return nest::run(30); };
    CHECK(r.run(run_in_fiber(work)) == 31);
}

TEST_CASE("fiber: exceptions pass out of it and into it") {
    reactor r(make_sim_backend());
    const auto throws = [] {
        fiber_await(yield());
        throw std::runtime_error("out");
    };
    CHECK_THROWS_WITH_AS(r.run(run_in_fiber(throws)), "out", std::runtime_error);
    const auto catches = []() -> std::string {
        try {
            (void)fiber_await(fail_later("in"));
        } catch (const std::runtime_error& e) {
            return e.what();
        }
        return "nothing";
    };
    CHECK(r.run(run_in_fiber(catches)) == "in");
}

TEST_CASE("fiber: suspended in a catch block while another throws and catches, each keeps its exception") {
    reactor r(make_sim_backend());
    log_of log;
    const auto fiber_of = [&log](std::string name) {
        return [&log, name] {
            for (int round = 0; round < 3; ++round) {
                try {
                    throw std::runtime_error(name + std::to_string(round));
                } catch (const std::runtime_error&) {
                    (void)fiber_await(sleep_for(1ms)); // the others throw and catch meanwhile
                    CHECK(std::uncaught_exceptions() == 0);
                    try {
                        throw; // the one that is being handled here
                    } catch (const std::runtime_error& e) {
                        log.emplace_back(e.what());
                    }
                }
                CHECK(std::current_exception() == nullptr);
            }
        };
    };
    const auto root = [&]() -> task<> {
        const auto a = fiber_of("a");
        const auto b = fiber_of("b");
        (void)co_await when_all(run_in_fiber(a), run_in_fiber(b));
        CHECK(std::current_exception() == nullptr);
    };
    r.run(root());
    CHECK(log == log_of{"a0", "b0", "a1", "b1", "a2", "b2"});
}

TEST_CASE("fiber: suspended by a destructor during unwinding, the count of exceptions under way is its own") {
    reactor r(make_sim_backend());
    int inside = -1;
    struct probe {
        int& seen;
        ~probe() {
            // A destructor must not let exceptions out; this wait cannot throw.
            fiber_await(yield());
            seen = std::uncaught_exceptions();
        }
    };
    const auto work = [&inside] {
        try {
            const probe p{inside};
            throw std::runtime_error("unwinding");
        } catch (const std::runtime_error&) {
        }
    };
    const auto other = [] { CHECK(std::uncaught_exceptions() == 0); };
    const auto root = [&]() -> task<> { (void)co_await when_all(run_in_fiber(work), run_in_fiber(other)); };
    r.run(root());
    CHECK(inside == 1);
}

TEST_CASE("fiber: cancellation is an ordinary exception where a coroutine is given errc::cancelled") {
    reactor r(make_sim_backend());
    log_of log;
    const auto work = [&log] {
        try {
            (void)fiber_await(sleep_for(1h));
            log.emplace_back("slept");
        } catch (const fiber_cancelled& e) {
            log.push_back("caught " + e.code().message());
            fiber_await(yield()); // it may still await: cleaning up
            log.emplace_back("cleaned up");
            throw;
        }
    };
    const auto wrapped = [&]() -> task<> {
        try {
            co_await run_in_fiber(work);
        } catch (const fiber_cancelled&) {
            log.emplace_back("passed on");
        }
    };
    const auto body = [&](scope& s) -> task<> {
        s.spawn(wrapped);
        (void)co_await sleep_for(1ms);
        s.request_stop();
    };
    r.run(with_scope(body));
    CHECK(log == log_of{"caught cancelled", "cleaned up", "passed on"});
}

TEST_CASE("fiber: a function that returns a result ends with errc::cancelled, so that deadlines work") {
    reactor r(make_sim_backend());
    const auto work = []() -> result<int> {
        for (;;) {
            const auto slept = fiber_await(sleep_for(1s));
            if (!slept) continue; // code that retries on errors must not spin
        }
    };
    const auto outcome = r.run(with_timeout(3500ms, run_in_fiber(work)));
    REQUIRE_FALSE(outcome);
    CHECK(outcome.error() == errc::deadline_exceeded);
}

TEST_CASE("fiber: other errors stay values, also errc::cancelled of somebody else's token") {
    reactor r(make_uring_backend());
    const auto work = []() -> std::string {
        std::array<std::byte, 8> memory{};
        const auto bad = fiber_await(io::read(-1, memory));
        if (bad || bad.error() != errno_code(EBADF)) return "no EBADF";
        const auto timed = [](duration d) -> task<result<>> { co_return co_await sleep_for(d); };
        const auto late = fiber_await(with_timeout(1ms, timed(1h)));
        if (late || late.error() != errc::deadline_exceeded) return "no deadline";
        stop_source own;
        own.request_stop();
        const auto stopped = fiber_await(timed(1h).under(own.token()));
        return stopped ? "?" : stopped.error().message();
    };
    CHECK(r.run(run_in_fiber(work)) == "cancelled");
}

TEST_CASE("fiber: torn down with its reactor, the stack is unwound and the wait taken back") {
    log_of log;
    struct tracer {
        log_of& to;
        ~tracer() { to.emplace_back("unwound"); }
    };
    mutex held;
    {
        reactor r(make_sim_backend());
        const auto work = [&] {
            const tracer t{log};
            auto lock = fiber_await(held.lock());
            for (int i = 0; i < 2; ++i) {
                try {
                    (void)fiber_await(sleep_for(1h));
                    log.emplace_back("slept");
                } catch (const std::exception&) {
                    log.emplace_back("handled"); // never: it is no std::exception
                } catch (...) {
                    log.emplace_back("swallowed"); // met again at the next await
                }
            }
            (void)fiber_await(sleep_for(1h));
            log.emplace_back("went on");
        };
        const auto root = [&](reactor* on) -> task<> {
            promise_base& self = co_await this_coroutine;
            scope s(self, scope::policy::fail_together);
            const auto child = [&]() { return run_in_fiber(work); };
            s.spawn(child);
            (void)co_await sleep_for(1ms);
            on->post([] { throw std::runtime_error("out of the loop"); });
            (void)co_await sleep_for(1s);
        };
        CHECK_THROWS_WITH(r.run(root(&r)), "out of the loop");
        CHECK(r.timers().armed() == 0);
    }
    CHECK(log == log_of{"swallowed", "swallowed", "unwound"});
    CHECK_FALSE(held.locked());
}

TEST_CASE("fiber: fiber_await outside of a fiber says so") {
    CHECK_THROWS_AS(fiber_await(yield()), std::logic_error);
    CHECK_THROWS_AS((void)this_fiber(), std::logic_error);
    reactor r(make_sim_backend());
    const auto root = []() -> task<> {
        // In a coroutine, even one that a fiber waits for, there is no fiber either.
        const auto work = [] {
            const auto inner = []() -> task<> {
                CHECK_THROWS_AS(fiber_await(yield()), std::logic_error);
                co_await yield();
                CHECK_THROWS_AS(fiber_await(yield()), std::logic_error);
            };
            fiber_await(inner());
            const reactor* mine = &this_fiber().reactor();
            CHECK(mine != nullptr);
        };
        co_await run_in_fiber(work);
    };
    r.run(root());
}

TEST_CASE("fiber: the tree of coroutines shows the line at which a fiber waits") {
    reactor r(make_sim_backend());
    std::string tree;
    unsigned line = 0;
    const auto work = [&line] {
        line = __LINE__ + 1;
        (void)fiber_await(sleep_for(1h));
    };
    const auto child = [&]() -> task<> {
        try {
            co_await run_in_fiber(work);
        } catch (const fiber_cancelled&) {
        }
    };
    const auto body = [&](scope& s) -> task<> {
        s.spawn(child);
        (void)co_await sleep_for(1ms);
        tree = coroutine_tree(r);
        s.request_stop();
    };
    r.run(with_scope(body));
    CHECK_MESSAGE(tree.find("at fiber_test.cpp:" + std::to_string(line) + ": timer") != std::string::npos,
                  tree);
}

TEST_CASE("fiber: stacks are reused, and their size is chosen") {
    const std::size_t before = fiber_stack::pooled();
    reactor r(make_sim_backend());
    fiber_options small;
    small.stack_size = 100'000;
    const auto work = [] { return deep(20); };
    for (int i = 0; i < 20; ++i) CHECK(r.run(run_in_fiber(work, small)) == 21);
    CHECK(fiber_stack::pooled() <= before + 1);
    const fiber_stack odd(5000);
    CHECK(odd.size() % 4096 == 0);
    CHECK(odd.size() >= 5000);
}

TEST_CASE("fiber: a stack that overflows meets its guard, not its neighbour") {
    const pid_t child = ::fork();
    if (child == 0) {
        const rlimit none{0, 0};
        ::setrlimit(RLIMIT_CORE, &none);
        ::close(STDERR_FILENO); // the sanitizer's report of what is meant to happen
        ::close(STDOUT_FILENO);
        std::signal(SIGSEGV, SIG_DFL);
        const fiber_stack guarded(16 * 1024);
        // Right below the lowest usable byte.
        auto* const below = static_cast<volatile char*>(guarded.bottom()) - 1;
        *below = 1;
        ::_exit(0);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK_FALSE((WIFEXITED(status) && WEXITSTATUS(status) == 0));
}
