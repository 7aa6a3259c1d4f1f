// The SMTP server over pipes in virtual time: its time-outs, its bounds, and how it ends.
#include <tapir/framework/log.hpp>
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/sim_backend.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/protocols/smtp/server.hpp>

#include <doctest/doctest.h>

#include <array>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/support/pipe_stream.hpp"

using namespace tapir;
using test::pipe_stream;

namespace {

task<> read_into(pipe_stream* from, std::string* all) {
    std::array<std::byte, 512> piece;
    for (;;) {
        const auto n = co_await from->read(piece);
        if (!n || *n == 0) co_return;
        *all += as_text(bytes(piece).first(*n));
    }
}

/// A server, and clients that are pipes.
struct mail_world {
    explicit mail_world(smtp::config c = {}) : config(std::move(c)) {
        log::set_sink([this](log::level, std::string_view text) { logged += std::string(text) + "\n"; });
    }
    ~mail_world() { log::set_sink({}); }

    void run(std::function<task<>(mail_world&)> client) {
        auto keep = [this](const smtp::message& m) -> task<result<>> {
            if (m.text == "throw\r\n") throw std::runtime_error("the disk is on fire");
            taken.push_back(m);
            (void)co_await sleep_for(slow);
            co_return result<>();
        };
        auto serve_here = [this, keep]() -> task<> {
            served = co_await smtp::serve(listener, keep, config, control);
        };
        auto body = [&](scope& s) -> task<> {
            s.spawn(serve_here);
            co_await client(*this);
            control.stop();
        };
        loop.run(with_scope(body));
        CHECK(control.connections() == 0);
    }
    /// All that the server says to somebody who sends `text` and then waits until it is over.
    task<std::string> exchange(std::string text) {
        pipe_stream c = listener.connect();
        (void)co_await c.write(std::string_view(text));
        std::string all;
        co_await read_into(&c, &all);
        co_return all;
    }
    instant now() const { return loop.now(); }
    const smtp::server_counters& counted() const { return control.counters(); }

    reactor loop{make_sim_backend()};
    test::pipe_listener listener;
    smtp::config config;
    smtp::server_control control;
    duration slow{0};
    result<> served;
    std::vector<smtp::message> taken;
    std::string logged;
};

const std::string envelope = "EHLO c\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<c@d.org>\r\nDATA\r\n";

} // namespace

TEST_CASE("smtp server: takes a message, and what was sent along with QUIT is answered before the end") {
    mail_world w;
    auto client = [](mail_world& world) -> task<> {
        const std::string got = co_await world.exchange(envelope + "hello\r\n.\r\nQUIT\r\n");
        CHECK(got.starts_with("220 tapir ESMTP\r\n250-tapir\r\n"));
        CHECK(got.ends_with("354 Go on; end with <CRLF>.<CRLF>\r\n250 OK, taken\r\n221 tapir Goodbye\r\n"));
    };
    w.run(client);
    REQUIRE(w.taken.size() == 1);
    CHECK(w.taken[0].text == "hello\r\n");
    CHECK(w.counted().messages == 1);
    CHECK(w.counted().lost == 0);
}

TEST_CASE("smtp server: a client that says nothing is told so after five minutes, no sooner") {
    mail_world w; // [RFC 5321 4.5.3.2.7]
    auto client = [](mail_world& world) -> task<> {
        const instant began = world.now();
        const std::string got = co_await world.exchange("");
        CHECK(got == "220 tapir ESMTP\r\n421 tapir Timeout, closing\r\n");
        CHECK(world.now() - began >= 5min);
        CHECK(world.now() - began < 5min + 1s);
    };
    w.run(client);
    CHECK(w.counted().timeouts == 1);
}

TEST_CASE("smtp server: single bytes of a command buy no time") {
    mail_world w;
    auto client = [](mail_world& world) -> task<> {
        const instant began = world.now();
        pipe_stream c = world.listener.connect();
        std::string all;
        auto drip = [&]() -> task<> {
            for (int i = 0; i < 100; ++i) {
                if (!co_await sleep_for(1min)) co_return;
                if (!co_await c.write(std::string_view("x"))) co_return;
            }
        };
        auto listen = [&](scope& s) -> task<> {
            s.spawn(drip);
            co_await read_into(&c, &all);
            CHECK(world.now() - began < 6min);
            s.request_stop();
        };
        co_await with_scope(listen);
        CHECK(all.ends_with("421 tapir Timeout, closing\r\n"));
    };
    w.run(client);
}

