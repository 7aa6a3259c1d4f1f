// One connection of the server: reads requests, has them answered, and closes so that the client has seen the
// last answer. server.hpp is what programs include.
#pragma once

#include <tapir/framework/error.hpp>
#include <tapir/framework/task.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/protocols/http/message.hpp>
#include <tapir/protocols/http/request_parser.hpp>
#include <tapir/protocols/http/serialize.hpp>
#include <tapir/protocols/http/server.hpp>
#include <tapir/protocols/http/transport.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tapir::http::detail {

class connection {
  public:
    connection(transport& io, const handler& h, const server_config& config, server_control& control)
        : io_(io), handler_(h), config_(config), control_(control),
          parser_(config.limits, config.require_length) {}

    task<> run();
    /// It was closed to make room for another.
    bool was_shed() const { return shed_; }

  private:
    /// What waiting for a request came to.
    enum class arrival : std::uint8_t {
        request, ///< a whole one
        refused, ///< not a request: refusal_ is the status that says so
        nothing, ///< an orderly end between requests
        broken,  ///< the connection has failed, or this coroutine was stopped
    };
    task<arrival> receive();
    task<arrival> receive_head();
    task<arrival> receive_body();
    /// Reads once into the buffer. `idle`: the wait ends when the server stops or needs room.
    task<result<std::size_t>> fill(instant deadline);
    task<result<std::size_t>> fill_when_idle(instant deadline);
    void parse();
    arrival refuse(int status);
    arrival lost(std::error_code e);

    task<response> ask_handler();

    /// False when the connection is of no more use; keep_alive_ says whether another request may follow.
    task<bool> send(const response& r, bool to_head, int minor);
    task<bool> send_source(body_source& source, const response_plan& plan);
    task<bool> write(std::string_view text);

    task<> end();
    task<result<>> drain();
    task<result<>> finish_and_linger();

    std::string_view unread() const { return as_text(bytes(in_).subspan(begin_, end_ - begin_)); }
    instant now() const { return self_->reactor().now(); }
    bool stopped() const { return self_->stop().stop_requested(); }

    transport& io_;
    const handler& handler_;
    const server_config& config_;
    server_control& control_;
    promise_base* self_ = nullptr; ///< run()'s own
    request_parser parser_;
    std::vector<std::byte> in_;
    std::size_t begin_ = 0; ///< of what has been read and not parsed
    std::size_t end_ = 0;
    std::string out_;
    int refusal_ = 0;
    bool eof_ = false; ///< the client has half-closed: it sends no more, but still reads
    bool keep_alive_ = true;
    bool shed_ = false;
};

} // namespace tapir::http::detail
