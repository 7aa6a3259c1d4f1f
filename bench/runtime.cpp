// What the runtime's parts cost in one thread: coroutines, scopes, timers, channels, fibers; and beside them
// what a program would have without it, threads and the kernel's timers. peers/asio_runtime.cpp prints the
// same of Asio.
//
// A line for each: "contender value metric". Of tapir's also the allocations (operator new, counted here; 0
// when the frame pools are warm) of each operation.

#include <tapir/framework/channel.hpp>
#include <tapir/framework/event.hpp>
#include <tapir/framework/fiber.hpp>
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/framework/task.hpp>
#include <tapir/framework/timer_wheel.hpp>
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
#include <sched.h>
#include <semaphore>
#include <string_view>
#include <sys/timerfd.h>
#include <system_error>
#include <thread>
#include <ucontext.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include "bench/lean_task.hpp"
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
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t alignment) {
    allocations.fetch_add(1, std::memory_order_relaxed);
    if (void* p = std::aligned_alloc(static_cast<std::size_t>(alignment), size)) return p;
    throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p, std::align_val_t) noexcept {
    std::free(p);
}

using namespace tapir;

namespace {

/// What `count` operations cost together, from its construction to report().
class meter {
  public:
    explicit meter(const char* contender = "tapir")
        : contender_(contender), allocations_(allocations.load()), began_(std::chrono::steady_clock::now()) {}
    void report(const char* what, std::uint64_t count) const {
        const auto took = std::chrono::steady_clock::now() - began_;
        const std::uint64_t allocated = allocations.load() - allocations_;
        const auto each = [count](auto n) { return static_cast<double>(n) / static_cast<double>(count); };
        std::printf("%s %.2f %s, ns\n", contender_,
                    each(std::chrono::duration_cast<std::chrono::nanoseconds>(took).count()), what);
        if (contender_ == std::string_view("tapir"))
            std::printf("%s %.4f %s, allocations\n", contender_, each(allocated), what);
        std::fflush(stdout);
    }

  private:
    const char* contender_;
    std::uint64_t allocations_;
    std::chrono::steady_clock::time_point began_;
};

[[gnu::noinline]] task<int> answer(int n) {
    co_return n + 1;
}

// Not inlined: a compiler that sees both ends may do without the frame, which a call into another file does
// not.
[[gnu::noinline]] bench::lean_task lean_answer(int n) {
    co_return n + 1;
}

task<> nothing() {
    co_return;
}

task<> measure_task(std::uint64_t count) {
    int sum = 0;
    for (int i = 0; i < 100; ++i) sum = co_await answer(sum); // warms the pools
    const meter m;
    for (std::uint64_t i = 0; i < count; ++i) sum = co_await answer(sum);
    m.report("call and end of a task", count);
}

bench::lean_run measure_lean_task(std::uint64_t count) {
    int sum = co_await lean_answer(0);
    const meter m("lean");
    for (std::uint64_t i = 0; i < count; ++i) sum = co_await lean_answer(sum);
    m.report("call and end of a task", count);
}

task<> measure_spawn(std::uint64_t count) {
    constexpr std::uint64_t batch = 100;
    auto children = [](scope& s) -> task<> {
        for (std::uint64_t i = 0; i < batch; ++i) s.spawn(nothing);
        co_return;
    };
    co_await with_scope(children);
    const meter m;
    for (std::uint64_t i = 0; i < count / batch; ++i) co_await with_scope(children);
    m.report("spawn and join", count / batch * batch);
}

task<> pass_on(event* mine, event* other, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
        (void)co_await mine->wait();
        mine->reset();
        other->set();
    }
}

task<> measure_handover(std::uint64_t count) {
    event ping;
    event pong;
    ping.set();
    auto both = [&](scope& s) -> task<> {
        s.spawn(pass_on, &ping, &pong, count / 2);
        s.spawn(pass_on, &pong, &ping, count / 2);
        co_return;
    };
    const meter m;
    co_await with_scope(both);
    m.report("hand-over by event", count);
}

task<> count_yields(std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) co_await yield();
}

task<> measure_yield(std::uint64_t count) {
    auto both = [&](scope& s) -> task<> {
        s.spawn(count_yields, count / 2);
        s.spawn(count_yields, count / 2);
        co_return;
    };
    const meter m;
    co_await with_scope(both);
    m.report("yield, to another one", count);
}

task<> send_back(channel<int>* from, channel<int>* to) {
    while (auto n = co_await from->receive())
        if (!co_await to->send(std::move(*n))) break;
}

task<> measure_channel(std::uint64_t count) {
    channel<int> there(1);
    channel<int> back(1);
    auto both = [&](scope& s) -> task<> {
        s.spawn(send_back, &there, &back);
        const meter m;
        for (std::uint64_t i = 0; i < count / 2; ++i) {
            (void)co_await there.send(1);
            (void)co_await back.receive();
        }
        m.report("channel, one value", count);
        there.close();
    };
    co_await with_scope(both);
}

// From another thread, which is on the same CPU: what is posted runs in batches.
task<> measure_post(std::uint64_t count) {
    promise_base& self = co_await this_coroutine;
    reactor& here = self.reactor();
    event all;
    std::uint64_t ran = 0;
    const meter m;
    std::jthread other([&] {
        for (std::uint64_t i = 0; i < count; ++i)
            here.post([&] {
                if (++ran == count) all.set();
            });
    });
    (void)co_await all.wait();
    m.report("post from another thread", count);
}

struct counted_timer : timer {
    counted_timer() : timer([](timer&, instant) { ++fired; }) {}
    static inline std::uint64_t fired = 0;
};

