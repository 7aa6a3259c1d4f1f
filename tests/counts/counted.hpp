// Exact counts of what this thread has done: allocations, copies, and system calls that move frames. The
// program that links counted.cpp has operator new, memcpy and memmove replaced by ones that count; calls are
// counted by Linux. Where they began means nothing: only differences do.
//
//     const counts before = counted();
//     ...
//     const counts cost = counted() - before;
//
// A copy is one of `least_copy` bytes or more: payload, not headers. Those that a compiler has put in the
// place of a call are not seen; it does so where the size is known, and payload's never is.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tapir::test {

inline constexpr std::size_t least_copy = 256;

struct counts {
    std::uint64_t allocations = 0;
    std::uint64_t copied = 0; ///< bytes
    std::uint64_t heap = 0;   ///< bytes in use of what operator new gave, true sizes with malloc's own word

    counts operator-(const counts& o) const {
        return {
            .allocations = allocations - o.allocations, .copied = copied - o.copied, .heap = heap - o.heap};
    }
};

counts counted();

struct calls {
    std::uint64_t reads = 0; ///< read(), readv() and the like, of open descriptors
    std::uint64_t writes = 0;

    calls operator-(const calls& o) const { return {.reads = reads - o.reads, .writes = writes - o.writes}; }
};

/// Throws lacking (tests/support/netns.hpp) where Linux keeps no account of them.
calls calls_counted();

} // namespace tapir::test
