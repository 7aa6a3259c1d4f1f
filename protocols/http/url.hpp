// Where a client has to go for "http://host:8080/path?query".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tapir::http {

struct url {
    url() = default;
    std::string host; ///< a name or an address; IPv6 without its brackets
    std::uint16_t port = 80;
    std::string authority; ///< as it stood there, for the Host field
    std::string target;    ///< path and query, "/" if there was none
};

/// http only, without user information. Nothing for what is no such URL.
std::optional<url> parse_url(std::string_view text);

} // namespace tapir::http
