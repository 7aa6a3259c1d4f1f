// UDP without a network: the header, and the table of bound ports with its limits (RFC 768, RFC 1122 4.1).
#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/udp/header.hpp>
#include <tapir/protocols/udp/stack.hpp>

#include <doctest/doctest.h>

#include <array>
#include <set>
#include <string>
#include <vector>

#include "tests/hex.hpp"

using namespace tapir;
using tapir::test::hex;
using tapir::test::same;
using udp::drop;
using udp::outcome;

namespace {

const ip::address own = ip::address::v4(192, 0, 2, 2);
const ip::address second = ip::address::v4(192, 0, 2, 3); // ours too
const ip::address peer = ip::address::v4(192, 0, 2, 1);
const ip::address stranger = ip::address::v4(198, 51, 100, 9);
const ip::address network_broadcast = ip::address::v4(192, 0, 2, 255);
const ip::address any;

std::uint16_t sum_between(const ip::address& from, const ip::address& to) {
    return ip::pseudo_header_sum(from, to, ip::protocol::udp);
}

std::vector<std::byte> datagram(std::uint16_t from, std::uint16_t to, bytes payload, std::uint16_t sum) {
    std::vector<std::byte> b(udp::header::size + payload.size());
    copy_bytes(mutable_bytes(b).subspan(udp::header::size), payload);
    udp::header h;
    h.source_port = from;
    h.destination_port = to;
    h.emit(b, sum, payload);
    return b;
}

/// A table of ports over a network that takes what it is told to take.
struct lab final : udp::output_sink {
    explicit lab(const udp::config& c = {}) : stack(c, tapir::random(1), pool, *this) {}

    bool ready() override { return link_ready; }
    result<udp::route> route_to(const ip::address& to) override {
        if (to == stranger) return errc::network_unreachable;
        udp::route r;
        r.source = own;
        r.max_payload = 1472;
        r.broadcast = to == network_broadcast;
        return r;
    }
    bool is_own(const ip::address& a) override { return a == own || a == second; }
    void emit(const udp::outgoing& d) override {
        sent.push_back(d);
        sent.back().payload = {};
        texts.emplace_back(as_text(d.payload));
    }
    void want_flush() override { ++flushes_wanted; }

    std::unique_ptr<udp::binding> bound(ip::endpoint at, const udp::socket_options& o = {}) {
        auto b = stack.bind(at, o);
        REQUIRE(b);
        return std::move(*b);
    }
    /// From 192.0.2.1, in a frame's buffer of 2 KiB.
    outcome arrives(std::string_view text, std::uint16_t to_port, ip::address to = own,
                    ip::endpoint from = ip::endpoint(peer, 5000), bool group = false) {
        return arrives_raw(datagram(from.port, to_port, as_bytes(text), sum_between(from.addr, to)), to,
                           from.addr, group);
    }
    outcome arrives_raw(bytes d, ip::address to = own, ip::address from = peer, bool group = false) {
        buffer b = pool.allocate(2048);
        copy_bytes(b.span(), d);
        udp::arrival a;
        a.source = from;
        a.destination = to;
        a.to_group = group;
        a.arrived = instant(7s);
        return stack.receive(a, chunk(b, 0, d.size()));
    }
    std::uint64_t dropped(drop reason) const { return stack.counted().dropped[reason]; }

    buffer_pool pool;
    udp::stack stack;
    bool link_ready = true;
    int flushes_wanted = 0;
    std::vector<udp::outgoing> sent;
    std::vector<std::string> texts;
};

std::string take(udp::binding& b, std::size_t room = 2000) {
    std::vector<std::byte> to(room);
    const auto got = b.receive(to);
    return std::string(as_text(bytes(to).first(got.size)));
}

/// Sends when it may.
struct waiting_sender final : udp::binding_observer {
    void changed(udp::binding&) override {}
    void may_send(udp::binding& b) override {
        CHECK(*b.send(as_bytes(text), ip::endpoint(peer, 9)));
        ++calls;
    }
    std::string text;
    int calls = 0;
};

} // namespace

TEST_CASE("udp header: length and checksum are those of RFC 768") {
    // 192.0.2.1:5000 > 192.0.2.2:7 "hello", as tcpdump shows it.
    const auto b = datagram(5000, 7, as_bytes("hello"), sum_between(peer, own));
    CHECK(same(bytes(b).first(6), hex("1388 0007 000d")));
    const auto v = udp::view::parse(b);
    REQUIRE(v);
    CHECK(v->source_port() == 5000);
    CHECK(v->destination_port() == 7);
    CHECK(as_text(v->payload()) == "hello");
    CHECK(v->checksum_ok(sum_between(peer, own)));
    CHECK_FALSE(v->checksum_ok(sum_between(peer, second)));
    // By hand: the complement of c000+0201 + c000+0202 + 11+d + 1388+7+d + 6865+6c6c+6f00.
    CHECK(v->checksum() == 0x246f);
}

