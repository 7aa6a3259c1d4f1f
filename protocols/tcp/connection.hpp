// A TCP connection as a coroutine sees it: a movable handle whose calls are awaited. With listener.hpp the
// only place in tcp/ that knows coroutines; beneath stands the synchronous `endpoint`.
//
//     tapir::task<> serve(tcp::connection peer) {
//         std::array<std::byte, 4096> buffer;
//         for (;;) {
//             auto n = co_await peer.read(buffer);
//             if (!n) co_return;         // reset, timed out, aborted ...: never mistaken for an end
//             if (*n == 0) break;        // the peer's FIN; we are in CLOSE_WAIT and may still talk
//             if (!co_await peer.write(std::span(buffer).first(*n))) co_return;
//         }
//         (void)co_await peer.close();
//     }
//
// One reader and one writer may wait at a time: a second of either, or finish() or close() while a write
// waits, gets errc::busy. Any number of coroutines may wait for states. Whoever waits is resumed from the
// reactor's ready queue: by what it waited for, by its stop token (errc::cancelled), by the connection's end,
// or by the host's (errc::host_stopped). A moved-from handle answers errc::closed.
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/bytes.hpp>
#include <tapir/framework/error.hpp>
#include <tapir/framework/parked.hpp>
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/recycled.hpp>
#include <tapir/framework/stream.hpp>
#include <tapir/protocols/tcp/endpoint.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

namespace tapir::tcp {

class read_half;
class write_half;
class listening_endpoint;
struct listener_event;

namespace detail {

class connection_core;
class endpoint_wait;
class write_awaiter_base;

/// What the connections of one host share; it outlives the host while handles do.
struct connection_context {
    explicit connection_context(tapir::reactor& r) : on(&r) {}
    connection_context(const connection_context&) = delete;
    connection_context& operator=(const connection_context&) = delete;

    tapir::reactor* on;
    /// Told of a connection whose handle was destroyed while it was open, which aborts it.
    std::function<void(const endpoint&)> dropped_open;
    /// Told of each event of each listener, from inside the stack.
    std::function<void(const listening_endpoint&, const tcp::listener_event&)> listener_event;
    /// The host has stopped: what lives on without a handle goes.
    void release_orphans();
    /// Both halves were dropped after finish(): these live until the peer has finished too.
    intrusive_list<connection_core> orphans;
};

class core_ptr {
  public:
    core_ptr() = default;
    explicit core_ptr(connection_core* core);
    core_ptr(const core_ptr& other) : core_ptr(other.core_) {}
    core_ptr(core_ptr&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
    core_ptr& operator=(core_ptr other) noexcept {
        std::swap(core_, other.core_);
        return *this;
    }
    ~core_ptr();
    connection_core* operator->() const { return core_; }
    connection_core* get() const { return core_; }
    explicit operator bool() const { return core_ != nullptr; }

  private:
    connection_core* core_ = nullptr;
};

/// What all handles of one connection share: the endpoint and those who wait for it.
class connection_core final : public observer, public list_hook<>, public recycled<connection_core> {
  public:
    connection_core(std::shared_ptr<connection_context> context, std::unique_ptr<endpoint> e);
    ~connection_core();

    tcp::endpoint& endpoint() { return *endpoint_; }
    instant now() const { return context_->on->now(); }
    /// The last handle goes: aborts what is open.
    void handle_dropped();
    /// Keeps the connection until it has ended by itself.
    void orphan();

    void changed(tcp::endpoint&) override;

    bool reading = false;
    write_awaiter_base* writer = nullptr;
    bool read_over = false;       ///< close() was called, or the read half dropped
    intrusive_list<parked> waits; ///< all are endpoint_waits

  private:
    friend class core_ptr;
    friend struct connection_context;
    void pump();

    struct later : turn_hook {
        explicit later(connection_core* c)
            : turn_hook([](turn_hook& h, instant) { static_cast<later&>(h).core->pump(); }), core(c) {}
        connection_core* core;
    };

