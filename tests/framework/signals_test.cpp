#include <tapir/framework/scope.hpp>
#include <tapir/framework/signals.hpp>
#include <tapir/framework/sim_backend.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/framework/uring_backend.hpp>

#include <doctest/doctest.h>

#include <csignal>
#include <fstream>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace tapir;

namespace {

bool blocked(int number) {
    sigset_t now;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &now);
    return ::sigismember(&now, number) == 1;
}

task<int> next_of(signal_set* signals) {
    const auto n = co_await signals->next();
    co_return n ? *n : -1;
}

} // namespace

TEST_CASE("signals: a signal sent to the process or to the thread is awaited, and kills nobody") {
    reactor r(make_uring_backend());
    const auto root = [](reactor* on) -> task<> {
        signal_set signals(SIGUSR1, SIGUSR2);
        ::kill(::getpid(), SIGUSR1);
        CHECK(co_await next_of(&signals) == SIGUSR1);
        ::raise(SIGUSR2); // directed at this thread
        CHECK(co_await next_of(&signals) == SIGUSR2);
        std::thread later([on] { on->post([] { ::kill(::getpid(), SIGUSR2); }); });
        CHECK(co_await next_of(&signals) == SIGUSR2); // it really waited
        later.join();
    };
    r.run(root(&r));
}

TEST_CASE("signals: the thread's mask is restored") {
    REQUIRE_FALSE(blocked(SIGUSR1));
    {
        const signal_set one(SIGUSR1);
        CHECK(blocked(SIGUSR1));
        {
            const signal_set two(SIGUSR1, SIGUSR2);
            CHECK(blocked(SIGUSR2));
        }
        CHECK(blocked(SIGUSR1)); // as before `two`
        CHECK_FALSE(blocked(SIGUSR2));
    }
    CHECK_FALSE(blocked(SIGUSR1));
}

TEST_CASE("signals: the wait can be stopped; a second waiter is refused") {
    reactor r(make_uring_backend());
    signal_set signals(SIGUSR1);
    std::vector<std::error_code> errors;
    const auto waiter = [](signal_set* set, std::vector<std::error_code>* to) -> task<> {
        const auto n = co_await set->next();
        if (!n) to->push_back(n.error());
    };
    const auto body = [&](scope& s) -> task<> {
        s.spawn(waiter, &signals, &errors);
        s.spawn(waiter, &signals, &errors);
        (void)co_await sleep_for(2ms);
        s.request_stop();
    };
    r.run(with_scope(body));
    REQUIRE(errors.size() == 2);
    CHECK(errors[0] == errc::busy);
    CHECK(errors[1] == errc::cancelled);
}

TEST_CASE("signals: none in virtual time") {
    reactor r(make_sim_backend());
    signal_set signals(SIGUSR1);
    const auto n = r.run(signals.next());
    REQUIRE_FALSE(n);
    CHECK(n.error() == errc::not_supported);
}

TEST_CASE("signals: no number, no set") {
    CHECK_THROWS_AS(signal_set(4711), std::system_error);
    CHECK_FALSE(blocked(SIGUSR1));
}

TEST_CASE("signals: the stall detector's thread takes none") {
    reactor_config config;
    config.stall_after = 50ms;
    reactor r(make_uring_backend(), config);
    REQUIRE(r.stalls() != nullptr);
    // A signal that this thread blocks and the other did not would end the process here, by its default.
    const auto root = []() -> task<> {
        signal_set signals(SIGTERM);
        for (int i = 0; i < 20; ++i) {
            ::kill(::getpid(), SIGTERM);
            CHECK(co_await next_of(&signals) == SIGTERM);
        }
    };
    r.run(root());
}
