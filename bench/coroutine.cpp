// What a coroutine, a scope and a fiber cost, beside what threads cost for the same: creation and end, and
// handing control from one to the other. Each operation also tells its allocations (operator new, counted
// here; 0 when the frame pools are warm) and its io_uring_enter calls.
//
// One line per operation and round: name, nanoseconds, allocations, io_uring_enter calls.

#include <tapir/framework/event.hpp>
#include <tapir/framework/fiber.hpp>
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/task.hpp>
#include <tapir/framework/uring_backend.hpp>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <semaphore>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>

#include "samples/support/command_line.hpp"

namespace {
std::atomic<std::uint64_t> allocations = 0;
}

// Not inlined: g++ would see malloc's memory given to operator delete, and warn.
[[gnu::noinline]] void* operator new(std::size_t size) {
    allocations.fetch_add(1, std::memory_order_relaxed);
    if (void* p = std::malloc(size == 0 ? 1 : size)) return p;
    throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p) noexcept {
    std::free(p);
}
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept {
    std::free(p);
}

using namespace tapir;

namespace {

/// What `count` operations cost together, from its construction to report().
class meter {
  public:
    explicit meter(const uring_backend* io)
        : io_(io), enters_(io == nullptr ? 0 : io->enters()), allocations_(allocations.load()),
          began_(std::chrono::steady_clock::now()) {}
    void report(const char* name, std::uint64_t count) const {
        const auto took = std::chrono::steady_clock::now() - began_;
        const auto each = [count](auto n) { return static_cast<double>(n) / static_cast<double>(count); };
        const std::uint64_t enters = io_ == nullptr ? 0 : io_->enters() - enters_;
        std::printf("%s %.1f %.4f %.4f\n", name,
                    each(std::chrono::duration_cast<std::chrono::nanoseconds>(took).count()),
                    each(allocations.load() - allocations_), each(enters));
        std::fflush(stdout);
    }

  private:
    const uring_backend* io_;
    std::uint64_t enters_;
    std::uint64_t allocations_;
    std::chrono::steady_clock::time_point began_;
};

task<int> answer(int n) {
    co_return n + 1;
}

task<> nothing() {
    co_return;
}

task<> measure_task(std::uint64_t count) {
    promise_base& self = co_await this_coroutine;
    int sum = 0;
    for (int i = 0; i < 100; ++i) sum = co_await answer(sum); // warms the pools
    const meter m(self.reactor().io().uring());
    for (std::uint64_t i = 0; i < count; ++i) sum = co_await answer(sum);
    m.report("task", count);
}

task<> measure_spawn(std::uint64_t count) {
    promise_base& self = co_await this_coroutine;
    constexpr std::uint64_t batch = 100;
    auto children = [](scope& s) -> task<> {
        for (std::uint64_t i = 0; i < batch; ++i) s.spawn(nothing);
        co_return;
    };
    co_await with_scope(children);
    const meter m(self.reactor().io().uring());
    for (std::uint64_t i = 0; i < count / batch; ++i) co_await with_scope(children);
    m.report("spawn", count / batch * batch);
}

task<> pass_on(event* mine, event* other, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
        (void)co_await mine->wait();
        mine->reset();
        other->set();
    }
}

task<> measure_handover(std::uint64_t count) {
    promise_base& self = co_await this_coroutine;
    event ping;
    event pong;
    ping.set();
    auto both = [&](scope& s) -> task<> {
        s.spawn(pass_on, &ping, &pong, count / 2);
        s.spawn(pass_on, &pong, &ping, count / 2);
        co_return;
    };
    const meter m(self.reactor().io().uring());
    co_await with_scope(both);
    m.report("handover", count);
}