    std::shared_ptr<connection_context> context_;
    std::unique_ptr<tcp::endpoint> endpoint_;
    std::uint32_t refs_ = 0;
    bool orphaned_ = false;
    later later_{this};
};

/// Waits until done() holds.
class endpoint_wait : public parked {
  public:
    endpoint_wait(core_ptr core, std::error_code early) : core_(std::move(core)), error_(early) {}
    endpoint_wait(endpoint_wait&&) = default;
    virtual ~endpoint_wait() = default;

    bool await_ready() const noexcept { return false; }
    template <tapir_promise P>
    bool await_suspend(std::coroutine_handle<P> h) {
        return suspend(h.promise());
    }
    /// What it waits for has come. Asked when the endpoint changed.
    virtual bool done() const = 0;

  protected:
    /// True if `who` is to stay suspended.
    bool suspend(promise_base& who);
    /// The first thing after the coroutine is known and before done() is asked; may set error_.
    virtual void begin() {}
    virtual const char* what() const = 0;
    virtual void stopped() { error_ = errc::cancelled; }

    tcp::endpoint& endpoint() const { return core_->endpoint(); }
    core_ptr core_;
    std::error_code error_;
};

class [[nodiscard]] read_awaiter final : public endpoint_wait {
  public:
    read_awaiter(core_ptr core, mutable_bytes to, std::error_code early)
        : endpoint_wait(std::move(core), early), to_(to) {}
    read_awaiter(read_awaiter&&) = default;
    ~read_awaiter() override;
    result<std::size_t> await_resume();

  private:
    bool done() const override;
    void begin() override;
    const char* what() const override { return "tcp read"; }
    mutable_bytes to_;
    bool holds_ = false;
};

class [[nodiscard]] read_chunk_awaiter final : public endpoint_wait {
  public:
    read_chunk_awaiter(core_ptr core, std::error_code early) : endpoint_wait(std::move(core), early) {}
    read_chunk_awaiter(read_chunk_awaiter&&) = default;
    ~read_chunk_awaiter() override;
    result<chunk> await_resume();

  private:
    bool done() const override;
    void begin() override;
    const char* what() const override { return "tcp read"; }
    bool holds_ = false;
};

class write_awaiter_base : public endpoint_wait {
  public:
    using endpoint_wait::endpoint_wait;
    write_awaiter_base(write_awaiter_base&&) = default;
    /// Queues what fits.
    virtual void push() = 0;
};

class [[nodiscard]] write_awaiter final : public write_awaiter_base {
  public:
    write_awaiter(core_ptr core, bytes data, std::error_code early)
        : write_awaiter_base(std::move(core), early), rest_(data) {}
    write_awaiter(write_awaiter&&) = default;
    ~write_awaiter() override;
    write_result await_resume();
    void push() override;

  private:
    bool done() const override { return rest_.empty() || error_; }
    void begin() override;
    const char* what() const override { return "tcp write"; }
    bytes rest_;
    std::size_t taken_ = 0;
};

class [[nodiscard]] write_chunk_awaiter final : public write_awaiter_base {
  public:
    write_chunk_awaiter(core_ptr core, chunk data, std::error_code early)
        : write_awaiter_base(std::move(core), early), rest_(std::move(data)) {}
    write_chunk_awaiter(write_chunk_awaiter&&) = default;
    ~write_chunk_awaiter() override;
    write_result await_resume();
    void push() override;

  private:
    bool done() const override { return rest_.empty() || error_; }
    void begin() override;
    const char* what() const override { return "tcp write"; }
    chunk rest_;
    std::size_t taken_ = 0;
};

/// flush(), finish() and peer_finished(): a condition on the endpoint, or its error.
class [[nodiscard]] condition_awaiter final : public endpoint_wait {
  public:
    using condition = bool (*)(const tcp::endpoint&);
    condition_awaiter(core_ptr core, condition holds, const char* what, std::error_code early)
        : endpoint_wait(std::move(core), early), holds_(holds), what_(what) {}
    condition_awaiter(condition_awaiter&&) = default;
    result<> await_resume();

