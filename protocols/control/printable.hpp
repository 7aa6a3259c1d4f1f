// What a control socket tells comes from another process, and ends on somebody's terminal, which obeys some
// of the bytes that it is sent. Everything that tapstat prints of it passes here.
#pragma once

#include <string>
#include <string_view>

namespace tapir::control {

/// With '?' for every byte that is no printable ASCII.
std::string printable(std::string_view text);

/// A line of JSON in printable ASCII: what is not is escaped, so that it means the same. A line that is no
/// JSON comes back as of printable().
std::string printable_json(std::string_view line);

} // namespace tapir::control