// The bare switch, without a coroutine that awaits on the fiber's behalf.
task<> measure_fiber_switch(std::uint64_t count) {
    promise_base& self = co_await this_coroutine;
    const auto entry = [](void* left) noexcept {
        auto& n = *static_cast<std::uint64_t*>(left);
        task<> never_awaited = nothing();
        while (n-- != 0) detail::fiber::current().await(never_awaited);
    };
    std::uint64_t left = count / 2;
    detail::fiber fiber(self, fiber_options().stack_size, entry, &left);
    const meter m(self.reactor().io().uring());
    while (fiber.resume() != nullptr) {
    }
    m.report("fiber_switch", count);
}

task<> measure_fiber_await(std::uint64_t count) {
    promise_base& self = co_await this_coroutine;
    const auto body = [&] {
        fiber_await(nothing());
        const meter m(self.reactor().io().uring());
        for (std::uint64_t i = 0; i < count; ++i) fiber_await(nothing());
        m.report("fiber_await", count);
    };
    co_await run_in_fiber(body);
}

task<> measure_fiber(std::uint64_t count) {
    promise_base& self = co_await this_coroutine;
    int sum = 0;
    const auto body = [&] { ++sum; };
    co_await run_in_fiber(body);
    const meter m(self.reactor().io().uring());
    for (std::uint64_t i = 0; i < count; ++i) co_await run_in_fiber(body);
    m.report("fiber", count);
}

// The kernel's counterparts.

void measure_thread(std::uint64_t count) {
    const meter m(nullptr);
    for (std::uint64_t i = 0; i < count; ++i) std::thread([] {}).join();
    m.report("thread", count);
}

void measure_futex(std::uint64_t count) {
    std::binary_semaphore ping(1);
    std::binary_semaphore pong(0);
    const auto pass = [count](std::binary_semaphore& mine, std::binary_semaphore& other) {
        for (std::uint64_t i = 0; i < count / 2; ++i) {
            mine.acquire();
            other.release();
        }
    };
    const meter m(nullptr);
    std::thread other([&] { pass(pong, ping); });
    pass(ping, pong);
    other.join();
    m.report("thread_futex", count);
}

void measure_pipe(std::uint64_t count) {
    int to[2];
    int from[2];
    if (::pipe(to) != 0 || ::pipe(from) != 0) throw std::system_error(errno, std::system_category(), "pipe");
    const auto pass = [count](int in, int out) {
        char byte = 0;
        for (std::uint64_t i = 0; i < count / 2; ++i)
            if (::read(in, &byte, 1) != 1 || ::write(out, &byte, 1) != 1) std::abort();
    };
    const meter m(nullptr);
    std::thread other([&] { pass(to[0], from[1]); });
    const char first = 0;
    if (::write(from[1], &first, 1) != 1) std::abort();
    pass(from[0], to[1]);
    other.join();
    m.report("thread_pipe", count);
    for (const int fd : {to[0], to[1], from[0], from[1]}) ::close(fd);
}

task<int> measure_all() {
    co_await measure_task(1'000'000);
    co_await measure_spawn(500'000);
    co_await measure_handover(1'000'000);
    co_await measure_fiber_switch(2'000'000);
    co_await measure_fiber_await(500'000);
    co_await measure_fiber(200'000);
    co_return 0;
}

} // namespace

int main(int argc, char** argv) {
    samples::command_line line("coroutine: what coroutines and fibers cost, beside threads");
    unsigned rounds = 5;
    line.option("--rounds", rounds).within(1, 100);
    if (const auto status = line.parse(argc, argv)) return *status;
    try {
        reactor_config config;
        config.stall_after = duration::zero(); // these loops hold the thread on purpose
        reactor r(make_uring_backend(), config);
        for (unsigned i = 0; i < rounds; ++i) {
            r.run(measure_all());
            measure_thread(5'000);
            measure_futex(100'000);
            measure_pipe(50'000);
        }
    } catch (const std::exception& e) {
        std::fprintf(stderr, "coroutine: %s\n", e.what());
        return 1;
    }
    return 0;
}