TEST_CASE("udp header: every flipped bit of a datagram is found, in lengths odd and even") {
    for (const std::string text : {"", "a", "ab", "abc"}) {
        const auto good = datagram(5000, 7, as_bytes(text), sum_between(peer, own));
        for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
            auto bad = good;
            bad[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
            const auto v = udp::view::parse(bad);
            CHECK((!v || !v->checksum_ok(sum_between(peer, own))));
        }
    }
}

TEST_CASE("udp header: a checksum of zero is accepted and never sent") { // [RFC 1122 4.1.3.4 MUST]
    auto without = datagram(5000, 7, as_bytes("hello"), sum_between(peer, own));
    store_be16(without, 6, 0);
    CHECK(udp::view::parse(without)->checksum_ok(sum_between(peer, own)));
    // The payload that makes the sum come out as zero is sent with 0xffff.
    bool seen = false;
    for (std::uint32_t word = 0; word < 65536 && !seen; ++word) {
        std::array<std::byte, 2> payload{};
        store_be16(payload, 0, static_cast<std::uint16_t>(word));
        const auto b = datagram(5000, 7, payload, sum_between(peer, own));
        const auto v = udp::view::parse(b);
        if (v->checksum() == 0) FAIL("sent without a checksum: " << word);
        seen = v->checksum() == 0xffff;
        if (seen) CHECK(v->checksum_ok(sum_between(peer, own)));
    }
    CHECK(seen);
}

TEST_CASE("udp header: a length that contradicts the datagram is malformed; what stands behind it is cut") {
    auto b = datagram(5000, 7, as_bytes("hello"), 0);
    for (std::size_t n = 0; n < 8; ++n)
        CHECK(udp::view::parse(bytes(b).first(n)).error() == udp::malformed::too_short);
    CHECK(udp::view::parse(bytes(b).first(12)).error() == udp::malformed::bad_length);
    store_be16(b, 4, 7);
    CHECK(udp::view::parse(b).error() == udp::malformed::bad_length);
    store_be16(b, 4, 9);
    CHECK(as_text(udp::view::parse(b)->payload()) == "h");
    store_be16(b, 4, 8);
    CHECK(udp::view::parse(b)->payload().empty());
}

TEST_CASE("udp: a datagram reaches the socket at its port, with sender, destination and arrival") {
    lab l;
    const auto seven = l.bound(ip::endpoint(any, 7));
    const auto nine = l.bound(ip::endpoint(any, 9));
    CHECK(l.arrives("first", 7) == outcome::queued);
    CHECK(l.arrives("", 7) == outcome::queued);
    CHECK(nine->waiting() == 0);
    REQUIRE(seven->waiting() == 2);
    std::array<std::byte, 10> room{};
    auto got = seven->receive(room);
    CHECK(as_text(bytes(room).first(got.size)) == "first");
    CHECK(got.from == ip::endpoint(peer, 5000));
    CHECK(got.to == own); // [RFC 1122 4.1.3.5 MUST]
    CHECK(got.arrived == instant(7s));
    CHECK_FALSE(got.truncated);
    got = seven->receive(room);
    CHECK(got.size == 0);
    CHECK_FALSE(got.truncated);
    CHECK(l.stack.queued_bytes() == 0);
    CHECK(l.pool.live_blocks() == 0);
}

TEST_CASE("udp: a datagram longer than the room for it is cut, says so, and the rest is gone") {
    lab l;
    const auto b = l.bound(ip::endpoint(any, 7));
    l.arrives("0123456789", 7);
    l.arrives("next", 7);
    std::array<std::byte, 4> room{};
    const auto got = b->receive(room);
    CHECK(as_text(room) == "0123");
    CHECK(got.truncated);
    CHECK(take(*b) == "next");
    CHECK(l.stack.counted().truncated == 1);
}

