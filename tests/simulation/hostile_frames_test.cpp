// Attacks on the layers below TCP, against a whole host: fragments that are never completed, floods of ICMP
// in both directions. Each states what it can make the host keep and send; beside it an honest client comes
// again and again with a TCP connection and with a UDP datagram that needs fragments itself.
#include <tapir/framework/frame_pool.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/protocols/icmp/message.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "tests/simulation/street.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;

constexpr std::uint16_t echo_port = 7;
constexpr std::size_t visit_bytes = 20'000;
constexpr std::size_t datagram_bytes = 8000; ///< six fragments

task<> echo(tcp::connection peer) {
    std::array<std::byte, 4096> buffer;
    while (const auto n = co_await peer.read(buffer)) {
        if (*n == 0) break;
        const auto sent = co_await peer.write(std::span(buffer).first(*n));
        if (!sent) co_return;
    }
    (void)co_await peer.close();
}

task<> serve_tcp(tcp::listener* port, scope* s) {
    while (auto peer = co_await port->accept()) s->spawn(echo, std::move(*peer));
}

task<> serve_udp(udp::socket* port) {
    std::vector<std::byte> buffer(65536);
    while (const auto d = co_await port->receive_from(buffer))
        (void)co_await port->send_to(std::span(buffer).first(d->size), d->from, d->to);
}

struct honest_client {
    std::size_t visits = 0;
    std::size_t failures = 0;
    duration slowest{0};
    bool stop = false;
};

/// One visit: all bytes there and back over TCP, then one datagram there and back over UDP.
task<bool> visit(street* s, udp::socket* own) {
    std::vector<std::byte> data(visit_bytes);
    for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 7 & 0xff);
    auto c = co_await s->theirs.connect(street::at_server(echo_port));
    if (!c) co_return false;
    const auto written = co_await c->write(std::span(data));
    if (!written) co_return false;
    const auto finished = co_await c->finish();
    if (!finished) co_return false;
    std::vector<std::byte> back(65536);
    std::size_t got = 0;
    while (got < data.size()) {
        const auto n = co_await c->read(std::span(back).subspan(got));
        if (!n || *n == 0) break;
        got += *n;
    }
    back.resize(got);
    if (back != data) co_return false;
    (void)co_await c->close();

    const auto sent =
        co_await own->send_to(std::span(data).first(datagram_bytes), street::at_server(echo_port));
    if (!sent) co_return false;
    std::vector<std::byte> answer(65536);
    const auto d = co_await own->receive_from(answer);
    co_return d &&
        d->size == datagram_bytes&& std::equal(data.begin(), data.begin() + datagram_bytes, answer.begin());
}

task<> come_again_and_again(street* s, honest_client* h) {
    auto bound = s->theirs.bind_udp(street::at_client(4000));
    REQUIRE(bound);
    udp::socket own = std::move(*bound);
    while (!h->stop) {
        const instant began = s->on.now();
        const bool fine = co_await visit(s, &own);
        ++(fine ? h->visits : h->failures);
        h->slowest = std::max(h->slowest, s->on.now() - began);
        (void)co_await sleep_for(50ms);
    }
}

/// Runs `attack(street&, tick)` each millisecond of `ticks`, beside the honest client, who must not notice;
/// then lets `after` pass and checks that nothing is left.
template <class Attack>
void under_attack(street& s, int ticks, duration after, Attack attack) {
    duration undisturbed{0};
    auto scenario = [&](scope& children) -> task<> {
        auto listening = s.server.listen(street::at_server(echo_port));
        auto bound = s.server.bind_udp(street::at_server(echo_port));
        REQUIRE(listening);
        REQUIRE(bound);
        children.spawn(serve_tcp, &*listening, &children);
        children.spawn(serve_udp, &*bound);
        honest_client h;
        children.spawn(come_again_and_again, &s, &h);
        (void)co_await sleep_for(3s);
        undisturbed = std::exchange(h.slowest, duration{0});
        const std::size_t before = h.visits;
        CHECK(before >= 5);
        for (int i = 0; i < ticks; ++i) {
            attack(s, i);
            (void)co_await sleep_for(1ms);
        }
        CHECK(h.failures == 0);
        CHECK(h.visits - before >= static_cast<std::size_t>(ticks) / 600);
        CHECK(h.slowest <= undisturbed);
        h.stop = true;
        (void)co_await sleep_for(1s);
        (void)co_await sleep_for(after);
        CHECK(s.server.reassembly().bytes_held() == 0);
        CHECK(s.server.reassembly().datagrams() == 0);
        CHECK(s.server.pool().live_bytes() == 0);
        CHECK(s.server.tcp().connections() == 0);
        listening->close();
        bound->close();
    };
    const std::size_t frames_before = live_frames();
    s.on.run(with_scope(scenario));
    CHECK(live_frames() == frames_before);
}

ipv4::header from(ip::address source, ip::protocol p) {
    ipv4::header h;
    h.source = source;
    h.destination = street::at_server(0).addr;
    h.protocol = p;
    return h;
}

