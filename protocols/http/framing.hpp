// How long a message's body is (RFC 9112 6.3), decided once from its head. Whatever two implementations could
// read differently is refused: that difference is what request smuggling lives on.
#pragma once

#include <tapir/protocols/http/message.hpp>
#include <tapir/protocols/http/parse.hpp>
#include <tapir/protocols/http/problem.hpp>

#include <cstdint>

namespace tapir::http {

struct framing {
    enum class kind : std::uint8_t { none, length, chunked, until_close };
    framing() = default;
    framing(kind k, std::uint64_t n) : how(k), length(n) {}

    kind how = kind::none;
    std::uint64_t length = 0; ///< of kind::length
};

/// `require_length`: a POST or PUT without any is a problem instead of a request without a body.
problem request_framing(const request& r, bool require_length, framing& out);

/// `to_head`: the response answers a HEAD request.
problem response_framing(const response_head& r, bool to_head, framing& out);

/// Whether the connection can carry another message after this one (RFC 9112 9.3).
bool persists(const fields& f, int minor);

} // namespace tapir::http
