// The server over pipes in virtual time: each behaviour that a client can see.
#include <tapir/framework/race.hpp>
#include <tapir/protocols/http/server.hpp>

#include <doctest/doctest.h>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "tests/support/http_world.hpp"

using namespace tapir;
using namespace tapir::test;

TEST_CASE("http server: a GET is answered with Date, Server, Content-Length and body") {
    http_world w(echo);
    CHECK(answer_to(w, get("/hello")) == "HTTP/1.1 200 OK\r\n"
                                         "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
                                         "Server: tapir\r\n"
                                         "Content-Type: text/plain\r\n"
                                         "Content-Length: 12\r\n\r\n"
                                         "GET /hello \n");
    CHECK(w.counters().requests == 1);
    CHECK(w.counters().responses[2] == 1);
    CHECK(w.counters().lost == 0);
    CHECK(w.served);
}

TEST_CASE("http server: a client that half-closes after its request gets its whole answer") {
    const std::uint64_t size = 3'000'000;
    auto big = [&](const http::request&) -> task<http::response> {
        http::response r(200);
        r.set_body(std::make_unique<made_up_body>(size, true));
        co_return r;
    };
    http_world w(big);
    const std::string got = answer_to(w, get("/big"));
    CHECK(got.size() - got.find("\r\n\r\n") - 4 == size);
    CHECK(w.counters().lost == 0);
    CHECK(w.counters().aborted == 0);
}

TEST_CASE("http server: HEAD tells the length and sends no body") {
    http_world w(echo);
    const std::string got = answer_to(w, "HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n");
    CHECK(got.find("Content-Length: 9\r\n") != std::string::npos); // [RFC 9110 9.3.2]
    CHECK(got.ends_with("\r\n\r\n"));
}

TEST_CASE("http server: requests sent in one piece are answered in order") {
    auto slow_first = [](const http::request& r) -> task<http::response> {
        if (r.target == "/1") (void)co_await sleep_for(1s);
        co_return http::response(200, "text/plain", "<" + r.target + ">");
    };
    http_world w(slow_first);
    const std::string got = answer_to(w, get("/1") + get("/2") + get("/3"));
    CHECK(count_of(got, "HTTP/1.1 200 OK") == 3); // [RFC 9112 9.3.2]
    CHECK(got.find("</1>") < got.find("</2>"));
    CHECK(got.find("</2>") < got.find("</3>"));
}

TEST_CASE("http server: a request that comes byte by byte, read byte by byte") {
    http_world w(echo);
    pipe_options tiny;
    tiny.capacity = 1;
    tiny.max_read = 1;
    const std::string got = answer_to(
        w,
        "POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n" + get("/q"),
        tiny);
    CHECK(got.find("POST /p hi\n") != std::string::npos);
    CHECK(got.find("GET /q \n") != std::string::npos);
}

TEST_CASE("http server: one connection carries requests one after the other until the client closes it") {
    http_world w(echo);
    auto client = [](http_world& world) -> task<> {
        pipe_stream c = world.listener.connect();
        for (int i = 0; i < 5; ++i) {
            (void)co_await c.write(get("/" + std::to_string(i)));
            const std::string got = co_await read_response(c);
            CHECK(got.ends_with("GET /" + std::to_string(i) + " \n"));
            CHECK(got.find("Connection") == std::string::npos);
            (void)co_await sleep_for(50s);
        }
        (void)co_await c.finish();
        CHECK((co_await read_all(c)).empty());
    };
    w.run(client);
    CHECK(w.counters().accepted == 1);
    CHECK(w.counters().requests == 5);
}

TEST_CASE("http server: Connection: close ends the connection after the response") {
    http_world w(echo);
    auto client = [](http_world& world) -> task<> {
        pipe_stream c = world.listener.connect();
        (void)co_await c.write(get("/a", "Connection: close\r\n") + get("/never"));
        const std::string got = co_await read_all(c); // [RFC 9112 9.6]
        CHECK(got.find("Connection: close\r\n") != std::string::npos);
        CHECK(count_of(got, "HTTP/1.1 ") == 1);
    };
    w.run(client);
    CHECK(w.counters().requests == 1);
}

