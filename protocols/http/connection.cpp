#include <tapir/framework/log.hpp>
#include <tapir/framework/race.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/protocols/http/connection.hpp>

#include <algorithm>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <variant>

namespace tapir::http::detail {

task<bool> connection::serve_requests() {
    for (;; parser().reset()) {
        arrival what = arrival::request;
        if (!next_is_here()) {
            if (!write_at_once() && !co_await flush()) co_return false;
            what = co_await receive();
        }
        if (what == arrival::broken) co_return false;
        if (what == arrival::refused) {
            keep_alive_ = false; // where the next request would begin is not known
            const response refusal = error_response(refusal_);
            const sending s = begin_sending(refusal, parser().get().method == "HEAD", 1);
            co_return has_left(s) || co_await send_rest(refusal, s);
        }
        ++control_.count().requests;
        const request& asked = parser().get();
        keep_alive_ = parser().persists() && ++served_ < config_.max_requests;
        // The handler of the second request may wait for what the client does once it has seen the first
        // response. Without a wait the handler ends in this turn, and its response leaves with the others.
        std::optional<flush_if_it_waits> flushing;
        if (!work_->out.empty()) flushing.emplace(*this);
        std::optional<response> answered;
        try {
            answered.emplace(co_await handler_(asked));
            // Interim responses and protocol switches are not a handler's to send.
            if (answered->status < 200 || answered->status > 599)
                answered = handler_failed("it returned status " + std::to_string(answered->status));
        } catch (const std::exception& e) {
            answered = handler_failed(e.what());
        } catch (...) {
            answered = handler_failed("an exception of an unknown type");
        }
        const response& answer = *answered;
        if (flushing) {
            flushing->unlink();
            co_await flushing->running.join();
        }
        if (stopped() || flushed_in_vain_) co_return false;
        // [RFC 9112 9.6] no request is read after one that said close; after a half-close there is none
        keep_alive_ = keep_alive_ && !control_.stopping() && !(eof_ && unread().empty());
        const sending s = begin_sending(answer, asked.method == "HEAD", asked.minor);
        if (!has_left(s) && !co_await send_rest(answer, s)) co_return false;
        if (!keep_alive_ || unread().empty()) co_return true; // and all of it has left
    }
}

void connection::lend_workspace() {
    if (work_)
        parser().reset();
    else
        work_ = control_.lend_workspace(config_);
}

void connection::give_back_workspace() {
    begin_ = end_ = 0;
    if (work_) control_.give_back(std::move(work_), config_);
}

// --- receiving -----------------------------------------------------------------------------------------

bool connection::next_is_here() {
    parse();
    if (parser().head_done() && !parser().done()) parse();
    return parser().done();
}

bool connection::reads_at_once() {
    lend_workspace();
    begin_ = 0; // all that was read before is parsed
    end_ = io_.try_read(work_->in);
    return end_ != 0;
}

bool connection::begins_at_once() {
    if (eof_ || stopped() || control_.stopping() || io_.input() != at_hand::bytes) return false;
    return reads_at_once();
}

bool connection::begins_or_ends() {
    eof_ = io_.input() == at_hand::end;
    return eof_ || reads_at_once();
}

task<result<>> connection::read_first() {
    const result<std::size_t> n = co_await io_.read(work_->in);
    if (!n) co_return n.error();
    end_ = *n;
    eof_ = *n == 0;
    co_return result<>();
}

connection::arrival connection::woken(const idle_wait& idle, const result<>& came) {
    shed_ = idle.shed;
    if (came && shed_) return arrival::nothing; // a newcomer has its place, whatever came in the same turn
    if (came) return eof_ ? arrival::nothing : arrival::begun;
    if (came.error() == errc::cancelled && idle.passed) {
        ++control_.count().idle_timeouts;
        return arrival::nothing;
    }
    if (came.error() == errc::cancelled && !stopped()) return arrival::nothing;
    return lost(came.error());
}

task<connection::arrival> connection::receive() {
    const arrival head = co_await receive_head();
    if (head != arrival::request || parser().done()) co_return head;
    co_return co_await receive_body();
}

task<connection::arrival> connection::receive_head() {
    const instant deadline = now() + config_.header_time;
    while (!parser().head_done()) {
        if (parser().failure() != problem::none) co_return refuse(status_of(parser().failure()));
        const auto n = co_await fill(deadline);
        if (!n && n.error() == errc::deadline_exceeded) {
            ++control_.count().header_timeouts;
            co_return refuse(408);
        }
        if (!n) co_return lost(n.error());
        parse();
    }
    co_return arrival::request;
}

task<connection::arrival> connection::receive_body() {
    parse();
    // [RFC 9110 10.1.1] 100 unless the body, or some of it, has come already
    const bool body_began = !unread().empty() || !parser().get().body.empty() || eof_;
    if (parser().expects_continue() && !body_began && !parser().done()) {
        if (!co_await write("HTTP/1.1 100 Continue\r\n\r\n")) co_return arrival::broken;
    }
    const instant deadline = now() + config_.body_time;
    while (!parser().done()) {
        if (parser().failure() != problem::none) co_return refuse(status_of(parser().failure()));
        const auto n = co_await fill(deadline);
        if (!n && n.error() == errc::deadline_exceeded) {
            ++control_.count().body_timeouts;
            co_return refuse(408);
        }
        if (!n) co_return lost(n.error());
        parse();
    }
    co_return arrival::request;
}

void connection::parse() {
    if (parser().failure() != problem::none) return;
    begin_ += parser().put(unread());
    if (parser().failure() == problem::none && eof_ && unread().empty()) parser().put_end();
    if (parser().failure() != problem::none)
        ++control_.count().malformed[static_cast<std::size_t>(parser().failure())];
}

task<result<std::size_t>> connection::fill(instant deadline) {
    begin_ = end_ = 0;
    const result<std::size_t> n = co_await with_deadline(deadline, io_.read(work_->in));
    if (n) {
        end_ = *n;
        eof_ = *n == 0;
    }
    co_return n;
}

connection::arrival connection::refuse(int status) {
    refusal_ = status;
    return arrival::refused;
}

connection::arrival connection::lost(std::error_code e) {
    if (e != errc::cancelled) ++control_.count().lost;
    return arrival::broken;
}

// --- answering -----------------------------------------------------------------------------------------

response connection::handler_failed(const std::string& what) {
    ++control_.count().handler_failures;
    log::error("the handler of " + parser().get().method + " " + parser().get().target + " failed: " + what);
    return error_response(500);
}

connection::flush_if_it_waits::flush_if_it_waits(connection& c)
    : turn_hook([](turn_hook& h, instant) {
          auto& self = static_cast<flush_if_it_waits&>(h);
          self.running.spawn([](connection* served) { return served->flush_meanwhile(); }, self.of);
      }),
      of(&c), running(c.self_, scope::policy::fail_together) {
    c.self_.reactor().at_turn_end(*this);
}

task<> connection::flush_meanwhile() {
    flushed_in_vain_ = !co_await flush();
}

task<bool> connection::flush() {
    if (work_->out.empty()) co_return true;
    const bool written = co_await write(work_->out);
    work_->out.clear();
    co_return written;
}

task<bool> connection::write(std::string_view text) {
    const result<> written = co_await with_deadline(now() + config_.send_time, io_.write(as_bytes(text)));
    if (written) co_return true;
    if (written.error() == errc::deadline_exceeded) {
        ++control_.count().send_timeouts;
    } else if (written.error() != errc::cancelled) {
        ++control_.count().lost;
    }
    co_return false;
}

connection::sending connection::begin_sending(const response& r, bool to_head, int minor) {
    response_context context;
    context.to_head = to_head;
    context.request_minor = minor;
    context.keep_alive = keep_alive_;
    context.date = control_.date(config_, now());
    context.server = config_.server_name;
    sending s;
    s.plan = append_head(work_->out, r, context);
    keep_alive_ = s.plan.keep_alive;
    ++control_.count().responses[static_cast<std::size_t>(r.status / 100)];
    if (s.plan.how == response_plan::body::text) s.text = r.text();
    if (s.text.size() <= config_.send_buffer_bytes) { // one write for a small response
        work_->out += s.text;
        s.text = {};
    }
    return s;
}

bool connection::has_left(const sending& s) {
    if (s.streamed() || !s.text.empty()) return false;
    // Those of requests that have come together leave together, while there is room.
    if (keep_alive_ && !unread().empty() && work_->out.size() < config_.send_buffer_bytes) return true;
    if (!write_at_once()) return false;
    if (!keep_alive_) finishing_ = io_.begin_finish(); // with the last of it
    return true;
}

bool connection::write_at_once() {
    std::string& out = work_->out;
    if (out.empty()) return true;
    const std::size_t written = io_.try_write(as_bytes(out));
    if (written == out.size())
        out.clear();
    else
        out.erase(0, written);
    return out.empty();
}

task<bool> connection::send_rest(const response& r, sending s) {
    if (!co_await flush()) co_return false;
    while (!s.text.empty()) {
        const std::size_t n = std::min(s.text.size(), config_.send_buffer_bytes);
        if (!co_await write(s.text.substr(0, n))) co_return false;
        s.text.remove_prefix(n);
    }
    if (!s.streamed()) co_return true;
    co_return co_await send_source(*r.source(), s.plan);
}

task<bool> connection::send_source(body_source& source, const response_plan& plan) {
    const bool counted = plan.how == response_plan::body::counted;
    const bool chunked = plan.how == response_plan::body::chunked;
    const std::size_t room = std::max<std::size_t>(config_.send_buffer_bytes, 1);
    const auto piece = std::make_unique_for_overwrite<char[]>(chunk_prefix_bytes + room + chunk_suffix_bytes);
    char* const data = piece.get() + chunk_prefix_bytes;
    std::uint64_t left = plan.length;
    while (!counted || left != 0) {
        const std::size_t want =
            counted ? static_cast<std::size_t>(std::min<std::uint64_t>(left, room)) : room;
        result<std::size_t> n = errc::aborted;
        try {
            n = co_await source.read(std::as_writable_bytes(std::span(data, want)));
        } catch (const std::exception& e) {
            log::error(std::string("a response's body failed: ") + e.what());
        }
        if (n && *n == 0 && !counted) break;
        if (!n || *n == 0 || *n > want) {
            if (!stopped()) ++control_.count().body_failures;
            co_return false;
        }
        const std::string_view part = chunked ? frame_chunk(piece.get(), *n) : std::string_view(data, *n);
        if (!co_await write(part)) co_return false;
        left -= counted ? *n : 0;
    }
    if (chunked) co_return co_await write(last_chunk);
    co_return true;
}

// --- ending --------------------------------------------------------------------------------------------

// [RFC 9112 9.6] half-close first, then read on until the client has closed too: were the connection closed
// with input unread, a reset could overtake the response.
task<> connection::end() {
    give_back_workspace();
    if (!eof_) {
        result<> drained = errc::deadline_exceeded;
        finishing_ = finishing_ || io_.begin_finish();
        if (finishing_) {
            tapir::detail::deadline_stop linger(self_.reactor(), now() + config_.linger_time, self_.stop());
            drained = co_await io_.until_readable().under(linger.token());
            eof_ = drained && io_.input() == at_hand::end; // nearly always
            if (drained && !eof_) drained = co_await drain().under(linger.token());
            if (!drained && drained.error() == errc::cancelled && linger.passed())
                drained = errc::deadline_exceeded;
        }
        if (!drained && drained.error() == errc::deadline_exceeded) {
            const auto over = co_await race(drain(), finish_and_linger(finishing_));
            drained = over.index() == 0 ? std::get<0>(over) : std::get<1>(over);
        }
        if (!drained || !eof_ || stopped()) co_return; // serve_connection() aborts
    }
    if (!io_.ended()) (void)co_await io_.close(now() + config_.send_time);
}

task<result<>> connection::drain() {
    std::uint64_t left = config_.linger_bytes;
    for (;;) {
        const result<> readable = co_await io_.until_readable();
        if (!readable) co_return readable.error();
        lend_workspace();
        const auto n = co_await io_.read(work_->in);
        if (!n) co_return n.error();
        if (*n == 0) {
            eof_ = true;
            co_return result<>();
        }
        if (*n > left) co_return errc::too_large;
        left -= *n;
    }
}

// Who has lingered and finds the FIN acknowledged since before is done; who waits for that gives the client
// its time to close from then on.
task<result<>> connection::finish_and_linger(bool has_lingered) {
    const instant asked = now();
    const result<> finished = co_await with_deadline(now() + config_.send_time, io_.finish());
    if (!finished) co_return finished;
    co_return co_await sleep_for(has_lingered && now() == asked ? duration(0s) : config_.linger_time);
}

} // namespace tapir::http::detail