TEST_CASE("smtp server: single bytes of a message buy half an hour at most") {
    mail_world w;
    auto client = [](mail_world& world) -> task<> {
        const instant began = world.now();
        pipe_stream c = world.listener.connect();
        (void)co_await c.write(std::string_view(envelope));
        std::string all;
        auto drip = [&]() -> task<> {
            for (int i = 0; i < 1000; ++i) {
                if (!co_await sleep_for(4min)) co_return;
                if (!co_await c.write(std::string_view("x\r\n"))) co_return;
            }
        };
        auto listen = [&](scope& s) -> task<> {
            s.spawn(drip);
            co_await read_into(&c, &all);
            CHECK(world.now() - began >= 30min);
            CHECK(world.now() - began < 31min);
            s.request_stop();
        };
        co_await with_scope(listen);
        CHECK(all.ends_with("421 tapir Timeout, closing\r\n"));
        const instant again = world.now(); // and silence in it no more than a block's time
        const std::string silent = co_await world.exchange(envelope + "begun");
        CHECK(silent.ends_with("421 tapir Timeout, closing\r\n"));
        CHECK(world.now() - again < 6min);
    };
    w.run(client);
    CHECK(w.taken.empty());
    CHECK(w.counted().timeouts == 2);
}

TEST_CASE("smtp server: a client that does not read its replies is given up") {
    mail_world w;
    auto client = [](mail_world& world) -> task<> {
        test::pipe_options narrow;
        narrow.capacity = 2000;
        pipe_stream c = world.listener.connect(narrow);
        std::string noops;
        for (int i = 0; i < 1000; ++i) noops += "NOOP\r\n";
        const instant began = world.now();
        const auto written = co_await c.write(std::string_view(noops));
        CHECK_FALSE(written);
        CHECK(world.now() - began < 2min);
    };
    w.run(client);
    CHECK(w.counted().lost == 1);
}

TEST_CASE("smtp server: what came without its end is forgotten when the client goes") {
    mail_world w;
    auto client = [](mail_world& world) -> task<> { // [RFC 5321 4.1.1.10]
        pipe_stream c = world.listener.connect();
        (void)co_await c.write(std::string_view(envelope + "half a message\r\n"));
        (void)co_await sleep_for(1s);
        (void)co_await c.finish();
        std::string all;
        co_await read_into(&c, &all);
    };
    w.run(client);
    CHECK(w.taken.empty());
    CHECK(w.counted().lost == 1);
}

TEST_CASE("smtp server: one connection too many is told to come back, the others go on") {
    smtp::config config;
    config.connections = 2;
    mail_world w(config);
    auto client = [](mail_world& world) -> task<> {
        pipe_stream one = world.listener.connect();
        pipe_stream two = world.listener.connect();
        (void)co_await sleep_for(1s);
        const std::string got = co_await world.exchange("QUIT\r\n");
        CHECK(got == "421 tapir Too many connections, try again later\r\n");
        (void)co_await one.write(std::string_view("QUIT\r\n"));
        std::string all;
        co_await read_into(&one, &all);
        one.abort();
        (void)co_await sleep_for(10s);
        const std::string then = co_await world.exchange("QUIT\r\n");
        CHECK(then.starts_with("220"));
    };
    w.run(client);
    CHECK(w.counted().refused == 1);
    CHECK(w.counted().accepted == 4);
}

TEST_CASE("smtp server: stop() lets a verdict out, tells those who wait with 421, and returns") {
    mail_world w; // [RFC 5321 3.8]
    w.slow = 10s;
    auto client = [](mail_world& world) -> task<> {
        pipe_stream idle = world.listener.connect();
        pipe_stream busy = world.listener.connect();
        std::string to_idle;
        std::string to_busy;
        (void)co_await busy.write(std::string_view(envelope + ".\r\n"));
        (void)co_await sleep_for(1s);
        auto both = [&](scope& s) -> task<> {
            s.spawn(read_into, &idle, &to_idle);
            s.spawn(read_into, &busy, &to_busy);
            world.control.stop();
            co_return;
        };
        co_await with_scope(both);
        CHECK(to_idle == "220 tapir ESMTP\r\n421 tapir Shutting down\r\n");
        CHECK(to_busy.ends_with("250 OK, taken\r\n421 tapir Shutting down\r\n"));
    };
    w.run(client);
    CHECK(w.served);
    CHECK(w.taken.size() == 1);
}

TEST_CASE("smtp server: a handler that throws costs its message and nothing else") {
    mail_world w;
    auto client = [](mail_world& world) -> task<> {
        const std::string got = co_await world.exchange(envelope + "throw\r\n.\r\nNOOP\r\nQUIT\r\n");
        CHECK(got.find("\r\n451 ") != std::string::npos);
        CHECK(got.ends_with("250 OK\r\n221 tapir Goodbye\r\n"));
    };
    w.run(client);
    CHECK(w.counted().handler_failures == 1);
    CHECK(w.logged.find("the disk is on fire") != std::string::npos);
}

TEST_CASE("smtp server: a listener that is gone ends serving, one that stumbles does not") {
    mail_world w;
    auto client = [](mail_world& world) -> task<> {
        world.listener.fail(errno_code(EMFILE));
        (void)co_await sleep_for(1s);
        CHECK((co_await world.exchange("QUIT\r\n")).starts_with("220"));
        world.listener.fail(errc::host_stopped);
        (void)co_await sleep_for(1s);
    };
    w.run(client);
    REQUIRE_FALSE(w.served);
    CHECK(w.served.error() == errc::host_stopped);
    CHECK(w.counted().accept_errors == 2);
}
