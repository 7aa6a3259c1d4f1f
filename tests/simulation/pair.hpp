// Two ends of one connection over a quiet path, for tests that go step by step.
//
//     between_two_hosts(quiet_path(), [](world& w, pair& p) -> task<> {
//         co_await p.open(w);
//         (void)p.client.finish();
//         (void)co_await p.server.until(tcp::state::close_wait);
//         CHECK(w.conversation().sent_by(side::client, "FIN") == 1);
//     });
//
// When the scenario is over both ends are aborted, and nothing may be left in either stack. A failing check
// prints what both ends did.
#pragma once

#include <tapir/framework/scope.hpp>
#include <tapir/framework/sleep.hpp>

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tests/simulation/world.hpp"

namespace tapir::test {

/// Nothing is lost; each way takes so long.
world::options quiet_path(duration one_way = 10ms);

/// ARP is done on both sides, so that the first SYN leaves at once; the conversation begins at 0 ms.
task<> resolve_next_hops(world* w);

struct pair {
    static constexpr std::uint16_t port = 80;

    /// Listens and connects; both ends are ESTABLISHED afterwards.
    task<> open(world& w, tcp::listen_options options = tcp::listen_options(), std::uint16_t local_port = 0);

    tcp::listener listener;
    tcp::connection client;
    tcp::connection server;
};

/// "SYN_SENT ESTABLISHED FIN_WAIT_1": the states a connection entered.
std::string path_of(const tcp::connection& c);

/// From now on nothing passes, and nobody is told.
void cut(world& w);

/// Prints a table under the name of the running test.
void show(const std::string& table);

template <class F>
void between_two_hosts(const world::options& o, F story) {
    world w(1, o);
    INFO("what both ends did:\n" << w.conversation().text());
    auto run = [&]() -> task<> {
        pair p;
        co_await resolve_next_hops(&w);
        co_await story(w, p);
        p.client.abort();
        p.server.abort();
        p.listener.close();
    };
    w.run(run());
    CHECK(w.quiet() == "");
}

} // namespace tapir::test