namespace tapir::http {

task<> serve_connection(std::unique_ptr<transport> over, const handler* h, const server_config* config,
                        server_control* control) {
    using arrival = detail::connection::arrival;
    detail::connection c(*over, *h, *config, *control, co_await this_coroutine);
    struct leave {
        server_control& control;
        const bool& shed;
        ~leave() { control.connection_ended(shed); }
    } guard{*control, c.shed_};
    bool usable = true;
    while (usable && c.keep_alive_) {
        if (!c.begins_at_once()) {
            if (c.eof_) break;
            // Nothing is held while nothing comes. No task of its own: that would cost each request more than
            // what it has to do.
            detail::idle_wait idle(c.self_.stop(), c.now() + config->idle_time);
            control->became_idle(idle, c.self_.reactor().timers());
            c.give_back_workspace();
            result<> came = co_await over->until_readable().under(idle.token());
            if (came && !c.begins_or_ends()) came = co_await c.read_first().under(idle.token());
            const arrival what = c.woken(idle, came);
            usable = what != arrival::broken;
            if (what != arrival::begun) break;
        }
        usable = co_await c.serve_requests();
    }
    if (usable && !c.stopped()) co_await c.end();
    if (c.stopped()) ++control->count().aborted;
    c.give_back_workspace();
    over->abort();
}

} // namespace tapir::http
