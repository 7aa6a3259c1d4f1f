#include <tapir/protocols/tcp/endpoint.hpp>
#include <tapir/protocols/tcp/stack.hpp>
#include <tapir/protocols/tcp/tcb.hpp>

#include <utility>

namespace tapir::tcp {

std::string_view name(ending e) {
    switch (e) {
    case ending::open: return "open";
    case ending::orderly: return "orderly";
    case ending::aborted: return "aborted";
    case ending::unread_data: return "unread data";
    case ending::data_after_close: return "data after close";
    case ending::close_timeout: return "close timeout";
    case ending::reset: return "reset";
    case ending::timed_out: return "timed out";
    case ending::unreachable: return "unreachable";
    case ending::host_stopped: return "host stopped";
    case ending::out_of_memory: return "out of memory";
    }
    return "?";
}

// An idle connection has this, and its place in the demultiplexer.
static_assert(sizeof(endpoint) <= 7 * cache_line);

endpoint::endpoint(stack& s, std::shared_ptr<memory> budgets, const flow_key& flow, tcp::state start,
                   std::uint64_t id)
    : stack_(&s), memory_(std::move(budgets)), flow_(flow), accepted_(start != tcp::state::listen), id_(id),
      path_(start) {}

endpoint::~endpoint() {
    observer_ = nullptr;
    if (open()) abort(stack_->now_);
    if (time_wait_ != no_time_wait) stack_->time_wait_[time_wait_].user = nullptr;
    unread_.clear();
    charge();
}

void endpoint::has_read() {
    charge();
    if (tcb_ == nullptr) return;
    tcb_->has_read(stack_->now_);
    stack_->settle_read(*tcb_);
}

std::size_t endpoint::read(mutable_bytes to) {
    const std::size_t n = unread_.read(to);
    if (n != 0) has_read();
    return n;
}

chunk endpoint::read_chunk(std::size_t max) {
    chunk c = unread_.read_chunk(max);
    if (!c.empty()) has_read();
    return c;
}

tcb* endpoint::awake() const {
    // Nobody can tell whether it was.
    return dormant() ? stack_->wake(const_cast<endpoint&>(*this)) : tcb_;
}

std::size_t endpoint::writable() const {
    const bool slept = dormant();
    tcb* c = awake();
    if (c == nullptr) return 0;
    if (slept) stack_->arm(*c);
    return c->room_to_write();
}

std::size_t endpoint::write(bytes data) {
    tcb* c = awake();
    if (c == nullptr) return 0;
    const std::size_t taken = c->write(data, stack_->now_);
    stack_->settle(*c, stack_->now_);
    return taken;
}

std::size_t endpoint::write(chunk data) {
    tcb* c = awake();
    if (c == nullptr) return 0;
    const std::size_t taken = c->write(std::move(data), stack_->now_);
    stack_->settle(*c, stack_->now_);
    return taken;
}

std::error_code endpoint::write_error() const {
    if (error_) return error_;
    if (finished_ || !open()) return make_error_code(errc::finished);
    return {};
}

std::size_t endpoint::unacked() const {
    return tcb_ == nullptr ? std::size_t{report_.unsent} + report_.unacked : tcb_->info().send_queue;
}

void endpoint::finish(instant now) {
    finished_ = true;
    tcb* c = awake();
    if (c == nullptr) return;
    c->finish(now);
    stack_->settle(*c, now);
}

void endpoint::stop_reading(instant now) {
    report_.add_unread(unread_.size());
    unread_.clear();
    charge();
    tcb* c = awake();
    if (c == nullptr) return;
    c->stop_reading(now);
    stack_->settle(*c, now);
}

// Bytes may be read after the connection has ended: those are not lost.
close_report endpoint::report() const {
    tcp::close_report r = report_.whole();
    r.unread += unread_.size();
    return r;
}

void endpoint::close(instant now, instant deadline) {
    finished_ = true;
    tcb* c = awake();
    if (c == nullptr) return;
    c->close(now, deadline);
    stack_->settle(*c, now);
}

void endpoint::abort(instant now, errc reason) {
    finished_ = true;
    tcb* c = awake();
    if (c == nullptr) return;
    c->abort(event::call_abort, ending::aborted, make_error_code(reason), now);
    stack_->settle(*c, now);
}

info endpoint::info() const {
    if (dormant()) return stack_->info_of(const_cast<endpoint&>(*this));
    if (tcb_ != nullptr) return tcb_->info();
    tcp::info i = last_info_ == nullptr ? tcp::info() : *last_info_;
    i.state = state();
    i.receive_queue = static_cast<std::uint32_t>(unread_.size());
    i.receive_memory = static_cast<std::uint32_t>(unread_.true_size());
    i.next_timer = never;
    return i;
}

void endpoint::set_user_timeout(duration timeout) {
    tcb* c = awake();
    if (c == nullptr) return;
    c->set_user_timeout(timeout);
    stack_->settle(*c, stack_->now_);
}

void endpoint::set_no_delay(bool on) {
    tcb* c = awake();
    if (c == nullptr) return;
    c->set_no_delay(on);
    stack_->settle(*c, stack_->now_);
}

} // namespace tapir::tcp
