// Structured concurrency: a coroutine that starts others does not end before they have. There is no detach.
//
//     co_await with_scope([&](scope& s) -> task<> {          // fail together
//         s.spawn(pump, from, to);
//         s.spawn(pump, to, from);
//         co_return;
//     });                                                    // both pumps have ended here
//
//     co_await with_supervisor([&](scope& s) -> task<> {     // children fail alone: accept loops
//         while (auto c = co_await listener.accept()) s.spawn(serve, std::move(*c));
//     });
//
// spawn() moves the function and its arguments into the child's frame, so a lambda's captures live as long as
// the child does. Beware of capturing by reference what the child may outlive. A child that has ended frees
// its frame at once. A task<result<T>> that ends with an error is not a failure of its scope: only exceptions
// are.
#pragma once

#include <tapir/framework/parked.hpp>
#include <tapir/framework/promise.hpp>
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/task.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

namespace tapir {

class scope;

/// What a supervisor is told of a child that ended with an exception.
struct child_failure {
    child_failure(std::exception_ptr e, std::string c) : error(std::move(e)), chain(std::move(c)) {}
    std::exception_ptr error;
    std::string chain; ///< the child and those above it, one line each
};
using failure_handler = std::function<void(const child_failure&)>;

namespace detail {

struct child_tag;

/// The frame that wraps a spawned task: owned by its scope, destroyed by itself at its end.
class scope_child {
  public:
    class promise_type : public strand, public list_hook<child_tag> {
      public:
        promise_type() { set_internal(); }
        ~promise_type() {
            if (!ended()) leave();
        }
        scope_child get_return_object() { return scope_child(*this); }
        void return_void() const noexcept {}
        void unhandled_exception();

        struct final_awaiter {
            bool await_ready() const noexcept { return false; }
            void await_suspend(std::coroutine_handle<promise_type> h) const noexcept;
            void await_resume() const noexcept {}
        };
        final_awaiter final_suspend() const noexcept { return {}; }

        scope* owner = nullptr;
    };
    explicit scope_child(promise_type& p) : promise(&p) {}
    promise_type* promise;
};

template <class F, class... Args>
scope_child run_child(F f, Args... args) {
    auto work = std::invoke(std::move(f), std::move(args)...);
    promise_base& self = co_await this_coroutine;
    self.set_origin(work.origin()); // a failure is reported under the child's name
    co_await std::move(work);
}

} // namespace detail

class scope {
  public:
    enum class policy : std::uint8_t {
        fail_together, ///< the first exception stops the siblings and is rethrown when all have ended
        supervise,     ///< an exception ends its child alone; it is logged, counted and handed to the handler
    };

    scope(promise_base& owner, policy p, failure_handler handler = {})
        : owner_(owner), policy_(p), handler_(std::move(handler)), stop_(owner.stop()) {}
    scope(const scope&) = delete;
    scope& operator=(const scope&) = delete;
    /// Children that are still there (only when a reactor is torn down) are destroyed where they wait.
    ~scope();

    /// Starts f(args...), which returns a task, at the reactor's next opportunity. Its value is dropped.
    template <class F, class... Args>
    void spawn(F f, Args... args) {
        start(detail::run_child<F, Args...>(std::move(f), std::move(args)...));
    }

    /// Asks all children to stop; they end with errc::cancelled where they wait.
    void request_stop() { stop_.request_stop(); }
    stop_token token() { return stop_.token(); }

    std::size_t running() const { return running_; }
    /// Children that ended with an exception.
    std::uint64_t failures() const { return failures_; }
    tapir::reactor& reactor() const { return owner_.reactor(); }

    /// Waits until every child has ended. Not cancellable: children see the stop token themselves.
    class join_awaiter : parked {
      public:
        explicit join_awaiter(scope& s) : scope_(s) {}
        bool await_ready() const noexcept { return scope_.running_ == 0; }
        template <tapir_promise P>
        void await_suspend(std::coroutine_handle<P> h) {
            scope_.joiner_ = this;
            park(h.promise(), "children of a scope", nullptr);
        }
        void await_resume() const noexcept {}

      private:
        friend class scope;
        scope& scope_;
    };
    join_awaiter join() { return join_awaiter(*this); }

    /// The exception that failed the scope, if any.
    std::exception_ptr failure() const { return first_failure_; }
    /// The body's own exception, for whoever runs a body inside the scope.
    void fail(std::exception_ptr e) {
        if (!first_failure_) first_failure_ = std::move(e);
        stop_.request_stop();
    }

  private:
    friend class detail::scope_child::promise_type;
    void start(detail::scope_child child);
    void child_failed(promise_base& child, std::exception_ptr e);
    void report(const child_failure& failure);
    void child_ended(detail::scope_child::promise_type& child) noexcept;

    promise_base& owner_;
    policy policy_;
    failure_handler handler_;
    stop_source stop_;
    intrusive_list<detail::scope_child::promise_type, detail::child_tag> children_;
    std::size_t running_ = 0;
    std::uint64_t failures_ = 0;
    std::exception_ptr first_failure_;
    join_awaiter* joiner_ = nullptr;
};

namespace detail {

template <class T>
struct task_value;
template <class T>
struct task_value<task<T>> {
    using type = T;
};
template <class F>
using scope_body_value = typename task_value<std::invoke_result_t<F&, scope&>>::type;

template <class T, class F>
task<T> run_in_scope(scope::policy policy, failure_handler handler, F body) {
    promise_base& self = co_await this_coroutine;
    self.set_internal();
    scope s(self, policy, std::move(handler));
    if constexpr (std::is_void_v<T>) {
        try {
            co_await body(s).under(s.token());
        } catch (...) {
            s.fail(std::current_exception());
        }
        while (s.running() != 0) co_await s.join(); // others may spawn here before this has run on
        if (s.failure()) std::rethrow_exception(s.failure());
    } else {
        std::optional<T> value;
        try {
            value.emplace(co_await body(s).under(s.token()));
        } catch (...) {
            s.fail(std::current_exception());
        }
        while (s.running() != 0) co_await s.join(); // others may spawn here before this has run on
        if (s.failure()) std::rethrow_exception(s.failure());
        co_return std::move(*value);
    }
}

} // namespace detail

/// Runs body(scope&) -> task<T> and joins all children it spawned. The first exception, of the body or of a
/// child, stops the others and is rethrown when all have ended. Returns the body's value.
template <class F>
auto with_scope(F body) -> task<detail::scope_body_value<F>> {
    return detail::run_in_scope<detail::scope_body_value<F>>(scope::policy::fail_together, {},
                                                             std::move(body));
}

/// The same, but a child's exception ends that child alone: it is logged with its chain of coroutines,
/// counted, and given to `handler` if there is one. An exception of the body, or of the handler, still stops
/// the children and is rethrown.
template <class F>
auto with_supervisor(F body, failure_handler handler = {}) -> task<detail::scope_body_value<F>> {
    return detail::run_in_scope<detail::scope_body_value<F>>(scope::policy::supervise, std::move(handler),
                                                             std::move(body));
}

} // namespace tapir
