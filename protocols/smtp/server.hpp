// An SMTP server (RFC 5321) over any stream: takes messages and hands them to a coroutine of the program's.
//
//     auto keep = [&](const smtp::message& m) -> task<result<>> { ... co_return result<>(); };
//     smtp::server_control control;
//     auto ended = co_await smtp::serve(listener, keep, smtp::config(), control);
//     // from another coroutine: control.stop();
//
// Each connection is a coroutine under serve()'s supervisor. It takes as long as config allows, and no
// longer: the conversation itself is session.hpp's.
#pragma once

#include <tapir/framework/error.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/framework/stop.hpp>
#include <tapir/framework/stream.hpp>
#include <tapir/framework/task.hpp>
#include <tapir/protocols/smtp/config.hpp>
#include <tapir/protocols/smtp/message.hpp>
#include <tapir/protocols/smtp/session.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace tapir::smtp {

struct server_counters {
    std::uint64_t accepted = 0; ///< connections
    std::uint64_t refused = 0;  ///< of these: too many at the same time
    std::uint64_t messages = 0;
    std::uint64_t refused_messages = 0; ///< whole ones, answered with an error
    std::uint64_t errors = 0;           ///< commands answered with 5xx
    std::uint64_t timeouts = 0;
    std::uint64_t lost = 0; ///< connections that broke, or ended without QUIT
    std::uint64_t accept_errors = 0;
    std::uint64_t handler_failures = 0; ///< exceptions
};

/// The other end of a running serve(). It must outlive it.
class server_control {
  public:
    server_control() = default;
    server_control(const server_control&) = delete;
    server_control& operator=(const server_control&) = delete;

    /// Accepts no more; who is connected gets 421 as soon as we would have to wait for it.
    void stop() { stop_.request_stop(); }
    bool stopping() const { return stop_.stop_requested(); }
    const server_counters& counters() const { return counters_; }
    /// Open now.
    std::size_t connections() const { return connections_; }

    /// That messages take now, in all connections.
    std::size_t message_bytes_held() const { return texts_.held(); }

    // What follows is serve()'s.
    text_memory& texts() { return texts_; }
    server_counters& count() { return counters_; }
    stop_token stop_request() { return stop_.token(); }
    void began() { ++connections_; }
    void ended(const session::counters& c) {
        --connections_;
        counters_.messages += c.messages;
        counters_.refused_messages += c.refused;
        counters_.errors += c.errors;
    }

  private:
    server_counters counters_;
    std::size_t connections_ = 0;
    text_memory texts_;
    stop_source stop_;
};

