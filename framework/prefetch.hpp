// Among a million objects the next one wanted is in no cache. Whoever is about to use all of it can have its
// lines fetched side by side, instead of waiting for each in turn. Nothing but time depends on it.
//
//     tapir::prefetch(c, sizeof *c);     // then use *c
#pragma once

#include <cstddef>

namespace tapir {

inline constexpr std::size_t cache_line = 64;

/// Nothing is read: what is there may be gone. Not null.
inline void prefetch(const void* at, std::size_t size = 1) {
    for (std::size_t offset = 0; offset < size; offset += cache_line)
        __builtin_prefetch(static_cast<const std::byte*>(at) + offset);
    // Few objects begin where a line does.
    if (size > 1) __builtin_prefetch(static_cast<const std::byte*>(at) + size - 1);
}

} // namespace tapir
