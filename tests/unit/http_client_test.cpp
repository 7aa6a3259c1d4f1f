// The client, against the server and against servers that misbehave.
#include <tapir/framework/race.hpp>
#include <tapir/protocols/http/client.hpp>
#include <tapir/protocols/http/url.hpp>

#include <doctest/doctest.h>

#include <string>
#include <string_view>

#include "tests/support/http_world.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

struct fetched {
    result<http::client_response> head = errc::cancelled;
    std::string body;
    std::string asked; ///< what the server read
    duration took{};
};

/// GET /x from a server that reads the head of the request, says `answer`, and then half-closes or waits.
fetched fetch_from(std::string answer, bool finish, http::client_config config = {}) {
    fetched out;
    reactor loop(make_sim_backend());
    pipe_listener listener;
    auto server = [&]() -> task<> {
        auto c = co_await listener.accept();
        REQUIRE(c);
        out.asked = co_await read_until(*c, "\r\n\r\n");
        (void)co_await c->write(std::string_view(answer));
        if (finish) (void)co_await c->finish();
        (void)co_await sleep_for(1h);
    };
    auto client = [&]() -> task<> {
        pipe_stream c = listener.connect();
        auto sink = [&](bytes piece) -> result<> {
            out.body += as_text(piece);
            return {};
        };
        const instant began = loop.now();
        out.head = co_await http::get(c, "h", "/x", sink, config);
        out.took = loop.now() - began;
    };
    auto both = [&]() -> task<> { (void)co_await race(server(), client()); };
    loop.run(both());
    return out;
}

} // namespace

TEST_CASE("http client: asks as it should and gets status, fields and body") {
    http::client_config config;
    config.fields.add("User-Agent", "test");
    const fetched f = fetch_from("HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nX-Y: z\r\n\r\nhi", false, config);
    CHECK(f.asked ==
          "GET /x HTTP/1.1\r\nHost: h\r\nAccept: */*\r\nUser-Agent: test\r\nConnection: close\r\n\r\n");
    REQUIRE(f.head);
    CHECK(f.head->status == 200);
    CHECK(f.head->reason == "Fine");
    CHECK(f.head->fields.find("x-y") == "z");
    CHECK(f.body == "hi");
    CHECK(f.head->body_bytes == 2);
    CHECK(f.took == 0s);
}

TEST_CASE("http client: a body in chunks, and one that ends with the connection") {
    CHECK(fetch_from("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
                     false)
              .body == "abc");
    CHECK(fetch_from("HTTP/1.0 200 OK\r\n\r\nabc", true).body == "abc");
}

TEST_CASE("http client: a body that is cut short is an error, not a short body") {
    CHECK(fetch_from("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", true).head.error() ==
          http::problem::incomplete);
    CHECK(
        fetch_from("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", true).head.error() ==
        http::problem::incomplete);
    CHECK(fetch_from("", true).head.error() == http::problem::incomplete);
    const std::error_code e = http::problem::bad_chunk_size;
    CHECK(e.message() == "bad chunk size");
}

TEST_CASE("http client: limits and deadlines hold") {
    http::client_config small;
    small.limits.body_bytes = 2;
    CHECK(fetch_from("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", true, small).head.error() ==
          http::problem::body_too_large);
    CHECK(fetch_from("HTTP/1.1 200 OK\r\n\r\nabc", true, small).head.error() ==
          http::problem::body_too_large);
    const fetched silent = fetch_from("HTTP/1.1 200", false);
    CHECK(silent.head.error() == errc::deadline_exceeded);
    CHECK(silent.took == http::client_config().header_time);
    const fetched stalled = fetch_from("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na", false);
    CHECK(stalled.head.error() == errc::deadline_exceeded);
    CHECK(stalled.took == http::client_config().idle_time);
    CHECK(stalled.body == "a");
}

TEST_CASE("http client: a sink can end the transfer with its error") {
    http_world w(echo);
    auto client = [](http_world& world) -> task<> {
        pipe_stream c = world.listener.connect();
        auto full = [](bytes) -> result<> { return errc::no_memory; };
        const auto got = co_await http::get(c, "h", "/", full);
        CHECK(got.error() == errc::no_memory);
    };
    w.run(client);
}

