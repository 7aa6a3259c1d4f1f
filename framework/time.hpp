// Time comes in as an argument. `clock` names tapir's time line and has no now(): only a reactor's back end
// (the kernel's monotonic clock, or virtual time) makes instants; every layer below is handed them.
#pragma once

#include <chrono>
#include <cstdint>

namespace tapir {

using duration = std::chrono::nanoseconds;

struct clock {
    using rep = std::int64_t;
    using period = std::nano;
    using duration = tapir::duration;
    using time_point = std::chrono::time_point<clock, duration>;
    static constexpr bool is_steady = true;
};

/// A point of monotonic time, in nanoseconds since an arbitrary start.
using instant = clock::time_point;

/// Later than every deadline: "never".
inline constexpr instant never = instant::max();

/// `from + d`, or `never` where that would lie past the end of time. `from` is no negative instant.
constexpr instant after(instant from, duration d) {
    return d > never - from ? never : from + d;
}

using namespace std::chrono_literals;

} // namespace tapir
