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
#include <tapir/protocols/tcp/listener.hpp>

#include <coroutine>
#include <cstddef>
#include <memory>
#include <utility>

namespace tapir::tcp {

namespace detail {

class accept_awaiter;

class acceptor_core final : public listener_observer {
  public:
    acceptor_core(std::shared_ptr<connection_context> c, std::unique_ptr<listener> l)
        : context(std::move(c)), listening(std::move(l)) {
        listening->set_observer(this);
    }
    void changed(listener&) override;

    std::shared_ptr<connection_context> context;
    std::unique_ptr<listener> listening;
    accept_awaiter* waiter = nullptr;
};

class [[nodiscard]] accept_awaiter : public parked {
  public:
    explicit accept_awaiter(std::shared_ptr<acceptor_core> core) : core_(std::move(core)) {}
    accept_awaiter(accept_awaiter&&) = default;
    ~accept_awaiter();

    bool await_ready() const noexcept { return false; }
    template <tapir_promise P>
    bool await_suspend(std::coroutine_handle<P> h) {
        return suspend(h.promise());
    }
    result<connection> await_resume();

  private:
    friend class acceptor_core;
    bool suspend(promise_base& who);
    bool done() const;

    std::shared_ptr<acceptor_core> core_;
    promise_base* who_ = nullptr;
    std::error_code error_;
};

} // namespace detail

class acceptor {
  public:
    /// A closed handle.
    acceptor() = default;
    acceptor(std::shared_ptr<detail::connection_context> context, std::unique_ptr<listener> l)
        : core_(std::make_shared<detail::acceptor_core>(std::move(context), std::move(l))) {}
    acceptor(acceptor&&) noexcept = default;
    acceptor& operator=(acceptor&& other) noexcept;
    ~acceptor() { close(); }

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
    listener::counters counters() const { return core_ ? core_->listening->counted() : listener::counters(); }

  private:
    std::shared_ptr<detail::acceptor_core> core_;
};

static_assert(stream_listener<acceptor>);

} // namespace tapir::tcp
