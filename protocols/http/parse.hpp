// The grammar of heads, read by Boost.Beast's basic_parser. Beast is named in parse.cpp alone, so that no
// user of this library compiles it. It is given only whole heads that passed head_scanner; bodies do not pass
// through it, because the parser of Boost 1.74 asserts when a last chunk comes in four bytes and then one.
#pragma once

#include <tapir/protocols/http/limits.hpp>
#include <tapir/protocols/http/message.hpp>
#include <tapir/protocols/http/problem.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace tapir::http {

/// A response as a client reads it, without the body.
struct response_head {
    response_head() = default;
    int status = 0;
    int minor = 1;
    std::string reason;
    http::fields fields;
};

/// `line` ends with its CRLF.
problem check_request_line(std::string_view line);
problem check_status_line(std::string_view line);

/// Most requests there are: HTTP/1.1, for a path, with one Host, without a body, and with no other field that
/// means anything to who parses. They are read and checked at one go. Returns the bytes of the head that `in`
/// begins with; 0 when it is none of these or not all of it is here, and `out` is then as it was. What is one
/// passes head_scanner, parse_request_head(), check_request() and request_framing().
/// `out` must be clear. `closes`: it says so.
std::size_t take_plain_request(std::string_view in, const limits& l, request& out, bool& closes);
/// Any request.
problem parse_request_head(std::string_view head, request& out);
problem parse_response_head(std::string_view head, response_head& out);

/// What RFC 9110 and 9112 demand of a request beyond its grammar: one Host, a target in one of its forms.
problem check_request(const request& r);

} // namespace tapir::http
