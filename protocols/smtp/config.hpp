// What one client may cost an SMTP server before it is refused, and how long it may take.
#pragma once

#include <tapir/framework/time.hpp>

#include <cstddef>
#include <cstdint>
#include <string>

namespace tapir::smtp {

struct config {
    config() = default;

    std::string host_name = "tapir"; ///< ours, in the greeting [RFC 5321 4.3.1]

    /// A command with its CRLF; past it 500. [RFC 5321 4.5.3.1.4] asks for 512, extensions for a little more.
    std::size_t command_bytes = 1024;
    /// Between the angle brackets; past it 501. [RFC 5321 4.5.3.1.3]
    std::size_t path_bytes = 256;
    std::size_t local_part_bytes = 64; ///< [RFC 5321 4.5.3.1.1]
    std::size_t domain_bytes = 255;    ///< [RFC 5321 4.5.3.1.2]
    /// A line of a message with its CRLF; past it the message is refused with 500. [RFC 5321 4.5.3.1.6]
    std::size_t text_line_bytes = 1000;
    /// A message, which is held in memory; past it 552. At least 64 KiB [RFC 5321 4.5.3.1.7]; announced with
    /// SIZE [RFC 1870]. What a client goes on to send after that is read and thrown away, up to as much
    /// again: then the connection is closed.
    std::size_t message_bytes = std::size_t{10} << 20;
    /// All messages together that are being received or decided about; past it 452, and the client comes
    /// again. At least twice message_bytes, since one that grows is copied. Without it `connections` of the
    /// largest messages would be 2.5 GiB.
    std::size_t total_message_bytes = std::size_t{256} << 20;
    std::size_t recipients = 100; ///< of one message; past it 452 [RFC 5321 4.5.3.1.8]
    /// Commands that draw an error (5xx) on one connection; past it 421. Nobody honest makes as many, and
    /// who guesses, or speaks HTTP, need not be listened to for long.
    std::size_t errors = 20;
    std::size_t messages = 1000; ///< on one connection; past it 421

    /// For a whole command, not for each byte of it; past it 421. [RFC 5321 4.5.3.2.7] At least 5 min.
    duration command_time = 5min;
    /// For each piece of a message; past it 421. The client's own limit for a block is 3 min
    /// [RFC 5321 4.5.3.2.5]; ours is longer, so that it hears of it first.
    duration data_block_time = 5min;
    /// For a whole message: pieces of one byte keep nobody here for ever.
    duration data_time = 30min;
    /// For replies to be taken by the connection; past it the connection is aborted.
    duration reply_time = 1min;

    /// At the same time; one more gets 421 instead of a greeting.
    std::size_t connections = 256;
    std::size_t read_buffer_bytes = 4 * 1024;
};

} // namespace tapir::smtp
