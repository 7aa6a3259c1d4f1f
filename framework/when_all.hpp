// Several tasks at once, awaited as one.
//
//     auto [page, user] = co_await when_all(fetch_page(), fetch_user());
//
// All run under one scope: the first exception stops the others and is rethrown when every one has ended.
#pragma once

#include <tapir/framework/scope.hpp>
#include <tapir/framework/task.hpp>

#include <cstddef>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace tapir {

namespace detail {

/// What a task leaves behind: its value, std::monostate for void.
template <class T>
using stored = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

template <class T>
task<> store(task<T> work, std::optional<stored<T>>* where) {
    if constexpr (std::is_void_v<T>) {
        co_await std::move(work);
        where->emplace();
    } else {
        where->emplace(co_await std::move(work));
    }
}

template <class... T, std::size_t... I>
task<std::tuple<stored<T>...>> all_of(std::index_sequence<I...>, task<T>... work) {
    std::tuple<std::optional<stored<T>>...> values;
    promise_base& self = co_await this_coroutine;
    self.set_internal();
    scope s(self, scope::policy::fail_together);
    (s.spawn(store<T>, std::move(work), &std::get<I>(values)), ...);
    co_await s.join();
    if (s.failure()) std::rethrow_exception(s.failure());
    co_return std::tuple<stored<T>...>(std::move(*std::get<I>(values))...);
}

} // namespace detail

/// A tuple of the values, in the order of the arguments; std::monostate stands for void.
template <class... T>
task<std::tuple<detail::stored<T>...>> when_all(task<T>... work) {
    return detail::all_of<T...>(std::index_sequence_for<T...>{}, std::move(work)...);
}

/// The same for any number of tasks of one type.
template <class T>
task<std::vector<detail::stored<T>>> when_all(std::vector<task<T>> work) {
    std::vector<std::optional<detail::stored<T>>> values(work.size());
    promise_base& self = co_await this_coroutine;
    self.set_internal();
    scope s(self, scope::policy::fail_together);
    for (std::size_t i = 0; i < work.size(); ++i) s.spawn(detail::store<T>, std::move(work[i]), &values[i]);
    co_await s.join();
    if (s.failure()) std::rethrow_exception(s.failure());
    std::vector<detail::stored<T>> out;
    out.reserve(values.size());
    for (auto& value : values) out.push_back(std::move(*value));
    co_return out;
}

} // namespace tapir
