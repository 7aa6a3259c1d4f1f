#include <tapir/protocols/tcp/listener.hpp>

#include <algorithm>

namespace tapir::tcp {

namespace detail {

void listener_core::changed(listening_endpoint&) {
    if (waiter != nullptr && waiter->done()) waiter->wake();
    for (auto at = event_waits.begin(); at != event_waits.end();) {
        auto& wait = static_cast<event_awaiter&>(*at);
        ++at;
        if (wait.done()) wait.wake();
    }
    const listener_events& events = listening->events();
    for (told_ = std::max(told_, events.begin()); told_ != events.end(); ++told_)
        if (context->listener_event) context->listener_event(*listening, events[told_]);
}

std::optional<connection> listener_core::take(const promise_base& by) {
    std::unique_ptr<endpoint> accepted = listening->accept();
    if (!accepted) return std::nullopt;
    accepted->set_owner(owner(by.id(), by.at(), context->on->now()));
    return connection(context, std::move(accepted));
}

bool event_awaiter::done() const {
    return core_->listening->events().end() > cursor_->next || core_->listening->error();
}

bool event_awaiter::suspend(promise_base& who) {
    if (!core_) {
        error_ = errc::closed;
    } else if (who.stop().stop_requested()) {
        error_ = errc::cancelled;
    }
    if (error_ || done()) return false;
    core_->event_waits.push_back(*this);
    park(who, "tcp listener event", [](parked& p) {
        static_cast<event_awaiter&>(p).error_ = errc::cancelled;
        p.wake();
    });
    return true;
}

result<listener_event> event_awaiter::await_resume() {
    if (error_) return error_;
    const listener_events& events = core_->listening->events();
    if (events.end() <= cursor_->next) return core_->listening->error();
    const listener_event& e = events[std::max(cursor_->next, events.begin())];
    cursor_->next = e.number + 1;
    return e;
}

bool accept_awaiter::done() const {
    return core_->listening->acceptable() > 0 || core_->listening->error();
}

bool accept_awaiter::suspend(promise_base& who) {
    who_ = &who;
    if (!core_) {
        error_ = errc::closed;
    } else if (who.stop().stop_requested()) {
        error_ = errc::cancelled;
    } else if (core_->waiter != nullptr) {
        error_ = errc::busy;
    }
    if (error_) return false;
    const tcp::listening_endpoint& l = *core_->listening;
    core_->listening->set_owner(owner(who.id(), who.at(), l.owned_by().opened));
    if (done()) return false;
    core_->waiter = this;
    park(who, "tcp accept", [](parked& p) {
        static_cast<accept_awaiter&>(p).error_ = errc::cancelled;
        p.wake();
    });
    return true;
}

accept_awaiter::~accept_awaiter() {
    if (core_ && core_->waiter == this) core_->waiter = nullptr;
}

result<connection> accept_awaiter::await_resume() {
    if (core_ && core_->waiter == this) core_->waiter = nullptr;
    if (error_) return error_;
    if (auto accepted = core_->take(*who_)) return *std::move(accepted);
    return core_->listening->error() ? core_->listening->error() : make_error_code(errc::closed);
}

} // namespace detail

listener& listener::operator=(listener&& other) noexcept {
    if (this != &other) {
        close();
        core_ = std::move(other.core_);
    }
    return *this;
}

void listener::close() {
    if (core_) core_->listening->close(core_->context->on->now());
}

} // namespace tapir::tcp
