// A listening port as a coroutine sees it.
//
//     auto listener = host.listen(ip::endpoint(ip::address(), 80));
//     while (auto peer = co_await listener->accept()) s.spawn(serve, std::move(*peer));
//
// It tells when it is under pressure, to as many coroutines as want to know:
//
//     tcp::event_cursor cursor;
//     while (auto e = co_await listener->next_event(cursor))
//         if (e->what == tcp::pressure::syn_cookies && e->began) alarm();
//
// Destroying the handle closes the port: half-open connections are forgotten, unaccepted ones are reset.
#pragma once

#include <tapir/framework/error.hpp>
#include <tapir/framework/intrusive_list.hpp>
#include <tapir/framework/parked.hpp>
#include <tapir/framework/stream.hpp>
#include <tapir/protocols/tcp/connection.hpp>
#include <tapir/protocols/tcp/listening_endpoint.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

namespace tapir::tcp {

namespace detail {

class accept_awaiter;

class listener_core final : public listener_observer {
  public:
    listener_core(std::shared_ptr<connection_context> c, std::unique_ptr<listening_endpoint> l)
        : context(std::move(c)), listening(std::move(l)) {
        listening->set_observer(this);
    }
    void changed(listening_endpoint&) override;
    /// The oldest established connection, if there is one, for the coroutine `by`.
    std::optional<connection> take(const promise_base& by);

    std::shared_ptr<connection_context> context;
    std::unique_ptr<listening_endpoint> listening;
    accept_awaiter* waiter = nullptr;
    intrusive_list<parked> event_waits; ///< all are event_awaiters

  private:
    std::uint64_t told_ = 0; ///< events that the host has been told of
};

class [[nodiscard]] accept_awaiter : public parked {
  public:
    explicit accept_awaiter(std::shared_ptr<listener_core> core) : core_(std::move(core)) {}
    accept_awaiter(accept_awaiter&&) = default;
    ~accept_awaiter();

    bool await_ready() const noexcept { return false; }
    template <tapir_promise P>
    bool await_suspend(std::coroutine_handle<P> h) {
        return suspend(h.promise());
    }
    result<connection> await_resume();

  private:
    friend class listener_core;
    bool suspend(promise_base& who);
    bool done() const;

    std::shared_ptr<listener_core> core_;
    const promise_base* who_ = nullptr;
    std::error_code error_;
};

} // namespace detail

/// How far a reader of events has come. A fresh one starts at the oldest event that is kept.
struct event_cursor {
    std::uint64_t next = 0;
};

namespace detail {

class [[nodiscard]] event_awaiter final : public parked {
  public:
    event_awaiter(std::shared_ptr<listener_core> core, event_cursor& cursor)
        : core_(std::move(core)), cursor_(&cursor) {}
    event_awaiter(event_awaiter&&) = default;

    bool await_ready() const noexcept { return false; }
    template <tapir_promise P>
    bool await_suspend(std::coroutine_handle<P> h) {
        return suspend(h.promise());
    }
    result<listener_event> await_resume();

  private:
    friend class listener_core;
    bool suspend(promise_base& who);
    bool done() const;

    std::shared_ptr<listener_core> core_;
    event_cursor* cursor_;
    std::error_code error_;
};

} // namespace detail

class listener {
  public:
    /// A closed handle.
    listener() = default;
    listener(std::shared_ptr<detail::connection_context> context, std::unique_ptr<listening_endpoint> l)
        : core_(std::make_shared<detail::listener_core>(std::move(context), std::move(l))) {}
    listener(listener&&) noexcept = default;
    listener& operator=(listener&& other) noexcept;
    ~listener() { close(); }

    /// The oldest established connection; it may already be in CLOSE_WAIT, or, with
    /// listen_options::fast_open, still in SYN_RECEIVED. One coroutine waits at a time: a second gets
    /// errc::busy. errc::closed after close(), errc::host_stopped with the host; errc::cancelled loses no
    /// connection.
    detail::accept_awaiter accept() { return detail::accept_awaiter(core_); }
    /// The same for who has no need to wait: nothing when it would, or fail.
    std::optional<connection> try_accept(const promise_base& by) {
        return core_ && core_->waiter == nullptr ? core_->take(by) : std::nullopt;
    }

    /// The next event after `cursor`, which advances: that SYN cookies, or drops at the SYN or the accept
    /// queue, began or ended. The last listener_events::kept are there: a reader that is later goes on with
    /// the oldest of them, and listener_event::number shows the gap. Any number of coroutines may wait, each
    /// with a cursor of its own. After the last event errc::closed or host_stopped. Cancelling loses nothing.
    detail::event_awaiter next_event(event_cursor& cursor) { return detail::event_awaiter(core_, cursor); }
    /// Whether an episode has begun and not ended.
    bool under_pressure(pressure p) const { return core_ && core_->listening->under_pressure(p); }

    /// Stops listening. A waiting accept() gets errc::closed. Accepted connections go on.
    void close();

    ip::endpoint local() const { return core_ ? core_->listening->local() : ip::endpoint(); }
    /// Connections in SYN_RECEIVED.
    std::size_t half_open() const { return core_ ? core_->listening->half_open() : 0; }
    std::vector<half_open_connection> half_open_connections() const {
        return core_ ? core_->listening->half_open_connections() : std::vector<half_open_connection>();
    }
    /// Established connections that nobody has accepted yet.
    std::size_t acceptable() const { return core_ ? core_->listening->acceptable() : 0; }
    listening_endpoint::counters counters() const {
        return core_ ? core_->listening->counted() : listening_endpoint::counters();
    }

  private:
    std::shared_ptr<detail::listener_core> core_;
};

static_assert(stream_listener<listener>);

} // namespace tapir::tcp