TEST_CASE("udp: what is damaged is dropped without an answer, by reason") {
    lab l;
    const auto b = l.bound(ip::endpoint(any, 7));
    auto bad = datagram(5000, 7, as_bytes("hello"), sum_between(peer, own));
    bad[9] ^= std::byte{1};
    CHECK(l.arrives_raw(bad) == outcome::dropped);
    CHECK(l.dropped(drop::bad_checksum) == 1);
    CHECK(l.arrives_raw(hex("1388 0007 0008")) == outcome::dropped);
    CHECK(l.dropped(drop::too_short) == 1);
    CHECK(l.arrives_raw(hex("1388 0007 0009 0000")) == outcome::dropped);
    CHECK(l.dropped(drop::bad_length) == 1);
    CHECK(l.arrives("from a group", 7, own, ip::endpoint(ip::address::v4(224, 0, 0, 1), 5000)) ==
          outcome::dropped); // [RFC 1122 4.1.3.6 MUST]
    CHECK(l.dropped(drop::bad_source) == 1);
    CHECK(b->waiting() == 0);
    CHECK(l.stack.counted().datagrams_in == 4);
}

TEST_CASE("udp: a port where nobody is bound deserves an ICMP error, unless all of the network was asked") {
    lab l;
    CHECK(l.arrives("x", 7) == outcome::no_port); // [RFC 1122 4.1.3.1 SHOULD]
    CHECK(l.arrives("x", 7, network_broadcast, ip::endpoint(peer, 5000), true) == outcome::dropped);
    CHECK(l.dropped(drop::no_port) == 2);
    const auto one_address = l.bound(ip::endpoint(second, 7));
    CHECK(l.arrives("x", 7) == outcome::no_port);
    CHECK(l.arrives("x", 7, second) == outcome::queued);
}

TEST_CASE("udp: broadcasts are for sockets at every address that ask for them") {
    lab l;
    udp::socket_options takes;
    takes.broadcast = true;
    const auto reserved = l.bound(ip::endpoint(any, 7));
    const auto open = l.bound(ip::endpoint(any, 9), takes);
    const auto one_address = l.bound(ip::endpoint(own, 11), takes);
    const auto to_all = [&](std::uint16_t port) {
        return l.arrives("x", port, network_broadcast, ip::endpoint(peer, 5000), true);
    };
    CHECK(to_all(7) == outcome::dropped);
    CHECK(l.dropped(drop::broadcast) == 1);
    CHECK(to_all(9) == outcome::queued);
    CHECK(to_all(11) == outcome::dropped);
    CHECK(l.dropped(drop::no_port) == 1);
    CHECK(reserved->send(as_bytes("x"), ip::endpoint(network_broadcast, 9)).error() ==
          errc::invalid_argument);
    CHECK(open->send(as_bytes("x"), ip::endpoint(network_broadcast, 9)));
    CHECK(l.sent.size() == 1);
}

TEST_CASE("udp: a queue is bounded in datagrams, and the newest is dropped") {
    lab l;
    udp::socket_options o;
    o.receive_datagrams = 2;
    const auto b = l.bound(ip::endpoint(any, 7), o);
    CHECK(l.arrives("1", 7) == outcome::queued);
    CHECK(l.arrives("2", 7) == outcome::queued);
    CHECK(l.arrives("3", 7) == outcome::dropped);
    CHECK(l.dropped(drop::queue_full) == 1);
    CHECK(b->counted().dropped == 1);
    CHECK(take(*b) == "1");
    CHECK(l.arrives("4", 7) == outcome::queued);
    CHECK(take(*b) == "2");
    CHECK(take(*b) == "4");
}

