// Whole hosts, IPv4 only: datagrams in pieces, several links and addresses, a router in the middle, paths
// that are narrower than the links at their ends.
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/sim_backend.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/framework/task.hpp>
#include <tapir/protocols/host/host.hpp>
#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/link/wire.hpp>
#include <tapir/protocols/tcp/header.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "tests/hex.hpp"
#include "tests/simulation/hosts.hpp"
#include "tests/support/link_end.hpp"
#include "tests/support/station.hpp"

using namespace tapir;
using tapir::test::a;
using tapir::test::cut;
using tapir::test::mac;
using tapir::test::named;
using tapir::test::p;
using tapir::test::packet;
using tapir::test::pass_time;
using tapir::test::ping;
using tapir::test::same;
using tapir::test::station;

namespace {

/// 192.0.2.2 is the host, 192.0.2.1 a station that does what the test says.
struct one_host {
    explicit one_host(const host_config& c = {}, std::size_t mtu = 1500)
        : cable(r, mtu_of(mtu)), us(r, c), peer(cable.right(), mac(1), a("192.0.2.1")) {
        REQUIRE(us.add_interface(cable.left(), mac(2), p("192.0.2.2/24")));
        pass(1ms);
    }
    static wire_config mtu_of(std::size_t mtu) {
        wire_config c;
        c.mtu = mtu;
        return c;
    }
    void pass(duration d) { r.run(pass_time(d)); }
    void send(const std::vector<packet>& all) {
        for (const packet& one : all) peer.send(one, mac(2));
        pass(1ms);
    }

    reactor r{make_sim_backend()};
    wire cable;
    host us;
    station peer;
};

/// Puts what arrived in pieces together again.
packet whole_of(const std::vector<packet>& pieces) {
    buffer_pool pool;
    ipv4::reassembly parts(pool, ipv4::reassembly_config());
    for (const packet& one : pieces) {
        const auto v = ipv4::view::parse(one);
        if (!v || !v->is_fragment()) continue;
        if (const auto done = parts.accept(*v, instant())) {
            const bytes got = done->storage.span().first(done->size);
            return {got.begin(), got.end()};
        }
    }
    return {};
}

} // namespace

TEST_CASE("ip: an 8,000-byte ping is reassembled, and its answer fragmented") {
    one_host w;
    const packet asked = ping(a("192.0.2.1"), a("192.0.2.2"), 8000);
    w.send(cut(asked, 1500));
    REQUIRE(w.peer.received.size() == 6);
    for (const packet& one : w.peer.received) CHECK(one.size() <= 1500);
    const packet answer = whole_of(w.peer.received);
    REQUIRE(!answer.empty());
    const auto v = ipv4::view::parse(answer);
    CHECK(v->payload().size() == 8008);
    CHECK(load_u8(v->payload(), 0) == 0); // echo reply
    CHECK(same(v->payload().subspan(8), tapir::test::numbered_bytes(8000)));
    CHECK(w.us.reassembly().count().reassembled == 1);
    CHECK(w.us.output().count().fragmented == 1);
    CHECK(w.us.output().count().fragments_created == 6);
    CHECK(w.us.pool().live_blocks() == 0);
    // Two answers, two numbers.
    w.peer.received.clear();
    w.send(cut(asked, 1500));
    REQUIRE(!w.peer.received.empty());
    CHECK(ipv4::view::parse(w.peer.received[0])->identification() != v->identification());
}

