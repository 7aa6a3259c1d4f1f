// Code that blocks (a parser that calls a read callback, a library that was never written for coroutines)
// run on a stack of its own, where it may wait for whatever a coroutine can await. Only the fiber blocks.
//
//     int read_callback(void* s, char* to, int size) {                    // called by the library
//         auto n = fiber_await(static_cast<kernel::stream*>(s)->read(...));
//         return n ? int(*n) : -1;
//     }
//     const auto parse = [&] { return library_parse(read_callback, &s); };
//     int outcome = co_await run_in_fiber(parse);
//
// The coroutine behind run_in_fiber() awaits on the fiber's behalf: the fiber hands it what to await and is
// switched out until that has ended. In the tree of coroutines the line that is shown is fiber_await()'s.
//
// Exceptions pass both ways: out of the function to whoever awaits run_in_fiber(), and out of the awaited
// thing into the fiber.
//
// Cancellation: where a coroutine of this stop token would have been given errc::cancelled (as a result<T> or
// a write_result), fiber_await() throws fiber_cancelled, an ordinary exception: code that blocks is used to
// retrying on errors, and would spin. All other errors stay values. A fiber_cancelled that leaves the
// function becomes errc::cancelled if the function returns a result<T>, and is rethrown otherwise.
//
// Only when a waiting fiber is torn down with its reactor, an exception that is no std::exception unwinds its
// stack. Whoever swallows it meets it again at the next fiber_await(). No fiber_await() in destructors.
#pragma once

#include <tapir/framework/error.hpp>
#include <tapir/framework/stream.hpp>
#include <tapir/framework/task.hpp>

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <source_location>
#include <system_error>
#include <type_traits>
#include <utility>

namespace tapir {

struct fiber_options {
    /// Bytes of stack, rounded up to whole pages; below them lies a guard that turns an overflow into a
    /// SIGSEGV. Memory is used as it is touched. Stacks are reused within a thread.
    std::size_t stack_size = 256 * 1024;
};

/// Thrown by fiber_await() when the fiber's stop token has ended the wait.
class fiber_cancelled : public std::system_error {
  public:
    fiber_cancelled() : std::system_error(make_error_code(errc::cancelled), "fiber_await") {}
};

namespace detail {

/// A stack and the code that runs on it. Created, resumed and destroyed by the coroutine that owns it.
class fiber {
  public:
    using entry = void (*)(void* argument) noexcept;
    fiber(promise_base& owner, std::size_t stack_size, entry body, void* argument);
    fiber(const fiber&) = delete;
    fiber& operator=(const fiber&) = delete;
    /// Unwinds the stack if the code is in the middle of it.
    ~fiber();

    /// Runs it until it waits or ends. Returns what it waits for, null when it has ended.
    task<>* resume();

    /// The fiber whose code runs now; throws std::logic_error when there is none.
    static fiber& current();
    /// On the fiber: returns when `work` has been awaited.
    void await(task<>& work);
    promise_base& owner() const { return owner_; }

  private:
    struct state;
    promise_base& owner_;
    std::unique_ptr<state> state_;
};

/// A value, nothing, or an exception, on its way from one stack to another.
template <class T>
class fiber_outcome {
  public:
    template <class F>
    void set_from(F&& produce) noexcept {
        try {
            if constexpr (std::is_void_v<T>) {
                produce();
            } else {
                value_.emplace(produce());
            }
        } catch (...) {
            failure_ = std::current_exception();
        }
    }
    void fail(std::exception_ptr e) { failure_ = std::move(e); }
    T take() {
        if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
        if constexpr (!std::is_void_v<T>) return std::move(*value_);
    }

  private:
    struct nothing {};
    std::optional<std::conditional_t<std::is_void_v<T>, nothing, T>> value_;
    std::exception_ptr failure_;
};

/// Waits like `inner`, but stands in the tree of coroutines at the line of the fiber that waits.
template <class Awaiter>
class await_at {
  public:
    await_at(Awaiter& inner, std::source_location at) : inner_(inner), at_(at) {}
    bool await_ready() const noexcept { return false; } // it has been asked
    template <tapir_promise P>
    auto await_suspend(std::coroutine_handle<P> h) {
        h.promise().set_origin(at_);
        return inner_.await_suspend(h);
    }
    decltype(auto) await_resume() { return inner_.await_resume(); }

  private:
    Awaiter& inner_;
    std::source_location at_;
};

/// The real coroutine.
template <class T, class Awaiter>
task<> await_for_fiber(Awaiter* awaiter, fiber_outcome<T>* outcome, std::source_location at) {
    await_at<Awaiter> wait(*awaiter, at);
    try {
        if constexpr (std::is_void_v<T>) {
            co_await wait;
        } else {
            T value = co_await wait;
            outcome->set_from([&] { return std::move(value); });
        }
    } catch (...) {
        outcome->fail(std::current_exception());
    }
}

template <class T>
concept tells_an_error = requires(const T& outcome) {
    static_cast<bool>(outcome);
    { outcome.error() } -> std::convertible_to<std::error_code>;
};

template <class T>
inline constexpr bool is_result = false;
template <class T>
inline constexpr bool is_result<result<T>> = true;

} // namespace detail

/// Blocks the calling fiber until `awaitable` (a task, or anything a coroutine can await) has ended, and
/// returns its value. std::logic_error when no fiber is running.
template <class A>
auto fiber_await(A&& awaitable, std::source_location at = std::source_location::current())
    -> detail::awaited<A> {
    using T = detail::awaited<A>;
    static_assert(!std::is_reference_v<T>, "what is awaited on a fiber must be a value");
    detail::fiber& self = detail::fiber::current();
    decltype(auto) awaiter = detail::awaiter_of(std::forward<A>(awaitable));
    const auto outcome = [&]() -> T {
        if (awaiter.await_ready()) return awaiter.await_resume();
        detail::fiber_outcome<T> slot;
        task<> work = detail::await_for_fiber(&awaiter, &slot, at);
        self.await(work);
        return slot.take();
    };
    if constexpr (detail::tells_an_error<T>) {
        T value = outcome();
        if (!value && value.error() == errc::cancelled && self.owner().stop().stop_requested())
            throw fiber_cancelled();
        return value;
    } else {
        return outcome();
    }
}

/// Of the coroutine behind the running fiber: its reactor, its stop token. std::logic_error outside of one.
inline promise_base& this_fiber() {
    return detail::fiber::current().owner();
}

/// Runs f() on a fiber and returns its value or rethrows its exception. Name a lambda with captures before
/// you await this.
template <class F>
task<std::invoke_result_t<F&>> run_in_fiber(F f, fiber_options options = {}) {
    using T = std::invoke_result_t<F&>;
    promise_base& self = co_await this_coroutine;
    detail::fiber_outcome<T> outcome;
    const auto body = [&]() noexcept { outcome.set_from(f); };
    const auto entry = [](void* b) noexcept { (*static_cast<decltype(body)*>(b))(); };
    detail::fiber fiber(self, options.stack_size, entry, const_cast<void*>(static_cast<const void*>(&body)));
    while (task<>* work = fiber.resume()) co_await std::move(*work);
    if constexpr (detail::is_result<T>) {
        try {
            co_return outcome.take();
        } catch (const fiber_cancelled&) {
            co_return errc::cancelled;
        }
    } else {
        co_return outcome.take();
    }
}

} // namespace tapir