TEST_CASE("http client: nothing can be smuggled into the request by host or target") {
    http_world w(echo);
    auto client = [](http_world& world) -> task<> {
        pipe_stream c = world.listener.connect();
        for (const char* bad : {"/ HTTP/1.1\r\nX: y", "/a b", ""}) {
            const auto by_target = co_await http::get(c, "h", bad, {});
            CHECK(by_target.error() == errc::invalid_argument);
            const auto by_host = co_await http::get(c, bad, "/", {});
            CHECK(by_host.error() == (std::string_view(bad).starts_with("/") || *bad == 0
                                          ? make_error_code(errc::invalid_argument)
                                          : std::error_code()));
        }
    };
    w.run(client);
    CHECK(w.counters().requests == 0);
}

TEST_CASE("http client: several requests on one connection to the server, and a HEAD") {
    http_world w(echo);
    auto client = [](http_world& world) -> task<> {
        pipe_stream c = world.listener.connect();
        http::client_config keep;
        keep.keep_alive = true;
        for (int i = 0; i < 3; ++i) {
            std::string body;
            auto sink = [&](bytes piece) -> result<> {
                body += as_text(piece);
                return {};
            };
            const auto got = co_await http::get(c, "h", "/" + std::to_string(i), sink, keep);
            REQUIRE(got);
            CHECK(got->persists);
            CHECK(body == "GET /" + std::to_string(i) + " \n");
        }
        const auto head = co_await http::head(c, "h", "/");
        REQUIRE(head);
        CHECK(head->body_bytes == 0);
        CHECK(head->fields.find("Content-Length") == "8");
        CHECK_FALSE(head->persists);
    };
    w.run(client);
    CHECK(w.counters().accepted == 1);
    CHECK(w.counters().requests == 4);
}

TEST_CASE("http client: a large chunked body passes intact through small buffers") {
    auto streamed = [](const http::request&) -> task<http::response> {
        http::response r(200);
        r.set_body(std::make_unique<made_up_body>(500'000, false));
        co_return r;
    };
    http_world w(streamed);
    auto client = [](http_world& world) -> task<> {
        pipe_options narrow;
        narrow.capacity = 1000;
        narrow.max_read = 77;
        pipe_stream c = world.listener.connect(narrow);
        std::uint64_t left = 500'000;
        bool intact = true;
        auto sink = [&](bytes piece) -> result<> {
            for (const std::byte b : piece) intact = intact && b == made_up_body::at(left--);
            return {};
        };
        const auto got = co_await http::get(c, "h", "/", sink);
        REQUIRE(got);
        CHECK(left == 0);
        CHECK(intact);
    };
    w.run(client);
}

TEST_CASE("http client: URLs come apart, and what is none does not") {
    const auto plain = http::parse_url("http://example.net");
    REQUIRE(plain);
    CHECK(plain->host == "example.net");
    CHECK(plain->port == 80);
    CHECK(plain->target == "/");
    const auto full = http::parse_url("HTTP://192.0.2.2:8080/a?b=c#d");
    REQUIRE(full);
    CHECK(full->host == "192.0.2.2");
    CHECK(full->port == 8080);
    CHECK(full->authority == "192.0.2.2:8080");
    CHECK(full->target == "/a?b=c");
    const auto v6 = http::parse_url("http://[2001:db8::1]:81?q");
    REQUIRE(v6);
    CHECK(v6->host == "2001:db8::1");
    CHECK(v6->port == 81);
    CHECK(v6->target == "/?q");
    for (const char* bad :
         {"", "http://", "https://a/", "http://a:0/", "http://a:65536/", "http://a:8x/", "http://u@a/",
          "http://a b/", "http://[::1/", "http://a/\r\nX: y", "http://:80/"}) {
        INFO(bad);
        CHECK_FALSE(http::parse_url(bad));
    }
}
