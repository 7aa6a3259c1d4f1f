// A running program tells its owner what its host knows: connections and their states, both queues of each
// listener, who holds what, counters. It listens at a Unix socket of its own (socket.hpp), on the reactor
// that it runs on anyway, and answers one request for each connection (request.hpp, rows.hpp).
//
//     auto socket = co_await control::open_socket(path);              // mode 0600
//     if (!socket) ...                                                // a sentence: socket.error()
//     control::config config;
//     control::counters counters;
//     auto ended = co_await control::serve(*socket, host, config, counters);      // until it is stopped
//
// Only root and the user whose program it is are answered: the socket's mode keeps others away, and the
// kernel's word on who has connected (SO_PEERCRED) is asked besides.
#pragma once

#include <tapir/framework/error.hpp>
#include <tapir/framework/event.hpp>
#include <tapir/framework/kernel_stream.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/semaphore.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/framework/stream.hpp>
#include <tapir/framework/task.hpp>
#include <tapir/protocols/control/config.hpp>
#include <tapir/protocols/control/report.hpp>
#include <tapir/protocols/control/session.hpp>
#include <tapir/protocols/host/host.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace tapir::control {

/// Further hosts of this program, on threads of their own: the other shards.
class other_hosts {
  public:
    virtual std::size_t count() const = 0;
    /// Runs `job` on the thread of host `number`, with null when it is gone. Jobs keep their order.
    virtual void visit(std::size_t number, std::move_only_function<void(host*)> job) = 0;

  protected:
    ~other_hosts() = default;
};

namespace detail {

/// What another host tells, made piece by piece on its thread and sent by ours.
class foreign_report {
  public:
    foreign_report(other_hosts& others, std::size_t number, const request& what, const config& limits,
                   report_part part);
    foreign_report(const foreign_report&) = delete;
    foreign_report& operator=(const foreign_report&) = delete;
    ~foreign_report();

    /// False: it is over. errc::host_stopped, errc::cancelled.
    task<result<bool>> next_piece(std::string* piece);
    std::uint64_t rows() const { return shared_->rows; } ///< with those of the parts before

  private:
    /// The host's thread writes to it while ours waits for `ready`, and never else.
    struct state {
        std::optional<report> rows_to_tell; ///< the host's thread alone
        std::string piece;
        std::uint64_t rows = 0;
        bool over = false;
        bool gone = false;
        event ready;
    };
    other_hosts& others_;
    std::size_t number_;
    request what_;
    const config& limits_;
    report_part part_;
    std::shared_ptr<state> shared_ = std::make_shared<state>();
};

/// Why a client is not answered; empty if it is.
std::string objection_to(const result<kernel::credentials>& who);

template <stream S>
task<result<>> receive_request(S* peer, session* s) {
    std::array<std::byte, 512> buffer;
    while (s->wants_input()) {
        const result<std::size_t> n = co_await peer->read(buffer);
        if (!n) co_return n.error();
        if (*n == 0) {
            s->put_end();
        } else {
            s->put(bytes(buffer).first(*n));
        }
    }
    co_return result<>();
}

template <stream S>
task<result<>> send_answer(S* peer, session* s, other_hosts* others, const config* limits, counters* count) {
    std::string piece;
    while (s->next_piece(piece)) {
        if (!piece.empty()) {
            const write_result sent = co_await peer->write(as_bytes(piece));
            if (!sent) co_return sent.error();
        }
        // Not before the next turn: others have theirs between two pieces, however fast this client reads.
        const result<> waited = co_await sleep_for(duration(0));
        if (!waited) co_return waited.error();
    }
    if (others == nullptr || !s->asked()) co_return result<>();
    std::uint64_t rows = s->rows();
    for (std::size_t i = 0; i < others->count(); ++i) {
        const report_part part{.first = false, .last = i + 1 == others->count(), .rows = rows};
        foreign_report more(*others, i, *s->asked(), *limits, part);
        for (;;) {
            const result<bool> goes_on = co_await more.next_piece(&piece);
            if (!goes_on) co_return goes_on.error();
            if (!piece.empty()) {
                const write_result sent = co_await peer->write(as_bytes(piece));
                if (!sent) co_return sent.error();
            }
            if (!*goes_on) break;
        }
        count->rows += more.rows() - rows;
        rows = more.rows();
    }
    co_return result<>();
}

/// What comes behind the request is read and dropped, a bounded amount of it: closing with input unread would
/// reset the stream, and could take the answer with it.
template <stream S>
task<result<>> drain(S* peer, std::size_t left) {
    std::array<std::byte, 512> buffer;
    for (;;) {
        const result<std::size_t> n = co_await peer->read(buffer);
        if (!n) co_return n.error();
        if (*n == 0) co_return result<>();
        if (*n > left) co_return errc::too_large;
        left -= *n;
    }
}

template <stream S>
task<> serve_client(S peer, semaphore::permit, host* of, const config* limits, counters* count,
                    other_hosts* others) {
    promise_base& self = co_await this_coroutine;
    ++count->clients;
    session s(*of, *limits, *count, others != nullptr && others->count() > 0);
    if constexpr (requires { peer.peer(); }) {
        if (const std::string why = objection_to(peer.peer()); !why.empty()) {
            ++count->refused;
            s.refuse(why);
        }
    }
    const result<> asked =
        co_await with_deadline(self.reactor().now() + limits->request_time, receive_request(&peer, &s));
    if (!asked) {
        if (asked.error() == errc::deadline_exceeded) {
            ++count->request_timeouts;
        } else if (asked.error() != errc::cancelled) {
            ++count->lost;
        }
        co_return;
    }
    const result<> sent = co_await with_deadline(self.reactor().now() + limits->answer_time,
                                                 send_answer(&peer, &s, others, limits, count));
    if (!sent) {
        if (sent.error() == errc::deadline_exceeded) {
            ++count->answer_timeouts;
        } else if (sent.error() != errc::cancelled) {
            ++count->lost;
        }
        co_return;
    }
    const instant deadline = self.reactor().now() + limits->request_time;
    (void)co_await peer.finish();
    const result<> all_read = co_await with_deadline(deadline, drain(&peer, limits->max_drained_bytes));
    if (all_read) (void)co_await peer.close(deadline);
}

} // namespace detail

/// Answers whoever connects until it is stopped, or the listener is closed (errc::closed). All arguments must
/// outlive it. `others`: behind what this host tells comes what they do.
template <stream_listener L>
task<result<>> serve(L& listener, host& of, const config& limits, counters& count,
                     other_hosts* others = nullptr) {
    semaphore places(limits.max_clients);
    result<> ended;
    auto accept_all = [&](scope& clients) -> task<> {
        for (;;) {
            auto place = co_await places.acquire();
            if (!place) break;
            auto peer = co_await listener.accept();
            if (peer) {
                using client = typename decltype(peer)::value_type;
                clients.spawn(detail::serve_client<client>, std::move(*peer), std::move(*place), &of, &limits,
                              &count, others);
                continue;
            }
            if (peer.error() == errc::cancelled) break;
            ++count.accept_errors;
            if (peer.error() == errc::closed) {
                ended = errc::closed;
                break;
            }
            // The client was gone already, or the system is short of something: not in a loop.
            if (!co_await sleep_for(100ms)) break;
        }
    };
    co_await with_supervisor(accept_all);
    co_return ended;
}

} // namespace tapir::control
