// Attackers in numbers, each of whom does little: connections opened and left, halves of connections, readers
// who never read, TIME_WAIT by the thousand. What each costs the victim in table entries, timers and bytes,
// and that an honest client beside them notices nothing.
#include <doctest/doctest.h>

#include <algorithm>
#include <malloc.h>
#include <string>
#include <vector>

#include "tests/support/siege.hpp"
#include "tests/support/tcp_lab.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;

TEST_CASE("connections opened and left: no buffer, no timer, and the honest do not wait") {
    siege s;
    constexpr std::uint32_t attackers = 5000;
    s.visiting = false;
    for (std::uint32_t i = 1; i <= attackers; ++i) {
        raw_peer peer(s, i);
        REQUIRE(peer.open());
    }
    s.run_for(10s);
    CHECK(s.victim.connections() == attackers);
    CHECK(s.victim.half_open() == 0);
    CHECK(s.victim_bytes() == 0);
    CHECK(s.wheel().armed() == 0);
    // An hour later they are still there, and have cost not one event.
    const std::uint64_t fired = s.timers_fired;
    s.run_for(1h);
    CHECK(s.timers_fired == fired);
    s.visiting = true;
    CHECK(s.honest_clients_go_on(10));
}

TEST_CASE("connections opened and left: with keepalive they are gone after idle + probes * interval") {
    tcp::listen_options l;
    l.accepted.keepalive_idle = 60s;
    l.accepted.keepalive_interval = 10s;
    l.accepted.keepalive_probes = 5;
    siege s({}, l);
    constexpr std::uint32_t attackers = 2000;
    s.pause = 5s;
    for (std::uint32_t i = 1; i <= attackers; ++i) {
        raw_peer peer(s, i);
        REQUIRE(peer.open());
    }
    s.answers = 0;
    s.run_for(60s + 5 * 10s + 1s);
    CHECK(s.sessions() <= 1);
    CHECK(s.answers == attackers * (5 + 1)); // the probes, and the RST
    CHECK(s.counted().timeouts == attackers);
    CHECK(s.failures == 0);
    CHECK(s.honest_clients_go_on(3));
}

TEST_CASE("connections opened and left: the heap does not grow, whatever they left behind") {
    tcp::listen_options l;
    l.accepted.keepalive_idle = 60s;
    l.accepted.keepalive_interval = 10s;
    l.accepted.keepalive_probes = 5;
    l.accepted.send_buffer = 8 * 1024;
    siege s({}, l);
    s.visiting = false;
    s.treatment = [](tcp::endpoint& e) { // answers half of them, and reads nothing
        if (e.remote().port % 2 == 0 && e.writable() > 0) e.write(as_bytes(std::string(3000, 'x')));
    };
    const auto round = [&] {
        for (std::uint32_t i = 1; i <= 500; ++i) {
            raw_peer peer(s, i, static_cast<std::uint16_t>(5000 + i % 2));
            REQUIRE(peer.open());
            peer.send(ACK, "unread");
            peer.send_at(peer.next + 100, peer.expects, ACK, "beyond a hole");
            s.heard.clear();
        }
        CHECK(s.victim.connections() == 500);
        CHECK(s.victim_bytes() > 500 * 2 * 256);
        s.run_for(5min);
        s.heard.clear();
        CHECK(s.victim.connections() == 0);
        CHECK(s.sessions() == 0);
        CHECK(s.victim_bytes() == 0);
        CHECK(s.wheel().armed() == 0);
        return mallinfo2().uordblks; // bytes in use; 0 under a sanitizer, which has a heap of its own
    };
    round(); // tables and pools grow to what such a crowd needs, and stay so
    round();
    const std::size_t before = round();
    // malloc rounds some blocks up, not always the same ones; a leak would be 24 bytes for each of the 500 at
    // least.
    CHECK(round() < before + 4096);
}

TEST_CASE(
    "connections opened and left: past max_connections newcomers wait, and get in as soon as one goes") {
    tcp::config c;
    c.max_connections = 500;
    tcp::listen_options l;
    l.accepted.keepalive_idle = 10s;
    l.accepted.keepalive_interval = 1s;
    l.accepted.keepalive_probes = 3;
    siege s(c, l);
    s.visiting = false;
    for (std::uint32_t i = 1; i <= 600; ++i) {
        raw_peer peer(s, i);
        (void)peer.open();
    }
    CHECK(s.victim.connections() == 500);
    CHECK(s.counted().accept_overflow == 100); // each final ACK that found no room, counted
    s.visiting = true;
    s.run_for(5s);
    CHECK(s.visits == 0); // the honest client is told nothing: its handshake is repeated, not refused
    CHECK(s.failures == 0);
    s.run_for(30s); // the dead are found out
    CHECK(s.failures == 0);
    s.slowest = duration{0};
    CHECK(s.honest_clients_go_on(3, 10s));
}

