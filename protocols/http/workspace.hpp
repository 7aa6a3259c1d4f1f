// What a connection of the server needs from a request's first byte to the last of its response, and lends
// from the server meanwhile: a connection that is idle holds none of it.
#pragma once

#include <tapir/protocols/http/limits.hpp>
#include <tapir/protocols/http/request_parser.hpp>

#include <cstddef>
#include <string>
#include <vector>

namespace tapir::http::detail {

struct workspace {
    workspace(const limits& l, bool require_length) : parser(l, require_length) {}

    std::size_t held_bytes() const { return in.capacity() + out.capacity() + parser.held_bytes(); }

    request_parser parser;
    std::vector<std::byte> in;
    std::string out; ///< responses that have not been written
};

} // namespace tapir::http::detail
