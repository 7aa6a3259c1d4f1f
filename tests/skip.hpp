#pragma once

namespace tapir::test {
/// Counts the running test as skipped and prints why; the test then returns. For what this machine lacks
/// (a TAP, a right), never for what is broken.
void skip(const char* reason);
} // namespace tapir::test