  private:
    bool done() const override { return holds_(endpoint()) || endpoint().error() || endpoint().ended(); }
    const char* what() const override { return what_; }
    condition holds_;
    const char* what_;
};

class [[nodiscard]] close_awaiter final : public endpoint_wait {
  public:
    close_awaiter(core_ptr core, std::error_code early) : endpoint_wait(std::move(core), early) {}
    close_awaiter(close_awaiter&&) = default;
    result<close_report> await_resume();

  private:
    bool done() const override { return endpoint().ended(); }
    const char* what() const override { return "tcp close"; }
    void stopped() override;
};

class [[nodiscard]] until_awaiter final : public endpoint_wait {
  public:
    until_awaiter(core_ptr core, tcp::state s, std::error_code early)
        : endpoint_wait(std::move(core), early), state_(s) {}
    until_awaiter(until_awaiter&&) = default;
    result<> await_resume();

  private:
    bool done() const override { return endpoint().entered(state_) || !endpoint().can_still_enter(state_); }
    const char* what() const override { return "tcp state"; }
    tcp::state state_;
};

} // namespace detail

/// How far a reader of transitions has come. A fresh one starts at the connection's first edge.
struct transition_cursor {
    std::size_t next = 0;
};

namespace detail {

class [[nodiscard]] transition_awaiter final : public endpoint_wait {
  public:
    transition_awaiter(core_ptr core, transition_cursor& cursor, std::error_code early)
        : endpoint_wait(std::move(core), early), cursor_(&cursor) {}
    transition_awaiter(transition_awaiter&&) = default;
    result<edge> await_resume();

  private:
    bool done() const override {
        return endpoint().edges().size() > cursor_->next || endpoint().state() == state::closed;
    }
    const char* what() const override { return "tcp transition"; }
    transition_cursor* cursor_;
};

/// What the whole connection and its read half have in common.
class readable_handle {
  public:
    /// At least one byte into `to`; 0 is the peer's FIN. After a RST, in-order data already acknowledged
    /// comes first, then errc::reset. An empty span is errc::invalid_argument. Cancelling takes nothing and
    /// sends nothing.
    read_awaiter read(mutable_bytes to);
    /// The next received chunk without a copy; empty is the peer's FIN. Taking it opens the window: what the
    /// caller keeps, also beyond the connection and the host, is the caller's memory.
    read_chunk_awaiter read();
    /// Done when read() would not wait, for data or the peer's FIN: whoever has many idle connections gives
    /// none of them a buffer before. Takes nothing; it may be awaited beside other reads.
    condition_awaiter until_readable();
    /// Done when the peer's FIN has arrived, whether or not the data before it was read.
    condition_awaiter peer_finished();
    /// Bytes that read() would give at once.
    std::size_t readable() const { return core_ ? core_->endpoint().readable() : 0; }
    /// read() would give 0 at once: the peer's FIN has come, and all before it was read.
    bool at_end() const { return core_ && !core_->read_over && core_->endpoint().at_end(); }
    /// read() for who has no need to wait: 0 when it would, also for the peer's FIN or an error.
    std::size_t try_read(mutable_bytes to);

  protected:
    readable_handle() = default;
    explicit readable_handle(core_ptr core) : core_(std::move(core)) {}
    std::error_code reading_error() const;
    core_ptr core_;
};

} // namespace detail

class connection : public detail::readable_handle {
  public:
    /// A closed handle.
    connection() = default;
    connection(std::shared_ptr<detail::connection_context> context, std::unique_ptr<endpoint> e);
    connection(connection&&) noexcept = default;
    connection& operator=(connection&& other) noexcept;
    /// An open connection is aborted (RST), and its host logs where it was opened: close() it, or abort() it.
    ~connection();

    explicit operator bool() const { return static_cast<bool>(core_); }

