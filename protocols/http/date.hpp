// HTTP's dates: always in UTC, always English. The wall clock is the caller's; here is only arithmetic.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tapir::http {

/// Seconds since 1970-01-01 00:00:00 UTC, without leap seconds.
using unix_seconds = std::int64_t;

/// "Sun, 06 Nov 1994 08:49:37 GMT". Years 0 to 9999; others are clamped.
std::string format_date(unix_seconds t);

/// All three forms that RFC 9110 5.6.7 obliges a recipient to accept. `now` places the two-digit years of the
/// oldest form: what would be more than 50 years ahead lies in the past.
std::optional<unix_seconds> parse_date(std::string_view text, unix_seconds now);

} // namespace tapir::http
