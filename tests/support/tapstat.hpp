// What tapstat, as this build made it, says of the programs that a test has started.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/process.hpp"

namespace tapir::test {

/// Runs it and waits for its end.
finished tapstat(std::vector<std::string> arguments);

/// The lines that hold `part`, as grep would give them.
std::string grep(const std::string& part, const std::string& text);
std::size_t lines_with(const std::string& part, const std::string& text);

/// A counter of the one program that runs, as `tapstat -s` has it; 0 when it leaves it out.
std::uint64_t counter_in_tapstat(const std::string& name);

} // namespace tapir::test
