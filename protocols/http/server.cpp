#include <tapir/protocols/http/server.hpp>

#include <algorithm>
#include <cerrno>

namespace tapir::http {

void server_control::stop(instant deadline) {
    deadline_ = std::min(deadline_, deadline);
    stop_.request_stop();
    while (!idle_.empty()) idle_.pop_front().request_stop();
    changed_.set();
}

void server_control::connection_began() {
    ++connections_;
    ++counters_.accepted;
}

void server_control::connection_ended(bool was_shed) {
    --connections_;
    if (was_shed) --shedding_;
    if (connections_ == 0 && idle_timer_.armed()) idle_timer_.wheel->cancel(idle_timer_);
    changed_.set();
}

void server_control::became_idle(detail::idle_wait& w, timer_wheel& timers) {
    if (stopping()) return w.request_stop();
    in_order_ = idle_.empty() || (in_order_ && idle_.back().deadline <= w.deadline);
    idle_.push_back(w);
    if (!idle_timer_.armed() || w.deadline < idle_timer_.deadline()) {
        idle_timer_.wheel = &timers;
        timers.arm(idle_timer_, w.deadline);
    }
    changed_.set();
}

server_control::idle_timer::idle_timer(server_control& c)
    : timer([](timer& t, instant now) { static_cast<idle_timer&>(t).of.end_idle(now); }), of(c) {}

void server_control::end_idle(instant now) {
    instant next = never;
    for (auto at = idle_.begin(); at != idle_.end();) {
        detail::idle_wait& w = *at;
        ++at;
        if (w.deadline > now) {
            next = std::min(next, w.deadline);
            if (in_order_) break;
            continue;
        }
        w.unlink();
        w.passed = true;
        w.request_stop();
    }
    if (next != never) idle_timer_.wheel->arm(idle_timer_, next);
}

namespace {

task<result<>> wait_for(event& e) {
    co_return co_await e.wait();
}

} // namespace

task<result<>> server_control::wait_for_room(std::size_t limit) {
    promise_base& self = co_await this_coroutine;
    either_stop stop(self.stop(), stop_.token());
    for (;;) {
        if (stop.token().stop_requested()) co_return errc::cancelled;
        if (connections_ < limit) co_return result<>();
        if (shedding_ == 0 && !idle_.empty()) { // one at a time: it takes a moment to close
            detail::idle_wait& longest = idle_.pop_front();
            longest.shed = true;
            ++shedding_;
            ++counters_.shed;
            longest.request_stop();
        }
        changed_.reset();
        (void)co_await wait_for(changed_).under(stop.token());
    }
}

task<> server_control::wait_for_last() {
    promise_base& self = co_await this_coroutine;
    while (connections_ != 0 && !self.stop().stop_requested() && self.reactor().now() < deadline_) {
        changed_.reset();
        if (deadline_ == never) {
            (void)co_await changed_.wait();
        } else {
            (void)co_await with_deadline(deadline_, wait_for(changed_));
        }
    }
}

std::string_view server_control::date(const server_config& config, instant turn) {
    if (!config.wall_clock) return {};
    if (!date_.empty() && turn == date_asked_) return date_;
    date_asked_ = turn;
    const unix_seconds now = config.wall_clock();
    if (date_.empty() || now != date_of_) {
        date_of_ = now;
        date_ = format_date(now);
    }
    return date_;
}

std::unique_ptr<detail::workspace> server_control::lend_workspace(const server_config& config) {
    std::unique_ptr<detail::workspace> w;
    if (spare_.empty()) {
        w = std::make_unique<detail::workspace>(config.limits, config.require_length);
    } else {
        w = std::move(spare_.back());
        spare_.pop_back();
        w->parser.reset(config.limits, config.require_length);
    }
    w->in.resize(config.read_buffer_bytes);
    return w;
}

void server_control::give_back(std::unique_ptr<detail::workspace> w, const server_config& config) {
    if (spare_.size() >= config.spare_workspaces || w->held_bytes() > config.spare_workspace_bytes) return;
    w->out.clear();
    spare_.push_back(std::move(w));
}

bool detail::listener_is_dead(std::error_code e) {
    if (e == errc::closed || e == errc::host_stopped || e == errc::invalid_argument ||
        e == errc::not_supported || e == errc::busy)
        return true;
    return e.category() == std::system_category() &&
           (e.value() == EBADF || e.value() == EINVAL || e.value() == ENOTSOCK || e.value() == EOPNOTSUPP);
}

} // namespace tapir::http
