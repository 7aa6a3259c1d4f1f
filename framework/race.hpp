// The first of several tasks to end wins; the others are stopped and waited for.
//
//     auto first = co_await race(read_line(c), told_to_stop(&shutdown));      // tasks, not bare awaiters
//     if (first.index() == 1) ...                                            // the shutdown came first
//
// Losers end before race() returns: what they had in flight is over. A loser's value is dropped (a connection
// that it had just accepted is destroyed), its exception too; the winner's exception is rethrown.
#pragma once

#include <tapir/framework/scope.hpp>
#include <tapir/framework/task.hpp>
#include <tapir/framework/when_all.hpp>

#include <cstddef>
#include <exception>
#include <optional>
#include <utility>
#include <variant>

namespace tapir {

namespace detail {

template <class Variant>
struct race_state {
    std::optional<Variant> winner;
    std::exception_ptr failure;
    bool decided = false;
};

template <std::size_t I, class T, class Variant>
task<> run_racer(task<T> work, race_state<Variant>* state, scope* s) {
    std::exception_ptr failure;
    try {
        if constexpr (std::is_void_v<T>) {
            co_await std::move(work);
            if (!state->decided) state->winner.emplace(std::in_place_index<I>);
        } else {
            auto value = co_await std::move(work);
            if (!state->decided) state->winner.emplace(std::in_place_index<I>, std::move(value));
        }
    } catch (...) {
        failure = std::current_exception();
    }
    if (std::exchange(state->decided, true)) co_return;
    state->failure = failure;
    s->request_stop();
}

template <class... T, std::size_t... I>
task<std::variant<stored<T>...>> run_race(std::index_sequence<I...>, task<T>... work) {
    race_state<std::variant<stored<T>...>> state;
    promise_base& self = co_await this_coroutine;
    self.set_internal();
    scope s(self, scope::policy::fail_together);
    (s.spawn(run_racer<I, T, std::variant<stored<T>...>>, std::move(work), &state, &s), ...);
    co_await s.join();
    if (state.failure) std::rethrow_exception(state.failure);
    co_return std::move(*state.winner);
}

} // namespace detail

/// A variant whose index tells the winner; std::monostate stands for void. When the caller itself is stopped
/// all racers are, and the first to end (usually with errc::cancelled) wins.
template <class... T>
    requires(sizeof...(T) > 0)
task<std::variant<detail::stored<T>...>> race(task<T>... work) {
    return detail::run_race<T...>(std::index_sequence_for<T...>{}, std::move(work)...);
}

} // namespace tapir
