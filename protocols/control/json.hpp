// Rows as lines of JSON, and back.
#pragma once

#include <tapir/framework/error.hpp>
#include <tapir/protocols/control/rows.hpp>

#include <string>
#include <string_view>

namespace tapir::control {

/// Without the newline. Text that is not UTF-8 gets replacement characters.
std::string to_json(const row& r);

/// errc::malformed when it is no JSON object with a type, or a field is not what it should be.
result<row> parse_row(std::string_view line);

} // namespace tapir::control
