// What a fuzz target demands of every input: a broken promise aborts, naming the line.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <source_location>

namespace tapir::fuzz {

inline void must(bool promise, std::source_location where = std::source_location::current()) {
    if (promise) return;
    std::fprintf(stderr, "%s:%u: broken promise\n", where.file_name(), static_cast<unsigned>(where.line()));
    std::abort();
}

} // namespace tapir::fuzz
