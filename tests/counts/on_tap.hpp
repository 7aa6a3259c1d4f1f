// What one request, round trip or byte costs a server on a TAP, in exact counts: the kernel is the client, in
// a thread of its own that is not counted. To be called in a network of one's own (tests/support/netns.hpp).
#pragma once

#include <cstdint>
#include <string>

#include "tests/counts/counted.hpp"

namespace tapir::test {

struct cost {
    counts done;
    calls made;
    std::uint64_t enters = 0; ///< io_uring_enter
    std::uint64_t turns = 0;  ///< of the run loop
    std::uint64_t frames_in = 0;
    std::uint64_t frames_out = 0;
    std::uint64_t payload_out = 0; ///< bytes that TCP sent, those that went again included
    std::uint64_t operations = 0;  ///< requests, round trips or bytes, by which all of this is to be divided

    double each(std::uint64_t n) const { return static_cast<double>(n) / static_cast<double>(operations); }
};

enum class load : std::uint8_t {
    http,          ///< requests on one keep-alive connection, one at a time
    http_connect,  ///< each on a connection of its own, one at a time
    echo,          ///< a byte there and back
    send,          ///< write(span) of 64 KiB at a time
    receive,       ///< read(span)
    receive_chunks ///< read(): owning chunks
};

/// `operations` of them, counted once a quarter as many more have warmed up all pools. `io`: "poll" or
/// "multishot".
cost measured(load what, const std::string& io, std::uint64_t operations);

} // namespace tapir::test
