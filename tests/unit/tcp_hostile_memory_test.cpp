// Attackers who hold memory and do nothing with it: data beyond holes that are never filled, readers who
// never read but answer every probe. An honest client that moves a lot of data beside them takes as many
// round trips as if it were alone.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tests/support/siege.hpp"
#include "tests/support/tcp_lab.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;

constexpr std::size_t much = 1'000'000;
constexpr duration round_trip = 10ms;

/// Each sends so many segments behind a hole of one; 28 are nearly its window, and 56 KiB of memory.
void leave_holes(std::vector<raw_peer>& peers, std::uint32_t segments) {
    const std::string block(1460, 'h');
    for (std::uint32_t i = 1; i <= segments; ++i)
        for (raw_peer& p : peers) p.send_at(p.next + 1460 * i, p.expects, ACK, block);
}

TEST_CASE(
    "holes never filled: memory between three quarters and all of it does not slow an honest bulk down") {
    tcp::config c;
    c.receive_memory = std::size_t{2} << 20;
    siege s(c);
    s.visit_bytes = much;
    s.visiting = false;
    s.keep_heard = true;
    std::vector<raw_peer> peers;
    for (std::uint32_t i = 1; i <= 32; ++i) {
        peers.emplace_back(s, i);
        if (i % 2 == 0) peers.back().syn_options.sack_permitted = true;
        REQUIRE(peers.back().open());
    }
    s.keep_heard = false;
    leave_holes(peers, 28);
    s.flush();
    CHECK(s.victim.memory().receive.tight());
    CHECK(s.victim.memory().receive.room() > 100'000);
    s.visiting = true;
    SUBCASE("of silent peers") {
        CHECK(s.honest_clients_go_on(2));
    }
    SUBCASE("of peers that send it again and again") {
        for (int i = 0; i < 100; ++i) {
            leave_holes(peers, 2);
            s.run_for(round_trip);
        }
        CHECK(s.honest_clients_go_on(1, round_trip));
    }
    CHECK(s.victim.memory().receive.most_used() <= c.receive_memory + peers.size() * c.memory_floor);
}

TEST_CASE(
    "windows shut for ever, probes answered: an honest bulk has the send budget after memory_idle_after") {
    tcp::config c;
    c.send_memory = std::size_t{2} << 20;
    c.connections.send_buffer = c.first_buffer; // the honest one needs no more than the others have
    siege s(c);
    s.visit_bytes = much;
    s.visiting = false;
    s.treatment = [](tcp::endpoint& e) { // a page for each, as large as they come
        const std::string page(64 * 1024, 'p');
        while (e.writable() != 0 && e.write(as_bytes(page)) != 0) {
        }
    };
    std::vector<raw_peer> peers;
    for (std::uint32_t i = 1; i <= 12; ++i) {
        peers.emplace_back(s, i);
        peers.back().window = 0;
        REQUIRE(peers.back().open());
    }
    s.flush();
    CHECK(s.victim.memory().send.room() == 0);
    const auto answer = [&](duration d) {
        for (const instant until = s.now + d; s.now < until; s.run_for(500ms)) {
            for (raw_peer& p : peers)
                if (!p.take().empty()) p.send(ACK);
        }
    };
    answer(11s);
    CHECK(s.sessions() == 12);
    s.visiting = true;
    CHECK(s.honest_clients_go_on(2, 2 * round_trip));
    CHECK(s.sessions() >= 7); // and no more of them had to go than the honest client needed
    CHECK(s.victim.memory().send.most_used() <= c.send_memory + 14 * c.memory_floor);
}

} // namespace
} // namespace tapir::test