/// Deadlines that are spread over a minute, in no order.
duration some_time(std::uint64_t i) {
    return std::chrono::microseconds(1000 + i * 2'654'435'761 % 60'000'000);
}

void measure_timers(std::uint64_t count) {
    timer_wheel wheel(1us);
    std::vector<counted_timer> timers(count);
    const auto arm_all = [&] {
        for (std::uint64_t i = 0; i < count; ++i) wheel.arm(timers[i], instant(some_time(i)));
    };
    arm_all(); // touches the memory
    for (counted_timer& t : timers) wheel.cancel(t);
    const meter add;
    arm_all();
    add.report("timer, add", count);
    const meter cancel;
    for (counted_timer& t : timers) wheel.cancel(t);
    cancel.report("timer, cancel", count);
    arm_all();
    const meter fire;
    for (duration t{}; counted_timer::fired < count; t += 1ms) wheel.advance(instant(t));
    fire.report("timer, fire", count);
    counted_timer::fired = 0;
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
    const meter m;
    while (fiber.resume() != nullptr) {
    }
    m.report("fiber switch", count);
}

task<> measure_fiber_await(std::uint64_t count) {
    const auto body = [&] {
        fiber_await(nothing());
        const meter m;
        for (std::uint64_t i = 0; i < count; ++i) fiber_await(nothing());
        m.report("await on a fiber, there and back", count);
    };
    co_await run_in_fiber(body);
}

task<> measure_fiber(std::uint64_t count) {
    int sum = 0;
    const auto body = [&] { ++sum; };
    co_await run_in_fiber(body);
    const meter m;
    for (std::uint64_t i = 0; i < count; ++i) co_await run_in_fiber(body);
    m.report("fiber, from beginning to end", count);
}

// The kernel's counterparts.

void measure_thread(std::uint64_t count) {
    const meter m("kernel");
    for (std::uint64_t i = 0; i < count; ++i) std::thread([] {}).join();
    m.report("spawn and join", count);
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
    const meter m("kernel");
    std::thread other([&] { pass(pong, ping); });
    pass(ping, pong);
    other.join();
    m.report("hand-over by event", count);
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
    const meter m("kernel");
    std::thread other([&] { pass(to[0], from[1]); });
    const char first = 0;
    if (::write(from[1], &first, 1) != 1) std::abort();
    pass(from[0], to[1]);
    other.join();
    m.report("channel, one value", count);
    for (const int fd : {to[0], to[1], from[0], from[1]}) ::close(fd);
}

void measure_yields_of_threads(std::uint64_t count) {
    const auto yields = [count] {
        for (std::uint64_t i = 0; i < count / 2; ++i) ::sched_yield();
    };
    const meter m("kernel");
    std::thread other(yields);
    yields();
    other.join();
    m.report("yield, to another one", count);
}

void measure_timerfd(std::uint64_t count) {
    std::vector<int> fds;
    for (std::uint64_t i = 0; i < count; ++i) fds.push_back(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
    const meter add("kernel");
    for (std::uint64_t i = 0; i < count; ++i) {
        const auto when =
            std::chrono::duration_cast<std::chrono::microseconds>(some_time(i)).count() + 10'000'000;
        const itimerspec at{{0, 0}, {when / 1'000'000, when % 1'000'000 * 1000}};
        ::timerfd_settime(fds[i], 0, &at, nullptr);
    }
    add.report("timer, add", count);
    const itimerspec none{};
    const meter cancel("kernel");
    for (const int fd : fds) ::timerfd_settime(fd, 0, &none, nullptr);
    cancel.report("timer, cancel", count);
    for (const int fd : fds) ::close(fd);
}

ucontext_t here_context;
ucontext_t there_context;

void switch_back() {
    for (;;) ::swapcontext(&there_context, &here_context);
}

void measure_ucontext(std::uint64_t count) {
    std::vector<char> stack(64 * 1024);
    ::getcontext(&there_context);
    there_context.uc_stack.ss_sp = stack.data();
    there_context.uc_stack.ss_size = stack.size();
    ::makecontext(&there_context, switch_back, 0);
    const meter m("libc");
    for (std::uint64_t i = 0; i < count / 2; ++i) ::swapcontext(&here_context, &there_context);
    m.report("fiber switch", count);
}

task<int> measure_all() {
    co_await measure_task(1'000'000);
    co_await measure_spawn(500'000);
    co_await measure_handover(1'000'000);
    co_await measure_yield(1'000'000);
    co_await measure_channel(1'000'000);
    co_await measure_post(200'000);
    co_await measure_fiber_switch(2'000'000);
    co_await measure_fiber_await(500'000);
    co_await measure_fiber(200'000);
    co_return 0;
}

} // namespace

int main(int argc, char** argv) {
    samples::command_line line("runtime: what coroutines, timers and fibers cost, beside threads");
    unsigned rounds = 5;
    line.option("--rounds", rounds).within(1, 100);
    if (const auto status = line.parse(argc, argv)) return *status;
    try {
        reactor_config config;
        config.stall_after = duration::zero(); // these loops hold the thread on purpose
        reactor r(make_uring_backend(), config);
        for (unsigned i = 0; i < rounds; ++i) {
            r.run(measure_all());
            measure_lean_task(1'000'000);
            measure_timers(100'000);
            measure_thread(5'000);
            measure_futex(100'000);
            measure_pipe(50'000);
            measure_yields_of_threads(200'000);
            measure_timerfd(500);
            measure_ucontext(500'000);
        }
    } catch (const std::exception& e) {
        std::fprintf(stderr, "runtime: %s\n", e.what());
        return 1;
    }
    return 0;
}
