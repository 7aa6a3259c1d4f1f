#include <tapir/framework/log.hpp>
#include <tapir/framework/race.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/protocols/http/connection.hpp>

#include <algorithm>
#include <exception>
#include <memory>
#include <span>
#include <utility>
#include <variant>

namespace tapir::http::detail {

task<> connection::run() {
    self_ = &co_await this_coroutine;
    in_.resize(config_.read_buffer_bytes);
    bool usable = true;
    for (std::uint64_t served = 0; usable && keep_alive_; ++served) {
        const arrival what = co_await receive();
        if (what == arrival::nothing) break;
        if (what == arrival::broken) {
            usable = false;
            break;
        }
        if (what == arrival::refused) {
            keep_alive_ = false; // where the next request would begin is not known
            const response refusal = error_response(refusal_);
            usable = co_await send(refusal, parser_.get().method == "HEAD", 1);
            break;
        }
        ++control_.count().requests;
        const request& asked = parser_.get();
        keep_alive_ = parser_.persists() && served + 1 < config_.max_requests;
        const response answer = co_await ask_handler();
        if (stopped()) {
            usable = false;
            break;
        }
        // [RFC 9112 9.6] no request is read after one that said close; after a half-close there is none
        keep_alive_ = keep_alive_ && !control_.stopping() && !(eof_ && unread().empty());
        usable = co_await send(answer, asked.method == "HEAD", asked.minor);
    }
    if (usable && !stopped()) co_await end();
    if (stopped()) ++control_.count().aborted;
    io_.abort();
}

// --- receiving -----------------------------------------------------------------------------------------

task<connection::arrival> connection::receive() {
    parser_.reset();
    const arrival head = co_await receive_head();
    if (head != arrival::request || parser_.done()) co_return head;
    co_return co_await receive_body();
}

task<connection::arrival> connection::receive_head() {
    parse(); // what came with the request before
    if (!parser_.begun()) {
        if (eof_) co_return arrival::nothing;
        const auto n = co_await fill_when_idle(now() + config_.idle_time);
        if (!n) {
            if (n.error() == errc::deadline_exceeded) {
                ++control_.count().idle_timeouts;
                co_return arrival::nothing;
            }
            if (n.error() == errc::cancelled && !stopped()) co_return arrival::nothing;
            co_return lost(n.error());
        }
        if (eof_) co_return arrival::nothing;
        parse();
    }
    const instant deadline = now() + config_.header_time;
    while (!parser_.head_done()) {
        if (parser_.failure() != problem::none) co_return refuse(status_of(parser_.failure()));
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
    const bool body_began = !unread().empty() || !parser_.get().body.empty() || eof_;
    if (parser_.expects_continue() && !body_began && !parser_.done()) {
        if (!co_await write("HTTP/1.1 100 Continue\r\n\r\n")) co_return arrival::broken;
    }
    const instant deadline = now() + config_.body_time;
    while (!parser_.done()) {
        if (parser_.failure() != problem::none) co_return refuse(status_of(parser_.failure()));
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
    begin_ += parser_.put(unread());
    if (parser_.failure() == problem::none && eof_ && unread().empty()) parser_.put_end();
    if (parser_.failure() != problem::none)
        ++control_.count().malformed[static_cast<std::size_t>(parser_.failure())];
}

task<result<std::size_t>> connection::fill(instant deadline) {
    begin_ = end_ = 0;
    const result<std::size_t> n = co_await with_deadline(deadline, io_.read(in_));
    if (n) {
        end_ = *n;
        eof_ = *n == 0;
    }
    co_return n;
}

task<result<std::size_t>> connection::fill_when_idle(instant deadline) {
    either_stop stop(self_->stop(), control_.stop_request());
    idle_wait idle(stop.token());
    control_.became_idle(idle);
    const result<std::size_t> n = co_await fill(deadline).under(idle.stop.token());
    shed_ = idle.shed;
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

task<response> connection::ask_handler() {
    std::string what;
    try {
        response r = co_await handler_(parser_.get());
        // Interim responses and protocol switches are not a handler's to send.
        if (r.status >= 200 && r.status <= 599) co_return r;
        what = "it returned status " + std::to_string(r.status);
    } catch (const std::exception& e) {
        what = e.what();
    } catch (...) {
        what = "an exception of an unknown type";
    }
    ++control_.count().handler_failures;
    log::error("the handler of " + parser_.get().method + " " + parser_.get().target + " failed: " + what);
    co_return error_response(500);
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

task<bool> connection::send(const response& r, bool to_head, int minor) {
    response_context context;
    context.to_head = to_head;
    context.request_minor = minor;
    context.keep_alive = keep_alive_;
    context.date = control_.date(config_);
    context.server = config_.server_name;
    out_.clear();
    const response_plan plan = append_head(out_, r, context);
    keep_alive_ = plan.keep_alive;
    ++control_.count().responses[static_cast<std::size_t>(r.status / 100)];

    std::string_view text = plan.how == response_plan::body::text ? r.text() : std::string_view();
    if (text.size() <= config_.send_buffer_bytes) { // one write for a small response
        out_ += text;
        text = {};
    }
    if (!co_await write(out_)) co_return false;
    while (!text.empty()) {
        const std::size_t n = std::min(text.size(), config_.send_buffer_bytes);
        if (!co_await write(text.substr(0, n))) co_return false;
        text.remove_prefix(n);
    }
    if (plan.how == response_plan::body::none || plan.how == response_plan::body::text) co_return true;
    co_return co_await send_source(*r.source(), plan);
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
    if (!eof_) {
        const auto over = co_await race(drain(), finish_and_linger());
        const result<>& outcome = over.index() == 0 ? std::get<0>(over) : std::get<1>(over);
        if (!outcome || !eof_ || stopped()) co_return; // run() aborts
    }
    (void)co_await io_.close(now() + config_.send_time);
}

task<result<>> connection::drain() {
    std::uint64_t left = config_.linger_bytes;
    for (;;) {
        const auto n = co_await io_.read(in_);
        if (!n) co_return n.error();
        if (*n == 0) {
            eof_ = true;
            co_return result<>();
        }
        if (*n > left) co_return errc::too_large;
        left -= *n;
    }
}

task<result<>> connection::finish_and_linger() {
    const result<> finished = co_await with_deadline(now() + config_.send_time, io_.finish());
    if (!finished) co_return finished;
    co_return co_await sleep_for(config_.linger_time);
}

} // namespace tapir::http::detail

namespace tapir::http {

task<> serve_connection(std::unique_ptr<transport> over, const handler* h, const server_config* config,
                        server_control* control) {
    detail::connection c(*over, *h, *config, *control);
    struct leave {
        server_control& control;
        detail::connection& connection;
        ~leave() { control.connection_ended(connection.was_shed()); }
    } guard{*control, c};
    co_await c.run();
}

} // namespace tapir::http
