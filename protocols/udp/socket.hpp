// A UDP socket as a coroutine sees it: a movable handle of a bound port. With its .cpp the only place in udp/
// that knows coroutines; beneath stands the synchronous `binding`.
//
//     auto bound = host.bind_udp(ip::endpoint(ip::address(), 7));
//     udp::socket port = std::move(*bound);
//     std::array<std::byte, 65536> buffer;
//     while (auto d = co_await port.receive_from(buffer))
//         (void)co_await port.send_to(std::span(buffer).first(d->size), d->from, d->to);
//
// One reader and one sender may wait at a time: a second of either gets errc::busy. Whoever waits is resumed
// from the reactor's ready queue: by what it waited for, by its stop token (errc::cancelled), by close()
// (errc::closed), or by the host's end (errc::host_stopped). A moved-from handle answers errc::closed.
#pragma once

#include <tapir/framework/bytes.hpp>
#include <tapir/framework/error.hpp>
#include <tapir/framework/parked.hpp>
#include <tapir/protocols/ip/address.hpp>
#include <tapir/protocols/udp/binding.hpp>

#include <coroutine>
#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

namespace tapir::udp {

namespace detail {

class receive_awaiter;
class send_awaiter;

/// What a handle and those who wait with it share.
class socket_core final : public binding_observer {
  public:
    explicit socket_core(std::unique_ptr<binding> b) : bound(std::move(b)) { bound->set_observer(this); }
    void changed(binding&) override;
    void may_send(binding&) override;

    std::unique_ptr<binding> bound;
    receive_awaiter* reader = nullptr;
    send_awaiter* sender = nullptr;
};

/// An operation is completed by what wakes it, not when its coroutine runs: what it was woken for cannot be
/// taken by another meanwhile.
class operation : public parked {
  public:
    explicit operation(std::shared_ptr<socket_core> core) : core_(std::move(core)) {}
    operation(operation&&) = default;

    bool await_ready() const noexcept { return false; }
    template <tapir_promise P>
    bool await_suspend(std::coroutine_handle<P> h) {
        return suspend(h.promise());
    }

  protected:
    ~operation() = default;
    /// True if `who` is to stay suspended.
    virtual bool suspend(promise_base& who) = 0;
    /// errc::closed, errc::cancelled, or nothing.
    std::error_code early(const promise_base& who) const;

    std::shared_ptr<socket_core> core_;
    std::error_code error_;
};

class [[nodiscard]] receive_awaiter final : public operation {
  public:
    receive_awaiter(std::shared_ptr<socket_core> core, mutable_bytes to)
        : operation(std::move(core)), to_(to) {}
    receive_awaiter(receive_awaiter&&) = default;
    ~receive_awaiter() { leave(); }
    result<received> await_resume();
    /// Takes an error or a datagram if there is one.
    bool complete();
    void leave();

  private:
    bool suspend(promise_base& who) override;
    mutable_bytes to_;
    received got_;
};

class [[nodiscard]] send_awaiter final : public operation {
  public:
    send_awaiter(std::shared_ptr<socket_core> core, bytes payload, ip::endpoint to, ip::address from)
        : operation(std::move(core)), payload_(payload), to_(to), from_(from) {}
    send_awaiter(send_awaiter&&) = default;
    ~send_awaiter() { leave(); }
    result<> await_resume();
    /// Takes an error if there is one, or sends if it may.
    bool complete();
    /// The same without sending.
    bool fail();
    void leave();

  private:
    bool suspend(promise_base& who) override;
    bytes payload_;
    ip::endpoint to_;
    ip::address from_;
};

} // namespace detail

class socket {
  public:
    /// A closed handle.
    socket() = default;
    explicit socket(std::unique_ptr<binding> b)
        : core_(std::make_shared<detail::socket_core>(std::move(b))) {}
    socket(socket&&) noexcept = default;
    socket& operator=(socket&& other) noexcept;
    ~socket() { close(); }

    explicit operator bool() const { return core_ != nullptr; }

    /// Sends one datagram, as soon as the link takes it; done when it was handed over, which says nothing of
    /// its arrival. An empty one is a datagram too. `payload` must stay valid until then. `from` chooses one
    /// of our addresses, as answers should [RFC 1122 4.1.3.5]; unspecified: that of the route.
    /// errc::invalid_argument, too_large (65,507 bytes fit, or what the link carries),
    /// network_unreachable; of a connected socket also what ICMP said about earlier datagrams: refused,
    /// host_unreachable, network_unreachable; then nothing was sent. Cancelled, it has not been sent.
    detail::send_awaiter send_to(bytes payload, ip::endpoint to, ip::address from = {}) {
        return detail::send_awaiter(core_, payload, to, from);
    }
    detail::send_awaiter send_to(std::string_view text, ip::endpoint to, ip::address from = {}) {
        return send_to(as_bytes(text), to, from);
    }
    /// To the peer of connect(); errc::invalid_argument without one.
    detail::send_awaiter send(bytes payload) { return send_to(payload, peer().value_or(ip::endpoint())); }
    detail::send_awaiter send(std::string_view text) { return send(as_bytes(text)); }

    /// The oldest datagram, cut off at the end of `to`. An empty span is errc::invalid_argument. Of a
    /// connected socket also what ICMP said about what it sent, before any datagram. Cancelling takes
    /// nothing.
    detail::receive_awaiter receive_from(mutable_bytes to) { return detail::receive_awaiter(core_, to); }

    /// Speaks with one peer only from now on: see binding::connect().
    result<> connect(ip::endpoint peer) {
        if (!core_) return errc::closed;
        return core_->bound->connect(peer);
    }

    /// Frees the port; what was not received is gone. A call that waits gets errc::closed.
    void close() {
        if (core_) core_->bound->close();
    }

    /// The last error that ICMP reported about what this socket sent, and whom it concerns. Asking clears it.
    std::optional<peer_error> take_error() { return core_ ? core_->bound->take_error() : std::nullopt; }

    ip::endpoint local() const { return core_ ? core_->bound->local() : ip::endpoint(); }
    std::optional<ip::endpoint> peer() const { return core_ ? core_->bound->peer() : std::nullopt; }
    /// Datagrams that receive_from() would give at once.
    std::size_t receivable() const { return core_ ? core_->bound->waiting() : 0; }
    binding::counters counters() const { return core_ ? core_->bound->counted() : binding::counters(); }

  private:
    std::shared_ptr<detail::socket_core> core_;
};

} // namespace tapir::udp
