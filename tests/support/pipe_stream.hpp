// A connection in memory, for testing what runs over a stream: two ends, a bounded buffer each way,
// half-close and abort. Nothing takes time but waiting for the other end. It is as harsh as TCP may be: an
// abort, and a close with input unread, destroy what the other end has not read yet.
#pragma once

#include <tapir/framework/error.hpp>
#include <tapir/framework/event.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/framework/stream.hpp>
#include <tapir/framework/task.hpp>

#include <algorithm>
#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace tapir::test {

struct pipe_options {
    pipe_options() = default;
    std::size_t capacity = 64 * 1024;                    ///< of each direction
    std::size_t max_read = static_cast<std::size_t>(-1); ///< a read returns at most this much
};

class pipe_stream {
  public:
    pipe_stream() = default;
    pipe_stream(pipe_stream&&) noexcept = default;
    pipe_stream& operator=(pipe_stream&& other) noexcept {
        if (this != &other) {
            abort();
            wire_ = std::move(other.wire_);
            side_ = other.side_;
        }
        return *this;
    }
    ~pipe_stream() { abort(); }

    static std::pair<pipe_stream, pipe_stream> make(pipe_options options = {}) {
        auto w = std::make_shared<wire>();
        w->options = options;
        return {pipe_stream(w, 0), pipe_stream(w, 1)};
    }

    task<result<std::size_t>> read(mutable_bytes to) {
        const std::shared_ptr<wire> w = wire_;
        if (!w) co_return errc::closed;
        if (to.empty()) co_return errc::invalid_argument;
        direction& in = w->way[1 - side_];
        for (;;) {
            if (w->reset[side_]) co_return w->reset_error[side_];
            if (!in.data.empty()) {
                const std::size_t n = std::min({in.data.size(), to.size(), w->options.max_read});
                copy_bytes(to, as_bytes(std::string_view(in.data).substr(0, n)));
                in.data.erase(0, n);
                in.changed.set();
                co_return n;
            }
            if (in.finished) co_return std::size_t{0};
            in.changed.reset();
            const result<> waited = co_await in.changed.wait();
            if (!waited) co_return waited.error();
        }
    }

    task<result<>> until_readable() {
        const std::shared_ptr<wire> w = wire_;
        if (!w) co_return errc::closed;
        direction& in = w->way[1 - side_];
        while (!w->reset[side_] && in.data.empty() && !in.finished) {
            in.changed.reset();
            const result<> waited = co_await in.changed.wait();
            if (!waited) co_return waited.error();
        }
        co_return result<>();
    }

    task<write_result> write(bytes from) {
        const std::shared_ptr<wire> w = wire_;
        if (!w) co_return write_result(make_error_code(errc::closed), 0);
        direction& out = w->way[side_];
        std::size_t taken = 0;
        while (taken < from.size()) {
            if (w->reset[side_]) co_return write_result(w->reset_error[side_], taken);
            if (out.finished) co_return write_result(make_error_code(errc::finished), taken);
            const std::size_t n = std::min(from.size() - taken, w->options.capacity - out.data.size());
            out.data += as_text(from.subspan(taken, n));
            out.high_water = std::max(out.high_water, out.data.size());
            taken += n;
            if (n != 0) out.changed.set();
            if (taken == from.size()) break;
            out.changed.reset();
            const result<> waited = co_await out.changed.wait();
            if (!waited) co_return write_result(waited.error(), taken);
        }
        co_return write_result(taken);
    }
    task<write_result> write(std::string_view text) { return write(as_bytes(text)); }

    task<result<>> finish() {
        if (!wire_) co_return errc::closed;
        if (wire_->reset[side_]) co_return wire_->reset_error[side_];
        wire_->way[side_].finished = true;
        wire_->way[side_].changed.set();
        co_return result<>();
    }

    /// Waits until the other end has finished too. Input that is unread or comes now means a reset.
    task<result<close_report>> close(instant deadline) {
        const std::shared_ptr<wire> w = wire_;
        if (!w) co_return errc::closed;
        (void)co_await finish();
        direction& in = w->way[1 - side_];
        close_report report;
        while (!w->reset[side_] && !(in.finished && in.data.empty())) {
            if (!in.data.empty()) {
                report.unread = in.data.size();
                report.how = ending::unread_data;
                abort();
                co_return report;
            }
            in.changed.reset();
            const result<> waited = co_await with_deadline(deadline, wait_for(in.changed));
            if (!waited) {
                abort();
                co_return waited.error();
            }
        }
        report.how = w->reset[side_] ? ending::reset : ending::orderly;
        wire_.reset();
        co_return report;
    }

    void abort() {
        if (!wire_) return;
        wire& w = *wire_;
        const bool over = w.way[0].finished && w.way[1].finished && w.way[1 - side_].data.empty();
        if (!over && !w.reset[1 - side_]) {
            w.reset[0] = w.reset[1] = true;
            w.reset_error[side_] = make_error_code(errc::aborted);
            w.reset_error[1 - side_] = make_error_code(errc::reset);
            w.way[0].data.clear();
            w.way[1].data.clear();
        }
        w.way[0].changed.set();
        w.way[1].changed.set();
        wire_.reset();
    }

    /// The most that ever waited unread in what this end wrote.
    std::size_t high_water() const { return wire_->way[side_].high_water; }
    /// What has arrived here and not been read.
    std::size_t unread() const { return wire_->way[1 - side_].data.size(); }

  private:
    struct direction {
        std::string data;
        std::size_t high_water = 0;
        bool finished = false;
        event changed; ///< by either end
    };
    struct wire {
        pipe_options options;
        direction way[2]; ///< way[i] is written by side i
        bool reset[2] = {};
        std::error_code reset_error[2];
    };
    pipe_stream(std::shared_ptr<wire> w, std::size_t side) : wire_(std::move(w)), side_(side) {}
    static task<result<>> wait_for(event& e) { co_return co_await e.wait(); }

    std::shared_ptr<wire> wire_;
    std::size_t side_ = 0;
};

/// accept() gives the far ends of what connect() returned, in order.
class pipe_listener {
  public:
    explicit pipe_listener(pipe_options options = {}) : options_(options) {}

    pipe_stream connect() { return connect(options_); }
    pipe_stream connect(pipe_options options) {
        auto ends = pipe_stream::make(options);
        backlog_.push_back(std::move(ends.second));
        changed_.set();
        return std::move(ends.first);
    }
    /// The next accept() fails so.
    void fail(std::error_code e) {
        failure_ = e;
        changed_.set();
    }
    std::size_t backlog() const { return backlog_.size(); }

    task<result<pipe_stream>> accept() {
        for (;;) {
            if (failure_) co_return std::exchange(failure_, std::error_code());
            if (!backlog_.empty()) {
                result<pipe_stream> first(std::move(backlog_.front()));
                backlog_.pop_front();
                co_return first;
            }
            changed_.reset();
            const result<> waited = co_await changed_.wait();
            if (!waited) co_return waited.error();
        }
    }

  private:
    pipe_options options_;
    std::deque<pipe_stream> backlog_;
    std::error_code failure_;
    event changed_;
};

static_assert(stream<pipe_stream>);
static_assert(stream_listener<pipe_listener>);

} // namespace tapir::test
