// The leanest task that does what awaiting needs, and nothing else: no reactor, no stop token, no tree, no
// place in the source; its frame from a list of free ones, whoever awaits it resumed by symmetric transfer.
// What tapir's task costs beside it is what being seen, stopped and scheduled fairly costs.
#pragma once

#include <coroutine>
#include <cstddef>
#include <exception>
#include <new>
#include <utility>

namespace bench {

/// Frames of one size, of one thread.
class lean_frames {
  public:
    static void* take(std::size_t size) {
        if (free_ == nullptr) return ::operator new(size);
        return std::exchange(free_, free_->next);
    }
    static void give(void* frame) { free_ = new (frame) node{free_}; }

  private:
    struct node {
        node* next;
    };
    inline static constinit thread_local node* free_ = nullptr;
};

/// Of a coroutine function whose frames all have one size.
class [[nodiscard]] lean_task {
  public:
    struct promise_type {
        static void* operator new(std::size_t size) { return lean_frames::take(size); }
        static void operator delete(void* frame) { lean_frames::give(frame); }

        lean_task get_return_object() {
            return lean_task(std::coroutine_handle<promise_type>::from_promise(*this));
        }
        std::suspend_always initial_suspend() const noexcept { return {}; }
        struct to_whoever_awaits {
            bool await_ready() const noexcept { return false; }
            std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> h) const noexcept {
                return h.promise().awaits;
            }
            void await_resume() const noexcept {}
        };
        to_whoever_awaits final_suspend() const noexcept { return {}; }
        void return_value(int v) { value = v; }
        void unhandled_exception() { failure = std::current_exception(); }

        std::coroutine_handle<> awaits;
        std::exception_ptr failure;
        int value = 0;
    };

    lean_task(const lean_task&) = delete;
    lean_task& operator=(const lean_task&) = delete;
    ~lean_task() { frame_.destroy(); }

    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> h) const noexcept {
        frame_.promise().awaits = h;
        return frame_;
    }
    int await_resume() const {
        if (frame_.promise().failure) std::rethrow_exception(frame_.promise().failure);
        return frame_.promise().value;
    }

  private:
    explicit lean_task(std::coroutine_handle<promise_type> frame) : frame_(frame) {}
    std::coroutine_handle<promise_type> frame_;
};

/// Who awaits them: runs at once, and to its end.
struct lean_run {
    struct promise_type {
        lean_run get_return_object() const noexcept { return {}; }
        std::suspend_never initial_suspend() const noexcept { return {}; }
        std::suspend_never final_suspend() const noexcept { return {}; }
        void return_void() const noexcept {}
        [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
    };
};

} // namespace bench