TEST_CASE("fragments never completed: bounded in bytes and number, over in time, honest fragments pass") {
    // [RFC 1122 3.3.2] [RFC 791 3.2]
    host_config ours;
    street s(ours);
    const ipv4::reassembly_config& bound = ours.reassembly;
    random draw(17);
    const std::vector<std::byte> payload(1400);
    std::size_t most_bytes = 0;
    std::size_t most_datagrams = 0;
    std::uint64_t sent = 0;
    under_attack(s, 3000, bound.timeout, [&](street& st, int) {
        for (int i = 0; i < 10; ++i) {
            ipv4::header h = from(ip::address::v4(10, 0, static_cast<std::uint8_t>(draw.below(256)),
                                                  static_cast<std::uint8_t>(1 + draw.below(250))),
                                  ip::protocol::udp);
            h.dont_fragment = false;
            h.identification = static_cast<std::uint16_t>(draw.below(65536));
            h.more_fragments = true; // the last one never comes
            h.fragment_offset = static_cast<std::uint16_t>(1400 * draw.below(20));
            st.inject(h, payload);
            ++sent;
        }
        most_bytes = std::max(most_bytes, st.server.reassembly().bytes_held());
        most_datagrams = std::max(most_datagrams, st.server.reassembly().datagrams());
    });
    CHECK(sent == 30'000);
    CHECK(most_bytes <= bound.max_bytes);
    CHECK(most_bytes >= bound.max_bytes / 4); // it was a flood
    CHECK(most_datagrams <= bound.max_datagrams);
    CHECK(s.server.reassembly().count().fragments >= sent);
    // "Reassembly timed out" is told where the first fragment had come, and no more often than any ICMP
    // error.
    const auto errors = s.server.icmp_counters().errors_sent;
    const auto seconds = static_cast<std::uint64_t>((bound.timeout + 5s) / 1s);
    CHECK(errors <= ours.icmp.errors_per_second * seconds + ours.icmp.error_burst);
}

TEST_CASE("fragments never completed: one source fills its own share and nobody else's") {
    host_config ours;
    street s(ours);
    const ipv4::reassembly_config& bound = ours.reassembly;
    const std::vector<std::byte> payload(1400);
    std::uint16_t id = 0;
    std::size_t most_bytes = 0;
    std::size_t most_datagrams = 0;
    under_attack(s, 2000, bound.timeout, [&](street& st, int) {
        for (int i = 0; i < 10; ++i) {
            ipv4::header h = from(ip::address::v4(10, 0, 0, 1), ip::protocol::udp);
            h.dont_fragment = false;
            h.identification = id++;
            h.more_fragments = true;
            st.inject(h, payload);
        }
        most_bytes = std::max(most_bytes, st.server.reassembly().bytes_held());
        most_datagrams = std::max(most_datagrams, st.server.reassembly().datagrams());
    });
    // What the honest client's datagrams hold while they are put together comes on top.
    CHECK(most_bytes <= bound.max_bytes_per_source + 64 * 1024);
    CHECK(most_datagrams <= bound.max_datagrams_per_source + 2);
}

TEST_CASE(
    "ICMP floods: an answer for each ping, errors at a limited rate, nothing kept, no connection ended") {
    host_config ours;
    street s(ours);
    random draw(23);
    std::uint64_t pings = 0;
    const std::vector<std::byte> junk(100);
    under_attack(s, 3000, 1s, [&](street& st, int) {
        for (int i = 0; i < 5; ++i) {
            const ip::address stranger =
                ip::address::v4(192, 0, 2, static_cast<std::uint8_t>(100 + draw.below(100)));
            // A ping in the honest client's name: the answer goes to it, which drops it.
            const icmp::message ping = icmp::message::echo_request(
                static_cast<std::uint16_t>(i), static_cast<std::uint16_t>(draw.below(65536)), junk);
            std::vector<std::byte> bytes_of_ping(ping.size());
            ping.emit(bytes_of_ping);
            st.inject(from(street::at_client(0).addr, ip::protocol::icmp), bytes_of_ping);
            ++pings;
            // Datagrams for a port, and for a protocol, where nobody is.
            std::vector<std::byte> datagram(8 + junk.size());
            store_be16(datagram, 0, 5555);
            store_be16(datagram, 2, static_cast<std::uint16_t>(10'000 + draw.below(1000)));
            store_be16(datagram, 4, static_cast<std::uint16_t>(datagram.size()));
            st.inject(from(street::at_client(0).addr, ip::protocol::udp), datagram);
            st.inject(from(street::at_client(0).addr, static_cast<ip::protocol>(99)), junk);
            // A forged error about the honest client's connections, from nowhere.
            std::vector<std::byte> quoted(28);
            ipv4::header ours_to_them;
            ours_to_them.source = street::at_server(0).addr;
            ours_to_them.destination = street::at_client(0).addr;
            ours_to_them.payload_size = 20;
            ours_to_them.emit(quoted);
            store_be16(quoted, 20, echo_port);
            store_be16(quoted, 22, static_cast<std::uint16_t>(49152 + draw.below(16384)));
            store_be32(quoted, 24, draw.next_u32());
            const icmp::message error = icmp::message::destination_unreachable(
                static_cast<icmp::unreachable_code>(draw.below(5)), quoted, 68);
            std::vector<std::byte> bytes_of_error(error.size());
            error.emit(bytes_of_error);
            st.inject(from(stranger, ip::protocol::icmp), bytes_of_error);
        }
    });
    const auto& count = s.server.icmp_counters();
    CHECK(count.echo_replies_sent == pings);
    CHECK(count.errors_sent <= ours.icmp.errors_per_second * 5 + ours.icmp.error_burst);
    CHECK(count.errors_sent >= ours.icmp.errors_per_second);
    CHECK(s.server.tcp().counted().icmp_hard == 0);
    CHECK(s.server.tcp().counted().icmp_ignored > 0);
}

} // namespace
} // namespace tapir::test
