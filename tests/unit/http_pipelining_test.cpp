// What the server writes at once, and what it holds meanwhile: responses to requests that have come together.
#include <tapir/framework/event.hpp>
#include <tapir/protocols/http/server.hpp>
#include <tapir/protocols/http/transport.hpp>

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/http_world.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

struct noted {
    std::vector<std::size_t> writes; ///< bytes of each
    std::size_t reads = 0;           ///< that have been asked for
    bool tells_readable = true;
};

/// Over a pipe, and notes what it is asked for.
class noting_transport final : public http::transport {
  public:
    noting_transport(pipe_stream s, noted& n) : over_(std::move(s)), noted_(n) {}
    task<result<std::size_t>> read(mutable_bytes to) override {
        ++noted_.reads;
        return over_.read(to);
    }
    task<result<>> until_readable() override {
        if (noted_.tells_readable) co_return co_await over_.until_readable();
        co_return result<>();
    }
    task<result<>> write(bytes from) override {
        noted_.writes.push_back(from.size());
        return over_.write(from);
    }
    task<result<>> finish() override { return over_.finish(); }
    task<result<close_report>> close(instant deadline) override { return over_.close(deadline); }
    void abort() override { over_.abort(); }

  private:
    http::transport_over<pipe_stream> over_;
    noted& noted_;
};

/// One connection, and a client that speaks to it.
template <class Client>
void converse(noted& n, const http::handler& h, const http::server_config& config, Client client) {
    reactor loop(make_sim_backend());
    http::server_control control;
    auto ends = pipe_stream::make();
    auto body = [&](scope& s) -> task<> {
        control.connection_began();
        s.spawn(http::serve_connection,
                std::unique_ptr<http::transport>(new noting_transport(std::move(ends.second), n)), &h,
                &config, &control);
        co_await client(ends.first);
        (void)co_await ends.first.finish();
        (void)co_await read_all(ends.first);
    };
    loop.run(with_scope(body));
    CHECK(control.connections() == 0);
}

std::string requests(int n) {
    std::string text;
    for (int i = 1; i <= n; ++i) text += get("/" + std::to_string(i));
    return text;
}

} // namespace

TEST_CASE("http pipelining: responses to requests that come together leave in one write") {
    noted n;
    SUBCASE("over a stream that tells when it is readable") {}
    SUBCASE("over one that does not") {
        n.tells_readable = false;
    }
    converse(n, echo, {}, [&](pipe_stream& c) -> task<> {
        (void)co_await c.write(requests(20));
        for (int i = 1; i <= 20; ++i) {
            const std::string got = co_await read_response(c);
            CHECK(got.ends_with("GET /" + std::to_string(i) + " \n")); // [RFC 9112 9.3.2] in order
        }
        CHECK(n.writes.size() == 1);
        (void)co_await c.write(requests(1));
        (void)co_await read_response(c);
        CHECK(n.writes.size() == 2);
    });
}

TEST_CASE("http pipelining: a request of which only a part has come holds no response before it back") {
    noted n;
    converse(n, echo, {}, [&](pipe_stream& c) -> task<> {
        const std::string last = get("/last");
        (void)co_await c.write(requests(3) + last.substr(0, 10));
        for (int i = 0; i < 3; ++i) CHECK((co_await read_response(c)).starts_with("HTTP/1.1 200"));
        (void)co_await c.write(last.substr(10));
        CHECK((co_await read_response(c)).ends_with("GET /last \n"));
    });
    CHECK(n.writes.size() == 2);
}

TEST_CASE("http pipelining: a handler that waits for what the client does holds no response before it back") {
    noted n;
    event seen;
    auto waits = [&](const http::request& r) -> task<http::response> {
        if (r.target == "/3") (void)co_await seen.wait();
        co_return http::response(200, "text/plain", r.target);
    };
    converse(n, waits, {}, [&](pipe_stream& c) -> task<> {
        (void)co_await c.write(requests(5));
        CHECK((co_await read_response(c)).ends_with("/1"));
        CHECK((co_await read_response(c)).ends_with("/2"));
        seen.set(); // without this in order, all would wait for ever
        for (const char* each : {"/3", "/4", "/5"}) CHECK((co_await read_response(c)).ends_with(each));
    });
    CHECK(n.writes.size() == 2);
}

TEST_CASE("http pipelining: what waits for company is bounded, and no response waits behind a large one") {
    noted n;
    http::server_config config;
    config.send_buffer_bytes = 2'000;
    auto sized = [](const http::request& r) -> task<http::response> {
        co_return http::response(200, "text/plain", std::string(r.target == "/7" ? 5'000 : 300, 'x'));
    };
    converse(n, sized, config, [&](pipe_stream& c) -> task<> {
        (void)co_await c.write(requests(40));
        for (int i = 1; i <= 40; ++i) CHECK(co_await read_response(c) != "");
    });
    CHECK(n.writes.size() > 5);
    CHECK(n.writes.size() < 15);
    for (const std::size_t bytes : n.writes) CHECK(bytes < 2 * config.send_buffer_bytes);
}

TEST_CASE("http pipelining: a failing request after good ones is answered behind them") {
    noted n;
    converse(n, echo, {}, [&](pipe_stream& c) -> task<> {
        (void)co_await c.write(requests(2) + "GET / HTTP/3.0\r\n\r\n");
        CHECK((co_await read_response(c)).ends_with("/1 \n"));
        CHECK((co_await read_response(c)).ends_with("/2 \n"));
        CHECK((co_await read_response(c)).starts_with("HTTP/1.1 505"));
    });
}

TEST_CASE("http pipelining: a client that goes away while responses wait for a handler") {
    noted n;
    auto slow = [](const http::request& r) -> task<http::response> {
        if (r.target == "/2") (void)co_await sleep_for(1s);
        co_return http::response(200, "text/plain", r.target);
    };
    converse(n, slow, {}, [](pipe_stream& c) -> task<> {
        (void)co_await c.write(requests(3));
        c.abort();
        co_return;
    });
    CHECK(n.writes.size() <= 1); // what nobody will read is not made
}

TEST_CASE("http server: nothing is read, and no buffer held, before bytes have come") {
    noted n;
    converse(n, echo, {}, [&](pipe_stream& c) -> task<> {
        (void)co_await sleep_for(1s);
        CHECK(n.reads == 0);
        (void)co_await c.write(requests(1));
        (void)co_await read_response(c);
        (void)co_await sleep_for(1s);
        CHECK(n.reads == 1);
    });
}
