// What kernel sockets leave in flight between two calls, and what becomes of it.

#include <tapir/framework/kernel_stream.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/framework/uring_backend.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/framework/kernel_ends.hpp"
#include "tests/support/descriptors.hpp"

using namespace tapir;
using namespace tapir::test;

TEST_CASE("kernel::stream: who does not read holds little, makes the peer wait, and loses nothing") {
    for (const bool multishot : {true, false}) {
        CAPTURE(multishot);
        uring_config config;
        config.multishot_sockets = multishot;
        reactor r(make_uring_backend(config));
        const auto body = [&]() -> task<> {
            two_ends ends = co_await connected(at(abstract_name()));
            CHECK(co_await ends.client.write("x"));
            CHECK(co_await ends.server.until_readable()); // from now on it could go on by itself
            std::string all(2 << 20, '\0');
            for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<char>(i * 7 + (i >> 12));
            const auto write_some = [&]() -> task<result<>> {
                const write_result w = co_await ends.client.write(all);
                CHECK(w.error() == errc::cancelled);
                all.resize(w.taken());
                co_return result<>();
            };
            (void)co_await sleep_for(1ms); // preparing the bytes took time
            (void)co_await with_timeout(10ms, write_some());
            CHECK(all.size() < 1 << 20); // the kernel's buffer, and the little that is held here
            (void)co_await sleep_for(5ms);
            const auto read_them = [&]() -> task<std::string> {
                std::string got;
                std::array<std::byte, 3000> some{};
                while (got.size() < 1 + all.size()) {
                    const auto n = co_await ends.server.read(some);
                    if (!n || *n == 0) break;
                    got += as_text(std::span(some).first(*n));
                }
                co_return got;
            };
            CHECK(co_await read_them() == "x" + all);
            const auto ended = co_await with_timeout(2ms, read_text(&ends.server));
            CHECK(ended.error() == errc::deadline_exceeded);
            CHECK(co_await ends.client.write("and on"));
            CHECK(*co_await read_text(&ends.server) == "and on"); // what came for nobody is kept for the next
        };
        r.run(body());
    }
}

TEST_CASE("kernel::stream: more streams that wait than shared buffers, and each gets what is its own") {
    reactor r(make_uring_backend());
    const auto body = [&]() -> task<> {
        auto listener = kernel::listen(at(abstract_name()));
        REQUIRE(listener);
        std::vector<two_ends> all;
        for (int i = 0; i < 400; ++i) {
            auto client = co_await kernel::connect(listener->local());
            REQUIRE(client);
            auto server = co_await listener->accept();
            REQUIRE(server);
            all.emplace_back(std::move(*client), std::move(*server));
        }
        int right = 0;
        const auto serve = [&](int i) -> task<> {
            for (const char* round : {"a", "b"}) {
                const auto text = co_await read_text(&all[static_cast<std::size_t>(i)].server);
                right += text && *text == round + std::to_string(i) ? 1 : 0;
            }
        };
        const auto servers = [&](scope& s) -> task<> {
            for (int i = 0; i < 400; ++i) s.spawn(serve, i);
            (void)co_await sleep_for(1ms); // all wait
            for (const char* round : {"a", "b"}) {
                for (int i = 0; i < 400; ++i) {
                    const std::string text = round + std::to_string(i);
                    CHECK(co_await all[static_cast<std::size_t>(i)].client.write(text));
                }
                (void)co_await sleep_for(5ms);
            }
        };
        co_await with_scope(servers);
        CHECK(right == 800);
    };
    r.run(body());
}

TEST_CASE("kernel::stream: bytes that came before a reset are read before it is told, and told again") {
    over_tcp([](reactor& r, kernel::address where) {
        const auto body = [&]() -> task<> {
            two_ends ends = co_await connected(where);
            CHECK(co_await ends.client.write("first"));
            CHECK(co_await ends.server.until_readable());
            ends.client.abort();
            (void)co_await sleep_for(2ms);
            CHECK(*co_await read_text(&ends.server) == "first");
            for (int i = 0; i < 2; ++i) {
                const auto text = co_await read_text(&ends.server);
                CHECK(text.error() == errc::reset);
            }
            const write_result w = co_await ends.server.write("x");
            CHECK(w.error() == errc::reset);
        };
        r.run(body());
    });
}

TEST_CASE(
    "kernel::listener: connections wait to be accepted, many at a time, and are refused when it closes") {
    over_both([](reactor& r, kernel::address where) {
        const auto body = [&]() -> task<> {
            auto listener = kernel::listen(where);
            REQUIRE(listener);
            std::vector<kernel::stream> clients;
            const auto dial = [&](int n) -> task<> {
                for (int i = 0; i < n; ++i) {
                    auto client = co_await kernel::connect(listener->local());
                    REQUIRE(client);
                    clients.push_back(std::move(*client));
                }
            };
            co_await dial(1);
            std::vector<kernel::stream> accepted;
            const auto accept_some = [&](std::size_t upto) -> task<> {
                while (accepted.size() < upto) {
                    auto peer = co_await listener->accept();
                    REQUIRE(peer);
                    accepted.push_back(std::move(*peer));
                }
            };
            co_await accept_some(1);
            const std::size_t before = open_descriptors();
            co_await dial(320); // nobody accepts meanwhile
            (void)co_await sleep_for(2ms);
            CHECK(open_descriptors() < before + 320 + 290); // the rest waits in the kernel
            co_await accept_some(40);
            for (std::size_t i = 0; i < 40; ++i) {
                CHECK(co_await clients[i].write(std::to_string(i)));
                CHECK(*co_await read_text(&accepted[i]) == std::to_string(i)); // in their order
            }
            listener->close();
            const auto late = co_await listener->accept();
            CHECK(late.error() == errc::closed);
            {
                const kernel::listener gone = std::move(*listener);
            }
            for (std::size_t i = 40; i < clients.size(); ++i) {
                const auto text = co_await with_timeout(2s, read_text(&clients[i]));
                CHECK((text ? text->empty() : text.error() != errc::deadline_exceeded));
            }
        };
        r.run(body());
    });
}

TEST_CASE("kernel::stream: what is in flight ends with the reactor, whoever dies first") {
    std::optional<kernel::stream> survivor;
    std::optional<kernel::listener> listener;
    {
        reactor r(make_uring_backend());
        const auto body = [&]() -> task<> {
            listener.emplace(*kernel::listen(at(abstract_name())));
            auto client = co_await kernel::connect(listener->local());
            REQUIRE(client);
            auto server = co_await listener->accept();
            REQUIRE(server);
            CHECK(co_await client->write("x"));
            CHECK(co_await server->until_readable());
            survivor.emplace(std::move(*server));
        }; // the client is gone, and its receive has not been collected
        r.run(body());
    }
    CHECK(survivor->local() == listener->local());
}
