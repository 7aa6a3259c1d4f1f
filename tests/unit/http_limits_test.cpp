// What the server does to clients that are slow, greedy or too many.
#include <tapir/framework/race.hpp>
#include <tapir/protocols/http/server.hpp>

#include <doctest/doctest.h>

#include <string>
#include <string_view>

#include "tests/support/http_world.hpp"

using namespace tapir;
using namespace tapir::test;

TEST_CASE("http server: a body past its limit is refused before it is sent, without 100 Continue") {
    http::server_config config;
    config.limits.body_bytes = 10;
    http_world w(echo, config);
    auto client = [&](http_world& world) -> task<> {
        pipe_stream c = world.listener.connect();
        (void)co_await c.write(
            "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n");
        const std::string got = co_await read_all(c);
        CHECK(status_line(got) == "HTTP/1.1 413 Content Too Large");
        CHECK(got.find("Connection: close\r\n") != std::string::npos);
    };
    w.run(client);
    CHECK(w.counters().malformed_by(http::problem::body_too_large) == 1);
    CHECK(w.counters().requests == 0);
}

TEST_CASE("http server: the refusal of a large upload reaches a client that is still sending") {
    http::server_config config;
    config.limits.body_bytes = 1000;
    http_world w(echo, config);
    auto client = [&](http_world& world) -> task<> {
        pipe_stream c = world.listener.connect();
        // Closing with this unread would reset the connection and destroy the answer. [RFC 9112 9.6]
        std::string upload =
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n" + std::string(500'000, 'x');
        const write_result sent = co_await c.write(std::string_view(upload));
        CHECK(sent);
        std::error_code error;
        const std::string got = co_await read_all(c, &error);
        CHECK(status_line(got) == "HTTP/1.1 413 Content Too Large");
        CHECK_FALSE(error);
    };
    w.run(client);
}