namespace detail {

template <stream S>
task<result<std::size_t>> read(S* from, mutable_bytes to) {
    co_return co_await from->read(to);
}

template <stream S>
task<result<>> write(S* to, bytes all) {
    const write_result written = co_await to->write(all);
    if (!written) co_return written.error();
    co_return result<>();
}

/// Half-closes, and waits until the client has closed too: were the connection closed with input unread, a
/// reset could overtake our last reply.
template <stream S>
task<result<>> finish_and_drain(S* peer) {
    const result<> finished = co_await peer->finish();
    if (!finished) co_return finished;
    std::vector<std::byte> ignored(4096);
    std::size_t left = std::size_t{1} << 20;
    for (;;) {
        const result<std::size_t> n = co_await peer->read(ignored);
        if (!n) co_return n.error();
        if (*n == 0) co_return result<>();
        if (*n > left) co_return errc::too_large;
        left -= *n;
    }
}

template <stream S>
std::string address_of(const S& peer) {
    if constexpr (requires { peer.remote().to_string(); })
        return peer.remote().to_string();
    else
        return "somebody"; // not every stream knows
}

/// What the program says to a message; exceptions are errors like any other.
task<result<>> ask(const handler* h, const message* m, server_counters* count);

/// Until when the client may say more. `since`: of our last reply.
instant deadline(const session& s, const config& c, instant since, instant now);

/// Talks until it is over. False: the connection is of no more use.
template <stream S>
task<bool> converse(S* peer, session* s, const handler* h, const config* c, server_control* control) {
    promise_base& self = co_await this_coroutine;
    std::vector<std::byte> buffer(c->read_buffer_bytes);
    bytes unread;
    instant since = self.reactor().now();
    for (;;) {
        const std::string replies = s->take_replies();
        if (!replies.empty()) {
            const result<> written = co_await with_timeout(c->reply_time, write(peer, as_bytes(replies)));
            if (!written) co_return false;
            since = self.reactor().now();
        }
        if (s->waits_for() == expecting::nothing) co_return true;
        if (s->waits_for() == expecting::verdict) {
            const result<> verdict = co_await ask(h, &s->received(), &control->count());
            s->decide(verdict);
            continue;
        }
        if (!unread.empty()) {
            unread = unread.subspan(s->put(unread));
            continue;
        }
        either_stop stop(self.stop(), control->stop_request());
        const instant until = deadline(*s, *c, since, self.reactor().now());
        const result<std::size_t> n =
            co_await with_deadline(until, read(peer, mutable_bytes(buffer))).under(stop.token());
        if (n && *n != 0) {
            unread = bytes(buffer).first(*n);
        } else if (!n && n.error() == errc::deadline_exceeded) {
            ++control->count().timeouts;
            s->time_out();
        } else if (!n && n.error() == errc::cancelled && !self.stop().stop_requested()) {
            s->shut_down();
        } else {
            co_return false; // [RFC 5321 4.1.1.10]: without QUIT what is not taken yet is forgotten
        }
    }
}

} // namespace detail

/// One connection from its greeting to its end. `client` is its address, for the messages. serve() calls it;
/// a program with its own accept loop can.
template <stream S>
task<> serve_connection(S peer, std::string client, const handler* h, const config* c,
                        server_control* control) {
    session s(*c, std::move(client), control->texts());
    struct leave {
        server_control& control;
        const session& s;
        ~leave() { control.ended(s.counted()); }
    } guard{*control, s};
    control->began();
    if (control->connections() > c->connections) {
        ++control->count().refused;
        s.refuse();
    } else {
        s.greet();
    }
    if (co_await detail::converse(&peer, &s, h, c, control)) {
        const result<> ended = co_await with_timeout(5s, detail::finish_and_drain(&peer));
        if (ended) {
            (void)co_await peer.close(never);
            co_return;
        }
    } else {
        ++control->count().lost;
    }
    peer.abort();
}

/// Serves what `listener` accepts until control.stop(), or until the listener fails for good (its error is
/// returned then). Returns when every connection has ended. Stopping the coroutine itself aborts them all.
template <stream_listener L>
task<result<>> serve(L& listener, handler h, config c, server_control& control) {
    result<> outcome;
    auto accept_all = [&](scope& connections) -> task<> {
        either_stop stop(connections.token(), control.stop_request());
        auto accept = [](L* from) -> task<typename tapir::detail::awaited<decltype(from->accept())>> {
            co_return co_await from->accept();
        };
        for (;;) {
            auto accepted = co_await accept(&listener).under(stop.token());
            if (accepted) {
                ++control.count().accepted;
                std::string client = detail::address_of(*accepted);
                using peer = std::remove_cvref_t<decltype(*accepted)>;
                connections.spawn(serve_connection<peer>, std::move(*accepted), std::move(client), &h, &c,
                                  &control);
                continue;
            }
            if (accepted.error() == errc::cancelled) break;
            ++control.count().accept_errors;
            if (accepted.error().category() == tapir_category()) { // closed, or its host has stopped
                outcome = accepted.error();
                break;
            }
            // The peer was gone already, or the system is short of something: not in a loop.
            if (!co_await sleep_for(10ms)) break;
        }
    };
    co_await with_supervisor(accept_all);
    co_return outcome;
}

} // namespace tapir::smtp
