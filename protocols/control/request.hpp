// A request is one line of words; netcat can say it:
//
//     echo "connections half_open owner" | nc -U /run/tapir/17.sock
//
// It names the parts that are wanted and, with "owner" and "info", what is wanted of each connection beyond
// its columns.
#pragma once

#include <expected>
#include <string>
#include <string_view>

namespace tapir::control {

struct request {
    // parts
    bool listeners = false;
    bool half_open = false;
    bool connections = false;
    bool time_wait = false;
    bool udp = false;
    bool counters = false;
    // of each
    bool owner = false;
    bool info = false;

    bool operator==(const request&) const = default;
};

/// The error is a sentence for whoever typed the line.
std::expected<request, std::string> parse_request(std::string_view line);

std::string to_string(const request& r);

} // namespace tapir::control
