// The date, for programs: HTTP's Date field, the origin of a capture's time stamps. Nothing that tapir
// decides depends on it; libraries get it as a function in their configuration.
#pragma once

#include <tapir/framework/time.hpp>

#include <cstdint>

namespace tapir {

/// Seconds since 1970, UTC.
std::int64_t unix_time();

/// What to add to an instant of a uring reactor for the time since 1970.
duration unix_time_of_instant_zero();

} // namespace tapir
