#include <tapir/framework/channel.hpp>
#include <tapir/framework/event.hpp>
#include <tapir/framework/latch.hpp>
#include <tapir/framework/mutex.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/semaphore.hpp>
#include <tapir/framework/sim_backend.hpp>
#include <tapir/framework/sleep.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

using namespace tapir;

namespace {

using log_of = std::vector<std::string>;

/// Runs body(scope&) to its end in virtual time; children are joined.
template <class Body>
void run(Body body) {
    reactor r(make_sim_backend());
    r.run(with_scope(body));
}

task<> turns(int n) {
    for (int i = 0; i < n; ++i) co_await yield();
}

template <class T>
std::string text(const result<T>& r) {
    return r ? "ok" : r.error().message();
}

} // namespace

TEST_CASE("event: every waiter continues in order, and none inside set()") {
    log_of log;
    event go;
    const auto waiter = [](event* e, log_of* to, std::string name) -> task<> {
        const auto woken = co_await e->wait();
        to->push_back(name + " " + text(woken));
    };
    const auto body = [&](scope& s) -> task<> {
        s.spawn(waiter, &go, &log, "first");
        s.spawn(waiter, &go, &log, "second");
        co_await turns(1);
        go.set();
        log.emplace_back("set");
        co_await turns(1);
        s.spawn(waiter, &go, &log, "late");
    };
    run(body);
    CHECK(log == log_of{"set", "first ok", "second ok", "late ok"});
}

TEST_CASE("event: a stopped waiter gets errc::cancelled; the others go on waiting") {
    log_of log;
    event go;
    const auto waiter = [](event* e, log_of* to, std::string name) -> task<> {
        const auto woken = co_await e->wait();
        to->push_back(name + " " + text(woken));
    };
    const auto body = [&](scope& s) -> task<> {
        s.spawn(waiter, &go, &log, "outer");
        const auto inner = [&](scope& t) -> task<> {
            t.spawn(waiter, &go, &log, "inner");
            co_await turns(1);
            t.request_stop();
        };
        co_await with_scope(inner);
        go.set();
    };
    run(body);
    CHECK(log == log_of{"inner cancelled", "outer ok"});
}

TEST_CASE("mutex: handed over in the order of waiting, never taken in between") {
    log_of log;
    mutex m;
    const auto user = [](mutex* on, log_of* to, std::string name) -> task<> {
        auto lock = co_await on->lock();
        REQUIRE(lock);
        to->push_back(name + " in");
        co_await turns(2);
        to->push_back(name + " out");
    };
    const auto body = [&](scope& s) -> task<> {
        for (const char* name : {"a", "b", "c"}) s.spawn(user, &m, &log, name);
        co_await turns(3); // a has unlocked by now: b owns it already
        CHECK_FALSE(m.try_lock());
    };
    run(body);
    CHECK(log == log_of{"a in", "a out", "b in", "b out", "c in", "c out"});
    CHECK_FALSE(m.locked());
}

TEST_CASE("mutex: a stopped waiter leaves the queue, and a guard unlocks once") {
    mutex m;
    std::error_code seen;
    const auto waiter = [](mutex* on, std::error_code* to) -> task<> {
        auto lock = co_await on->lock();
        if (!lock) *to = lock.error();
    };
    const auto body = [&](scope& s) -> task<> {
        auto mine = m.try_lock();
        REQUIRE(mine);
        s.spawn(waiter, &m, &seen);
        co_await turns(1);
        s.request_stop();
        co_await turns(1);
        mutex::guard moved = std::move(*mine);
        moved.unlock();
        CHECK_FALSE(m.locked());
        CHECK(m.try_lock());
    };
    run(body);
    CHECK(seen == errc::cancelled);
    CHECK_FALSE(m.locked());
}

TEST_CASE("mutex: a frame that dies with the mutex on its way passes it on") {
    mutex m;
    const auto waiter = [](mutex* on) -> task<> {
        auto lock = co_await on->lock();
        co_await turns(5);
    };
    const auto doomed = [&](scope& s) -> task<> {
        auto mine = m.try_lock();
        s.spawn(waiter, &m);
        co_await turns(1);
        mine->unlock(); // the waiter owns it, and waits for its turn
        throw std::runtime_error("over");
    };
    {
        reactor r(make_sim_backend());
        promise_base* keep = nullptr;
        const auto root = [&]() -> task<> {
            promise_base& self = co_await this_coroutine;
            keep = &self;
            scope s(self, scope::policy::fail_together);
            try {
                co_await doomed(s);
            } catch (const std::runtime_error&) {
            }
        }; // the scope is destroyed with its child still there
        r.run(root());
    }
    CHECK_FALSE(m.locked());
}

TEST_CASE("semaphore: no more than its permits are out at once") {
    semaphore slots(2);
    int inside = 0;
    int most = 0;
    int done = 0;
    const auto user = [&](int rounds) -> task<> {
        auto permit = co_await slots.acquire();
        REQUIRE(permit);
        most = std::max(most, ++inside);
        co_await turns(rounds);
        --inside;
        ++done;
    };
    const auto body = [&](scope& s) -> task<> {
        for (int i = 0; i < 7; ++i) s.spawn(user, i % 3);
        co_return;
    };
    run(body);
    CHECK(most == 2);
    CHECK(done == 7);
    CHECK(slots.available() == 2);
}

TEST_CASE("semaphore: stopped waiters leave, permits can be made and used up") {
    semaphore slots(0);
    log_of log;
    const auto user = [](semaphore* from, log_of* to) -> task<> {
        auto permit = co_await from->acquire();
        to->push_back(text(permit));
        if (permit) permit->forget();
    };
    const auto body = [&](scope& s) -> task<> {
        s.spawn(user, &slots, &log);
        co_await turns(1);
        slots.release();
        co_await turns(1);
        s.spawn(user, &slots, &log);
        co_await turns(1);
        s.request_stop();
    };
    run(body);
    CHECK(log == log_of{"ok", "cancelled"});
    CHECK(slots.available() == 0);
    CHECK_FALSE(slots.try_acquire());
}