TEST_CASE("http server: a client that never stops sending is cut off after linger_bytes") {
    http::server_config config;
    config.linger_bytes = 100'000;
    http_world w(echo, config);
    auto client = [&](http_world& world) -> task<> {
        pipe_stream c = world.listener.connect();
        (void)co_await c.write("nonsense\r\n");
        std::uint64_t sent = 0;
        for (;;) {
            const write_result r = co_await c.write(std::string(1000, 'x'));
            if (!r) break;
            sent += 1000;
        }
        CHECK(sent < 300'000);
    };
    w.run(client);
}

TEST_CASE(
    "http server: a client that neither sends nor closes after its refusal is cut off after linger_time") {
    http_world w(echo);
    auto client = [&](http_world& world) -> task<> {
        pipe_stream c = world.listener.connect();
        (void)co_await c.write("nonsense\r\n");
        CHECK(status_line(co_await read_all(c)) == "HTTP/1.1 400 Bad Request");
        const instant answered = world.now();
        while (world.control.connections() != 0) (void)co_await sleep_for(100ms);
        CHECK(world.now() - answered >= world.config.linger_time);
        CHECK(world.now() - answered <= world.config.linger_time + 200ms);
    };
    w.run(client);
}

TEST_CASE("http server: headers that come too slowly are answered with 408") {
    http_world w(echo);
    auto client = [&](http_world& world) -> task<> {
        pipe_stream c = world.listener.connect();
        const instant began = world.now();
        (void)co_await c.write("GET / HTTP/1.1\r\nHost: x\r\n");
        std::string got;
        auto drip = [&]() -> task<> { // one field a second, for ever
            while (co_await c.write("X: y\r\n") && co_await sleep_for(1s)) {
            }
        };
        auto listen = [&]() -> task<> { got = co_await read_all(c); };
        (void)co_await race(drip(), listen());
        CHECK(status_line(got) == "HTTP/1.1 408 Request Timeout");
        CHECK(world.now() - began == world.config.header_time);
    };
    w.run(client);
    CHECK(w.counters().header_timeouts == 1);
}

TEST_CASE("http server: a body that comes too slowly is answered with 408") {
    http_world w(echo);
    auto client = [&](http_world& world) -> task<> {
        pipe_stream c = world.listener.connect();
        const instant began = world.now();
        (void)co_await c.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf");
        CHECK(status_line(co_await read_all(c)) == "HTTP/1.1 408 Request Timeout");
        CHECK(world.now() - began == world.config.body_time);
    };
    w.run(client);
    CHECK(w.counters().body_timeouts == 1);
}

TEST_CASE("http server: an idle connection is closed without a word") {
    http_world w(echo);
    auto client = [&](http_world& world) -> task<> {
        pipe_stream silent = world.listener.connect();
        pipe_stream kept = world.listener.connect();
        const instant began = world.now();
        (void)co_await sleep_for(1s);
        (void)co_await kept.write(get("/"));
        (void)co_await read_response(kept);
        std::error_code error;
        CHECK((co_await read_all(silent, &error)).empty());
        CHECK(world.now() - began == world.config.idle_time);
        CHECK((co_await read_all(kept, &error)).empty());
        CHECK(world.now() - began == world.config.idle_time + 1s);
        CHECK_FALSE(error);
    };
    w.run(client);
    CHECK(w.counters().idle_timeouts == 2);
}

TEST_CASE("http server: a client that does not read its response is aborted after send_time") {
    auto big = [](const http::request&) -> task<http::response> {
        co_return http::response(200, "text/plain", std::string(1'000'000, 'x'));
    };
    http_world w(big);
    auto client = [&](http_world& world) -> task<> {
        pipe_stream c = world.listener.connect();
        const instant began = world.now();
        (void)co_await c.write(get("/"));
        while (world.control.connections() != 0 || world.counters().accepted == 0)
            (void)co_await sleep_for(1s);
        CHECK(world.now() - began <= world.config.send_time + 1s);
        std::error_code error;
        (void)co_await read_all(c, &error);
        CHECK(error == errc::reset);
    };
    w.run(client);
    CHECK(w.counters().send_timeouts == 1);
}

TEST_CASE("http server: after max_requests the connection is closed") {
    http::server_config config;
    config.max_requests = 2;
    http_world w(echo, config);
    const std::string got = answer_to(w, get("/1") + get("/2") + get("/3"));
    CHECK(count_of(got, "HTTP/1.1 200") == 2);
    CHECK(count_of(got, "Connection: close") == 1);
}

TEST_CASE("http server: a connection that may be idle for less is closed sooner, whoever came before it") {
    reactor loop(make_sim_backend());
    http::server_control control;
    const http::handler handle = echo;
    http::server_config patient, strict;
    patient.idle_time = 60s;
    strict.idle_time = 5s;
    auto body = [&](scope& s) -> task<> {
        const auto open = [&](const http::server_config& c) {
            auto [here, there] = pipe_stream::make();
            control.connection_began();
            s.spawn(http::serve_connection,
                    std::unique_ptr<http::transport>(new http::transport_over<pipe_stream>(std::move(there))),
                    &handle, &c, &control);
            return std::move(here);
        };
        pipe_stream first = open(patient);
        (void)co_await sleep_for(1s);
        pipe_stream second = open(strict);
        pipe_stream third = open(patient);
        const instant began = loop.now();
        CHECK((co_await read_all(second)).empty());
        CHECK(loop.now() - began == 5s);
        CHECK((co_await read_all(first)).empty());
        CHECK(loop.now() - began == 59s);
        CHECK((co_await read_all(third)).empty());
        CHECK(loop.now() - began == 60s);
    };
    loop.run(with_scope(body));
    CHECK(control.counters().idle_timeouts == 3);
}

TEST_CASE("http server: at max_connections the longest idle one makes room, busy ones do not") {
    http::server_config config;
    config.max_connections = 2;
    auto slow = [](const http::request& r) -> task<http::response> {
        if (r.target == "/slow") (void)co_await sleep_for(20s);
        co_return http::response(200, "text/plain", r.target);
    };
    http_world w(slow, config);
    auto client = [&](http_world& world) -> task<> {
        pipe_stream busy = world.listener.connect();
        (void)co_await busy.write(get("/slow"));
        pipe_stream idle = world.listener.connect();
        (void)co_await idle.write(get("/idle"));
        (void)co_await read_response(idle);
        const instant began = world.now();
        pipe_stream third = world.listener.connect();
        (void)co_await third.write(get("/third"));
        CHECK((co_await read_all(idle)).empty()); // an orderly end
        idle.abort();
        CHECK((co_await read_response(third)).ends_with("/third"));
        CHECK(world.now() - began < 1s);
        CHECK(world.control.connections() == 2);
        CHECK((co_await read_response(busy)).ends_with("/slow"));
        (void)co_await sleep_for(1s);
        CHECK(world.control.connections() == 2); // both idle now, and left alone while nobody waits
    };
    w.run(client);
    CHECK(w.counters().shed == 1);
}

TEST_CASE("http server: at max_connections with all busy, new clients wait in the backlog") {
    http::server_config config;
    config.max_connections = 1;
    auto slow = [](const http::request&) -> task<http::response> {
        (void)co_await sleep_for(20s);
        co_return http::response(200, "text/plain", "done");
    };
    http_world w(slow, config);
    auto client = [&](http_world& world) -> task<> {
        pipe_stream first = world.listener.connect();
        (void)co_await first.write(get("/", "Connection: close\r\n"));
        (void)co_await sleep_for(1s);
        pipe_stream second = world.listener.connect(); // accepted, and held
        pipe_stream third = world.listener.connect();
        (void)co_await second.write(get("/"));
        (void)co_await sleep_for(1s);
        CHECK(world.control.connections() == 1);
        CHECK(world.listener.backlog() == 1);
        CHECK((co_await read_all(first)).ends_with("done"));
        first.abort();
        CHECK((co_await read_response(second)).ends_with("done"));
    };
    w.run(client);
}
