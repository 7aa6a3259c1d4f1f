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
#include <concepts>
#include <coroutine>
#include <exception>
#include <memory>
#include <source_location>
#include <type_traits>
#include <utility>

namespace tapir {

template <class T = void>
class [[nodiscard]] task {
    struct nothing {};
    using stored = std::conditional_t<std::is_void_v<T>, nothing, T>;

    /// How the value gets into the promise; what the language asks for depends on whether there is one.
    template <class Promise>
    struct returns_value {
        template <class U>
            requires std::convertible_to<U, T>
        void return_value(U&& value) {
            static_cast<Promise*>(this)->set_value(std::forward<U>(value));
        }
    };
    template <class Promise>
    struct returns_void {
        void return_void() noexcept { static_cast<Promise*>(this)->set_value(); }
    };

  public:
    class promise_type : public promise_base,
                         public std::conditional_t<std::is_void_v<T>, returns_void<promise_type>,
                                                   returns_value<promise_type>> {
      public:
        promise_type() {}
        ~promise_type() {
            drop_value();
            if (this->has_awaited()) settle();
        }

        task get_return_object(std::source_location origin = std::source_location::current()) {
            static_assert(alignof(promise_type) <= 2 * sizeof(void*));
            this->set_first_origin(origin);
            void* frame = std::coroutine_handle<promise_type>::from_promise(*this).address();
            assert(frame == this->handle().address());
            // Where it comes from is nobody's business: a compiler that knew could put the frame elsewhere
            // than operator new does, and there is no margin.
            asm("" : "+r"(frame));
            return task(std::coroutine_handle<promise_type>::from_address(frame));
        }

        void unhandled_exception() noexcept {
            drop_value();
            std::construct_at(&failure_, std::current_exception());
            this->set_failed();
        }

        struct final_awaiter {
            bool await_ready() const noexcept { return false; }
            std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> h) const noexcept {
                return h.promise().hand_back();
            }
            void await_resume() const noexcept {}
        };
        final_awaiter final_suspend() const noexcept { return {}; }

        template <class... U>
        void set_value(U&&... value) {
            drop_value();
            std::construct_at(&value_, std::forward<U>(value)...);
            if constexpr (must_destroy) this->set_holds_value(true);
        }
        T take() {
            if (this->failed()) [[unlikely]]
                rethrow();
            if constexpr (must_destroy) assert(this->holds_value());
            if constexpr (!std::is_void_v<T>) return std::move(value_);
        }

      private:
        static constexpr bool must_destroy = !std::is_trivially_destructible_v<stored>;
        // A local that throws while it is destroyed can make a second outcome of one.
        void drop_value() noexcept {
            if constexpr (must_destroy) {
                if (!this->holds_value()) return;
                this->set_holds_value(false); // the next one may throw while it is made
                std::destroy_at(&value_);
            }
        }

        [[noreturn, gnu::noinline, gnu::cold]] void rethrow() {
            std::rethrow_exception(std::exchange(failure_, nullptr));
        }
        TAPIR_KEEPS_REGISTERS void settle() noexcept {
            if (this->failed()) {
                std::destroy_at(&failure_);
            } else if (!this->ended()) {
                this->leave();
            }
        }

        union {
            [[no_unique_address]] stored value_;
            std::exception_ptr failure_;
        };
    };

    /// A part of the task, so that the awaiting frame keeps nothing else.
    class awaiter {
      public:
        bool await_ready() const noexcept { return false; }
        template <tapir_promise P>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<P> h) {
            return frame_.promise().start_awaited(h.promise());
        }
        T await_resume() { return frame_.promise().take(); }

      private:
        friend class task;
        explicit awaiter(std::coroutine_handle<promise_type> frame) : frame_(frame) {}
        std::coroutine_handle<promise_type> frame_;
    };

    class awaiter_under {
      public:
        awaiter_under(awaiter& of, stop_token stop) : of_(&of), stop_(stop) {}
        bool await_ready() const noexcept { return false; }
        template <tapir_promise P>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<P> h) {
            return task::promise_of(*of_).start_awaited(h.promise(), stop_);
        }
        T await_resume() { return of_->await_resume(); }

      private:
        awaiter* of_;
        stop_token stop_;
    };

    task(task&& other) noexcept : awaiter_(std::exchange(other.awaiter_.frame_, nullptr)) {}
    task& operator=(task&& other) noexcept {
        if (this != &other) {
            destroy();
            awaiter_.frame_ = std::exchange(other.awaiter_.frame_, nullptr);
        }
        return *this;
    }
    ~task() { destroy(); }

    awaiter& operator co_await() && noexcept {
        assert(awaiter_.frame_ && "a task is awaited once");
        return awaiter_;
    }

    /// `co_await std::move(t).under(token)`: runs with `token` instead of the awaiting coroutine's.
    awaiter_under under(stop_token token) && noexcept {
        assert(awaiter_.frame_ && "a task is awaited once");
        return awaiter_under(awaiter_, token);
    }

    /// The coroutine function behind this task.
    std::source_location origin() const { return promise_of(awaiter_).origin(); }

  private:
    friend class reactor;
    explicit task(std::coroutine_handle<promise_type> frame) : awaiter_(frame) {}
    static promise_type& promise_of(const awaiter& a) { return a.frame_.promise(); }
    void destroy() {
        if (awaiter_.frame_) awaiter_.frame_.destroy();
    }
    awaiter awaiter_;
};

template <class T>
T reactor::run(task<T> root) {
    auto& promise = task<T>::promise_of(root.awaiter_);
    promise.start(*this, nullptr, stop_token{});
    ready(promise);
    run_until_ended(promise);
    return promise.take();
}

} // namespace tapir
