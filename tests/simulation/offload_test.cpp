// Hosts that send and get segments of 64 KiB: over links that carry them, links that lose packets of them,
// and through routers whose other link cannot.
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/sim_backend.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/protocols/host/host.hpp>
#include <tapir/protocols/link/impair.hpp>
#include <tapir/protocols/link/segmenter.hpp>
#include <tapir/protocols/link/wire.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "tests/simulation/hosts.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

constexpr std::uint16_t port = 9;

wire_config carrying_large(duration latency, std::size_t mtu = 1500) {
    wire_config c;
    c.latency = latency;
    c.mtu = mtu;
    c.segmentation = true;
    return c;
}

std::byte byte_at(std::uint64_t i) {
    return static_cast<std::byte>(i * 31 + i / 253);
}

struct transfer {
    host* from = nullptr;
    host* to = nullptr;
    ip::address address;
    std::uint64_t size = 0;
    std::uint64_t arrived = 0;
    bool intact = true;
    tcp::info sender{};
};

task<> send_all(transfer* t) {
    auto opened = co_await t->from->connect(ip::endpoint(t->address, port));
    REQUIRE(opened.has_value());
    tcp::connection c = std::move(*opened);
    std::vector<std::byte> piece(100'000);
    for (std::uint64_t done = 0; done < t->size; done += piece.size()) {
        for (std::size_t i = 0; i < piece.size(); ++i) piece[i] = byte_at(done + i);
        const auto written = co_await c.write(bytes(piece));
        REQUIRE(written.has_value());
    }
    const auto finished = co_await c.finish();
    CHECK(finished.has_value());
    t->sender = c.info();
    const auto closed = co_await c.close();
    CHECK(closed.has_value());
}

task<> take_all(transfer* t, tcp::listener* l) {
    auto accepted = co_await l->accept();
    REQUIRE(accepted.has_value());
    tcp::connection c = std::move(*accepted);
    std::vector<std::byte> room(50'000);
    for (;;) {
        const auto got = co_await c.read(mutable_bytes(room));
        REQUIRE(got.has_value());
        if (*got == 0) break;
        for (std::size_t i = 0; i < *got; ++i) t->intact = t->intact && room[i] == byte_at(t->arrived + i);
        t->arrived += *got;
    }
    (void)co_await c.close();
}

task<> both(transfer* t, tcp::listener* l) {
    auto body = [t, l](scope& s) -> task<> {
        s.spawn(take_all, t, l);
        s.spawn(send_all, t);
        co_return;
    };
    co_await with_scope(body);
}

void run(reactor& r, transfer& t) {
    auto listener = t.to->listen(ip::endpoint({}, port));
    REQUIRE(listener.has_value());
    r.run(both(&t, &*listener));
    CHECK(t.arrived == t.size);
    CHECK(t.intact);
}

/// left (192.0.2.1), over `first`, a router, over `second`, right (198.51.100.2).
struct routed {
    routed(reactor& r, wire& first, wire& second)
        : left(r, named("left")), router(r, named("router", true)), right(r, named("right")) {
        REQUIRE(left.add_interface(first.left(), mac(1), p("192.0.2.1/24")).has_value());
        REQUIRE(router.add_interface(first.right(), mac(2), p("192.0.2.2/24")).has_value());
        REQUIRE(router.add_interface(second.left(), mac(3), p("198.51.100.1/24")).has_value());
        REQUIRE(right.add_interface(second.right(), mac(4), p("198.51.100.2/24")).has_value());
        REQUIRE(left.add_route(ip::prefix(), a("192.0.2.2")).has_value());
        REQUIRE(right.add_route(ip::prefix(), a("198.51.100.1")).has_value());
    }
    host left;
    host router;
    host right;
};

} // namespace

TEST_CASE("two hosts whose link carries large segments send few frames, and count in segments") {
    reactor r(make_sim_backend());
    wire w(r, carrying_large(5ms));
    host left(r, named("left"));
    host right(r, named("right"));
    REQUIRE(left.add_interface(w.left(), mac(1), p("192.0.2.1/24")).has_value());
    REQUIRE(right.add_interface(w.right(), mac(2), p("192.0.2.2/24")).has_value());
    transfer t{.from = &left, .to = &right, .address = a("192.0.2.2"), .size = 10'000'000};
    run(r, t);
    const link_counters sent = w.left().counters();
    CHECK(sent.large_out > 100);
    CHECK(sent.frames_out < 2'000); // 6'900 packets
    CHECK(sent.segments_out > 5'000);
    CHECK(left.tcp().counted().retransmits == 0);
    CHECK(right.tcp().counted().bad_checksum == 0);
    CHECK(w.right().counters().frames_out > 100); // acknowledgements: at most 64 KiB by each
}

TEST_CASE("a host that sends no more than a segment in a turn takes as long as one that sends all it may") {
    const auto took = [](std::size_t most_per_flush) {
        reactor r(make_sim_backend());
        wire w(r, carrying_large(5ms));
        host_config c = named("left");
        c.tcp.most_per_flush = most_per_flush;
        host left(r, c);
        host right(r, named("right"));
        REQUIRE(left.add_interface(w.left(), mac(1), p("192.0.2.1/24")).has_value());
        REQUIRE(right.add_interface(w.right(), mac(2), p("192.0.2.2/24")).has_value());
        transfer t{.from = &left, .to = &right, .address = a("192.0.2.2"), .size = 10'000'000};
        const instant begin = r.now();
        run(r, t);
        return r.now() - begin;
    };
    CHECK(took(1) == took(SIZE_MAX));
}

TEST_CASE("losses hit packets of a large segment, and only these go again") {
    reactor r(make_sim_backend());
    wire w(r, carrying_large(10ms));
    impair_config bad;
    bad.out.loss_ppm = 5'000;
    impair path(r, w.left(), bad);
    segmenter above(path);
    host left(r, named("left"));
    host right(r, named("right"));
    REQUIRE(left.add_interface(above, mac(1), p("192.0.2.1/24")).has_value());
    REQUIRE(right.add_interface(w.right(), mac(2), p("192.0.2.2/24")).has_value());
    transfer t{.from = &left, .to = &right, .address = a("192.0.2.2"), .size = 5'000'000};
    run(r, t);
    CHECK(above.count().cut > 50);
    const std::uint64_t lost = path.faults(direction::out)[fault_kind::loss];
    CHECK(lost > 2);
    CHECK(t.sender.bytes_retransmitted < 4 * lost * 1460);
    CHECK(right.tcp().counted().bad_checksum == 0);
}

TEST_CASE(
    "a router passes large segments on whole where the next link carries them, and cuts them where not") {
    for (const bool carries : {true, false}) {
        CAPTURE(carries);
        reactor r(make_sim_backend());
        wire first(r, carrying_large(2ms));
        wire_config second_config = carrying_large(2ms);
        second_config.segmentation = carries;
        wire second(r, second_config);
        routed net(r, first, second);
        transfer t{.from = &net.left, .to = &net.right, .address = a("198.51.100.2"), .size = 3'000'000};
        run(r, t);
        CHECK(first.left().counters().large_out > 30);
        CHECK((second.left().counters().large_out > 30) == carries);
        CHECK((net.router.interfaces()[1]->counted().finished_here > 30) == !carries);
        CHECK(net.right.tcp().counted().bad_checksum == 0);
        CHECK(net.left.tcp().counted().bad_checksum == 0);
        CHECK(net.left.tcp().counted().retransmits < 50);

        // The other way the sender has nothing large to send when its link carries none.
        transfer back{.from = &net.right, .to = &net.left, .address = a("192.0.2.1"), .size = 3'000'000};
        run(r, back);
        CHECK((second.right().counters().large_out > 30) == carries);
        CHECK(net.left.tcp().counted().bad_checksum == 0);
    }
}

TEST_CASE("a large segment whose packets do not fit the next link draws fragmentation needed, not loss") {
    reactor r(make_sim_backend());
    wire first(r, carrying_large(2ms));
    wire second(r, carrying_large(2ms, 1280));
    routed net(r, first, second);
    transfer t{.from = &net.left, .to = &net.right, .address = a("198.51.100.2"), .size = 2'000'000};
    run(r, t);
    CHECK(second.left().counters().large_out > 10);
    CHECK(second.left().counters().dropped_too_big == 0);
    CHECK(net.right.tcp().counted().bad_checksum == 0);
}

TEST_CASE("a path below the smallest MTU of ours: large segments become packets, and these fragments") {
    reactor r(make_sim_backend());
    wire first(r, carrying_large(2ms));
    wire second(r, carrying_large(2ms, 400));
    routed net(r, first, second);
    transfer t{.from = &net.left, .to = &net.right, .address = a("198.51.100.2"), .size = 300'000};
    run(r, t);
    CHECK(net.right.tcp().counted().bad_checksum == 0);
}

TEST_CASE("a host with a link of each kind sends the same bytes over both") {
    reactor r(make_sim_backend());
    wire able(r, carrying_large(2ms));
    wire plain(r, wire_config{.latency = 2ms});
    host middle(r, named("middle"));
    host over_able(r, named("able"));
    host over_plain(r, named("plain"));
    REQUIRE(middle.add_interface(able.left(), mac(1), p("192.0.2.1/24")).has_value());
    REQUIRE(middle.add_interface(plain.left(), mac(2), p("198.51.100.1/24")).has_value());
    REQUIRE(over_able.add_interface(able.right(), mac(3), p("192.0.2.2/24")).has_value());
    REQUIRE(over_plain.add_interface(plain.right(), mac(4), p("198.51.100.2/24")).has_value());
    transfer first{.from = &middle, .to = &over_able, .address = a("192.0.2.2"), .size = 2'000'000};
    run(r, first);
    transfer second{.from = &middle, .to = &over_plain, .address = a("198.51.100.2"), .size = 2'000'000};
    run(r, second);
    CHECK(able.left().counters().large_out > 10);
    CHECK(plain.left().counters().large_out == 0);
    CHECK(middle.interfaces()[1]->counted().finished_here > 10);
    CHECK(over_plain.tcp().counted().bad_checksum == 0);
}