TEST_CASE(
    "ip: fragments never completed cost nothing after 30 s; the sender is told once, if the first came") {
    one_host w;
    const auto pieces = cut(ping(a("192.0.2.1"), a("192.0.2.2"), 8000), 1500);
    w.send({pieces[0], pieces[1]});
    auto headless = ping(a("192.0.2.1"), a("192.0.2.2"), 4000);
    store_be16(headless, 4, 99);
    store_be16(headless, 10, 0);
    store_be16(headless, 10, static_cast<std::uint16_t>(~ip::ones_complement_sum(bytes(headless).first(20))));
    w.send({cut(headless, 1500)[1]});
    CHECK(w.us.reassembly().datagrams() == 2);
    CHECK(w.us.pool().live_blocks() == 3);
    w.pass(29s);
    CHECK(w.peer.received.empty());
    w.pass(2s);
    CHECK(w.us.reassembly().datagrams() == 0);
    CHECK(w.us.reassembly().bytes_held() == 0);
    CHECK(w.us.reassembly().sources() == 0);
    CHECK(w.us.pool().live_blocks() == 0);
    const auto told = w.peer.icmp_of(icmp::type::time_exceeded);
    REQUIRE(told.size() == 1);
    CHECK(w.peer.received.size() == 1);
    const auto v = ipv4::view::parse(told[0]);
    CHECK(load_u8(v->payload(), 1) == 1); // [RFC 792]: fragment reassembly time exceeded
    CHECK(same(v->payload().subspan(8), bytes(pieces[0]).first(v->payload().size() - 8)));
}

