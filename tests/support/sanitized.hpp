// Whether this program was built with the address sanitizer: it makes some tests ten times slower, which then
// do less, and memory no measure.
#pragma once

namespace tapir::test {

#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool sanitized = true;
#elif defined(__has_feature)
inline constexpr bool sanitized = __has_feature(address_sanitizer);
#else
inline constexpr bool sanitized = false;
#endif

} // namespace tapir::test
