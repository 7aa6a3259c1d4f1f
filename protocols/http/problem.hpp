// Every way in which a message can break HTTP/1.1 or pass a limit, and the status that answers it. A parser
// stops at the first problem; the server counts problems one by one, so that an operator sees which.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <system_error>

namespace tapir::http {

enum class problem : std::uint8_t {
    none,
    // the start line
    bad_request_line,    ///< no method, target and version in their places
    bad_status_line,     ///< the same, of a response
    bad_target,          ///< none of the four forms of RFC 9112 3.2
    target_too_long,     ///< limits::request_line_bytes
    unsupported_version, ///< a version that is not HTTP/1.x
    unsupported_method,  ///< CONNECT
    // the fields
    bad_line_ending,   ///< a CR or an LF alone
    control_character, ///< below 0x20 and not a tab, or DEL
    obsolete_folding,  ///< a line that begins with white space
    bad_field,         ///< a name that is no token, or a value against its grammar
    head_too_large,    ///< limits::head_bytes or limits::fields
    missing_host,
    repeated_host,
    bad_host,
    unknown_expectation, ///< Expect with anything but 100-continue
    // how long the body is
    bad_content_length,
    repeated_content_length,
    length_and_transfer_encoding, ///< both: the classic of request smuggling
    bad_transfer_encoding,        ///< chunked is not the last coding, comes twice, or in HTTP/1.0
    unsupported_transfer_encoding,
    length_required, ///< a POST or PUT that announces no body at all
    // the body
    body_too_large, ///< limits::body_bytes
    bad_chunk_size,
    bad_chunk_extension,
    bad_chunk_end, ///< data not followed by CRLF
    bad_trailer,
    incomplete, ///< the stream ended within the message
};
inline constexpr std::size_t problem_count = static_cast<std::size_t>(problem::incomplete) + 1;

/// One word for counters and logs: "obsolete_folding".
std::string_view name_of(problem p);
/// What a server answers: 400, 411, 413, 414, 417, 431, 501 or 505.
int status_of(problem p);

/// A client's errors: a problem as an error_code, "http: bad_chunk_size".
const std::error_category& http_category() noexcept;
inline std::error_code make_error_code(problem p) noexcept {
    return {static_cast<int>(p), http_category()};
}

} // namespace tapir::http

template <>
struct std::is_error_code_enum<tapir::http::problem> : std::true_type {};