TEST_CASE("half-open connections left behind: bounded, gone after the last SYN|ACK's wait") {
    tcp::listen_options l;
    l.half_open_max = 400; // at most half full: no pressure, all their retries
    siege s({}, l);
    s.pause = 2s;
    for (std::uint32_t i = 1; i <= 150; ++i) {
        tcp::header syn;
        syn.source_port = 7000;
        syn.destination_port = siege::port;
        syn.flags = SYN;
        syn.seq = tcp::seq(i);
        s.inject(siege::attacker_address(i), syn);
        s.flush();
    }
    CHECK(s.victim.half_open() == 150);
    CHECK(s.honest_clients_go_on(2)); // there is room beside them
    const unsigned retries = s.victim.configuration().syn_ack_retries;
    s.run_for(64s); // 1 + 2 + 4 + 8 + 16 + 32
    CHECK(s.victim.half_open() == 0);
    CHECK(s.answers == 150 * (1 + retries)); // six SYN|ACKs each, and no RST
    CHECK(s.counted().half_open_timeouts == 150);
    CHECK(s.honest_clients_go_on(2));
    s.visiting = false;
    s.run_for(2s);
    CHECK(s.victim_bytes() == 0);
}

TEST_CASE("slow readers: each holds its send buffer and no more, and a request for more changes nothing") {
    tcp::listen_options l;
    l.accepted.send_buffer = 16 * 1024;
    l.accepted.receive_buffer = 16 * 1024;
    siege s({}, l);
    // The echo server reads no more than it can write: what they ask for stays with them.
    constexpr std::uint32_t attackers = 300;
    std::vector<raw_peer> peers;
    for (std::uint32_t i = 1; i <= attackers; ++i) {
        peers.emplace_back(s, i);
        peers.back().window = 0;
        REQUIRE(peers.back().open());
    }
    const std::string block(1400, 'r');
    for (int round = 0; round < 40; ++round) {
        for (raw_peer& p : peers) {
            p.take();
            p.send(ACK, block);
            p.next += static_cast<std::uint32_t>(block.size());
        }
        s.run_for(10ms);
    }
    // Send buffer, receive buffer, and what buffers are larger than their contents: twice at most.
    CHECK(s.most_victim_bytes <= attackers * 2u * (16 + 16 + 2) * 1024);
    for (raw_peer& p : peers) {
        const tcp::info i = p.their_end()->info();
        CHECK(i.send_queue <= 16 * 1024);
        CHECK(i.receive_queue <= 16 * 1024 + 1460);
    }
    CHECK(s.failures == 0);
    CHECK(s.honest_clients_go_on(5));
}

TEST_CASE("TIME_WAIT flood: the table is bounded, the oldest go first, and the honest are served") {
    tcp::config c;
    c.max_time_wait = 1000;
    siege s(c);
    s.treatment = [&](tcp::endpoint& e) { e.close(s.now); }; // the server closes first, and has to wait
    constexpr std::uint32_t attackers = 10'000;
    for (std::uint32_t i = 1; i <= attackers; ++i) {
        raw_peer peer(s, i);
        REQUIRE(peer.open());
        s.flush();
        peer.take(); // its FIN
        peer.send(FIN | ACK);
        s.flush();
        if (i % 10 == 0) s.run_for(1ms);
        s.heard.clear();
        CHECK(s.victim.time_waits() <= 1000);
    }
    CHECK(s.counted().time_wait_entered == attackers);
    CHECK(s.counted().time_wait_evicted == attackers - 1000);
    CHECK(s.victim.connections() <= 1);
    CHECK(s.visits >= 2);
    CHECK(s.honest_clients_go_on(3));
    s.visiting = false;
    s.run_for(61s);
    CHECK(s.victim.time_waits() == 0);
    CHECK(s.victim_bytes() == 0);
    CHECK(s.wheel().armed() == 0);
}

TEST_CASE("TIME_WAIT flood: a FIN repeated for ever keeps one entry, which keeps nobody out") {
    siege s;
    s.treatment = [&](tcp::endpoint& e) { e.close(s.now); };
    raw_peer peer(s, 1);
    REQUIRE(peer.open());
    s.flush();
    peer.take();
    peer.send(FIN | ACK);
    s.flush();
    s.pause = 5s;
    s.answers = 0;
    for (int i = 0; i < 1000; ++i) {
        peer.send(FIN | ACK);
        s.run_for(1s);
        CHECK(s.victim.time_waits() == 1);
    }
    CHECK(s.answers <= 1000);
    CHECK(s.failures == 0);
    s.run_for(61s);
    CHECK(s.victim.time_waits() == 0);
}

} // namespace
} // namespace tapir::test
