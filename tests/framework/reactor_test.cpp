#include <tapir/framework/event.hpp>
#include <tapir/framework/io_await.hpp>
#include <tapir/framework/log.hpp>
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/signals.hpp>
#include <tapir/framework/sim_backend.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/framework/stall_detector.hpp>
#include <tapir/framework/uring_backend.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <fcntl.h>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

using namespace tapir;

namespace {

/// Says in `to` that it has run; one called 'x' throws then.
struct noted : turn_hook {
    noted(std::string& order, char as)
        : turn_hook([](turn_hook& h, instant) {
              auto& self = static_cast<noted&>(h);
              self.to += self.name;
              if (self.name == 'x') throw std::runtime_error("so");
          }),
          to(order), name(as) {}
    std::string& to;
    char name;
};

/// Takes the log's messages while it lives. They may come from other threads.
class captured_log {
  public:
    captured_log() {
        log::set_level(log::level::info); // another test of this process may have asked for less
        log::set_sink([this](log::level at, std::string_view message) {
            const std::lock_guard lock(mutex_);
            if (at == log::level::warn) warnings_.emplace_back(message);
        });
    }
    captured_log(const captured_log&) = delete;
    captured_log& operator=(const captured_log&) = delete;
    ~captured_log() { log::set_sink({}); }
    std::vector<std::string> warnings() {
        const std::lock_guard lock(mutex_);
        return warnings_;
    }

  private:
    std::mutex mutex_;
    std::vector<std::string> warnings_;
};

/// Time goes on by a microsecond with each reading of the clock, and to the deadline with each sleep. Nothing
/// else ever happens.
class idle_world final : public backend {
  public:
    instant now() override { return now_ += 1us; }
    duration timer_resolution() const override { return duration(1 << 16); }
    bool wait(instant deadline) override {
        if (deadline <= now_) return true;
        sleeps += looks_ == 0 ? 's' : 'S';
        most_looks = std::max(most_looks, std::exchange(looks_, 0));
        now_ = deadline;
        return true;
    }
    bool look() override {
        ++looks_;
        return false;
    }
    void dispatch() override {}
    void submit(io_operation&) override { FAIL("no operations here"); }
    void cancel(io_operation&) override {}
    io_operation::completion retire(io_operation&) override { return {}; }
    void wake() override {}
    bool simulated() const override { return false; }

    std::string sleeps; ///< a letter for each: S when looks came before it
    std::size_t most_looks = 0;

