// A bounded queue between coroutines of one thread: senders wait while it is full, receivers while it is
// empty. Any number of either; both sides are served in the order in which they began to wait.
//
//     tapir::channel<request> queue(64);
//     auto sent = co_await queue.send(std::move(r));          // closed or cancelled: r is intact
//     while (auto r = co_await queue.receive()) handle(std::move(*r));     // until closed and empty
//
// No value is lost: send() moves from its argument only when the value is taken, and a value given to a
// receiver is received, even if the receiver is stopped meanwhile. Capacity 0 hands over directly: send()
// ends when a receiver has taken the value.
#pragma once

#include <tapir/framework/error.hpp>
#include <tapir/framework/parked.hpp>
#include <tapir/framework/reactor.hpp>

#include <cassert>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <type_traits>
#include <utility>

namespace tapir {

template <class T>
class channel {
    static_assert(std::is_nothrow_move_constructible_v<T>, "or a value could be lost on its way");

  public:
    explicit channel(std::size_t capacity) : capacity_(capacity) {}
    channel(const channel&) = delete;
    channel& operator=(const channel&) = delete;
    ~channel() {
        assert(senders_.empty() && receivers_.empty() && "a channel outlives those who wait for it");
    }

    class [[nodiscard]] send_awaiter : parked {
      public:
        send_awaiter(channel& c, T& value) : channel_(c), value_(value) {}
        bool await_ready() {
            if (channel_.closed_) return true;
            if (channel_.try_send(value_)) state_ = outcome::done;
            return state_ == outcome::done;
        }
        template <tapir_promise P>
        bool await_suspend(std::coroutine_handle<P> h) {
            state_ = outcome::cancelled;
            if (h.promise().stop().stop_requested()) return false;
            channel_.senders_.push_back(*this);
            park(h.promise(), "channel send", [](parked& p) { p.wake(); });
            return true;
        }
        result<> await_resume() const {
            if (state_ == outcome::closed) return errc::closed;
            if (state_ == outcome::cancelled) return errc::cancelled;
            return {};
        }

      private:
        friend class channel;
        channel& channel_;
        T& value_;
        enum class outcome : std::uint8_t { closed, cancelled, done } state_ = outcome::closed;
    };
    /// Moves from `value` when the result is a success, and only then. errc::closed, errc::cancelled.
    send_awaiter send(T&& value) { return send_awaiter(*this, value); }

    class [[nodiscard]] receive_awaiter : parked {
      public:
        explicit receive_awaiter(channel& c) : channel_(c) {}
        bool await_ready() {
            value_ = channel_.try_receive();
            return value_.has_value() || channel_.closed_;
        }
        template <tapir_promise P>
        bool await_suspend(std::coroutine_handle<P> h) {
            if (h.promise().stop().stop_requested()) {
                cancelled_ = true;
                return false;
            }
            channel_.receivers_.push_back(*this);
            park(h.promise(), "channel receive", [](parked& p) {
                static_cast<receive_awaiter&>(p).cancelled_ = true;
                p.wake();
            });
            return true;
        }
        result<T> await_resume() {
            if (cancelled_) return errc::cancelled;
            if (!value_) return errc::closed;
            return std::move(*value_);
        }

      private:
        friend class channel;
        channel& channel_;
        std::optional<T> value_;
        bool cancelled_ = false;
    };
    /// The oldest value. errc::closed once the channel is closed and empty; errc::cancelled.
    receive_awaiter receive() { return receive_awaiter(*this); }

    /// Moves from `value` and returns true if there is room or a receiver.
    bool try_send(T& value) {
        if (closed_) return false;
        if (!receivers_.empty()) {
            auto& to = static_cast<receive_awaiter&>(receivers_.front());
            to.value_.emplace(std::move(value));
            to.wake();
            return true;
        }
        if (values_.size() >= capacity_) return false;
        values_.push_back(std::move(value));
        return true;
    }

    std::optional<T> try_receive() {
        std::optional<T> taken;
        if (!values_.empty()) {
            taken.emplace(std::move(values_.front()));
            values_.pop_front();
            if (!senders_.empty()) values_.push_back(take_from_sender());
        } else if (!senders_.empty()) {
            taken.emplace(take_from_sender());
        }
        return taken;
    }

    /// Nothing more can be sent: waiting senders get errc::closed and keep their values. What is in the
    /// channel can still be received. Idempotent.
    void close() {
        if (std::exchange(closed_, true)) return;
        while (!receivers_.empty()) receivers_.front().wake();
        while (!senders_.empty()) {
            auto& sender = static_cast<send_awaiter&>(senders_.front());
            sender.state_ = send_awaiter::outcome::closed;
            sender.wake();
        }
    }

    bool closed() const { return closed_; }
    std::size_t size() const { return values_.size(); }
    std::size_t capacity() const { return capacity_; }

  private:
    T take_from_sender() {
        auto& sender = static_cast<send_awaiter&>(senders_.front());
        sender.state_ = send_awaiter::outcome::done;
        sender.wake();
        return std::move(sender.value_);
    }

    std::deque<T> values_;
    std::size_t capacity_;
    bool closed_ = false;
    intrusive_list<parked> senders_;
    intrusive_list<parked> receivers_;
};

} // namespace tapir
