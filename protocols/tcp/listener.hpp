// A listening port as a coroutine sees it.
//
//     auto listener = host.listen(ip::endpoint(ip::address(), 80));
//     while (auto peer = co_await listener->accept()) s.spawn(serve, std::move(*peer));
//
// Destroying the handle closes the port: half-open connections are forgotten, unaccepted ones are reset.
#pragma once

#include <tapir/framework/error.hpp>
#include <tapir/framework/parked.hpp>
#include <tapir/framework/stream.hpp>
#include <tapir/protocols/tcp/connection.hpp>
#include <tapir/protocols/tcp/listening_endpoint.hpp>

#include <coroutine>
#include <cstddef>
#include <memory>
#include <utility>

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

    std::shared_ptr<connection_context> context;
    std::unique_ptr<listening_endpoint> listening;
    accept_awaiter* waiter = nullptr;
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
    promise_base* who_ = nullptr;
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

    /// The oldest established connection; it may already be in CLOSE_WAIT. One coroutine waits at a time: a
    /// second gets errc::busy. errc::closed after close(), errc::host_stopped with the host; errc::cancelled
    /// loses no connection.
    detail::accept_awaiter accept() { return detail::accept_awaiter(core_); }

    /// Stops listening. A waiting accept() gets errc::closed. Accepted connections go on.
    void close();

    ip::endpoint local() const { return core_ ? core_->listening->local() : ip::endpoint(); }
    /// Connections in SYN_RECEIVED.
    std::size_t half_open() const { return core_ ? core_->listening->half_open() : 0; }
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