  private:
    std::size_t looks_ = 0;
    instant now_{1s};
};

task<result<>> wait_for(event* e) {
    co_return co_await e->wait();
}

/// Until the watcher has said so: it reports while the stall lasts, not afterwards.
void hold_until_reported(reactor& r, captured_log& log) {
    const instant limit = r.io().now() + 10s;
    while (log.warnings().empty() && r.io().now() < limit)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

task<> nothing_at_all() {
    co_return;
}

task<> wait_a_turn() {
    co_await yield();
    co_await nothing_at_all();
}

task<> hold_the_thread(reactor* r, captured_log* log, unsigned* line) {
    *line = __LINE__ + 1;
    co_await yield(); // still the very first turn
    hold_until_reported(*r, *log);
}

task<> hold_it_behind_others(reactor* r, captured_log* log, unsigned* line) {
    co_await nothing_at_all();
    *line = __LINE__ + 1;
    co_await wait_a_turn();
    hold_until_reported(*r, *log);
}

task<> call_who_holds_it(reactor* r, captured_log* log, unsigned* line) {
    const auto holds = [=]() -> task<> {
        hold_until_reported(*r, *log);
        co_return;
    };
    co_await wait_a_turn();
    *line = __LINE__ + 1;
    co_await holds();
}

} // namespace

TEST_CASE("reactor: post() from other threads runs on the reactor's, each job once, in each thread's order") {
    reactor r(make_uring_backend());
    constexpr int threads = 4;
    constexpr int jobs = 500;
    std::vector<std::vector<int>> seen(threads);
    int total = 0;
    event all_done;
    const std::thread::id own = std::this_thread::get_id();
    bool elsewhere = false;
    std::vector<std::thread> posters;
    for (int t = 0; t < threads; ++t) {
        posters.emplace_back([&, t] {
            for (int i = 0; i < jobs; ++i) {
                r.post([&, t, i] {
                    elsewhere = elsewhere || std::this_thread::get_id() != own;
                    seen[static_cast<std::size_t>(t)].push_back(i);
                    if (++total == threads * jobs) all_done.set();
                });
                if (i % 50 == 0)
                    std::this_thread::sleep_for(std::chrono::microseconds(200)); // it falls asleep
            }
        });
    }
    const auto outcome = r.run(with_timeout(20s, wait_for(&all_done)));
    for (auto& p : posters) p.join();
    CHECK(outcome);
    CHECK_FALSE(elsewhere);
    for (const auto& one : seen) {
        REQUIRE(one.size() == jobs);
        for (int i = 0; i < jobs; ++i) CHECK(one[static_cast<std::size_t>(i)] == i);
    }
}

TEST_CASE("reactor: a posted job that throws ends run() with its exception; the reactor can run again") {
    reactor r(make_uring_backend());
    event never_set;
    r.post([] { throw std::runtime_error("posted"); });
    CHECK_THROWS_WITH((void)r.run(wait_for(&never_set)), "posted");
    const auto seven = []() -> task<int> { co_return 7; };
    CHECK(r.run(seven()) == 7);
}

TEST_CASE("reactor: jobs posted behind one that throws run in the next run(), in their order") {
    reactor r(make_sim_backend());
    std::string ran;
    r.post([&] { ran += "a"; });
    r.post([] { throw std::runtime_error("so"); });
    r.post([&] { ran += "b"; });
    r.post([&] { ran += "c"; });
    const auto nothing = []() -> task<> { co_await yield(); };
    CHECK_THROWS_WITH(r.run(nothing()), "so");
    CHECK(ran == "a");
    r.post([&] { ran += "d"; });
    r.run(nothing());
    CHECK(ran == "abcd");
}

TEST_CASE("reactor: hooks behind one that throws run in the next run(), before those asked for meanwhile") {
    reactor r(make_sim_backend());
    std::string ran;
    noted a(ran, 'a'), x(ran, 'x'), b(ran, 'b'), c(ran, 'c');
    for (noted* h : {&a, &x, &b}) r.at_turn_end(*h);
    const auto nothing = []() -> task<> { co_await yield(); };
    CHECK_THROWS_WITH(r.run(nothing()), "so");
    r.at_turn_end(c);
    r.run(nothing());
    CHECK(ran == "axbc");
}

TEST_CASE("reactor: the root's end is seen at once, without waiting for timers or for anything else") {
    reactor r(make_uring_backend());
    const auto seven = []() -> task<int> { co_return 7; };
    const instant before = r.io().now();
    CHECK(r.run(seven()) == 7);
    CHECK(r.io().now() - before < 1s);
}

TEST_CASE("reactor: past the budget, timers and I/O get their chance before the ready queue is empty") {
    for (const bool simulated : {true, false}) {
        reactor_config config;
        config.budget = 10;
        reactor r(simulated ? make_sim_backend() : make_uring_backend(), config);
        bool slept = false;
        bool stop = false;
        std::uint64_t rounds = 0;
        const auto spinner = [&]() -> task<> {
            while (!stop) {
                ++rounds;
                co_await yield();
                if (simulated && rounds > 1000) co_return; // virtual time stands still while somebody runs
            }
        };
        const auto sleeper = [&]() -> task<> {
            (void)co_await sleep_for(simulated ? duration(0) : duration(5ms));
            slept = true;
            stop = true;
        };
        const auto body = [&](scope& s) -> task<> {
            for (int i = 0; i < 20; ++i) s.spawn(spinner);
            s.spawn(sleeper);
            co_return;
        };
        r.run(with_scope(body));
        CHECK(slept);
        CHECK(rounds > 20);
    }
}

TEST_CASE("reactor: a chain of awaits that never waits spends the budget like anybody else") {
    reactor_config config;
    config.budget = 10;
    reactor r(make_sim_backend(), config);
    bool stop = false;
    std::uint64_t rounds = 0;
    const auto nothing = []() -> task<> { co_return; };
    const auto spinner = [&]() -> task<> {
        while (!stop && rounds < 10'000) {
            ++rounds;
            co_await nothing();
        }
    };
    const auto stopper = [&]() -> task<> {
        co_await yield();
        stop = true;
    };
    const auto body = [&](scope& s) -> task<> {
        s.spawn(spinner);
        s.spawn(spinner);
        s.spawn(stopper);
        co_return;
    };
    r.run(with_scope(body));
    CHECK(rounds < 100);
}

TEST_CASE("reactor: whoever is ready runs in the order in which it became so") {
    reactor r(make_sim_backend());
    std::string order;
    const auto child = [&](char name) -> task<> {
        for (int i = 0; i < 3; ++i) {
            order += name;
            co_await yield();
        }
    };
    const auto body = [&](scope& s) -> task<> {
        for (const char name : {'a', 'b', 'c'}) s.spawn(child, name);
        co_return;
    };
    r.run(with_scope(body));
    CHECK(order == "abcabcabc");
}

TEST_CASE("reactor: a turn's hook runs once, after the turn's coroutines; asked for in a hook, in the next") {
    struct counter : turn_hook {
        explicit counter(reactor& on)
            : turn_hook([](turn_hook& h, instant) {
                  auto& self = static_cast<counter&>(h);
                  ++self.runs;
                  self.seen = self.work;
                  if (self.again) {
                      self.again = false;
                      self.r.at_turn_end(self);
                  }
              }),
              r(on) {}
        reactor& r;
        int runs = 0;
        int work = 0;
        int seen = 0;
        bool again = false;
    };
    reactor r(make_sim_backend());
    counter hook(r);
    const auto worker = [&]() -> task<> {
        for (int i = 0; i < 3; ++i) {
            ++hook.work;
            r.at_turn_end(hook);
            r.at_turn_end(hook);
        }
        co_return;
    };
    const auto body = [&](scope& s) -> task<> {
        s.spawn(worker);
        s.spawn(worker);
        (void)co_await sleep_for(1ms);
        CHECK(hook.runs == 1);
        CHECK(hook.seen == 6); // both had run
        hook.again = true;
        r.at_turn_end(hook);
        (void)co_await sleep_for(1ms);
        CHECK(hook.runs == 3);
    };
    r.run(with_scope(body));
}

TEST_CASE("reactor: what waits for the end of the input comes before coroutines, and before sleep") {
    struct arrival : timer {
        explicit arrival(std::function<void()> f)
            : timer([](timer& t, instant) { static_cast<arrival&>(t).then(); }), then(std::move(f)) {}
        std::function<void()> then;
    };
    reactor r(make_sim_backend());
    std::string order;
    noted input(order, 'i');
    noted end(order, 'e');
    const auto worker = [&]() -> task<> {
        order += 'w';
        co_return;
    };
    const auto body = [&](scope& s) -> task<> {
        arrival comes([&] {
            r.at_turn_end(end);
            r.at_input_end(input);
            r.at_input_end(input);
            order += 'a';
        });
        r.timers().arm(comes, r.now() + 1ms);
        (void)co_await sleep_for(1ms);
        CHECK(order == "ai");
        s.spawn(worker);
        (void)co_await sleep_for(1ms);
        CHECK(order == "aiwe");
        // Asked for by a coroutine, when nobody else will wake the loop.
        r.at_input_end(input);
        const instant before = r.now();
        (void)co_await sleep_for(1h);
        CHECK(order == "aiwei");
        CHECK(r.now() == before + 1h);
    };
    r.run(with_scope(body));
}

TEST_CASE("reactor: the end of a turn waits for the next while more input waits, for no third, and not past "
          "run()") {
    struct noted : turn_hook {
        noted(reactor& r, std::string& order)
            : turn_hook([](turn_hook& h, instant) {
                  auto& self = static_cast<noted&>(h);
                  self.to += self.of.input_waits() ? 'E' : 'e';
              }),
              of(r), to(order) {}
        reactor& of;
        std::string& to;
    };
    reactor_config config;
    config.budget = 1; // a turn for each yield()
    reactor r(make_sim_backend(), config);
    std::string order;
    noted end(r, order);
    const auto turn = [&](char name) {
        order += name;
        r.at_turn_end(end);
        r.more_input_waits();
    };
    const auto root = [&]() -> task<> {
        turn('a');
        co_await yield();
        turn('b');
        co_await yield();
        turn('c');
        const instant before = r.now();
        (void)co_await sleep_for(1h); // nobody else is there to wake the loop
        CHECK(r.now() == before + 1h);
        CHECK(order == "abEce");
        turn('d');
    };
    r.run(root());
    CHECK(order == "abEcede");
}

TEST_CASE("reactor: now() is one instant for the whole turn and never goes back") {
    reactor r(make_uring_backend());
    const auto root = [&]() -> task<> {
        instant before = r.now();
        for (int i = 0; i < 50; ++i) {
            const instant turn = r.now();
            CHECK(turn >= before);
            std::this_thread::sleep_for(std::chrono::microseconds(10));
            CHECK(r.now() == turn);
            before = turn;
            co_await yield();
        }
    };
    r.run(root());
}

TEST_CASE("reactor: real sleep ends at its deadline, not before, and in order") {
    reactor r(make_uring_backend());
    std::vector<int> order;
    const auto sleeper = [&](int ms) -> task<> {
        const instant due = r.now() + std::chrono::milliseconds(ms);
        (void)co_await sleep_until(due);
        CHECK(r.io().now() >= due);
        order.push_back(ms);
    };
    const auto body = [&](scope& s) -> task<> {
        for (const int ms : {9, 3, 6, 1}) s.spawn(sleeper, ms);
        co_return;
    };
    r.run(with_scope(body));
    CHECK(order == std::vector<int>{1, 3, 6, 9});
}

TEST_CASE("reactor: a coroutine that holds its thread is reported while it does, with function and line") {
    // Whoever has awaited nothing yet is told by the line that calls it.
    const auto told = [](auto holder, const char* name) {
        captured_log log;
        reactor_config config;
        config.stall_after = 40ms;
        reactor r(make_uring_backend(), config);
        unsigned line = 0;
        r.run(holder(&r, &log, &line));
        CHECK(r.stalls()->stalls() == 1);
        const auto warnings = log.warnings();
        REQUIRE(warnings.size() == 1);
        CHECK_MESSAGE(warnings[0].find("reactor_test.cpp:" + std::to_string(line)) != std::string::npos,
                      warnings[0]);
        CHECK_MESSAGE(warnings[0].find(name) != std::string::npos, warnings[0]);
    };
    told(hold_the_thread, "hold_the_thread");
    told(hold_it_behind_others, "hold_it_behind_others");
    told(call_who_holds_it, "call_who_holds_it");
}

TEST_CASE("reactor: one that sleeps long, or works in short turns, is no stall") {
    captured_log log;
    reactor_config config;
    config.stall_after = 150ms;
    reactor r(make_uring_backend(), config);
    const auto root = [&]() -> task<> {
        (void)co_await sleep_for(300ms);
        for (int i = 0; i < 60; ++i) {
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
            (void)co_await sleep_for(100us);
        }
    };
    r.run(root());
    std::this_thread::sleep_for(std::chrono::milliseconds(300)); // nobody runs: nobody is held up
    CHECK(log.warnings().empty());
    reactor virtual_time(make_sim_backend());
    CHECK(virtual_time.stalls() == nullptr);
    config.stall_after = duration::zero();
    const reactor unwatched(make_uring_backend(), config);
    CHECK(unwatched.stalls() == nullptr);
}

TEST_CASE("reactor spins: bounded in time, and after spins in vain ever more sleeps come without one") {
    auto made = std::make_unique<idle_world>();
    idle_world& world = *made;
    reactor_config config;
    config.stall_after = 0ns;
    config.spin = 50us;
    reactor r(std::move(made), config);
    const auto sleeper = []() -> task<> {
        for (int i = 0; i < 3000; ++i) (void)co_await sleep_for(1ms);
    };
    r.run(sleeper());
    CHECK(world.most_looks == 50);
    CHECK(world.sleeps.starts_with("SsSsssSsssssssS"));
    const std::size_t last = world.sleeps.rfind('S');
    CHECK(last - world.sleeps.rfind('S', last - 1) == 1 + reactor_config::most_sleeps_between_spins);
    const spin_counters& spun = r.spun();
    CHECK(spun.found == 0);
    CHECK(spun.spins == static_cast<std::size_t>(std::ranges::count(world.sleeps, 'S')));
    CHECK(spun.spent_ns <= spun.spins * 51'000);
}

TEST_CASE("reactor spins: posts, signals, files, timers and stopping are served meanwhile, on every ring") {
    for (const std::uint32_t setup : {0U, 1U, 2U}) {
        CAPTURE(setup);
        uring_config ring;
        ring.skip_setups = setup;
        reactor_config config;
        config.spin = 60s; // what is not served so is late enough to be noticed
        reactor r(make_uring_backend(ring), config);
        std::array<int, 2> pipe{};
        REQUIRE(::pipe2(pipe.data(), O_CLOEXEC) == 0);
        event posted;
        const auto body = [&]() -> task<> {
            signal_set signals(SIGUSR2);
            const pthread_t own = ::pthread_self();
            const instant before = r.io().now();
            std::thread([&] { r.post([&] { posted.set(); }); }).join();
            CHECK(co_await posted.wait());
            std::thread late([&] {
                std::this_thread::sleep_for(std::chrono::milliseconds(2));
                ::pthread_kill(own, SIGUSR2);
            });
            CHECK(co_await signals.next());
            late.join();
            std::thread writer([&] {
                std::this_thread::sleep_for(std::chrono::milliseconds(2));
                CHECK(::write(pipe[1], "x", 1) == 1);
            });
            std::array<std::byte, 8> buffer;
            CHECK(co_await io::read(pipe[0], buffer));
            writer.join();
            CHECK(co_await sleep_for(2ms));
            event never_set;
            const auto stopped = co_await with_timeout(2ms, wait_for(&never_set));
            CHECK(stopped.error() == errc::deadline_exceeded);
            CHECK(r.io().now() - before < 10s);
            CHECK(r.io().now() - before > 4ms);
        };
        r.run(body());
        CHECK(r.spun().found != 0);
        CHECK(r.spun().spent_ns > 4'000'000);
        ::close(pipe[0]);
        ::close(pipe[1]);
    }
}
