// Every limit and every time of a control socket, and what it counted.
#pragma once

#include <tapir/framework/time.hpp>
#include <tapir/framework/visit_counters.hpp>

#include <cstddef>
#include <cstdint>
#include <string>

namespace tapir::control {

struct config {
    config() = default;

    /// How answers name this program; empty: what the system calls it.
    std::string program;
    /// Served at the same time; more wait in the socket's backlog. Each costs one piece of an answer.
    std::size_t max_clients = 4;
    int backlog = 16;
    /// A request is a handful of words.
    std::size_t max_request_bytes = 256;
    /// Behind the request, read and dropped before the stream is closed.
    std::size_t max_drained_bytes = 256 * 1024;
    /// From the connection to the end of the request.
    duration request_time = 5s;
    /// For the whole of an answer to be taken. A hundred thousand connections with all their details are some
    /// 100 MB: a second or two for a client that reads.
    duration answer_time = 60s;
    /// An answer is made in pieces, one in a turn of the reactor at most: so many rows (some 10 us each) and
    /// so many empty places of a table looked at hold up everybody else for less than a millisecond.
    std::size_t rows_per_piece = 64;
    std::size_t places_per_piece = 4096;
};

struct counters {
    std::uint64_t clients = 0;
    std::uint64_t refused = 0;   ///< another user's
    std::uint64_t requests = 0;  ///< understood
    std::uint64_t malformed = 0; ///< answered with an error
    std::uint64_t request_timeouts = 0;
    std::uint64_t answer_timeouts = 0;
    std::uint64_t lost = 0; ///< gone before the end of their answer
    std::uint64_t rows = 0;
    std::uint64_t accept_errors = 0;

    template <class Self, class F>
    static constexpr void visit(Self& c, F f) {
        f("clients", c.clients);
        f("refused", c.refused);
        f("requests", c.requests);
        f("malformed", c.malformed);
        f("request_timeouts", c.request_timeouts);
        f("answer_timeouts", c.answer_timeouts);
        f("lost", c.lost);
        f("rows", c.rows);
        f("accept_errors", c.accept_errors);
    }
};
static_assert(visits_every_counter<counters>());

} // namespace tapir::control