TEST_CASE("latch: opens at zero") {
    latch ready(3);
    log_of log;
    const auto waiter = [](latch* l, log_of* to) -> task<> {
        const auto woken = co_await l->arrive_and_wait();
        to->push_back(text(woken));
    };
    const auto body = [&](scope& s) -> task<> {
        s.spawn(waiter, &ready, &log);
        s.spawn(waiter, &ready, &log);
        co_await turns(2);
        CHECK(log.empty());
        CHECK(ready.count() == 1);
        ready.count_down();
    };
    run(body);
    CHECK(log == log_of{"ok", "ok"});
    run([&](scope&) -> task<> { CHECK(co_await ready.wait()); });
}

TEST_CASE("channel: values arrive in order, and a full channel holds the sender back") {
    channel<std::string> queue(2);
    log_of log;
    const auto sender = [&]() -> task<> {
        for (const char* word : {"a", "b", "c", "d"}) {
            std::string value(word);
            CHECK(co_await queue.send(std::move(value)));
            log.push_back("sent " + std::string(word));
        }
        queue.close();
    };
    const auto body = [&](scope& s) -> task<> {
        s.spawn(sender);
        co_await turns(3);
        CHECK(log == log_of{"sent a", "sent b"});
        for (;;) {
            auto value = co_await queue.receive();
            if (!value) {
                CHECK(value.error() == errc::closed);
                break;
            }
            log.push_back("got " + *value);
            co_await turns(1);
        }
    };
    run(body);
    log_of got;
    for (const std::string& line : log)
        if (line.starts_with("got")) got.push_back(line);
    CHECK(got == log_of{"got a", "got b", "got c", "got d"});
    CHECK(log.back() == "got d");
}

TEST_CASE("channel: waiting receivers are served in turn, also over capacity 0") {
    for (const std::size_t capacity : {0u, 1u}) {
        channel<int> queue(capacity);
        log_of log;
        const auto receiver = [](channel<int>* from, log_of* to, std::string name) -> task<> {
            const auto value = co_await from->receive();
            to->push_back(name + (value ? std::to_string(*value) : value.error().message()));
        };
        const auto body = [&](scope& s) -> task<> {
            for (const char* name : {"x", "y", "z"}) s.spawn(receiver, &queue, &log, name);
            co_await turns(1);
            for (int i = 1; i <= 2; ++i) {
                int value = i;
                CHECK(co_await queue.send(std::move(value)));
            }
            queue.close();
        };
        run(body);
        CHECK(log == log_of{"x1", "y2", "zalready closed"});
    }
}

TEST_CASE("channel: a sender that is stopped, or finds it closed, keeps its value") {
    channel<std::unique_ptr<int>> queue(0);
    log_of log;
    const auto sender = [&](int number) -> task<> {
        auto value = std::make_unique<int>(number);
        const auto sent = co_await queue.send(std::move(value));
        log.push_back(text(sent) + (value ? " kept" : " gone")); // NOLINT: that is the contract
    };
    const auto body = [&](scope& s) -> task<> {
        const auto stopped = [&](scope& t) -> task<> {
            t.spawn(sender, 1);
            co_await turns(1);
            t.request_stop();
        };
        co_await with_scope(stopped);
        s.spawn(sender, 2);
        co_await turns(1);
        auto got = co_await queue.receive();
        REQUIRE(got);
        CHECK(**got == 2);
        s.spawn(sender, 3);
        co_await turns(1);
        queue.close();
        s.spawn(sender, 4);
    };
    run(body);
    CHECK(log == log_of{"cancelled kept", "ok gone", "already closed kept", "already closed kept"});
}

TEST_CASE("channel: a value given to a receiver that is stopped in the same turn is not lost") {
    channel<int> queue(1);
    log_of log;
    const auto receiver = [&]() -> task<> {
        const auto value = co_await queue.receive();
        log.push_back(value ? "got " + std::to_string(*value) : value.error().message());
        const auto next = co_await queue.receive();
        log.push_back(text(next));
    };
    const auto body = [&](scope& s) -> task<> {
        s.spawn(receiver);
        co_await turns(1);
        int value = 7;
        REQUIRE(queue.try_send(value));
        s.request_stop();
    };
    run(body);
    CHECK(log == log_of{"got 7", "cancelled"});
}

TEST_CASE("channel: thousands of values between many senders and receivers, each exactly once") {
    channel<int> queue(3);
    std::vector<int> seen(4000, 0);
    int senders_left = 4;
    const auto sender = [&](int first) -> task<> {
        for (int i = 0; i < 1000; ++i) {
            int value = first + i;
            CHECK(co_await queue.send(std::move(value)));
            if (i % 7 == 0) co_await turns(1);
        }
        if (--senders_left == 0) queue.close();
    };
    const auto receiver = [&](int pause) -> task<> {
        for (;;) {
            const auto value = co_await queue.receive();
            if (!value) co_return;
            ++seen[static_cast<std::size_t>(*value)];
            if (*value % pause == 0) co_await turns(1);
        }
    };
    const auto body = [&](scope& s) -> task<> {
        for (int i = 0; i < 4; ++i) s.spawn(sender, i * 1000);
        for (int i = 0; i < 3; ++i) s.spawn(receiver, i + 2);
        co_return;
    };
    run(body);
    CHECK(std::ranges::all_of(seen, [](int n) { return n == 1; }));
}
