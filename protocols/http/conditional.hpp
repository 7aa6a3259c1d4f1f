// Conditional requests and ranges (RFC 9110 13 and 14): whether to send a representation, and which part.
#pragma once

#include <tapir/protocols/http/date.hpp>
#include <tapir/protocols/http/message.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace tapir::http {

/// What tells one version of a representation from another.
struct validators {
    validators(std::string tag, unix_seconds when) : etag(std::move(tag)), modified(when) {}
    std::string etag; ///< strong, with its quotes
    unix_seconds modified;
};

enum class precondition : std::uint8_t {
    proceed,
    not_modified, ///< 304: the client has it already
    failed,       ///< 412
};

/// If-Match, If-Unmodified-Since, If-None-Match and If-Modified-Since of a GET or HEAD, in the order of
/// RFC 9110 13.2.2.
precondition evaluate(const request& r, const validators& v);

struct byte_range {
    enum class kind : std::uint8_t { whole, part, unsatisfiable };
    byte_range() = default;
    kind what = kind::whole;
    std::uint64_t first = 0;
    std::uint64_t length = 0;
};

/// What Range and If-Range ask of a representation of `size` bytes. One range is honoured; several, another
/// unit or bad syntax are ignored, as RFC 9110 14.2 allows: the whole is sent.
byte_range requested_range(const request& r, const validators& v, std::uint64_t size);

} // namespace tapir::http
