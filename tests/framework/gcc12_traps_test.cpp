// g++ 12 destroys some temporaries of an expression with co_await twice, or copies them bit by bit into the
// coroutine's frame: aggregates, lambdas with captures that have destructors, initialiser lists, and both
// arms of `c ? co_await a : co_await b`. Here stand the expressions that users of tapir write all the time,
// with types that count their lives, and the way to write those that the compiler gets wrong. Run on both
// compilers, under AddressSanitizer.

#include <tapir/framework/channel.hpp>
#include <tapir/framework/error.hpp>
#include <tapir/framework/frame_pool.hpp>
#include <tapir/framework/mutex.hpp>
#include <tapir/framework/race.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/semaphore.hpp>
#include <tapir/framework/sim_backend.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/framework/stream.hpp>
#include <tapir/framework/task.hpp>
#include <tapir/framework/when_all.hpp>

#include <doctest/doctest.h>

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

using namespace tapir;

namespace {

/// Knows where each of its objects lives: a second destruction, or one at an address that was never
/// constructed (a copy made bit by bit), is counted.
class tracked {
  public:
    static std::set<const tracked*>& alive() {
        static std::set<const tracked*> all;
        return all;
    }
    static int& faults() {
        static int n = 0;
        return n;
    }
    explicit tracked(int v) : value(v) { born(); }
    tracked(const tracked& other) : value(other.value) { born(); }
    tracked(tracked&& other) noexcept : value(std::exchange(other.value, -1)) { born(); }
    tracked& operator=(const tracked&) = default;
    ~tracked() {
        if (alive().erase(this) == 0) ++faults();
    }
    int value;

  private:
    void born() {
        if (!alive().insert(this).second) ++faults();
    }
};

/// A string too long for the small-buffer optimisation: freed twice, the sanitizer sees it.
std::string long_text(int n) {
    return "a text that is much too long to live inside the string object, number " + std::to_string(n);
}

task<int> by_value(tracked t) {
    co_await yield();
    co_return t.value;
}
task<int> by_reference(const tracked& t) {
    co_await yield();
    co_return t.value;
}
task<std::string> echo(std::string text) {
    co_await yield();
    co_return text;
}
task<int> unbox(std::unique_ptr<int> boxed) {
    co_await yield();
    co_return *boxed;
}
task<result<std::string>> outcome(bool good, int n) {
    co_await yield();
    if (!good) co_return errc::reset;
    co_return long_text(n);
}
task<write_result> write_all(std::string_view text) {
    co_await yield();
    co_return write_result(errc::cancelled, text.size());
}

/// Runs `body()` and checks that every life began once and ended once, and that every frame was returned.
template <class Body>
void run(Body body) {
    const std::size_t frames = live_frames();
    tracked::faults() = 0;
    {
        reactor r(make_sim_backend());
        r.run(body());
    }
    CHECK(tracked::faults() == 0);
    CHECK(tracked::alive().empty());
    CHECK(live_frames() == frames);
}

} // namespace

TEST_CASE("traps: temporaries passed to a task that is awaited at once") {
    const auto body = []() -> task<> {
        CHECK(co_await by_value(tracked(1)) == 1);
        CHECK(co_await by_reference(tracked(2)) == 2); // lives until the end of the full expression
        CHECK(co_await echo(long_text(3)) == long_text(3));
        CHECK(co_await echo("from a literal, long enough to be allocated on the heap") ==
              "from a literal, long enough to be allocated on the heap");
        CHECK(co_await unbox(std::make_unique<int>(4)) == 4);
        const int sum = co_await by_value(tracked(5)) + co_await by_value(tracked(6));
        CHECK(sum == 11);
        CHECK(co_await by_value(tracked(co_await by_value(tracked(7)))) == 7);
        CHECK((co_await echo(long_text(1) + co_await echo(long_text(2)))).size() == 2 * long_text(1).size());
    };
    run(body);
}

TEST_CASE("traps: move-only arguments that are moved into an awaited call") {
    const auto body = []() -> task<> {
        auto boxed = std::make_unique<int>(9);
        CHECK(co_await unbox(std::move(boxed)) == 9);
        CHECK(boxed == nullptr); // NOLINT: that is what is tested
        tracked t(3);
        CHECK(co_await by_value(std::move(t)) == 3);
        CHECK(t.value == -1); // NOLINT
        std::string text = long_text(1);
        CHECK(co_await echo(std::move(text)) == long_text(1));
    };
    run(body);
}

TEST_CASE("traps: results and write results as temporaries of an awaiting expression") {
    const auto body = []() -> task<> {
        CHECK((co_await outcome(true, 1)).value() == long_text(1));
        CHECK((co_await outcome(false, 1)).error() == errc::reset);
        if (auto r = co_await outcome(true, 2)) {
            CHECK(*r == long_text(2));
        } else {
            FAIL("an outcome was lost");
        }
        if (!co_await outcome(true, 3)) FAIL("an outcome was lost");
        CHECK((co_await outcome(false, 4)).value_or(long_text(5)) == long_text(5));
        const auto w = co_await write_all(long_text(6));
        CHECK(w.error() == errc::cancelled);
        CHECK(w.taken() == long_text(6).size());
        CHECK((co_await with_timeout(1s, outcome(true, 7))).value() == long_text(7));
        const auto left = co_await outcome(false, 0);
        const std::string text = left ? *left : long_text(8);
        CHECK(text == long_text(8));
    };
    run(body);
}