TEST_CASE("http server: HTTP/1.0 closes by default and stays on request") {
    http_world w(echo);
    auto client = [](http_world& world) -> task<> {
        pipe_stream c = world.listener.connect();
        (void)co_await c.write("GET /a HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
        const std::string first = co_await read_response(c);
        CHECK(first.find("HTTP/1.1 200 OK\r\n") == 0);
        CHECK(first.find("Connection: keep-alive\r\n") != std::string::npos);
        (void)co_await c.write("GET /b HTTP/1.0\r\n\r\n");
        const std::string second = co_await read_all(c);
        CHECK(second.find("Connection: close\r\n") != std::string::npos);
        CHECK(second.ends_with("GET /b \n"));
    };
    w.run(client);
}

TEST_CASE(
    "http server: a body of unknown length is chunked for HTTP/1.1 and ends with the connection for 1.0") {
    auto streamed = [](const http::request&) -> task<http::response> {
        http::response r(200);
        r.set_body(std::make_unique<made_up_body>(70'000, false));
        co_return r;
    };
    {
        http_world w(streamed);
        const std::string got = answer_to(w, get("/"));
        CHECK(got.find("Transfer-Encoding: chunked\r\n") != std::string::npos);
        CHECK(got.find("Content-Length") == std::string::npos);
        CHECK(got.find("\r\n\r\n10000\r\n") != std::string::npos); // 65,536 bytes
        CHECK(got.ends_with("\r\n0\r\n\r\n"));
    }
    {
        http_world w(streamed);
        const std::string got = answer_to(w, "GET / HTTP/1.0\r\n\r\n");
        CHECK(got.find("Transfer-Encoding") == std::string::npos); // [RFC 9112 6.1]
        CHECK(got.size() - got.find("\r\n\r\n") - 4 == 70'000);
    }
}

TEST_CASE("http server: a client that reads slowly holds the source of a large body back") {
    const std::uint64_t size = 20'000'000;
    made_up_body* source = nullptr;
    auto big = [&](const http::request&) -> task<http::response> {
        http::response r(200);
        auto body = std::make_unique<made_up_body>(size, true);
        source = body.get();
        r.set_body(std::move(body));
        co_return r;
    };
    http_world w(big);
    auto client = [&](http_world& world) -> task<> {
        pipe_stream c = world.listener.connect();
        (void)co_await c.write(get("/"));
        const std::string head = co_await read_until(c, "\r\n\r\n");
        (void)co_await sleep_for(10s);
        REQUIRE(source != nullptr);
        CHECK(size - source->left <= 2 * 64 * 1024 + world.config.send_buffer_bytes);
        std::uint64_t got = 0;
        std::vector<std::byte> piece(10'000);
        while (got < size) {
            const auto n = co_await c.read(piece);
            if (!n || *n == 0) break;
            got += *n;
        }
        CHECK(got == size);
    };
    w.run(client);
}

TEST_CASE("http server: 100 Continue is sent when the client waits for it, and not when the body is there") {
    http_world w(echo);
    const std::string head =
        "POST /p HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    auto client = [&](http_world& world) -> task<> {
        pipe_stream c = world.listener.connect();
        (void)co_await c.write(std::string_view(head));
        const std::string interim = co_await read_until(c, "\r\n\r\n");
        CHECK(interim == "HTTP/1.1 100 Continue\r\n\r\n"); // [RFC 9110 10.1.1]
        (void)co_await c.write("hi");
        CHECK((co_await read_response(c)).ends_with("POST /p hi\n"));
        (void)co_await c.write(head + "ho");
        const std::string direct = co_await read_response(c);
        CHECK(direct.starts_with("HTTP/1.1 200"));
        CHECK(direct.ends_with("POST /p ho\n"));
    };
    w.run(client);
}

TEST_CASE("http server: an exception in a handler is a 500, is logged, and the connection goes on") {
    auto fails = [](const http::request& r) -> task<http::response> {
        if (r.target == "/bad") throw std::runtime_error("out of cheese");
        if (r.target == "/odd") co_return http::response(42);
        co_return http::response(200, "text/plain", "fine\n");
    };
    http_world w(fails);
    const std::string got = answer_to(w, get("/bad") + get("/odd") + get("/good"));
    CHECK(status_line(got) == "HTTP/1.1 500 Internal Server Error");
    CHECK(count_of(got, " 500 ") >= 2);
    CHECK(got.ends_with("fine\n"));
    CHECK(w.counters().handler_failures == 2);
    CHECK(w.logged.find("out of cheese") != std::string::npos);
}

TEST_CASE("http server: a field value with a line break can not split the response") {
    auto reflects = [](const http::request&) -> task<http::response> {
        http::response r(302);
        r.fields.add("Location", "/x\r\nSet-Cookie: evil=1");
        co_return r;
    };
    http_world w(reflects);
    const std::string got = answer_to(w, get("/"));
    CHECK(status_line(got) == "HTTP/1.1 500 Internal Server Error");
    CHECK(got.find("Set-Cookie") == std::string::npos);
}

TEST_CASE("http server: a source that ends early or fails has its connection reset, not ended in order") {
    struct broken_body : made_up_body {
        explicit broken_body(bool throws) : made_up_body(100, true), throws_(throws) { left = 50; }
        task<result<std::size_t>> read(mutable_bytes to) override {
            if (throws_) throw std::runtime_error("disk on fire");
            co_return co_await made_up_body::read(to);
        }
        bool throws_;
    };
    auto breaks = [](const http::request& r) -> task<http::response> {
        http::response answer(200);
        answer.set_body(std::make_unique<broken_body>(r.target == "/throws"));
        co_return answer;
    };
    http_world w(breaks);
    auto client = [&](http_world& world) -> task<> {
        for (const char* target : {"/ends", "/throws"}) {
            pipe_stream c = world.listener.connect();
            (void)co_await c.write(get(target));
            std::error_code error;
            (void)co_await read_all(c, &error);
            CHECK(error == errc::reset);
        }
    };
    w.run(client);
    CHECK(w.counters().body_failures == 2);
}

TEST_CASE("http server: every malformed request is answered and counted by its reason") {
    struct attempt {
        const char* text;
        http::problem reason;
        int status;
    };
    const attempt attempts[] = {
        {"GET\r\n\r\n", http::problem::bad_request_line, 400},
        {"GET / HTTP/3.0\r\n\r\n", http::problem::unsupported_version, 505},
        {"GET / HTTP/1.1\r\n\r\n", http::problem::missing_host, 400},
        {"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", http::problem::obsolete_folding, 400},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
         http::problem::length_and_transfer_encoding, 400},
        {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
         http::problem::unsupported_transfer_encoding, 501},
        {"POST / HTTP/1.1\r\nHost: x\r\n\r\n", http::problem::length_required, 411},
        {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
         http::problem::bad_chunk_size, 400},
        {"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", http::problem::unsupported_method, 501},
        {"GET / HTTP/1.1\r\nHo", http::problem::incomplete, 400},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nshort", http::problem::incomplete, 400},
    };
    http_world w(echo);
    auto client = [&](http_world& world) -> task<> {
        for (const attempt& a : attempts) {
            INFO(a.text);
            const auto before = world.counters().malformed_by(a.reason);
            const std::string got = co_await exchange(world, a.text);
            CHECK(got.starts_with("HTTP/1.1 " + std::to_string(a.status) + " "));
            CHECK(got.find("Connection: close\r\n") != std::string::npos);
            CHECK(count_of(got, "HTTP/1.1 ") == 1);
            CHECK(world.counters().malformed_by(a.reason) == before + 1);
        }
        std::uint64_t total = 0;
        for (const std::uint64_t n : world.counters().malformed) total += n;
        CHECK(total == std::size(attempts));
    };
    w.run(client);
    CHECK(w.counters().requests == 0);
}

TEST_CASE("http server: nothing is read behind a refused request") {
    http_world w(echo);
    const std::string got = answer_to(
        w, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" +
               get("/smuggled"));
    CHECK(count_of(got, "HTTP/1.1 ") == 1);
    CHECK(w.counters().requests == 0);
}

TEST_CASE("http server: without a wall clock there is no Date") {
    reactor loop(make_sim_backend());
    pipe_listener listener;
    http::server_control control;
    auto main = [&]() -> task<> {
        auto client = [&]() -> task<> {
            pipe_stream c = listener.connect();
            (void)co_await c.write(get("/"));
            const std::string got = co_await read_response(c);
            CHECK(got.starts_with("HTTP/1.1 200"));
            CHECK(got.find("Date") == std::string::npos);
        };
        (void)co_await race(http::serve(listener, echo, http::server_config(), control), client());
    };
    loop.run(main());
}