TEST_CASE("udp: a queue is bounded in bytes of memory, and small datagrams do not keep large buffers") {
    lab l;
    udp::socket_options o;
    o.receive_bytes = 10'000;
    const auto b = l.bound(ip::endpoint(any, 7), o);
    int taken = 0;
    while (l.arrives("tiny", 7) == outcome::queued) ++taken;
    CHECK(taken == 10'000 / 256);
    CHECK(b->queued_bytes() == static_cast<std::size_t>(taken) * 256);
    CHECK(l.pool.live_bytes() <= o.receive_bytes); // each came in 2 KiB
    CHECK(l.dropped(drop::queue_bytes) == 1);
    while (b->waiting() > 0) take(*b);
    taken = 0;
    while (l.arrives(std::string(1400, 'x'), 7) == outcome::queued) ++taken;
    CHECK(taken == 4); // of 2 KiB each
    CHECK(l.pool.live_bytes() <= o.receive_bytes);
    while (b->waiting() > 0) take(*b);
    taken = 0;
    while (l.arrives("", 7) == outcome::queued) ++taken; // nor are empty ones free
    CHECK(taken == 10'000 / 256);
}

TEST_CASE("udp: all queues together are bounded, and what is received or closed gives its room back") {
    udp::config c;
    c.max_queued_bytes = 1024;
    lab l(c);
    auto one = l.bound(ip::endpoint(any, 1));
    const auto other = l.bound(ip::endpoint(any, 2));
    for (int i = 0; i < 4; ++i) CHECK(l.arrives("x", 1) == outcome::queued);
    CHECK(l.arrives("x", 2) == outcome::dropped);
    CHECK(l.dropped(drop::all_queues_full) == 1);
    take(*one);
    CHECK(l.arrives("x", 2) == outcome::queued);
    one.reset();
    CHECK(l.stack.queued_bytes() == 256);
    CHECK(l.dropped(drop::closed) == 3);
    for (int i = 0; i < 3; ++i) CHECK(l.arrives("x", 2) == outcome::queued);
    CHECK(l.stack.counted().queued == 8);
}

TEST_CASE("udp: two sockets never share a port, unless each has an address of its own") {
    lab l;
    const auto at_own = l.bound(ip::endpoint(own, 7));
    CHECK(l.stack.bind(ip::endpoint(own, 7), {}).error() == errc::address_in_use);
    CHECK(l.stack.bind(ip::endpoint(any, 7), {}).error() == errc::address_in_use);
    auto at_second = l.bound(ip::endpoint(second, 7));
    l.arrives("for own", 7);
    CHECK(at_own->waiting() == 1);
    CHECK(at_second->waiting() == 0);
    auto everywhere = l.bound(ip::endpoint(any, 8));
    CHECK(l.stack.bind(ip::endpoint(own, 8), {}).error() == errc::address_in_use);
    everywhere.reset();
    CHECK(l.stack.bind(ip::endpoint(own, 8), {}));
}

TEST_CASE("udp: sockets are bounded, and a time to live of zero is refused") {
    udp::config c;
    c.max_sockets = 2;
    lab l(c);
    const auto one = l.bound(ip::endpoint(any, 0));
    auto other = l.bound(ip::endpoint(any, 0));
    CHECK(l.stack.bind(ip::endpoint(any, 0), {}).error() == errc::no_memory);
    other.reset();
    udp::socket_options mute;
    mute.ttl = 0;
    CHECK(l.stack.bind(ip::endpoint(any, 0), mute).error() == errc::invalid_argument);
    CHECK(l.stack.bind(ip::endpoint(any, 0), {}));
}

TEST_CASE("udp: ephemeral ports are spread over their range, and run out in order") { // [RFC 6056 3.3.1]
    udp::config c;
    lab l(c);
    std::set<int> ports;
    int steps_of_one = 0;
    int last = 0;
    for (int i = 0; i < 200; ++i) {
        const auto b = l.bound(ip::endpoint(any, 0)); // closed at once: each draws anew
        const int port = b->local().port;
        CHECK(port >= c.first_ephemeral_port);
        ports.insert(port);
        if (port == last + 1) ++steps_of_one;
        last = port;
    }
    CHECK(ports.size() > 190);
    CHECK(steps_of_one < 5);
    c.first_ephemeral_port = 60000;
    c.last_ephemeral_port = 60003;
    lab few(c);
    std::vector<std::unique_ptr<udp::binding>> all;
    for (int i = 0; i < 4; ++i) all.push_back(few.bound(ip::endpoint(any, 0)));
    CHECK(few.stack.bind(ip::endpoint(any, 0), {}).error() == errc::no_ports);
}

TEST_CASE("udp: what is sent carries ports, addresses, TTL and type of service; the source may be chosen") {
    lab l;
    udp::socket_options o;
    o.ttl = 3;
    o.type_of_service = 0xb8;
    const auto b = l.bound(ip::endpoint(any, 7), o);
    CHECK(*b->send(as_bytes("hello"), ip::endpoint(peer, 5000)));
    REQUIRE(l.sent.size() == 1);
    CHECK(l.sent[0].header == udp::header{.source_port = 7, .destination_port = 5000});
    CHECK(l.sent[0].source == own);
    CHECK(l.sent[0].destination == peer);
    CHECK(l.sent[0].ttl == 3); // [RFC 1122 4.1.4 MUST]
    CHECK(l.sent[0].type_of_service == 0xb8);
    CHECK(l.texts[0] == "hello");
    CHECK(*b->send(as_bytes("x"), ip::endpoint(peer, 5000), second)); // [RFC 1122 4.1.3.5 MUST]
    CHECK(l.sent[1].source == second);
    CHECK(b->send(as_bytes("x"), ip::endpoint(peer, 5000), stranger).error() == errc::invalid_argument);
    const auto at_second = l.bound(ip::endpoint(second, 8));
    CHECK(*at_second->send(as_bytes("x"), ip::endpoint(peer, 5000)));
    CHECK(l.sent[2].source == second);
    CHECK(at_second->send(as_bytes("x"), ip::endpoint(peer, 5000), own).error() == errc::invalid_argument);
    CHECK(l.stack.counted().datagrams_out == 3);
}

TEST_CASE("udp: what cannot be sent is refused with the reason") {
    lab l;
    const auto b = l.bound(ip::endpoint(any, 7));
    const auto why = [&](std::size_t size, ip::endpoint to) {
        const std::vector<std::byte> payload(size);
        const auto sent = b->send(payload, to);
        return sent ? std::error_code() : sent.error();
    };
    CHECK(why(1, ip::endpoint(peer, 0)) == errc::invalid_argument);
    CHECK(why(1, ip::endpoint(any, 7)) == errc::invalid_argument);
    CHECK(why(1, ip::endpoint(ip::address::v4(224, 0, 0, 1), 7)) == errc::invalid_argument);
    CHECK(why(1, ip::endpoint(stranger, 7)) == errc::network_unreachable);
    CHECK(why(1473, ip::endpoint(peer, 7)) == errc::too_large);
    CHECK(why(70'000, ip::endpoint(peer, 7)) == errc::too_large);
    CHECK(l.sent.empty());
    CHECK(why(1472, ip::endpoint(peer, 7)) == std::error_code());
}

TEST_CASE("udp: an ICMP error counts only if it quotes what a socket has sent") { // [RFC 5927 4]
    lab l;
    const auto b = l.bound(ip::endpoint(any, 7));
    REQUIRE(b->connect(ip::endpoint(peer, 5000)));
    const std::error_code refused = errc::refused;
    const auto reports = [&](std::uint16_t local_port, ip::endpoint remote) {
        l.stack.icmp_error(refused, ip::endpoint(own, local_port), remote);
    };
    reports(7, ip::endpoint(peer, 5000)); // nothing was sent there yet
    CHECK(l.stack.counted().icmp_ignored == 1);
    CHECK(*b->send(as_bytes("x"), ip::endpoint(peer, 5000)));
    reports(8, ip::endpoint(peer, 5000));
    reports(7, ip::endpoint(peer, 5001));
    reports(7, ip::endpoint(stranger, 5000));
    reports(7, ip::endpoint());
    CHECK(l.stack.counted().icmp_ignored == 5);
    CHECK(b->take_failure() == std::error_code());
    reports(7, ip::endpoint(peer, 5000));
    CHECK(b->take_failure() == errc::refused);
    CHECK(b->take_failure() == std::error_code()); // once
    CHECK(b->counted().errors == 1);
}

TEST_CASE("udp: one client that is gone does not fail the calls of a server for all") {
    lab l;
    const auto server = l.bound(ip::endpoint(any, 7));
    CHECK(*server->send(as_bytes("x"), ip::endpoint(peer, 5000)));
    l.stack.icmp_error(errc::refused, ip::endpoint(own, 7), ip::endpoint(peer, 5000));
    CHECK_FALSE(server->has_failure());
    const auto e = server->take_error(); // who wants to know can ask [RFC 1122 4.1.3.3 MUST]
    REQUIRE(e);
    CHECK(e->peer == ip::endpoint(peer, 5000));
    CHECK(e->why == errc::refused);
    CHECK_FALSE(server->take_error());
    udp::socket_options o;
    o.report_errors = true;
    const auto curious = l.bound(ip::endpoint(any, 8), o);
    CHECK(*curious->send(as_bytes("x"), ip::endpoint(peer, 5000)));
    l.stack.icmp_error(errc::host_unreachable, ip::endpoint(own, 8), ip::endpoint(peer, 5000));
    l.stack.icmp_error(errc::refused, ip::endpoint(own, 8), ip::endpoint(peer, 5000));
    CHECK(curious->take_failure() == errc::refused);
    CHECK(l.stack.counted().icmp_replaced == 1);
}

TEST_CASE("udp: a socket remembers the last sixteen whom it sent to") {
    lab l;
    const auto b = l.bound(ip::endpoint(any, 7));
    for (std::uint16_t port = 1; port <= 17; ++port)
        for (int i = 0; i < 3; ++i) CHECK(*b->send(as_bytes("x"), ip::endpoint(peer, port)));
    l.stack.icmp_error(errc::refused, ip::endpoint(own, 7), ip::endpoint(peer, 1));
    CHECK_FALSE(b->take_error());
    for (std::uint16_t port = 2; port <= 17; ++port) {
        l.stack.icmp_error(errc::refused, ip::endpoint(own, 7), ip::endpoint(peer, port));
        CHECK(b->take_error());
    }
}

TEST_CASE("udp: a connected socket hears its peer alone") {
    lab l;
    const auto b = l.bound(ip::endpoint(any, 7));
    l.arrives("from another", 7, own, ip::endpoint(peer, 6000));
    l.arrives("from the peer", 7, own, ip::endpoint(peer, 5000));
    REQUIRE(b->connect(ip::endpoint(peer, 5000)));
    CHECK(l.arrives("a guess", 7, own, ip::endpoint(peer, 5001)) == outcome::dropped);
    CHECK(l.dropped(drop::not_peer) == 2);
    REQUIRE(b->waiting() == 1);
    CHECK(take(*b) == "from the peer");
    CHECK(l.stack.queued_bytes() == 0);
    CHECK(b->connect(ip::endpoint(peer, 0)).error() == errc::invalid_argument);
    CHECK(b->connect(ip::endpoint(network_broadcast, 7)).error() == errc::invalid_argument);
    CHECK(b->connect(ip::endpoint(stranger, 7)).error() == errc::network_unreachable);
    CHECK(b->peer() == ip::endpoint(peer, 5000));
}

TEST_CASE("udp: a link that is full makes senders wait, and lets them on in their order") {
    lab l;
    const auto one = l.bound(ip::endpoint(any, 1));
    const auto two = l.bound(ip::endpoint(any, 2));
    const auto three = l.bound(ip::endpoint(any, 3));
    waiting_sender first;
    waiting_sender then;
    first.text = "first";
    then.text = "then";
    one->set_observer(&first);
    two->set_observer(&then);
    l.link_ready = false;
    CHECK_FALSE(*one->send(as_bytes(first.text), ip::endpoint(peer, 9)));
    CHECK_FALSE(*two->send(as_bytes(then.text), ip::endpoint(peer, 9)));
    l.stack.flush();
    CHECK(l.texts.empty());
    l.link_ready = true;
    CHECK_FALSE(*three->send(as_bytes("overtakes"), ip::endpoint(peer, 9))); // nobody overtakes
    three->stop_waiting();
    l.stack.flush();
    CHECK(l.texts == std::vector<std::string>{"first", "then"});
    CHECK(*three->send(as_bytes("last"), ip::endpoint(peer, 9)));
    CHECK(l.stack.counted().send_waits == 3);
}

TEST_CASE("udp: nobody sends for ever in one turn") {
    udp::config c;
    c.max_sent_per_turn = 3;
    lab l(c);
    const auto b = l.bound(ip::endpoint(any, 1));
    waiting_sender w;
    b->set_observer(&w);
    for (int i = 0; i < 3; ++i) CHECK(*b->send(as_bytes("x"), ip::endpoint(peer, 9)));
    CHECK_FALSE(*b->send(as_bytes("x"), ip::endpoint(peer, 9)));
    l.flushes_wanted = 0;
    l.stack.flush(); // the next turn
    CHECK(w.calls == 1);
    CHECK(*b->send(as_bytes("x"), ip::endpoint(peer, 9)));
}

TEST_CASE("udp: bindings end with the stack and may outlive it") {
    std::unique_ptr<udp::binding> b;
    buffer_pool* pool = nullptr;
    auto l = std::make_unique<lab>();
    pool = &l->pool;
    b = l->bound(ip::endpoint(any, 7));
    l->arrives("unread", 7);
    l->stack.stop();
    CHECK(b->ended() == errc::host_stopped);
    CHECK(b->waiting() == 0);
    CHECK(pool->live_blocks() == 0);
    CHECK(l->stack.bind(ip::endpoint(any, 7), {}).error() == errc::host_stopped);
    CHECK(l->arrives("too late", 7) == outcome::no_port);
    l.reset();
    CHECK(b->send(as_bytes("x"), ip::endpoint(peer, 9)).error() == errc::host_stopped);
    CHECK(b->connect(ip::endpoint(peer, 9)).error() == errc::host_stopped);
    b->close();
    CHECK(b->ended() == errc::host_stopped);
}
