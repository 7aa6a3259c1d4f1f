// A message as it was handed over: the envelope, and the text.
#pragma once

#include <tapir/framework/error.hpp>
#include <tapir/framework/task.hpp>

#include <functional>
#include <string>
#include <vector>

namespace tapir::smtp {

struct message {
    message() = default;
    std::string client;                  ///< address and port
    std::string helo;                    ///< how it named itself
    std::string from;                    ///< without its brackets; empty for the null reverse-path <>
    std::vector<std::string> recipients; ///< at least one
    /// Header and body, lines ended by CRLF, without the dots that were stuffed in. [RFC 5321 4.5.2]
    std::string text;
};

/// What becomes of a message: 250 if it was taken, which makes us responsible for it; errc::no_memory is 452,
/// errc::too_large 552, anything else 451. An exception too.
using handler = std::function<task<result<>>(const message&)>;

} // namespace tapir::smtp
