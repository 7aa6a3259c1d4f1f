// Counters are listed by name in one place for all layers, and none may be forgotten when one is added. A
// struct of counters says their names once, beside them, and what it leaves out or says twice does not
// compile:
//
//     struct counters {
//         std::uint64_t sent = 0;
//         count_by<drop, drop::too_late> dropped;
//         template <class Self, class F>
//         static constexpr void visit(Self& c, F f) {
//             f("sent", c.sent);
//             f("dropped", c.dropped);
//         }
//     };
//     static_assert(visits_every_counter<counters>());        // behind the enclosing class, if there is one
//
//     for_each_counter(c, [](std::string_view name, std::uint64_t value) { ... });   // "dropped.too_late"
#pragma once

#include <tapir/framework/count_by.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace tapir {

namespace detail {

template <class Counter>
struct mark {
    static constexpr bool set(Counter& c) {
        if (c != 0) return false;
        c = 1;
        return true;
    }
};
template <class Reason, Reason Last>
    requires requires { to_string(Last); }
struct mark<count_by<Reason, Last>> {
    static constexpr bool set(count_by<Reason, Last>& c) {
        if (c != count_by<Reason, Last>()) return false;
        c[Last] = 1;
        return true;
    }
};

/// "not for this station" as the last part of a name: "not_for_this_station".
std::string name_of_reason(std::string_view words);

} // namespace detail

/// Whether Counters::visit() names every byte of it, once.
template <class Counters>
consteval bool visits_every_counter() {
    Counters c{};
    std::size_t visited = 0;
    bool once = true;
    Counters::visit(c, [&]<class Counter>(std::string_view, Counter& value) {
        visited += sizeof(Counter);
        once = once && detail::mark<Counter>::set(value);
    });
    return once && visited == sizeof(Counters);
}

/// f(name, value) for each, in the order of their declaration; a count_by gives one for each reason.
template <class Counters, class F>
void for_each_counter(const Counters& c, F f) {
    Counters::visit(c, [&](std::string_view name, const auto& value) {
        if constexpr (requires { std::uint64_t{value}; }) {
            f(name, value);
        } else {
            value.for_each([&](auto reason, std::uint64_t n) {
                f(std::string(name) + "." + detail::name_of_reason(to_string(reason)), n);
            });
        }
    });
}

} // namespace tapir
