// A server over pipes in virtual time, and clients that speak raw bytes to it.
#pragma once

#include <tapir/framework/error.hpp>
#include <tapir/framework/log.hpp>
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/sim_backend.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/framework/task.hpp>
#include <tapir/framework/when_all.hpp>
#include <tapir/protocols/http/server.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "tests/support/pipe_stream.hpp"

namespace tapir::test {

/// The dates of the tests: 1994-11-06 08:49:37 UTC, the example of the RFC.
inline constexpr http::unix_seconds rfc_second = 784111777;

struct http_world {
    explicit http_world(http::handler h, http::server_config c = {})
        : handle(std::move(h)), config(std::move(c)) {
        if (!config.wall_clock) config.wall_clock = [] { return rfc_second; };
        log::set_level(log::level::error);
        log::set_sink([this](log::level, std::string_view text) { logged += std::string(text) + "\n"; });
    }
    ~http_world() { log::set_sink({}); }

    /// Runs `client` against the server, then stops the server.
    void run(std::function<task<>(http_world&)> client) {
        auto serve_here = [this]() -> task<> {
            served = co_await http::serve(listener, handle, config, control);
            serve_ended = loop.now();
        };
        auto body = [&](scope& s) -> task<> {
            s.spawn(serve_here);
            co_await client(*this);
            control.stop(loop.now() + 1s);
        };
        loop.run(with_scope(body));
    }

    instant now() const { return loop.now(); }
    const http::server_counters& counters() const { return control.counters(); }

    reactor loop{make_sim_backend()};
    pipe_listener listener;
    http::handler handle;
    http::server_config config;
    http::server_control control;
    result<> served;
    instant serve_ended{};
    std::string logged;
};

/// Everything up to the end of the stream; `error` gets what ended it otherwise.
inline task<std::string> read_all(pipe_stream& from, std::error_code* error = nullptr) {
    std::string all;
    std::array<std::byte, 4096> piece;
    for (;;) {
        const auto n = co_await from.read(piece);
        if (!n && error != nullptr) *error = n.error();
        if (!n || *n == 0) co_return all;
        all += as_text(bytes(piece).first(*n));
    }
}

/// Reads until `end` has been seen (or the stream has ended).
inline task<std::string> read_until(pipe_stream& from, std::string_view end) {
    std::string all;
    std::array<std::byte, 1> piece;
    while (!all.ends_with(end)) {
        const auto n = co_await from.read(piece);
        if (!n || *n == 0) break;
        all += as_text(piece);
    }
    co_return all;
}

/// One response with a Content-Length, whole.
inline task<std::string> read_response(pipe_stream& from) {
    std::string head = co_await read_until(from, "\r\n\r\n");
    std::size_t length = 0;
    const std::size_t at = head.find("Content-Length: ");
    if (at != std::string::npos) length = std::stoul(head.substr(at + 16));
    std::array<std::byte, 1> piece;
    for (; length != 0; --length) {
        const auto n = co_await from.read(piece);
        if (!n || *n == 0) break;
        head += as_text(piece);
    }
    co_return head;
}

/// Connects, sends `text`, half-closes, and returns all that comes back.
inline task<std::string> exchange(http_world& w, std::string text, pipe_options options = {}) {
    pipe_stream c = w.listener.connect(options);
    std::string got;
    auto ask = [&]() -> task<> {
        (void)co_await c.write(std::string_view(text));
        (void)co_await c.finish();
    };
    auto listen = [&]() -> task<> { got = co_await read_all(c); };
    (void)co_await when_all(ask(), listen());
    co_return got;
}

inline std::size_t count_of(std::string_view text, std::string_view what) {
    std::size_t n = 0;
    for (std::size_t at = text.find(what); at != std::string_view::npos; at = text.find(what, at + 1)) ++n;
    return n;
}

inline std::string status_line(std::string_view text) {
    return std::string(text.substr(0, text.find("\r\n")));
}

/// Answers with what was asked: "GET /path body".
inline task<http::response> echo(const http::request& r) {
    co_return http::response(200, "text/plain", r.method + " " + r.target + " " + r.body + "\n");
}

inline std::string get(std::string_view target, std::string_view more = "") {
    return "GET " + std::string(target) + " HTTP/1.1\r\nHost: x\r\n" + std::string(more) + "\r\n";
}

/// What the server answers to `text`, whose sender half-closes behind it.
inline std::string answer_to(http_world& w, std::string text, pipe_options options = {}) {
    std::string got;
    auto client = [&](http_world& world) -> task<> { got = co_await exchange(world, text, options); };
    w.run(client);
    return got;
}

/// A body of `size` bytes made up as it is read; remembers the most that was asked for at once.
struct made_up_body : http::body_source {
    made_up_body(std::uint64_t n, bool tell) : left(n), told(tell ? std::optional(n) : std::nullopt) {}
    task<result<std::size_t>> read(mutable_bytes to) override {
        if (!co_await sleep_for(1us)) co_return errc::cancelled;
        const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(left, to.size()));
        for (std::size_t i = 0; i < n; ++i) to[i] = at(left - i);
        left -= n;
        co_return n;
    }
    std::optional<std::uint64_t> length() const override { return told; }
    /// The byte that stands so far from the end.
    static std::byte at(std::uint64_t from_end) { return static_cast<std::byte>('a' + from_end % 26); }
    std::uint64_t left;
    std::optional<std::uint64_t> told;
};

} // namespace tapir::test
