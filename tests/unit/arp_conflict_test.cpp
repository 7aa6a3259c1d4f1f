// Two stations with one address (RFC 5227), and requests that must not become a storm.
#include <tapir/framework/buffer.hpp>
#include <tapir/protocols/arp/cache.hpp>

#include <doctest/doctest.h>

#include <vector>

using namespace tapir;
using arp::address_event;
using arp::packet;
using ethernet::mac_address;

namespace {

const mac_address own(0x02, 0, 0, 0, 0, 0x02);
const mac_address other(0x02, 0, 0, 0, 0, 0x03);
const ip::address own_ip = ip::address::v4(192, 0, 2, 2);
const ip::prefix own_prefix(own_ip, 24);

struct station {
    explicit station(const arp::cache_config& config = {}) : cache(config, own) {}

    /// Lets time pass from deadline to deadline; what was sent, and how long after the start.
    void until(instant end) {
        while (cache.next_deadline() <= end) {
            now = cache.next_deadline();
            cache.on_timer(now);
            while (const auto t = cache.next_transmission()) {
                sent.push_back(t->packet);
                times.push_back(now - start);
                CHECK(t->destination.is_broadcast());
            }
        }
        now = end;
    }
    std::vector<address_event> events() {
        std::vector<address_event> all;
        while (const auto e = cache.next_event()) all.push_back(*e);
        return all;
    }

    const instant start{1h};
    instant now = start;
    arp::cache cache;
    std::vector<packet> sent;
    std::vector<duration> times;
};

address_event event(address_event::kind what, mac_address who = {}) {
    return {.what = what, .address = own_prefix, .other = who};
}

const packet probe = packet::request(own, ip::address(), own_ip);

} // namespace

TEST_CASE(
    "arp: an address is probed for three times before it is announced and used") { // [RFC 5227 2.1, 2.3]
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        station s;
        s.cache.probe(own_prefix, tapir::random(seed), s.now);
        s.until(s.start + 4s);
        // Nobody is answered meanwhile: it is not ours yet.
        s.cache.on_packet(packet::request(other, ip::address::v4(192, 0, 2, 9), own_ip), s.now);
        CHECK(!s.cache.next_transmission());
        s.until(s.start + 20s);
        REQUIRE(s.sent.size() == 5);
        for (std::size_t i = 0; i < 3; ++i) CHECK(s.sent[i] == probe);
        CHECK(s.sent[3] == packet::announcement(own, own_ip));
        CHECK(s.sent[4] == packet::announcement(own, own_ip));
        CHECK(s.times[0] <= 1s);
        for (std::size_t i = 1; i < 3; ++i) {
            CHECK(s.times[i] - s.times[i - 1] >= 1s);
            CHECK(s.times[i] - s.times[i - 1] <= 2s);
        }
        CHECK(s.times[3] - s.times[2] == 2s);
        CHECK(s.events() == std::vector{event(address_event::kind::usable)});
        s.cache.on_packet(packet::request(other, ip::address::v4(192, 0, 2, 9), own_ip), s.now);
        CHECK(s.cache.next_transmission());
    }
}

TEST_CASE("arp: an address that somebody has, or probes for at the same time, is not taken") {
    const packet answer = packet::reply_to(probe, other);
    const packet announced = packet::announcement(other, own_ip);
    const packet probes_too = packet::request(other, ip::address(), own_ip); // [RFC 5227 2.1.1]
    for (const packet& p : {answer, announced, probes_too}) {
        station s;
        s.cache.probe(own_prefix, tapir::random(7), s.now);
        s.until(s.start + 1s);
        CHECK(s.sent.size() == 1);
        s.cache.on_packet(p, s.now);
        CHECK(s.events() == std::vector{event(address_event::kind::taken, other)});
        s.until(s.start + 60s);
        CHECK(s.sent.size() == 1);
        CHECK(s.events().empty());
        CHECK(s.cache.count().addresses_taken == 1);
        CHECK(s.cache.next_deadline() == never);
    }
    // Others' business, and our own probe come back, end nothing.
    station s;
    s.cache.probe(own_prefix, tapir::random(7), s.now);
    s.until(s.start + 1s);
    s.cache.on_packet(probe, s.now);
    s.cache.on_packet(packet::request(other, ip::address(), ip::address::v4(192, 0, 2, 3)), s.now);
    s.cache.on_packet(packet::request(other, ip::address::v4(192, 0, 2, 3), own_ip), s.now);
    s.until(s.start + 20s);
    CHECK(s.events() == std::vector{event(address_event::kind::usable)});
}

TEST_CASE("arp: a claim to our address is told and defended once in ten seconds, and counted each time") {
    station s; // [RFC 5227 2.4 (c)]
    s.cache.add_address(own_prefix);
    for (int i = 0; i < 100; ++i) s.cache.on_packet(packet::announcement(other, own_ip), s.now);
    CHECK(s.events() == std::vector{event(address_event::kind::conflict, other)});
    CHECK(s.cache.count().conflicts == 100);
    CHECK(s.cache.count().announcements_sent == 1);
    s.now += 10s;
    s.cache.on_packet(packet::announcement(other, own_ip), s.now);
    CHECK(s.events().size() == 1);
    CHECK(s.cache.count().announcements_sent == 2);
}

TEST_CASE("arp: a sweep over silent addresses does not become a storm of broadcasts") {
    arp::cache_config c;
    c.requests_per_second = 10;
    c.request_burst = 20;
    station s(c);
    s.cache.add_address(ip::prefix(own_ip, 16));
    buffer_pool pool;
    const auto neighbour = [](std::uint32_t n) { return ip::address::v4(0xc0000300 + n); };
    for (std::uint32_t i = 0; i < 500; ++i) (void)s.cache.resolve(neighbour(i), s.now);
    CHECK(s.cache.count().broadcast_requests_sent == 20);
    CHECK(s.cache.count().requests_limited == 480);
    // The rest waits for its turn.
    s.until(s.start + 10s);
    CHECK(s.cache.count().broadcast_requests_sent <= 20 + 10 * 10);
    CHECK(s.cache.count().broadcast_requests_sent >= 100);
    s.until(s.start + 300s);
    CHECK(s.cache.entries(s.now).empty()); // all asked three times, and given up
    CHECK(s.cache.count().failed == 500);
    CHECK(s.cache.count().broadcast_requests_sent == 1500);
}
