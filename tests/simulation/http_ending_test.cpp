// How HTTP's server ends connections over TCP: who has to make room for a newcomer does so, whatever comes in
// the same turn, and a client that is slow to take the last response has time to close.

#include <tapir/framework/scope.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/protocols/http/server.hpp>

#include <doctest/doctest.h>

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/simulation/pair.hpp"
#include "tests/simulation/world.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

constexpr std::uint16_t port = 80;
constexpr std::string_view question = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// Serves until `client` is done.
template <class Client>
void serve_while(world& w, const http::server_config& config, const http::handler& h,
                 http::server_control& control, Client client) {
    auto both = [&](scope& s) -> task<> {
        auto listening = w.server().listen(w.server_at(port));
        REQUIRE(listening.has_value());
        auto serve = [&]() -> task<> { (void)co_await http::serve(*listening, h, config, control); };
        s.spawn(serve);
        co_await client();
        control.stop(w.on().now() + 1s);
    };
    w.run(with_scope(both));
}

task<bool> is_answered(tcp::connection* c) {
    std::array<std::byte, 4096> room;
    const auto n = co_await c->read(room);
    co_return n && *n != 0;
}

} // namespace

TEST_CASE("http: who is to make room for a newcomer while its next request arrives does not keep its place") {
    world w(1, quiet_path());
    http::server_config config;
    config.max_connections = 2;
    http::server_control control;
    const http::handler h = [](const http::request&) -> task<http::response> {
        co_return http::response(200, "text/plain", "x");
    };
    serve_while(w, config, h, control, [&]() -> task<> {
        std::vector<tcp::connection> open;
        const auto connect = [&]() -> task<> {
            auto c = co_await w.client().connect(w.server_at(port));
            REQUIRE(c.has_value());
            open.push_back(std::move(*c));
        };
        for (std::size_t i = 0; i < 2; ++i) {
            co_await connect();
            (void)co_await open[i].write(as_bytes(question));
            CHECK(co_await is_answered(&open[i]));
        }
        (void)co_await sleep_for(1s);
        co_await connect();
        (void)co_await open[0].write(as_bytes(question)); // beside the ACK of the newcomer's handshake
        for (std::size_t i = 2; i < 5; ++i) {             // and those after it find room, too
            if (i != 2) co_await connect();
            (void)co_await open[i].write(as_bytes(question));
            CHECK(co_await is_answered(&open[i]));
        }
        CHECK(control.counters().idle_timeouts == 0);
        CHECK(control.counters().shed >= 3);
        for (tcp::connection& c : open) c.abort();
    });
}

TEST_CASE("http: a client that takes long to receive the last response has time to close after it") {
    for (const std::uint64_t rate : {100'000u, 8'000u}) { // the second takes longer than the server lingers
        CAPTURE(rate);
        world::options path = quiet_path();
        path.to_client.rate = rate;
        path.to_client.queue = 1 << 20;
        world w(1, path);
        http::server_control control;
        const std::string page(60'000, 'x');
        const http::handler h = [&](const http::request&) -> task<http::response> {
            co_return http::response(200, "text/plain", page);
        };
        serve_while(w, http::server_config(), h, control, [&]() -> task<> {
            auto c = co_await w.client().connect(w.server_at(port));
            REQUIRE(c.has_value());
            (void)co_await c->write(as_bytes("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
            std::array<std::byte, 4096> room;
            std::size_t all = 0;
            for (;;) {
                const auto n = co_await c->read(room);
                REQUIRE(n.has_value());
                if (*n == 0) break;
                all += *n;
            }
            CHECK(all > page.size());
            (void)co_await sleep_for(100ms);
            const auto ended = co_await c->close();
            REQUIRE(ended.has_value());
            CHECK(ended->how == tcp::ending::orderly);
        });
    }
}
