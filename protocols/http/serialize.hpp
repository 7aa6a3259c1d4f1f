// Heads as they go on the wire, and how the body behind them is delimited.
#pragma once

#include <tapir/protocols/http/message.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace tapir::http {

/// What the server knows about a response that its handler does not.
struct response_context {
    bool to_head = false;    ///< answers HEAD: no body follows
    int request_minor = 1;   ///< an HTTP/1.0 client can not be sent chunks
    bool keep_alive = true;  ///< as far as request and server are concerned
    std::string_view date;   ///< empty: no clock, no Date
    std::string_view server; ///< empty: no Server
};

struct response_plan {
    enum class body : std::uint8_t { none, text, counted, chunked, until_close };
    body how = body::none;
    std::uint64_t length = 0; ///< of body::counted
    bool keep_alive = true;   ///< another request may follow
};

/// Appends status line and fields to `out`.
response_plan append_head(std::string& out, const response& r, const response_context& context);

/// Room in front of a chunk's data for its size line: up to 16 digits and CRLF.
inline constexpr std::size_t chunk_prefix_bytes = 18;
inline constexpr std::size_t chunk_suffix_bytes = 2;
/// Frames `size` > 0 bytes that stand at data + chunk_prefix_bytes, in place; two bytes behind them must be
/// writable. Returns the chunk as it goes on the wire.
std::string_view frame_chunk(char* data, std::size_t size);
inline constexpr std::string_view last_chunk = "0\r\n\r\n";

} // namespace tapir::http