TEST_CASE("traps: a choice between two awaits is written as if, never with ?:") {
    const auto body = []() -> task<> {
        for (const bool first : {true, false}) {
            std::string text;
            if (first) {
                text = co_await echo(long_text(1));
            } else {
                text = co_await echo(long_text(2));
            }
            CHECK(text == long_text(first ? 1 : 2));
            // Choosing the task is fine; awaiting in the arms is not.
            task<std::string> chosen = first ? echo(long_text(3)) : echo(long_text(4));
            CHECK(co_await std::move(chosen) == long_text(first ? 3 : 4));
        }
    };
    run(body);
}

TEST_CASE("traps: lambdas with captures are named before they are awaited") {
    const auto body = []() -> task<> {
        const tracked kept(1);
        const auto work = [kept, text = long_text(2)](scope& s) -> task<std::string> {
            const auto child = [kept](std::string more) -> task<> {
                co_await yield();
                CHECK(kept.value == 1);
                CHECK(more == long_text(3));
            };
            s.spawn(child, long_text(3));
            co_await yield();
            co_return text;
        };
        CHECK(co_await with_scope(work) == long_text(2));
        const auto supervised = [boxed = std::make_shared<tracked>(4)](scope&) -> task<int> {
            co_await yield();
            co_return boxed->value;
        };
        CHECK(co_await with_supervisor(supervised) == 4);
    };
    run(body);
}

TEST_CASE("traps: tasks and values that pass through when_all and race") {
    const auto body = []() -> task<> {
        const auto [a, b] = co_await when_all(echo(long_text(1)), by_value(tracked(2)));
        CHECK(a == long_text(1));
        CHECK(b == 2);
        std::vector<task<std::string>> many;
        for (int i = 0; i < 5; ++i) many.push_back(echo(long_text(i)));
        const auto all = co_await when_all(std::move(many));
        REQUIRE(all.size() == 5);
        CHECK(all[4] == long_text(4));
        const auto first = co_await race(echo(long_text(6)), by_value(tracked(7)));
        REQUIRE(first.index() == 0);
        CHECK(std::get<0>(first) == long_text(6));
    };
    run(body);
}

TEST_CASE("traps: guards, permits and values of channels come out of an await once") {
    const auto body = []() -> task<> {
        mutex m;
        semaphore s(2);
        channel<tracked> queue(2);
        {
            const auto lock = co_await m.lock();
            REQUIRE(lock);
            CHECK(m.locked());
            auto permit = std::move((co_await s.acquire()).value());
            CHECK(s.available() == 1);
            CHECK(co_await s.acquire()); // given back at the end of the expression
            CHECK(s.available() == 1);
        }
        CHECK_FALSE(m.locked());
        CHECK(s.available() == 2);
        CHECK(co_await queue.send(tracked(1)));
        tracked two(2);
        CHECK(co_await queue.send(std::move(two)));
        CHECK((co_await queue.receive()).value().value == 1);
        const auto got = co_await queue.receive();
        REQUIRE(got);
        CHECK(got->value == 2);
    };
    run(body);
}

TEST_CASE("traps: temporaries are destroyed once when an awaited task throws") {
    const auto body = []() -> task<> {
        const auto fails = [](tracked t, std::string text) -> task<int> {
            co_await yield();
            throw std::runtime_error(text + std::to_string(t.value));
        };
        bool caught = false;
        try {
            (void)co_await fails(tracked(1), long_text(2));
        } catch (const std::runtime_error& e) {
            caught = std::string(e.what()) == long_text(2) + "1";
        }
        CHECK(caught);
    };
    run(body);
}

TEST_CASE("traps: a frame that dies in the middle of an awaiting expression destroys its temporaries once") {
    tracked::faults() = 0;
    {
        reactor r(make_sim_backend());
        const auto root = [&]() -> task<> {
            promise_base& self = co_await this_coroutine;
            scope s(self, scope::policy::fail_together);
            const auto child = []() -> task<> {
                const auto slow = [](tracked t, std::string) -> task<int> {
                    (void)co_await sleep_for(1h);
                    co_return t.value;
                };
                const int n = co_await slow(tracked(1), long_text(1)) + co_await by_value(tracked(2));
                CHECK(n == 0); // never reached
            };
            s.spawn(child);
            (void)co_await sleep_for(1ms);
            CHECK_FALSE(tracked::alive().empty());
        };
        r.run(root());
    }
    CHECK(tracked::faults() == 0);
    CHECK(tracked::alive().empty());
}
