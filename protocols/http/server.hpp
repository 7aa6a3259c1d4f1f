// An HTTP/1.1 server over any stream: tapir's TCP, kernel sockets, pipes in a test.
//
//     http::server_control control;
//     http::server_config config;
//     config.wall_clock = [] { return std::time(nullptr); };
//     auto ended = co_await http::serve(listener, hello, config, control);
//     // from another coroutine: control.stop(reactor.now() + 5s);
//
// Each connection is a coroutine under serve()'s supervisor: an exception in a handler is logged and answered
// with 500, and ends nothing else. Requests of one connection are handled one after the other, in order;
// those that come early (pipelining) wait in its receive window,
// and the responses to those that have come together leave together.
#pragma once

#include <tapir/framework/error.hpp>
#include <tapir/framework/event.hpp>
#include <tapir/framework/intrusive_list.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/framework/stop.hpp>
#include <tapir/framework/stream.hpp>
#include <tapir/framework/task.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/framework/timer_wheel.hpp>
#include <tapir/protocols/http/date.hpp>
#include <tapir/protocols/http/limits.hpp>
#include <tapir/protocols/http/message.hpp>
#include <tapir/protocols/http/problem.hpp>
#include <tapir/protocols/http/transport.hpp>
#include <tapir/protocols/http/workspace.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tapir::http {

struct server_config {
    server_config() = default;

    http::limits limits;
    /// 411 to a POST or PUT that announces no body, instead of taking it for an empty one.
    bool require_length = true;

    /// From a request's first byte to the end of its head; past it 408. Slow-header attacks hold a
    /// connection no longer.
    duration header_time = 10s;
    /// Without a request: keep-alive, or a client that connects and says nothing. Closed without a word.
    duration idle_time = 60s;
    /// From the end of a head to the end of its body; past it 408.
    duration body_time = 60s;
    /// For each piece of a response (send_buffer_bytes, or twice as much of several) to be taken by the
    /// connection; past it the connection is aborted. Also how long the client may take to acknowledge the
    /// last of it.
    duration send_time = 60s;
    /// After the last response, how long and how many bytes a client may go on sending before the connection
    /// is closed under it. Closing at once would reset it, and the client could lose the response unread
    /// (RFC 9112 9.6).
    duration linger_time = 5s;
    std::uint64_t linger_bytes = std::uint64_t{1} << 20;

    /// At the limit one more is accepted and held, the connection that has been idle for longest is closed to
    /// make room for it, and further clients wait in the listener's bounded backlog.
    std::size_t max_connections = 4096;
    /// Requests on one connection before it is closed.
    std::uint64_t max_requests = 100'000;

    std::size_t read_buffer_bytes = 8 * 1024;
    std::size_t send_buffer_bytes = 64 * 1024;
    /// Sets of buffers kept for the next connections that have something to say. One is in use for each
    /// request that is being received or answered, and those are few at any moment unless handlers wait.
    std::size_t spare_workspaces = 64;
    /// A set that has grown past this, by a large body or a large response, is not kept.
    std::size_t spare_workspace_bytes = 192 * 1024;

    /// Server field; empty for none.
    std::string server_name = "tapir";
    /// Seconds since 1970, UTC. Without it there is no Date field, as RFC 9110 6.6.1 wants it of a server
    /// without a clock.
    std::function<unix_seconds()> wall_clock;
};

struct server_counters {
    std::uint64_t accepted = 0;
    std::uint64_t accept_errors = 0;
    std::uint64_t requests = 0;                           ///< whole ones, given to the handler
    std::array<std::uint64_t, 6> responses{};             ///< by class: responses[2] counts 200 to 299
    std::array<std::uint64_t, problem_count> malformed{}; ///< by static_cast<std::size_t>(problem)
    std::uint64_t idle_timeouts = 0;
    std::uint64_t header_timeouts = 0;
    std::uint64_t body_timeouts = 0;
    std::uint64_t send_timeouts = 0;
    std::uint64_t handler_failures = 0; ///< exceptions, and responses that can not be sent
    std::uint64_t body_failures = 0;    ///< body sources that failed or ended early
    std::uint64_t lost = 0;             ///< connections that broke (reset, timed out)
    std::uint64_t shed = 0;             ///< idle connections closed at max_connections
    std::uint64_t aborted = 0;          ///< still busy at the deadline of stop()

    std::uint64_t malformed_by(problem p) const { return malformed[static_cast<std::size_t>(p)]; }
};

namespace detail {

/// A connection that waits for its next request, until it is stopped: by the server, which has a list of all
/// of them, or by `parent`.
class idle_wait : public list_hook<>, public stop_source {
  public:
    idle_wait(stop_token parent, instant end) : stop_source(parent), deadline(end) {}
    instant deadline;
    bool passed = false; ///< it was, as the deadline came
    bool shed = false;   ///< it was, to make room for another connection
};

} // namespace detail

