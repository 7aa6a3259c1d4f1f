// How the server ends, by order and by accident, and what its clients see of it.
#include <tapir/framework/race.hpp>
#include <tapir/protocols/http/server.hpp>

#include <doctest/doctest.h>

#include <string>
#include <string_view>

#include "tests/support/http_world.hpp"

using namespace tapir;
using namespace tapir::test;

TEST_CASE("http server: stop() closes what is idle, lets requests end and returns") {
    auto slow = [](const http::request&) -> task<http::response> {
        (void)co_await sleep_for(2s);
        co_return http::response(200, "text/plain", "done");
    };
    http_world w(slow);
    instant stopped{};
    auto client = [&](http_world& world) -> task<> {
        pipe_stream busy = world.listener.connect();
        pipe_stream idle = world.listener.connect();
        (void)co_await busy.write(get("/") + get("/too-late"));
        (void)co_await sleep_for(1s);
        stopped = world.now();
        world.control.stop(stopped + 10s);
        CHECK((co_await read_all(idle)).empty());
        CHECK(world.now() == stopped);
        idle.abort();
        const std::string got = co_await read_all(busy);
        CHECK(got.ends_with("done"));
        CHECK(count_of(got, "HTTP/1.1 200") == 1);
        CHECK(got.find("Connection: close\r\n") != std::string::npos);
        CHECK(world.now() - stopped == 1s);
    };
    w.run(client);
    CHECK(w.served);
    CHECK(w.serve_ended - stopped == 1s);
    CHECK(w.counters().aborted == 0);
}

TEST_CASE("http server: what is busy at the deadline of stop() is aborted") {
    auto never_ends = [](const http::request&) -> task<http::response> {
        (void)co_await sleep_for(1h);
        co_return http::response(200, "text/plain", "too late");
    };
    http_world w(never_ends);
    auto client = [&](http_world& world) -> task<> {
        pipe_stream c = world.listener.connect();
        (void)co_await c.write(get("/"));
        (void)co_await sleep_for(1s);
        const instant stopped = world.now();
        world.control.stop(stopped + 1h);
        world.control.stop(stopped + 3s); // a second Ctrl-C: sooner
        std::error_code error;
        CHECK((co_await read_all(c, &error)).empty());
        CHECK(error == errc::reset);
        CHECK(world.now() - stopped == 3s);
    };
    w.run(client);
    CHECK(w.counters().aborted == 1);
}

TEST_CASE("http server: stopping the coroutine of serve() aborts every connection at once") {
    reactor loop(make_sim_backend());
    pipe_listener listener;
    http::server_control control;
    auto never_ends = [](const http::request&) -> task<http::response> {
        (void)co_await sleep_for(1h);
        co_return http::response(200);
    };
    auto main = [&]() -> task<> {
        pipe_stream c = listener.connect();
        (void)co_await c.write(get("/"));
        auto client = [&]() -> task<> { (void)co_await sleep_for(1s); };
        const instant began = loop.now();
        (void)co_await race(http::serve(listener, never_ends, http::server_config(), control), client());
        CHECK(loop.now() - began == 1s);
        std::error_code error;
        (void)co_await read_all(c, &error);
        CHECK(error == errc::reset);
    };
    loop.run(main());
    CHECK(control.connections() == 0);
}

TEST_CASE("http server: a passing accept error is survived, a dead listener ends serve() with its error") {
    http_world w(echo);
    auto client = [&](http_world& world) -> task<> {
        world.listener.fail(make_error_code(errc::no_memory));
        (void)co_await sleep_for(1s);
        CHECK((co_await exchange(world, get("/"))).starts_with("HTTP/1.1 200"));
        world.listener.fail(make_error_code(errc::host_stopped));
        (void)co_await sleep_for(1s);
    };
    w.run(client);
    CHECK(w.counters().accept_errors == 2);
    CHECK(w.served.error() == errc::host_stopped);
}

TEST_CASE("http server: a connection reset within a request ends alone") {
    http_world w(echo);
    auto client = [&](http_world& world) -> task<> {
        pipe_stream c = world.listener.connect();
        pipe_stream other = world.listener.connect();
        (void)co_await c.write("GET / HT");
        (void)co_await sleep_for(1s);
        c.abort();
        (void)co_await other.write(get("/"));
        CHECK((co_await read_response(other)).starts_with("HTTP/1.1 200"));
        CHECK(world.counters().lost == 1);
        CHECK(world.control.connections() == 1);
    };
    w.run(client);
}
