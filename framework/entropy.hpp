// The one door to the operating system's randomness. Programs pass through it once, at the start, and hand
// the result down as seeds and keys; nothing else draws unseeded.
#pragma once

#include <tapir/framework/siphash.hpp>

#include <cstdint>

namespace tapir {

/// 64 bits from getrandom(2). Throws std::system_error where there is none.
std::uint64_t os_seed();

/// A key for host_config::secret.
siphash_key os_secret();

} // namespace tapir
