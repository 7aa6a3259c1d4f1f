#include "tests/simulation/upload.hpp"

#include <tapir/framework/scope.hpp>
#include <tapir/framework/sleep.hpp>

#include <doctest/doctest.h>

#include "tests/simulation/pattern.hpp"

namespace tapir::test {

namespace {
constexpr std::uint16_t port = 9000;
} // namespace

task<> upload::take(tcp::listener* on) {
    auto peer = co_await on->accept();
    REQUIRE(peer);
    std::uint64_t got = 0;
    std::vector<std::byte> buffer(65'536);
    while (got < size) {
        const auto n = co_await peer->read(buffer);
        REQUIRE(n);
        REQUIRE(*n != 0);
        CHECK(pattern(1).matches(got, bytes(buffer).first(*n)));
        got += *n;
    }
    took = t->on().now() - began_;
    receiver = peer->info();
    done_ = true;
    const auto closed = co_await peer->close();
    REQUIRE(closed);
}

task<> upload::look(tcp::connection* c) {
    while (!done_) {
        seen.push_back(c->info());
        (void)co_await sleep_for(look_every);
    }
}

task<> upload::give() {
    const instant called = t->on().now();
    auto c = co_await t->first().host().connect(t->last().at(port));
    REQUIRE(c);
    began_ = t->on().now();
    connecting = began_ - called;
    auto write = [&](scope& s) -> task<> {
        if (look_every != duration{0}) s.spawn([this](tcp::connection* of) { return look(of); }, &*c);
        for (std::uint64_t written = 0; written < size;) {
            const bytes piece = pattern(1).at(written, size - written);
            REQUIRE(co_await c->write(piece));
            written += piece.size();
        }
    };
    co_await with_scope(write);
    while (!done_) (void)co_await sleep_for(std::chrono::milliseconds(1));
    sender = c->info();
    const auto closed = co_await c->close();
    REQUIRE(closed);
}

void upload::run() {
    t->start();
    auto listening = t->last().host().listen(t->last().at(port), options);
    REQUIRE(listening);
    auto both = [&](scope& s) -> task<> {
        s.spawn([this](tcp::listener* on) { return take(on); }, &*listening);
        s.spawn([this] { return give(); });
        co_return;
    };
    t->run(with_scope(both));
    listening->close();
    CHECK(t->quiet() == "");
}

} // namespace tapir::test
