// task<T>: a lazy coroutine. It starts when awaited, is awaited once, and belongs to whoever holds it.
//
//     tapir::task<int> answer() { co_await tapir::sleep_for(1s); co_return 42; }
//     tapir::task<> ask() { int n = co_await answer(); ... }
//
// The awaiting coroutine is resumed as soon as this one has ended, with its value or its exception. The task
// inherits reactor and stop token from whoever awaits it; under() gives it another token.
#pragma once

#include <tapir/framework/promise.hpp>
#include <tapir/framework/reactor.hpp>

#include <cassert>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

namespace tapir {

namespace detail {

/// An exception that ended the coroutine, for whoever awaits it.
class task_failure {
  public:
    void unhandled_exception() noexcept { failure_ = std::current_exception(); }

  protected:
    void rethrow_any() {
        if (failure_) [[unlikely]]
            std::rethrow_exception(std::exchange(failure_, nullptr));
    }

  private:
    std::exception_ptr failure_;
};

template <class T>
class task_outcome : public task_failure {
  public:
    template <class U>
        requires std::convertible_to<U, T>
    void return_value(U&& value) {
        value_.emplace(std::forward<U>(value));
    }
    T take() {
        rethrow_any();
        assert(value_);
        return *std::move(value_);
    }

  private:
    std::optional<T> value_;
};

template <>
class task_outcome<void> : public task_failure {
  public:
    void return_void() noexcept {}
    void take() { rethrow_any(); }
};

} // namespace detail

template <class T = void>
class [[nodiscard]] task {
  public:
    class promise_type : public promise_base, public detail::task_outcome<T> {
      public:
        promise_type() : promise_base(std::coroutine_handle<promise_type>::from_promise(*this)) {}
        ~promise_type() {
            if (!this->ended()) this->end_awaited();
        }

        task get_return_object(std::source_location origin = std::source_location::current()) {
            set_origin(origin);
            return task(std::coroutine_handle<promise_type>::from_promise(*this));
        }

        struct final_awaiter {
            bool await_ready() const noexcept { return false; }
            std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> h) const noexcept {
                promise_base* const awaits = h.promise().end_awaited();
                return awaits != nullptr ? awaits->reactor().run_next(*awaits) : std::noop_coroutine();
            }
            void await_resume() const noexcept {}
        };
        final_awaiter final_suspend() const noexcept { return {}; }
    };

    task(task&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
    task& operator=(task&& other) noexcept {
        if (this != &other) {
            destroy();
            frame_ = std::exchange(other.frame_, nullptr);
        }
        return *this;
    }
    ~task() { destroy(); }

    class awaiter {
      public:
        awaiter(std::coroutine_handle<promise_type> frame, std::optional<stop_token> stop)
            : frame_(frame), stop_(stop) {}
        bool await_ready() const noexcept { return false; }
        template <tapir_promise P>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<P> h) {
            promise_base& parent = h.promise();
            promise_base& child = frame_.promise();
            child.start_awaited(parent, stop_ ? *stop_ : parent.stop());
            return parent.reactor().run_next(child);
        }
        T await_resume() { return frame_.promise().take(); }

      private:
        std::coroutine_handle<promise_type> frame_;
        std::optional<stop_token> stop_;
    };

    awaiter operator co_await() && noexcept {
        assert(frame_ && "a task is awaited once");
        return awaiter(frame_, std::nullopt);
    }

    /// `co_await std::move(t).under(token)`: runs with `token` instead of the awaiting coroutine's.
    awaiter under(stop_token token) && noexcept {
        assert(frame_ && "a task is awaited once");
        return awaiter(frame_, token);
    }

    /// The coroutine function behind this task.
    const std::source_location& origin() const { return frame_.promise().origin(); }

  private:
    friend class reactor;
    explicit task(std::coroutine_handle<promise_type> frame) : frame_(frame) {}
    void destroy() {
        if (frame_) std::exchange(frame_, nullptr).destroy();
    }
    std::coroutine_handle<promise_type> frame_;
};

template <class T>
T reactor::run(task<T> root) {
    auto& promise = root.frame_.promise();
    promise.start(*this, nullptr, stop_token{});
    ready(promise);
    run_until_ended(promise);
    return promise.take();
}

} // namespace tapir
