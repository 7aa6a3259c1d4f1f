// What kernel sockets leave in flight from one call to the next: one accept for all connections of a
// listener, one receive for all bytes of a stream. Submitted once, they complete again and again; receives
// into buffers that all streams of a ring share, so that a stream that waits holds none.
//
// Nobody has to hold what he did not ask for: a stream that nobody reads is cut off after `most_unread`, a
// listener after `most_unaccepted`; then the kernel's own queues fill, and its peers wait. Nothing is lost,
// and the next call begins anew. Who gets more than a buffer at once goes on without: reads into the caller's
// memory, without a copy. So does everything where the kernel refuses.
#pragma once

#include <tapir/framework/backend.hpp>
#include <tapir/framework/buffer.hpp>
#include <tapir/framework/buffer_ring.hpp>
#include <tapir/framework/bytes.hpp>
#include <tapir/framework/intrusive_list.hpp>
#include <tapir/framework/io_await.hpp>
#include <tapir/framework/parked.hpp>
#include <tapir/framework/time.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace tapir::kernel::detail {

inline constexpr std::size_t receive_buffer = 4096; ///< bytes: a request or a message, as a rule
/// For all streams of a ring. More completions than that between two turns end receives, which then begin
/// anew: a system call, not a loss.
inline constexpr std::uint32_t receive_buffers = 256;
inline constexpr std::size_t most_unread = 16; ///< buffers of one stream
/// Connections, beside those of the kernel's backlog: more than a busy listener gets between two turns.
inline constexpr std::size_t most_unaccepted = 256;

class shared_by_sockets;

/// An operation that outlives the call that began it.
class lasting_operation : public io_operation, public list_hook<> {
  public:
    using io_operation::io_operation;
    /// Ends it; `owner`, which holds it, lives on until the kernel has let go.
    void let_go(std::shared_ptr<void> owner);
    bool was_let_go() const { return keep_ != nullptr; }

  protected:
    void begin(backend& io, shared_by_sockets& shared);
    /// Asks the kernel for an early end, once.
    void end_early();
    /// A handler's last words: behind the last completion of one that was let go there is no object any more.
    void completed(const completion& c);
    shared_by_sockets& shared() { return *shared_; }
    backend& io() { return *io_; }

  private:
    friend class shared_by_sockets;
    backend* io_ = nullptr;
    shared_by_sockets* shared_ = nullptr; ///< while in flight
    bool ending_ = false;
    std::shared_ptr<void> keep_;
};

/// What the sockets of one ring have together. It lives as long as the ring does.
class shared_by_sockets {
  public:
    /// Null in virtual time, and where a test forbids it.
    static shared_by_sockets* of(backend& io);
    explicit shared_by_sockets(uring_backend& io) : io_(io) {}
    ~shared_by_sockets();

    /// Made for the first stream that waits; null where the kernel refuses.
    pooled_buffer_ring* buffers();
    /// While a receive is in flight, or was a moment ago.
    pooled_buffer_ring& ring() { return *ring_; }
    /// Once in each turn.
    bool first_write_of(instant turn) { return std::exchange(wrote_at_, turn) != turn; }
    /// The kernel does not know such receives after all.
    void refuse() { refused_ = true; }

  private:
    friend class lasting_operation;
    uring_backend& io_;
    buffer_pool pool_;
    std::optional<pooled_buffer_ring> ring_;
    bool refused_ = false;
    instant wrote_at_ = never;
    intrusive_list<lasting_operation> let_go_;
};

/// The receiving side of a stream.
class receiver final : public lasting_operation {
  public:
    explicit receiver(int descriptor);

    /// What is here, up to the size of `to`.
    std::size_t take(mutable_bytes to);
    std::size_t unread() const { return unread_; }
    /// The peer's end, or a failure: nothing more comes.
    bool over() const { return over_; }
    /// An errno value, which the kernel has told once, to us; 0: none.
    int error() const { return error_; }
    /// True when it is in flight, or is now. False: read by yourself, and then tell read_alone().
    bool lasts(backend& io);
    void read_alone(std::size_t got) { large_ = got >= receive_buffer; }

    /// Until bytes have come (into `to` when it is not empty) or the operation has ended.
    class [[nodiscard]] arrival : public parked {
      public:
        arrival(receiver& from, mutable_bytes to) : from_(from), to_(to) {}
        arrival(arrival&& other) noexcept : arrival(other.from_, other.to_) {}
        ~arrival() {
            if (from_.waiting_ == this) from_.waiting_ = nullptr;
        }
        bool await_ready() const noexcept { return false; }
        template <tapir_promise P>
        bool await_suspend(std::coroutine_handle<P> h) {
            if (h.promise().stop().stop_requested()) {
                stopped_ = true;
                return false;
            }
            from_.waiting_ = this;
            park(h.promise(), "socket read", [](parked& p) {
                auto& self = static_cast<arrival&>(p);
                self.from_.waiting_ = nullptr;
                self.stopped_ = true;
                self.wake();
            });
            return true;
        }
        /// Bytes that are in `to`; errc::cancelled when it was stopped.
        result<std::size_t> await_resume() const {
            if (stopped_) return errc::cancelled;
            return got_;
        }

      private:
        friend class receiver;
        receiver& from_;
        mutable_bytes to_;
        std::size_t got_ = 0;
        bool stopped_ = false;
    };
    arrival next(mutable_bytes to) { return arrival(*this, to); }

  private:
    void on_completion(const completion& c);
    void received(std::uint16_t id, std::size_t size);
    void ended(int outcome);
    void fail(int error);

    arrival* waiting_ = nullptr;
    std::vector<chunk> chunks_; ///< from `first_` on: not read yet
    std::size_t first_ = 0;
    std::size_t unread_ = 0;
    int error_ = 0;
    bool over_ = false;
    bool large_ = false; ///< more than a buffer at once has come
};

/// The accepting side of a listener.
class acceptor final : public lasting_operation {
  public:
    explicit acceptor(int descriptor);
    ~acceptor() { drop_unaccepted(); }

    /// False: accept by yourself.
    bool lasts(backend& io);
    /// Resets those that nobody has taken.
    void drop_unaccepted();

    /// A descriptor, or why the operation has ended.
    class [[nodiscard]] connection : public parked {
      public:
        explicit connection(acceptor& from) : from_(from) {}
        connection(connection&& other) noexcept : connection(other.from_) {}
        ~connection();
        bool await_ready() { return from_.take(fd_); }
        template <tapir_promise P>
        bool await_suspend(std::coroutine_handle<P> h) {
            if (h.promise().stop().stop_requested()) {
                fd_ = errc::cancelled;
                return false;
            }
            from_.waiting_.push_back(*this);
            park(h.promise(), "socket accept", [](parked& p) {
                static_cast<connection&>(p).fd_ = errc::cancelled;
                p.wake();
            });
            return true;
        }
        result<std::uint32_t> await_resume() { return std::exchange(fd_, errc::closed); }

      private:
        friend class acceptor;
        acceptor& from_;
        result<std::uint32_t> fd_ = errc::closed;
    };
    connection next() { return connection(*this); }

  private:
    void on_completion(const completion& c);
    bool take(result<std::uint32_t>& to);
    void answer(result<std::uint32_t> outcome);
    static void refuse(int one);

    intrusive_list<parked> waiting_;
    std::vector<int> unaccepted_; ///< in the order in which they came
};

} // namespace tapir::kernel::detail