/// The other end of a running serve(). It must outlive it, and serves one at a time.
class server_control {
  public:
    server_control() = default;
    server_control(const server_control&) = delete;
    server_control& operator=(const server_control&) = delete;

    /// Accepts no more, closes what is idle, and lets requests in progress end, with "Connection: close" on
    /// their responses; what is left at `deadline` is aborted. serve() returns when all is over. Called
    /// again, it may only bring the deadline forward.
    void stop(instant deadline);
    bool stopping() const { return stop_.stop_requested(); }

    const server_counters& counters() const { return counters_; }
    /// Open now.
    std::size_t connections() const { return connections_; }

    // What follows is serve()'s.
    server_counters& count() { return counters_; }
    stop_token stop_request() { return stop_.token(); }
    void connection_began();
    void connection_ended(bool was_shed);
    /// As a rule all wait for equally long: one timer is enough for the list, and who comes and goes moves it
    /// not.
    void became_idle(detail::idle_wait& w, timer_wheel& timers);
    /// Until there are fewer than `limit` connections; closes idle ones meanwhile. errc::cancelled on stop.
    task<result<>> wait_for_room(std::size_t limit);
    /// Until no connection is left, or the deadline of stop().
    task<> wait_for_last();
    /// The Date field for this second, as the clock has it in this turn; empty without a clock.
    std::string_view date(const server_config& config, instant turn);
    std::unique_ptr<detail::workspace> lend_workspace(const server_config& config);
    void give_back(std::unique_ptr<detail::workspace> w, const server_config& config);

  private:
    server_counters counters_;
    std::size_t connections_ = 0;
    stop_source stop_;
    instant deadline_ = never;
    event changed_;                          ///< a connection ended or became idle, or stop() was called
    std::size_t shedding_ = 0;               ///< connections told to make room that have not ended
    intrusive_list<detail::idle_wait> idle_; ///< who has been for longest first
    bool in_order_ = true;                   ///< by their deadlines, too
    struct idle_timer : timer {
        explicit idle_timer(server_control& c);
        server_control& of;
        timer_wheel* wheel = nullptr;
    } idle_timer_{*this}; ///< set no later than for the first deadline of them
    void end_idle(instant now);
    unix_seconds date_of_ = 0;
    instant date_asked_{};
    std::string date_;
    std::vector<std::unique_ptr<detail::workspace>> spare_;
};

/// One connection from its first byte to its last. serve() calls it; a program with its own accept loop can.
task<> serve_connection(std::unique_ptr<transport> over, const handler* h, const server_config* config,
                        server_control* control);

namespace detail {

template <stream_listener L>
using accepted_by = typename tapir::detail::awaited<decltype(std::declval<L&>().accept())>::value_type;

/// What is there already.
template <stream_listener L>
std::optional<accepted_by<L>> accept_at_once(L& listener, const promise_base& by) {
    if constexpr (requires { listener.try_accept(by); }) return listener.try_accept(by);
    return std::nullopt;
}

template <stream_listener L>
task<result<accepted_by<L>>> accept_from(L* listener) {
    co_return co_await listener->accept();
}

/// Whether accept() can ever succeed again after this error.
bool listener_is_dead(std::error_code e);

} // namespace detail

/// Serves what `listener` accepts until control.stop(), or until the listener fails for good (its error is
/// returned then). Returns when every connection has ended. Stopping the coroutine itself aborts them all.
template <stream_listener L>
task<result<>> serve(L& listener, handler h, server_config config, server_control& control) {
    result<> ended;
    auto accept_all = [&](scope& connections) -> task<> {
        promise_base& self = co_await this_coroutine;
        either_stop stop(connections.token(), control.stop_request());
        for (;;) {
            result<detail::accepted_by<L>> accepted = errc::cancelled;
            if (stop.token().stop_requested()) break;
            if (auto here = detail::accept_at_once(listener, self))
                accepted = *std::move(here);
            else
                accepted = co_await detail::accept_from(&listener).under(stop.token());
            if (accepted) {
                if (stop.token().stop_requested()) break;
                if (control.connections() >= config.max_connections &&
                    !co_await control.wait_for_room(config.max_connections))
                    break;
                control.connection_began();
                using over = transport_over<detail::accepted_by<L>>;
                connections.spawn(serve_connection,
                                  std::unique_ptr<transport>(new over(std::move(*accepted))), &h, &config,
                                  &control);
                continue;
            }
            if (accepted.error() == errc::cancelled) break;
            ++control.count().accept_errors;
            if (detail::listener_is_dead(accepted.error())) {
                ended = accepted.error();
                break;
            }
            // The peer was gone before it was accepted, or the system is short of something: not in a loop.
            if (!co_await sleep_for(10ms)) break;
        }
        co_await control.wait_for_last();
        connections.request_stop();
    };
    co_await with_supervisor(accept_all);
    co_return ended;
}

} // namespace tapir::http
