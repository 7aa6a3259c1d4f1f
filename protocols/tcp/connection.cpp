#include <tapir/protocols/tcp/connection.hpp>

#include <cassert>

namespace tapir::tcp {

namespace detail {

core_ptr::core_ptr(connection_core* core) : core_(core) {
    if (core_ != nullptr) ++core_->refs_;
}

core_ptr::~core_ptr() {
    if (core_ != nullptr && --core_->refs_ == 0 && !core_->orphaned_) delete core_;
}

void connection_context::release_orphans() {
    while (!orphans.empty()) {
        connection_core& core = orphans.pop_front();
        core.orphaned_ = false;
        if (core.refs_ == 0) delete &core;
    }
}

connection_core::connection_core(std::shared_ptr<connection_context> context,
                                 std::unique_ptr<tcp::endpoint> e)
    : context_(std::move(context)), endpoint_(std::move(e)) {
    endpoint_->set_observer(this);
}

connection_core::~connection_core() {
    endpoint_->set_observer(nullptr);
}

void connection_core::handle_dropped() {
    if (endpoint_->ended()) return;
    if (context_->dropped_open) context_->dropped_open(*endpoint_);
    endpoint_->abort(now());
}

void connection_core::orphan() {
    if (endpoint_->ended() || orphaned_) return;
    orphaned_ = true;
    context_->orphans.push_back(*this);
}

void connection_core::changed(tcp::endpoint&) {
    if (writer != nullptr && (endpoint_->writable() > 0 || endpoint_->write_error()))
        context_->on->at_turn_end(later_);
    if (orphaned_ && endpoint_->ended()) context_->on->at_turn_end(later_);
    for (auto at = waits.begin(); at != waits.end();) {
        auto& wait = static_cast<endpoint_wait&>(*at);
        ++at;
        if (&wait != writer && wait.done()) wait.wake();
    }
}

// What changed() may not do inside the stack: write on, and let an orphan go.
void connection_core::pump() {
    if (writer != nullptr && writer->waiting()) {
        writer->push();
        if (writer->done()) writer->wake();
    }
    if (orphaned_ && endpoint_->ended()) {
        orphaned_ = false;
        static_cast<list_hook<>&>(*this).unlink();
        if (refs_ == 0) delete this;
    }
}

bool endpoint_wait::suspend(promise_base& who) {
    if (error_) return false;
    endpoint().note_call(who.id(), who.at(), core_->now());
    if (who.stop().stop_requested()) {
        stopped();
        return false;
    }
    begin();
    if (error_ || done()) return false;
    core_->waits.push_back(*this);
    park(who, what(), [](parked& p) {
        auto& self = static_cast<endpoint_wait&>(p);
        self.stopped();
        self.wake();
    });
    return true;
}

namespace {

/// Data first, then the peer's FIN, then how the connection broke.
bool read_decided(const endpoint& e) {
    return e.readable() > 0 || e.peer_finished() || e.error() || e.ended();
}

std::error_code read_error(const endpoint& e) {
    if (e.error()) return e.error();
    return errc::closed;
}

} // namespace

bool read_awaiter::done() const {
    return core_->read_over || read_decided(endpoint());
}

void read_awaiter::begin() {
    if (core_->reading) {
        error_ = errc::busy;
    } else if (to_.empty()) {
        error_ = errc::invalid_argument;
    } else {
        core_->reading = holds_ = true;
    }
}

read_awaiter::~read_awaiter() {
    if (holds_ && core_) core_->reading = false;
}

result<std::size_t> read_awaiter::await_resume() {
    if (std::exchange(holds_, false)) core_->reading = false;
    if (error_) return error_;
    if (core_->read_over) return errc::closed;
    if (endpoint().readable() > 0) return endpoint().read(to_);
    if (endpoint().at_end()) return std::size_t{0};
    return read_error(endpoint());
}

bool read_chunk_awaiter::done() const {
    return core_->read_over || read_decided(endpoint());
}

void read_chunk_awaiter::begin() {
    if (core_->reading) {
        error_ = errc::busy;
    } else {
        core_->reading = holds_ = true;
    }
}

read_chunk_awaiter::~read_chunk_awaiter() {
    if (holds_ && core_) core_->reading = false;
}

result<chunk> read_chunk_awaiter::await_resume() {
    if (std::exchange(holds_, false)) core_->reading = false;
    if (error_) return error_;
    if (core_->read_over) return errc::closed;
    if (endpoint().readable() > 0) return endpoint().read_chunk();
    if (endpoint().at_end()) return chunk();
    return read_error(endpoint());
}

namespace {
/// One writer waits at a time; the slot is taken only by one that has to wait.
std::error_code begin_write(connection_core& core) {
    if (core.writer != nullptr) return errc::busy;
    return core.endpoint().write_error();
}
} // namespace

void write_awaiter::begin() {
    error_ = begin_write(*core_.get());
    if (error_) return;
    push();
    if (!done()) core_->writer = this;
}

void write_awaiter::push() {
    const std::size_t n = endpoint().write(rest_);
    taken_ += n;
    rest_ = rest_.subspan(n);
    if (!rest_.empty()) error_ = endpoint().write_error();
}

write_awaiter::~write_awaiter() {
    if (core_ && core_->writer == this) core_->writer = nullptr;
}

write_result write_awaiter::await_resume() {
    if (core_ && core_->writer == this) core_->writer = nullptr;
    return write_result(error_, taken_);
}

void write_chunk_awaiter::begin() {
    error_ = begin_write(*core_.get());
    if (error_) return;
    push();
    if (!done()) core_->writer = this;
}

void write_chunk_awaiter::push() {
    const std::size_t n = endpoint().write(rest_);
    taken_ += n;
    rest_.drop_front(n);
    if (!rest_.empty()) error_ = endpoint().write_error();
}

write_chunk_awaiter::~write_chunk_awaiter() {
    if (core_ && core_->writer == this) core_->writer = nullptr;
}

write_result write_chunk_awaiter::await_resume() {
    if (core_ && core_->writer == this) core_->writer = nullptr;
    return write_result(error_, taken_);
}

result<> condition_awaiter::await_resume() {
    if (error_) return error_;
    if (holds_(endpoint())) return {};
    return read_error(endpoint());
}

void close_awaiter::stopped() {
    error_ = errc::cancelled;
    endpoint().abort(core_->now());
}

result<close_report> close_awaiter::await_resume() {
    if (error_) return error_;
    if (endpoint().report().how == ending::host_stopped) return errc::host_stopped;
    return endpoint().report();
}

result<> until_awaiter::await_resume() {
    if (error_) return error_;
    if (endpoint().entered(state_)) return {};
    if (endpoint().error() == errc::host_stopped) return errc::host_stopped;
    return errc::unreachable_state;
}

result<edge> transition_awaiter::await_resume() {
    if (error_) return error_;
    const auto edges = endpoint().edges();
    if (edges.size() <= cursor_->next) return errc::closed;
    return edges[cursor_->next++];
}

std::error_code readable_handle::reading_error() const {
    return core_ ? std::error_code{} : make_error_code(errc::closed);
}

read_awaiter readable_handle::read(mutable_bytes to) {
    return read_awaiter(core_, to, reading_error());
}
read_chunk_awaiter readable_handle::read() {
    return read_chunk_awaiter(core_, reading_error());
}

std::size_t readable_handle::try_read(mutable_bytes to) {
    return !core_ || core_->reading || core_->read_over ? 0 : core_->endpoint().read(to);
}

condition_awaiter readable_handle::until_readable() {
    return condition_awaiter(
        core_, [](const endpoint& e) { return e.readable() > 0 || e.peer_finished(); }, "tcp read",
        reading_error());
}

condition_awaiter readable_handle::peer_finished() {
    return condition_awaiter(
        core_, [](const endpoint& e) { return e.peer_finished(); }, "tcp peer's FIN", reading_error());
}

namespace {

std::error_code handle_error(const core_ptr& core) {
    return core ? std::error_code{} : make_error_code(errc::closed);
}

/// finish() and close() may not overtake a write that still waits for room.
std::error_code ending_error(const core_ptr& core) {
    if (!core) return errc::closed;
    return core->writer != nullptr ? make_error_code(errc::busy) : std::error_code{};
}

condition_awaiter flush(const core_ptr& core) {
    return condition_awaiter(
        core, [](const endpoint& e) { return e.flushed(); }, "tcp flush", handle_error(core));
}

condition_awaiter finish(const core_ptr& core) {
    const std::error_code early = ending_error(core);
    if (!early) core->endpoint().finish(core->now());
    return condition_awaiter(core, [](const endpoint& e) { return e.fin_acked(); }, "tcp finish", early);
}

} // namespace

} // namespace detail

connection::connection(std::shared_ptr<detail::connection_context> context, std::unique_ptr<endpoint> e)
    : readable_handle(detail::core_ptr(new detail::connection_core(std::move(context), std::move(e)))) {}

connection& connection::operator=(connection&& other) noexcept {
    if (this == &other) return *this;
    if (core_) core_->handle_dropped();
    core_ = std::move(other.core_);
    return *this;
}

connection::~connection() {
    if (core_) core_->handle_dropped();
}

detail::write_awaiter connection::write(bytes data) {
    return detail::write_awaiter(core_, data, detail::handle_error(core_));
}
std::size_t connection::try_write(bytes data) {
    return !core_ || core_->writer != nullptr ? 0 : core_->endpoint().write(data);
}
detail::write_chunk_awaiter connection::write(chunk data) {
    return detail::write_chunk_awaiter(core_, std::move(data), detail::handle_error(core_));
}
detail::condition_awaiter connection::flush() {
    return detail::flush(core_);
}
detail::condition_awaiter connection::finish() {
    return detail::finish(core_);
}

detail::close_awaiter connection::close(instant deadline) {
    const std::error_code early = detail::ending_error(core_);
    if (!early) {
        core_->read_over = true;
        core_->endpoint().close(core_->now(), deadline);
        core_->changed(core_->endpoint()); // a reader that still waits learns of it
    }
    return detail::close_awaiter(core_, early);
}

void connection::abort() {
    if (core_) core_->endpoint().abort(core_->now());
}

edge_list connection::transitions() const {
    return core_ ? core_->endpoint().edges() : edge_list{};
}

detail::until_awaiter connection::until(tcp::state s) {
    return detail::until_awaiter(core_, s, detail::handle_error(core_));
}

detail::transition_awaiter connection::next_transition(transition_cursor& cursor) {
    return detail::transition_awaiter(core_, cursor, detail::handle_error(core_));
}

tcp::info connection::info() const {
    return core_ ? core_->endpoint().info() : tcp::info();
}

std::pair<read_half, write_half> connection::split() && {
    detail::core_ptr core = std::move(core_);
    core_ = detail::core_ptr();
    read_half reader(core);
    write_half writer(std::move(core));
    return {std::move(reader), std::move(writer)};
}

read_half& read_half::operator=(read_half&& other) noexcept {
    if (this == &other) return *this;
    drop();
    core_ = std::move(other.core_);
    return *this;
}

read_half::~read_half() {
    drop();
}

void read_half::drop() {
    if (!core_ || core_->endpoint().ended()) return;
    core_->read_over = true;
    core_->endpoint().stop_reading(core_->now());
    core_->changed(core_->endpoint()); // a reader that still waits learns of it
    core_->orphan();
}

write_half& write_half::operator=(write_half&& other) noexcept {
    if (this == &other) return *this;
    drop();
    core_ = std::move(other.core_);
    return *this;
}

write_half::~write_half() {
    drop();
}

void write_half::drop() {
    if (!core_) return;
    const bool finished = core_->endpoint().write_error() == errc::finished;
    if (!finished) core_->handle_dropped();
}

detail::write_awaiter write_half::write(bytes data) {
    return detail::write_awaiter(core_, data, detail::handle_error(core_));
}
detail::write_chunk_awaiter write_half::write(chunk data) {
    return detail::write_chunk_awaiter(core_, std::move(data), detail::handle_error(core_));
}
detail::condition_awaiter write_half::flush() {
    return detail::flush(core_);
}
detail::condition_awaiter write_half::finish() {
    return detail::finish(core_);
}

} // namespace tapir::tcp
