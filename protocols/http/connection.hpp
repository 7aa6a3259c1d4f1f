// One connection of the server: reads requests, has them answered, and closes so that the client has seen the
// last answer. server.hpp is what programs include.
#pragma once

#include <tapir/framework/error.hpp>
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/task.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/protocols/http/message.hpp>
#include <tapir/protocols/http/request_parser.hpp>
#include <tapir/protocols/http/serialize.hpp>
#include <tapir/protocols/http/server.hpp>
#include <tapir/protocols/http/transport.hpp>
#include <tapir/protocols/http/workspace.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace tapir::http::detail {

class connection {
  public:
    connection(transport& io, const handler& h, const server_config& config, server_control& control,
               promise_base& self)
        : io_(io), handler_(h), config_(config), control_(control), self_(self) {}

  private:
    friend task<> http::serve_connection(std::unique_ptr<transport>, const handler*, const server_config*,
                                         server_control*);
    /// From the first bytes of a request until the connection is idle again; false when it is of no more use.
    /// Not inlined: a compiler would lay its frame, and all those that it awaits, into that of
    /// serve_connection(), where an idle connection held them.
    [[gnu::noinline]] task<bool> serve_requests();
    /// What waiting for a request came to.
    enum class arrival : std::uint8_t {
        begun,   ///< the first bytes of one
        request, ///< a whole one
        refused, ///< not a request: refusal_ is the status that says so
        nothing, ///< an orderly end between requests
        broken,  ///< the connection has failed, or this coroutine was stopped
    };
    /// True when all of the next request has come with what was read before.
    bool next_is_here();
    /// Reads the first bytes of one if they are here.
    bool begins_at_once();
    /// What the stream can give without a wait.
    bool reads_at_once();
    /// The stream is readable: false if it cannot tell by what, and read_first() has to wait.
    bool begins_or_ends();
    task<result<>> read_first();
    /// What the wait came to.
    arrival woken(const idle_wait& idle, const result<>& came);
    task<arrival> receive();
    task<arrival> receive_head();
    task<arrival> receive_body();
    /// Reads once into the buffer.
    task<result<std::size_t>> fill(instant deadline);
    void parse();
    arrival refuse(int status);
    arrival lost(std::error_code e);

    response handler_failed(const std::string& what);
    /// While responses to requests before this one have not left: they wait for a handler that has its
    /// response at once, and for no other.
    struct flush_if_it_waits : turn_hook {
        explicit flush_if_it_waits(connection& c);
        connection* of;
        scope running;
    };
    task<> flush_meanwhile();

    /// A response whose head is in workspace::out, and the body too if it is a small text.
    struct sending {
        response_plan plan;
        std::string_view text; ///< of the body, what is not there
        bool streamed() const {
            return plan.how != response_plan::body::none && plan.how != response_plan::body::text;
        }
    };
    /// keep_alive_ then says whether another request may follow.
    sending begin_sending(const response& r, bool to_head, int minor);
    /// What a small response comes to: it has left without a wait, or may wait for those behind it.
    bool has_left(const sending& s);
    /// What else it takes; false when the connection is of no more use.
    task<bool> send_rest(const response& r, sending s);
    /// True when nothing is left in workspace::out.
    bool write_at_once();
    task<bool> send_source(body_source& source, const response_plan& plan);
    task<bool> flush();
    task<bool> write(std::string_view text);

    [[gnu::noinline]] task<> end(); // likewise
    task<result<>> drain();
    task<result<>> finish_and_linger(bool has_lingered);

    void lend_workspace();
    void give_back_workspace();
    request_parser& parser() { return work_->parser; }
    std::string_view unread() const {
        return work_ ? as_text(bytes(work_->in).subspan(begin_, end_ - begin_)) : std::string_view();
    }
    instant now() const { return self_.reactor().now(); }
    bool stopped() const { return self_.stop().stop_requested(); }

    transport& io_;
    const handler& handler_;
    const server_config& config_;
    server_control& control_;
    promise_base& self_;              ///< serve_connection()'s own
    std::unique_ptr<workspace> work_; ///< null when idle
    std::size_t begin_ = 0;           ///< of what has been read and not parsed
    std::size_t end_ = 0;
    std::uint64_t served_ = 0;
    int refusal_ = 0;
    bool eof_ = false; ///< the client has half-closed: it sends no more, but still reads
    bool keep_alive_ = true;
    bool finishing_ = false;       ///< io_.begin_finish() has done it
    bool shed_ = false;            ///< it was closed to make room for another
    bool flushed_in_vain_ = false; ///< flush_meanwhile() has failed
};

} // namespace tapir::http::detail