TEST_CASE(
    "ip: a flood of first fragments draws no more errors than the rate allows, and stays in its bound") {
    one_host w;
    auto h = ipv4::header();
    h.dont_fragment = false;
    h.more_fragments = true;
    h.protocol = ip::protocol::udp;
    h.source = a("192.0.2.1");
    h.destination = a("192.0.2.2");
    const auto body = tapir::test::numbered_bytes(64);
    for (unsigned i = 0; i < 20'000; ++i) {
        h.identification = static_cast<std::uint16_t>(i);
        h.source = ip::address::v4(192, 0, 2, static_cast<std::uint8_t>(3 + i % 200));
        w.peer.send(tapir::test::datagram(h, body), mac(2));
        if (i % 500 == 499) w.pass(1ms);
    }
    const auto& c = w.us.reassembly();
    CHECK(c.datagrams() <= 1024);
    CHECK(c.bytes_held() <= 4 * 1024 * 1024);
    CHECK(w.us.reassembly().count().fragments == 20'000);
    w.peer.send(ping(a("192.0.2.1"), a("192.0.2.2"), 100), mac(2));
    w.pass(10ms);
    CHECK(w.peer.icmp_of(icmp::type::echo_reply).size() == 1); // honest peers are served
    w.pass(40s);
    CHECK(c.bytes_held() == 0);
    CHECK(w.us.icmp_counters().errors_sent <= 250);
    CHECK(w.us.icmp_counters().errors_suppressed[icmp::suppressed::rate_limited] > 500);
    CHECK(w.us.pool().live_blocks() == 0);
}

TEST_CASE("ip: several addresses on one link are announced, and each answers as itself") {
    one_host w;
    REQUIRE(w.us.add_address(0, p("198.51.100.2/24")));
    REQUIRE(w.us.add_address(0, p("192.0.2.3/24")));
    CHECK(w.us.add_address(0, p("192.0.2.3/24")).error() == errc::address_in_use);
    CHECK(w.us.add_address(1, p("192.0.2.9/24")).error() == errc::invalid_argument);
    w.pass(1ms);
    const auto announced = [&](ip::address which) {
        return std::ranges::any_of(w.peer.arp_received, [&](const arp::packet& one) {
            return one == arp::packet::announcement(mac(2), which);
        });
    };
    CHECK(announced(a("198.51.100.2")));
    CHECK(announced(a("192.0.2.3")));
    w.peer.also(a("198.51.100.1"));
    w.peer.send(ping(a("198.51.100.1"), a("198.51.100.2"), 10), mac(2));
    w.peer.send(ping(a("192.0.2.1"), a("192.0.2.3"), 10), mac(2));
    w.pass(10ms);
    const auto answers = w.peer.icmp_of(icmp::type::echo_reply);
    REQUIRE(answers.size() == 2);
    CHECK(ipv4::view::parse(answers[0])->source() == a("198.51.100.2"));
    CHECK(ipv4::view::parse(answers[1])->source() == a("192.0.2.3"));
}

namespace {

/// A host with two links, a station on each, both also the gateway to everything else.
struct two_links {
    explicit two_links(const host_config& c = {}, std::size_t right_mtu = 1500)
        : left(r), right(r, one_host::mtu_of(right_mtu)), us(r, c),
          left_peer(left.right(), mac(1), a("192.0.2.1")),
          right_peer(right.right(), mac(9), a("198.51.100.1")) {
        REQUIRE(us.add_interface(left.left(), mac(2), p("192.0.2.2/24")).value() == 0);
        REQUIRE(us.add_interface(right.left(), mac(3), p("198.51.100.2/24")).value() == 1);
        pass(3s);
        left_peer.arp_received.clear();
        right_peer.arp_received.clear();
    }
    void pass(duration d) { r.run(pass_time(d)); }
    void from_left(const packet& one) {
        left_peer.send(one, mac(2));
        pass(10ms);
    }

    reactor r{make_sim_backend()};
    wire left;
    wire right;
    host us;
    station left_peer;
    station right_peer;
};

std::uint8_t code_of(const packet& icmp) {
    return load_u8(ipv4::view::parse(icmp)->payload(), 1);
}

} // namespace

TEST_CASE("ip: answers leave by the link whose address was asked, through that link's gateway") {
    two_links w;
    REQUIRE(w.us.add_route(ip::prefix(), a("192.0.2.1")));
    REQUIRE(w.us.add_route(ip::prefix(), a("198.51.100.1")));
    w.right_peer.send(ping(a("203.0.113.5"), a("198.51.100.2"), 10), mac(3));
    w.pass(10ms);
    CHECK(w.right_peer.icmp_of(icmp::type::echo_reply).size() == 1);
    CHECK(w.left_peer.received.empty());
    w.left_peer.send(ping(a("203.0.113.5"), a("192.0.2.2"), 10), mac(2));
    w.pass(10ms);
    CHECK(w.left_peer.icmp_of(icmp::type::echo_reply).size() == 1);
    CHECK(w.right_peer.received.size() == 1);
}

TEST_CASE("ip: a connection to another network leaves by the right route, from that link's address") {
    two_links w;
    REQUIRE(w.us.add_route(p("203.0.113.0/24"), a("198.51.100.1")));
    REQUIRE(w.us.add_route(ip::prefix(), a("192.0.2.1")));
    auto connects = [&](ip::address to) -> task<> {
        auto attempt = [](host* from, ip::endpoint where) -> task<> { (void)co_await from->connect(where); };
        auto body = [&](scope& s) -> task<> {
            s.spawn(attempt, &w.us, ip::endpoint(to, 80));
            (void)co_await sleep_for(50ms);
            s.request_stop();
        };
        co_await with_scope(body);
    };
    w.r.run(connects(a("203.0.113.5")));
    REQUIRE(w.right_peer.received.size() == 1);
    CHECK(ipv4::view::parse(w.right_peer.received[0])->source() == a("198.51.100.2"));
    CHECK(w.left_peer.received.empty());
    w.r.run(connects(a("8.8.8.8")));
    REQUIRE(w.left_peer.received.size() == 1);
    CHECK(ipv4::view::parse(w.left_peer.received[0])->source() == a("192.0.2.2"));
    CHECK(w.right_peer.received.size() == 1);
}

TEST_CASE("ip: TCP is told the way that there is now, not the one that the last segment would have gone") {
    two_links w({}, 1280);
    REQUIRE(w.us.add_route(ip::prefix(), a("192.0.2.1")));
    auto listener = w.us.listen(ip::endpoint(ip::address(), 80));
    REQUIRE(listener);
    const auto syn = [](std::uint16_t port) {
        tcp::header h;
        h.source_port = port;
        h.destination_port = 80;
        h.flags = tcp::flags::syn;
        packet segment(h.size());
        const auto sum = ip::pseudo_header_sum(a("203.0.113.5"), a("192.0.2.2"), ip::protocol::tcp);
        tcp::emit(segment, h, sum, std::span<const bytes>());
        ipv4::header ip;
        ip.source = a("203.0.113.5");
        ip.destination = a("192.0.2.2");
        return tapir::test::datagram(ip, segment);
    };
    const auto mss_of = [](const packet& answer) {
        const auto parsed = tcp::parse(ipv4::view::parse(answer)->payload());
        return parsed ? parsed->header.options.mss.value_or(0) : 0;
    };
    w.from_left(syn(1000));
    REQUIRE(w.left_peer.received.size() == 1);
    CHECK(mss_of(w.left_peer.received[0]) == 1460);
    REQUIRE(w.us.add_route(p("203.0.113.0/24"), a("198.51.100.1")));
    w.from_left(syn(1001));
    REQUIRE(w.right_peer.received.size() == 1);
    CHECK(mss_of(w.right_peer.received[0]) == 1240);
}

TEST_CASE("ip: whom ARP does not find TCP is told of once for each destination, however much has waited") {
    // TCP walks all its connections each time: 40 frames in the queue must not be 40 walks.
    one_host w;
    REQUIRE(w.us.add_route(p("203.0.113.0/24"), a("192.0.2.77"))); // where nobody is
    std::vector<std::error_code> ended;
    auto attempt = [](host* from, ip::endpoint to, std::vector<std::error_code>* results) -> task<> {
        results->push_back((co_await from->connect(to)).error());
    };
    auto all = [&](scope& s) -> task<> {
        for (std::uint16_t port = 1; port <= 10; ++port)
            for (const char* behind : {"203.0.113.5", "203.0.113.6", "192.0.2.77"})
                s.spawn(attempt, &w.us, ip::endpoint(a(behind), port), &ended);
        co_return;
    };
    w.r.run(with_scope(all));
    CHECK(ended == std::vector<std::error_code>(30, errc::host_unreachable));
    CHECK(w.us.interfaces()[0]->neighbours().count().failed == 1);
    CHECK(w.us.counted().tcp_unreachable == 3);
    CHECK(w.us.pool().live_blocks() == 0);
}

TEST_CASE("ip: behind a /32 and on a /31 the neighbour is reached") {
    reactor r{make_sim_backend()};
    wire narrow(r), single(r);
    host us(r);
    station other(narrow.right(), mac(1), a("192.0.2.1"));
    station gateway(single.right(), mac(9), a("203.0.113.1"));
    REQUIRE(us.add_interface(narrow.left(), mac(2), p("192.0.2.0/31")));
    REQUIRE(us.add_interface(single.left(), mac(3), p("198.51.100.7/32")));
    REQUIRE(us.add_route(p("203.0.113.1/32"), std::size_t{1}));
    REQUIRE(us.add_route(ip::prefix(), a("203.0.113.1")));
    other.send(ping(a("192.0.2.1"), a("192.0.2.0"), 10), mac(2)); // no network address [RFC 3021]
    gateway.send(ping(a("8.8.8.8"), a("198.51.100.7"), 10), mac(3));
    r.run(pass_time(10ms));
    CHECK(other.icmp_of(icmp::type::echo_reply).size() == 1);
    CHECK(gateway.icmp_of(icmp::type::echo_reply).size() == 1);
}

TEST_CASE("ip: a host forwards nothing unless it is told to") { // [RFC 1122 3.3.1.1]
    two_links w;
    w.from_left(ping(a("192.0.2.1"), a("198.51.100.1"), 10));
    CHECK(w.right_peer.received.empty());
    CHECK(w.left_peer.received.empty());
    CHECK(w.us.ip_counters().dropped[ipv4::drop::not_ours] == 1);
}

TEST_CASE("ip: a router passes a packet on with one hop less, and touches nothing else") {
    two_links w(named("router", true));
    const packet sent = ping(a("192.0.2.1"), a("198.51.100.1"), 100, 17);
    w.from_left(sent);
    REQUIRE(w.right_peer.received.size() == 1);
    const packet& got = w.right_peer.received[0];
    REQUIRE(ipv4::view::parse(got)); // its checksum is right
    auto expected = ipv4::header::of(*ipv4::view::parse(sent));
    expected.ttl = 16;
    CHECK(ipv4::header::of(*ipv4::view::parse(got)) == expected);
    CHECK(same(bytes(got).subspan(20), bytes(sent).subspan(20)));
    CHECK(w.us.forwarding_counters().forwarded == 1);
    // The incremental checksum is the full one, whatever the header holds. [RFC 1624]
    for (unsigned ttl = 2; ttl <= 255; ++ttl) {
        auto h = expected;
        h.ttl = static_cast<std::uint8_t>(ttl);
        h.identification = static_cast<std::uint16_t>(ttl * 257);
        w.left_peer.send(tapir::test::datagram(h, bytes(sent).subspan(20)), mac(2));
    }
    w.pass(10ms);
    REQUIRE(w.right_peer.received.size() == 1 + 254);
    for (unsigned ttl = 2; ttl <= 255; ++ttl)
        CHECK(ipv4::view::parse(w.right_peer.received[ttl - 1])->ttl() == ttl - 1);
}

TEST_CASE("ip: a router says when hops are used up, when there is no way, and when nobody is there") {
    two_links w(named("router", true));
    const packet last_hop = ping(a("192.0.2.1"), a("198.51.100.1"), 10, 1);
    w.from_left(last_hop);
    CHECK(w.right_peer.received.empty());
    auto told = w.left_peer.icmp_of(icmp::type::time_exceeded);
    REQUIRE(told.size() == 1);
    CHECK(code_of(told[0]) == 0);
    CHECK(ipv4::view::parse(told[0])->source() == a("192.0.2.2")); // [RFC 1812 4.3.2.4]
    CHECK(same(ipv4::view::parse(told[0])->payload().subspan(8), last_hop));
    w.from_left(ping(a("192.0.2.1"), a("198.51.100.1"), 10, 0));
    CHECK(w.us.forwarding_counters().ttl_exceeded == 2);

    w.left_peer.received.clear();
    w.from_left(ping(a("192.0.2.1"), a("203.0.113.1"), 10));
    told = w.left_peer.icmp_of(icmp::type::destination_unreachable);
    REQUIRE(told.size() == 1);
    CHECK(code_of(told[0]) == 0); // network
    CHECK(w.us.forwarding_counters().no_route == 1);

    w.left_peer.received.clear();
    w.from_left(ping(a("192.0.2.1"), a("198.51.100.77"), 10));
    CHECK(w.left_peer.received.empty());
    w.pass(4s); // ARP gives up
    told = w.left_peer.icmp_of(icmp::type::destination_unreachable);
    REQUIRE(told.size() == 1);
    CHECK(code_of(told[0]) == 1); // host

    // The last hop being used up is no reason to refuse what is for the router itself.
    w.left_peer.received.clear();
    w.from_left(ping(a("192.0.2.1"), a("198.51.100.2"), 10, 1));
    CHECK(w.left_peer.icmp_of(icmp::type::echo_reply).size() == 1);
}

TEST_CASE("ip: a router cuts what is too large for the next link, or says by how much it is") {
    two_links w(named("router", true), 800);
    const packet may = ping(a("192.0.2.1"), a("198.51.100.1"), 1400);
    w.from_left(may);
    REQUIRE(w.right_peer.received.size() == 2);
    packet whole = whole_of(w.right_peer.received);
    REQUIRE(whole.size() == may.size());
    CHECK(same(bytes(whole).subspan(20), bytes(may).subspan(20)));
    CHECK(ipv4::view::parse(w.right_peer.received[1])->ttl() == 63);

    // Pieces are not put together here, but cut again.
    w.right_peer.received.clear();
    const packet large = ping(a("192.0.2.1"), a("198.51.100.1"), 5000);
    for (const packet& one : cut(large, 1500)) w.from_left(one);
    CHECK(w.us.reassembly().count().fragments == 0);
    whole = whole_of(w.right_peer.received);
    REQUIRE(whole.size() == large.size());
    CHECK(same(bytes(whole).subspan(20), bytes(large).subspan(20)));

    w.right_peer.received.clear();
    w.from_left(ping(a("192.0.2.1"), a("198.51.100.1"), 1400, 64, true));
    CHECK(w.right_peer.received.empty());
    const auto told = w.left_peer.icmp_of(icmp::type::destination_unreachable);
    REQUIRE(told.size() == 1);
    CHECK(code_of(told[0]) == 4); // fragmentation needed [RFC 1191 4]
    CHECK(load_be16(ipv4::view::parse(told[0])->payload(), 6) == 800);
    CHECK(w.us.forwarding_counters().fragmentation_needed == 1);
}

TEST_CASE("ip: a router is silent about errors, later fragments, and what came to a broadcast") {
    two_links w(named("router", true));
    // [RFC 1812 4.3.2.7]
    const auto quoted = ping(a("198.51.100.1"), a("192.0.2.1"), 10);
    const auto m = icmp::message::destination_unreachable(icmp::unreachable_code::port, quoted);
    packet body(m.size());
    m.emit(body);
    ipv4::header h;
    h.protocol = ip::protocol::icmp;
    h.ttl = 1;
    h.source = a("192.0.2.1");
    h.destination = a("198.51.100.1");
    w.from_left(tapir::test::datagram(h, body));
    auto pieces = cut(ping(a("192.0.2.1"), a("203.0.113.1"), 3000), 1500); // no route there
    w.from_left(pieces[1]);
    w.from_left(pieces[2]);
    CHECK(w.left_peer.received.empty());
    CHECK(w.us.icmp_counters().errors_suppressed[icmp::suppressed::about_error] == 1);
    CHECK(w.us.icmp_counters().errors_suppressed[icmp::suppressed::about_fragment] == 2);
    w.left_peer.send(ping(a("192.0.2.1"), a("198.51.100.1"), 10), ethernet::mac_address::broadcast());
    w.left_peer.send(ping(a("192.0.2.1"), a("198.51.100.255"), 10), mac(2));
    w.pass(10ms);
    CHECK(w.left_peer.received.empty());
    CHECK(w.right_peer.received.empty());
}

TEST_CASE("ip: a router's errors are limited in rate") {
    two_links w(named("router", true));
    for (int i = 0; i < 500; ++i) w.left_peer.send(ping(a("192.0.2.1"), a("198.51.100.1"), 10, 1), mac(2));
    w.pass(10ms);
    CHECK(w.left_peer.icmp_of(icmp::type::time_exceeded).size() <= 55);
    CHECK(w.us.forwarding_counters().ttl_exceeded == 500);
}

TEST_CASE("ip: \"fragmentation needed\" about nothing that is in flight changes no path") { // [RFC 5927 4, 7]
    one_host w;
    const auto forged = [&](std::uint32_t seq, std::uint16_t mtu) {
        packet segment(1480);
        store_be16(segment, 0, 80);
        store_be16(segment, 2, 40000);
        store_be32(segment, 4, seq);
        ipv4::header h;
        h.source = a("192.0.2.2");
        h.destination = a("192.0.2.1");
        const packet quote = tapir::test::datagram(h, segment);
        const auto m = icmp::message::destination_unreachable(icmp::unreachable_code::fragmentation_needed,
                                                              bytes(quote).first(28), mtu);
        packet body(m.size());
        m.emit(body);
        ipv4::header outer;
        outer.protocol = ip::protocol::icmp;
        outer.source = a("192.0.2.1");
        outer.destination = a("192.0.2.2");
        w.peer.send(tapir::test::datagram(outer, body), mac(2));
        w.pass(1ms);
    };
    for (std::uint32_t i = 0; i < 10; ++i) forged(i << 28, 600);
    forged(0, 1500); // it would have fitted
    CHECK(w.us.output().path_to(a("192.0.2.1")).mtu == 1500);
    CHECK(w.us.output().paths().destinations() == 0);
    CHECK(w.us.counted().path_mtu_not_believed == 11);
}

TEST_CASE("ip: the fragments of the largest datagram wait for ARP together") { // found by 30,000 bytes of UDP
    one_host w;
    w.peer.send(ping(a("192.0.2.77"), a("192.0.2.2"), 10), mac(2)); // so that the first answer asks for .77
    w.send(cut(ping(a("192.0.2.77"), a("192.0.2.2"), 65'000), 1500));
    CHECK(w.peer.received.empty());
    w.peer.also(a("192.0.2.77"));
    w.pass(2s);
    CHECK(w.us.interfaces()[0]->neighbours().count().queue_dropped == 0);
    CHECK(whole_of(w.peer.received).size() == 65'028);
}
