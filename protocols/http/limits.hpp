// What one message may cost before it is refused.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tapir::http {

struct limits {
    /// Start line with its CRLF; past it 414. RFC 9112 3 asks for at least 8,000.
    std::size_t request_line_bytes = 8 * 1024;
    /// Start line and fields; past it 431. Cookies of 4 KiB, a few of them, fit.
    std::size_t head_bytes = 32 * 1024;
    /// Number of fields; past it 431.
    std::size_t field_count = 100;
    /// Body without its transfer encoding; past it 413. A request's body is held in memory.
    std::uint64_t body_bytes = std::uint64_t{1} << 20;
    /// Chunk extensions, padding of chunk sizes, and trailers of one message: all are read and dropped.
    std::size_t chunk_overhead_bytes = 16 * 1024;
};

} // namespace tapir::http
