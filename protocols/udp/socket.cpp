#include <tapir/framework/reactor.hpp> // parked::wake()
#include <tapir/protocols/udp/socket.hpp>

#include <utility>

namespace tapir::udp {

namespace detail {

// One error fails one call: the reader's, if both wait.
void socket_core::changed(binding&) {
    if (reader != nullptr && reader->complete()) {
        receive_awaiter& done = *reader;
        done.leave();
        done.wake();
    }
    if (sender != nullptr && sender->fail()) {
        send_awaiter& done = *sender;
        done.leave();
        done.wake();
    }
}

void socket_core::may_send(binding&) {
    if (sender == nullptr) return;
    // Set aside meanwhile: an error that comes while it sends is the next call's.
    send_awaiter& waiting = *std::exchange(sender, nullptr);
    if (waiting.complete())
        waiting.wake();
    else
        sender = &waiting;
}

std::error_code operation::early(const promise_base& who) const {
    if (!core_) return errc::closed;
    if (who.stop().stop_requested()) return errc::cancelled;
    return {};
}

bool receive_awaiter::suspend(promise_base& who) {
    error_ = early(who);
    if (!error_ && to_.empty()) error_ = errc::invalid_argument;
    if (!error_ && core_->reader != nullptr) error_ = errc::busy;
    if (error_ || complete()) return false;
    core_->reader = this;
    park(who, "udp receive", [](parked& p) {
        auto& self = static_cast<receive_awaiter&>(p);
        self.error_ = errc::cancelled;
        self.leave();
        self.wake();
    });
    return true;
}

bool receive_awaiter::complete() {
    binding& b = *core_->bound;
    error_ = b.ended() ? b.ended() : b.take_failure();
    if (error_) return true;
    if (b.waiting() == 0) return false;
    got_ = b.receive(to_);
    return true;
}

void receive_awaiter::leave() {
    if (core_ && core_->reader == this) core_->reader = nullptr;
}

result<received> receive_awaiter::await_resume() {
    if (error_) return error_;
    return got_;
}

bool send_awaiter::suspend(promise_base& who) {
    error_ = early(who);
    if (!error_ && core_->sender != nullptr) error_ = errc::busy;
    if (error_ || complete()) return false;
    core_->sender = this;
    park(who, "udp send", [](parked& p) {
        auto& self = static_cast<send_awaiter&>(p);
        self.error_ = errc::cancelled;
        self.leave();
        self.wake();
    });
    return true;
}

bool send_awaiter::fail() {
    binding& b = *core_->bound;
    error_ = b.ended() ? b.ended() : b.take_failure();
    return static_cast<bool>(error_);
}

bool send_awaiter::complete() {
    if (fail()) return true;
    const result<bool> sent = core_->bound->send(payload_, to_, from_);
    if (!sent) error_ = sent.error();
    return !sent || *sent;
}

void send_awaiter::leave() {
    if (!core_ || core_->sender != this) return;
    core_->sender = nullptr;
    core_->bound->stop_waiting();
}

result<> send_awaiter::await_resume() {
    if (error_) return error_;
    return {};
}

} // namespace detail

socket& socket::operator=(socket&& other) noexcept {
    if (this != &other) {
        close();
        core_ = std::move(other.core_);
    }
    return *this;
}

} // namespace tapir::udp
