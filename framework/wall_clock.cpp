#include <tapir/framework/wall_clock.hpp>

namespace tapir {

std::int64_t unix_time() {
    return std::chrono::duration_cast<std::chrono::seconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
}

duration unix_time_of_instant_zero() {
    // steady_clock is CLOCK_MONOTONIC, the clock of uring_backend.
    return std::chrono::system_clock::now().time_since_epoch() -
           std::chrono::steady_clock::now().time_since_epoch();
}

} // namespace tapir
