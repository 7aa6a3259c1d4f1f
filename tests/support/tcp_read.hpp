// What a user of an endpoint reads, as text.
#pragma once

#include <tapir/protocols/tcp/endpoint.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace tapir::test {

/// All that is there, but no more than `most` bytes.
inline std::string read(tcp::endpoint& e, std::size_t most = SIZE_MAX) {
    std::string text(std::min(most, e.readable()), '\0');
    e.read(std::as_writable_bytes(std::span(text)));
    return text;
}

} // namespace tapir::test
