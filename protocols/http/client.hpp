// A client of HTTP/1.1 over any stream: one request, its response, the body handed on as it arrives.
//
//     std::uint64_t total = 0;
//     auto count = [&](bytes piece) -> result<> { total += piece.size(); return {}; };
//     auto head = co_await http::get(connection, "example.net", "/", count);
//     if (head && head->status == 200) ...
//
// An error is one of the stream's, errc::deadline_exceeded, what the sink returned, or an http::problem. A
// body that is shorter than announced is problem::incomplete, never a success.
#pragma once

#include <tapir/framework/bytes.hpp>
#include <tapir/framework/error.hpp>
#include <tapir/framework/stream.hpp>
#include <tapir/framework/task.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/protocols/http/limits.hpp>
#include <tapir/protocols/http/parse.hpp>
#include <tapir/protocols/http/transport.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <utility>

namespace tapir::http {

struct client_config {
    client_config() { limits.body_bytes = std::numeric_limits<std::uint64_t>::max(); }

    /// The body is handed on, not held: unlimited by default.
    http::limits limits;
    /// For the request to be taken, and from there to the end of the response's head.
    duration header_time = 30s;
    /// For each further piece of the body. Bound the whole with with_deadline().
    duration idle_time = 30s;
    /// Asks the server to keep the connection for another request; otherwise to close it.
    bool keep_alive = false;
    /// Sent besides Host, Connection and Accept.
    http::fields fields;
    std::size_t read_buffer_bytes = 64 * 1024;
};

/// Takes each piece of the body; an error ends the exchange with it.
using body_sink = std::function<result<>(bytes)>;

struct client_response : response_head {
    client_response() = default;
    std::uint64_t body_bytes = 0;
    /// The connection may carry another request.
    bool persists = false;
};

namespace detail {
task<result<client_response>> exchange(transport& over, std::string method, std::string host,
                                       std::string target, body_sink sink, client_config config);
} // namespace detail

/// `host` is what stands in the Host field: with the port, unless it is 80. After an error the stream is of
/// no more use.
template <stream S>
task<result<client_response>> get(S& over, std::string host, std::string target, body_sink sink,
                                  client_config config = {}) {
    transport_over<S&> t(over);
    co_return co_await detail::exchange(t, "GET", std::move(host), std::move(target), std::move(sink),
                                        std::move(config));
}

/// The same without a body.
template <stream S>
task<result<client_response>> head(S& over, std::string host, std::string target, client_config config = {}) {
    transport_over<S&> t(over);
    co_return co_await detail::exchange(t, "HEAD", std::move(host), std::move(target), body_sink(),
                                        std::move(config));
}

} // namespace tapir::http
