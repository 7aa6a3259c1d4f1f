// The same operations as in runtime.cpp by Asio's coroutines, one thread on one io_context. Lines as there.

// Debian's Asio finds the coroutines of g++, not yet those of a clang that has them without a flag.
#define ASIO_HAS_CO_AWAIT 1
#define ASIO_HAS_STD_COROUTINE 1
#include <asio.hpp>
#include <asio/experimental/channel.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <thread>
#include <vector>

#include "samples/support/command_line.hpp"

namespace {

using asio::awaitable;
using asio::use_awaitable;

class meter {
  public:
    void report(const char* what, std::uint64_t count) const {
        const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - began_;
        std::printf("asio %.2f %s, ns\n", took.count() / static_cast<double>(count), what);
        std::fflush(stdout);
    }

  private:
    std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

awaitable<int> answer(int n) {
    co_return n + 1;
}

awaitable<void> nothing() {
    co_return;
}

awaitable<void> measure_call(std::uint64_t count) {
    int sum = 0;
    const meter m;
    for (std::uint64_t i = 0; i < count; ++i) sum = co_await answer(sum);
    m.report("call and end of a task", count);
}

// Each is waited for, by its completion handler; there is no scope.
void measure_spawn(asio::io_context& on, std::uint64_t count) {
    constexpr std::uint64_t batch = 100;
    std::uint64_t ended = 0;
    const meter m;
    for (std::uint64_t i = 0; i < count / batch; ++i) {
        for (std::uint64_t k = 0; k < batch; ++k)
            asio::co_spawn(on, nothing, [&](const std::exception_ptr&) { ++ended; });
        on.restart();
        on.run();
    }
    m.report("spawn and join", ended);
}

awaitable<void> count_yields(std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) co_await asio::post(use_awaitable);
}

using channel = asio::experimental::channel<void(asio::error_code, int)>;

awaitable<void> send_back(channel& from, channel& to, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
        const int n = co_await from.async_receive(use_awaitable);
        co_await to.async_send(asio::error_code(), n, use_awaitable);
    }
}

awaitable<void> ask(channel& there, channel& back, std::uint64_t count) {
    const meter m;
    for (std::uint64_t i = 0; i < count; ++i) {
        co_await there.async_send(asio::error_code(), 1, use_awaitable);
        (void)co_await back.async_receive(use_awaitable);
    }
    m.report("channel, one value", count * 2);
}

void measure_post(asio::io_context& on, std::uint64_t count) {
    auto open = asio::make_work_guard(on);
    std::uint64_t ran = 0;
    on.restart();
    const meter m;
    std::jthread other([&] {
        for (std::uint64_t i = 0; i < count; ++i)
            asio::post(on, [&] {
                if (++ran == count) open.reset();
            });
    });
    on.run();
    m.report("post from another thread", count);
}

void measure_timers(asio::io_context& on, std::uint64_t count) {
    using namespace std::chrono_literals;
    std::vector<asio::steady_timer> timers;
    for (std::uint64_t i = 0; i < count; ++i) timers.emplace_back(on);
    std::uint64_t ended = 0;
    const auto start = std::chrono::steady_clock::now();
    const auto arm_all = [&](std::chrono::microseconds from, std::uint64_t spread) {
        for (std::uint64_t i = 0; i < count; ++i) {
            timers[i].expires_at(start + from + std::chrono::microseconds(i * 2'654'435'761 % spread));
            timers[i].async_wait([&](const asio::error_code&) { ++ended; });
        }
    };
    const meter add;
    arm_all(100s, 60'000'000);
    add.report("timer, add", count);
    const meter cancel;
    for (asio::steady_timer& t : timers) t.cancel();
    cancel.report("timer, cancel", count);
    on.restart();
    on.run();
    arm_all(-70s, 60'000'000); // all are due: what it costs to find and to call them
    const meter fire;
    on.restart();
    on.run();
    fire.report("timer, fire", count);
}

} // namespace

int main(int argc, char** argv) {
    samples::command_line line("asio_runtime: what Asio's coroutines and timers cost");
    unsigned rounds = 5;
    line.option("--rounds", rounds).within(1, 100);
    if (const auto status = line.parse(argc, argv)) return *status;
    for (unsigned i = 0; i < rounds; ++i) {
        asio::io_context on(1);
        const auto start = [&](awaitable<void> what) { asio::co_spawn(on, std::move(what), asio::detached); };
        const auto finish = [&] {
            on.restart();
            on.run();
        };
        start(measure_call(1'000'000));
        finish();
        measure_spawn(on, 500'000);
        start(count_yields(500'000));
        start(count_yields(500'000));
        const meter yields;
        finish();
        yields.report("yield, to another one", 1'000'000);
        channel there(on, 1);
        channel back(on, 1);
        start(send_back(there, back, 250'000));
        start(ask(there, back, 250'000));
        finish();
        measure_post(on, 200'000);
        measure_timers(on, 100'000);
    }
    return 0;
}