    /// Queues all of `data`, waiting for room in the send buffer; done when it is queued, not acknowledged.
    /// Cancelled or broken, write_result::taken() says how many bytes were queued: those are still sent.
    /// `data` must stay valid until then.
    detail::write_awaiter write(bytes data);
    detail::write_awaiter write(std::string_view text) { return write(as_bytes(text)); }
    /// write() for who has no need to wait: queues what there is room for, and says how much. 0 also when
    /// another write waits, or none would succeed.
    std::size_t try_write(bytes data);
    /// Queues a chunk without copying it, unless it is small.
    detail::write_chunk_awaiter write(chunk data);
    /// Done when everything written so far is acknowledged. Cancelling it changes nothing.
    detail::condition_awaiter flush();
    /// Half-close: the FIN is queued behind all data when this is *called*; done when the FIN is
    /// acknowledged. Reading goes on. Cancelling the wait does not unsend the FIN. [RFC 9293 3.6]
    detail::condition_awaiter finish();
    /// Ends both directions when *called*; done on entering TIME_WAIT or CLOSED, never waits for 2 MSL.
    /// Unread data at the call, or data after it, makes it a RST [RFC 2525 2.17]; so does passing `deadline`
    /// (by default connection_options::close_timeout from now). How it went is the report's to tell; errors
    /// are busy, closed, host_stopped, and cancelled: cancelling the wait aborts.
    detail::close_awaiter close(instant deadline = never);
    /// RST, at the end of this turn; everything queued is dropped. Waiters get errc::aborted.
    void abort();

    /// How the connection broke; empty while it lives and after an orderly end.
    std::error_code error() const {
        return core_ ? core_->endpoint().error() : make_error_code(errc::closed);
    }
    tcp::state state() const { return core_ ? core_->endpoint().state() : state::closed; }
    /// TIME_WAIT or CLOSED has been entered: close() would not wait.
    bool ended() const { return !core_ || core_->endpoint().ended(); }
    /// Every edge so far: {from, to, cause, time}.
    edge_list transitions() const;
    /// Done at once if `s` was ever entered; errc::unreachable_state when it cannot be any more. By the time
    /// the waiter runs, state() may be further.
    detail::until_awaiter until(tcp::state s);
    /// The next edge after `cursor`, which advances. errc::closed after the last: none is ever lost.
    detail::transition_awaiter next_transition(transition_cursor& cursor);

    /// What `ss -ti` would say, and more. The state is `closed` for a moved-from handle.
    tcp::info info() const;
    ip::endpoint local() const { return core_ ? core_->endpoint().local() : ip::endpoint(); }
    ip::endpoint remote() const { return core_ ? core_->endpoint().remote() : ip::endpoint(); }
    /// connection_options::user_timeout, from now on. [RFC 5482]
    void set_user_timeout(duration timeout) {
        if (core_) core_->endpoint().set_user_timeout(timeout);
    }
    void set_no_delay(bool on) {
        if (core_) core_->endpoint().set_no_delay(on);
    }

    /// Gives the connection to two coroutines, by move. Dropping the write half before finish() aborts;
    /// dropping the read half discards what arrives. When both are gone after finish(), the connection ends
    /// in order by itself, or is aborted when the peer has not finished close_timeout after it took our FIN.
    std::pair<read_half, write_half> split() &&;
};

class read_half : public detail::readable_handle {
  public:
    read_half() = default;
    read_half(read_half&&) noexcept = default;
    read_half& operator=(read_half&& other) noexcept;
    /// Discards what is unread; data that comes later is answered with RST. [RFC 9293 3.6.1 SHLD-3]
    ~read_half();

  private:
    friend class connection;
    explicit read_half(detail::core_ptr core) : readable_handle(std::move(core)) {}
    void drop();
};

class write_half {
  public:
    write_half() = default;
    write_half(write_half&&) noexcept = default;
    write_half& operator=(write_half&& other) noexcept;
    /// Without a finish() before, aborts.
    ~write_half();

    // As connection's.
    detail::write_awaiter write(bytes data);
    detail::write_awaiter write(std::string_view text) { return write(as_bytes(text)); }
    detail::write_chunk_awaiter write(chunk data);
    detail::condition_awaiter flush();
    detail::condition_awaiter finish();

  private:
    friend class connection;
    explicit write_half(detail::core_ptr core) : core_(std::move(core)) {}
    void drop();
    detail::core_ptr core_;
};

static_assert(stream<connection>);

} // namespace tapir::tcp
