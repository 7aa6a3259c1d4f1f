// Somebody makes us ask for addresses where nobody is, more than requests_per_second allows: he sends to a
// network behind us, or from addresses that do not exist. What he must not take from our neighbours.
#include <tapir/framework/buffer.hpp>
#include <tapir/protocols/arp/cache.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

using namespace tapir;
using arp::packet;
using ethernet::mac_address;

namespace {

const mac_address own(0x02, 0, 0, 0, 0, 0x02);
const mac_address peer(0x02, 0, 0, 0, 0, 0x01);
const ip::address own_ip = ip::address::v4(10, 0, 0, 2);

ip::address host(std::uint32_t n) {
    return ip::address::v4(0x0a010000 + n);
}
/// Behind all that host() numbers, and before them: the order of addresses must not matter.
const ip::address highest = ip::address::v4(10, 255, 0, 1);
const ip::address lowest = ip::address::v4(10, 0, 0, 9);

/// A cache at 10.0.0.2/8 under a sweep that never asks for an address twice.
struct swept {
    swept() : cache(arp::cache_config(), own) { cache.add_address({own_ip, 8}); }

    void enqueue(ip::address to) {
        frame f(pool.allocate(64), 32);
        f.push_back(1);
        cache.enqueue(to, std::move(f), now);
        pull();
    }
    /// Lets time pass while the sweep goes on, with so many frames in each millisecond.
    void pass(duration d, int frames = 10) {
        for (const instant end = now + d; now < end; now += 1ms) {
            for (int i = 0; i < frames; ++i) enqueue(host(next_++));
            cache.on_timer(now);
            pull();
        }
    }
    void pull() {
        while (const auto t = cache.next_transmission()) {
            if (t->destination.is_broadcast()) asked.push_back(t->packet.target_ip);
        }
        while (cache.next_failure()) {
        }
    }
    bool is_asked_for(ip::address a) const { return std::ranges::find(asked, a) != asked.end(); }
    void neighbour_asks(ip::address from) {
        cache.on_packet(packet::request(peer, from, own_ip), now);
        pull();
    }
    void answer(ip::address from) {
        cache.on_packet({.op = arp::operation::reply,
                         .sender_mac = peer,
                         .sender_ip = from,
                         .target_mac = own,
                         .target_ip = own_ip},
                        now);
    }
    std::size_t released() {
        std::size_t n = 0;
        while (cache.next_release()) ++n;
        return n;
    }

    buffer_pool pool;
    instant now{1h};
    arp::cache cache;
    std::vector<ip::address> asked; ///< by broadcast
    std::uint32_t next_ = 0;
};

} // namespace

TEST_CASE("arp: a neighbour that has answered before is asked for at once, whatever a sweep asks for") {
    for (const ip::address a : {lowest, highest}) {
        swept s;
        s.neighbour_asks(a);
        s.now += 61s;
        s.pass(1s);
        s.asked.clear();
        // Its card has been exchanged: two polls stay unanswered, then everybody is asked.
        s.enqueue(a);
        s.pass(1s + 1ms);
        CHECK(s.cache.count().unicast_requests_sent == 2);
        CHECK(!s.is_asked_for(a));
        s.enqueue(a);
        s.pass(1s + 5ms);
        CHECK(s.is_asked_for(a));
        s.enqueue(a);
        s.answer(a);
        CHECK(s.released() == 3);
    }
}

TEST_CASE("arp: a sweep pushes no neighbour out of the table, old though its answer may be") {
    swept s;
    for (std::uint8_t n = 10; n < 210; ++n) s.neighbour_asks(ip::address::v4(10, 0, 0, n));
    s.now += 61s; // all stale
    s.pass(5s);
    std::size_t kept = 0;
    for (std::uint8_t n = 10; n < 210; ++n)
        if (s.cache.resolve(ip::address::v4(10, 0, 0, n), s.now) == peer) ++kept;
    CHECK(kept == 200);
}

TEST_CASE("arp: who asks for us in the midst of a sweep is known, and needs no request of ours") {
    swept s;
    s.pass(5s);
    s.neighbour_asks(highest);
    CHECK(s.cache.resolve(highest, s.now) == peer);
    CHECK(s.cache.count().table_full == 0);
    s.pass(5s);
    CHECK(s.cache.resolve(highest, s.now) == peer);
}

TEST_CASE("arp: a new address gets its request in its turn, and a second for the answer") {
    for (const ip::address a : {lowest, highest}) {
        swept s;
        s.pass(60ms, 5); // the burst is used up, the table not yet
        s.enqueue(a);
        CHECK(!s.is_asked_for(a));
        while (!s.is_asked_for(a) && s.now < instant(1h + 5s)) s.pass(1ms);
        REQUIRE(s.is_asked_for(a));
        s.pass(900ms);
        s.answer(a);
        CHECK(s.released() == 1);
        CHECK(s.cache.resolve(a, s.now) == peer);
    }
}

TEST_CASE("arp: in a slow sweep every new address is asked for, and in the order of waiting") {
    swept s;
    s.pass(400ms, 1); // 256 at once, then 200 a second
    const auto before = s.cache.count().requests_limited;
    CHECK(before > 0);
    s.enqueue(lowest);
    CHECK(!s.is_asked_for(lowest));
    const std::uint32_t after_it = s.next_;
    s.pass(1s, 1);
    REQUIRE(s.is_asked_for(lowest));
    for (const ip::address one : s.asked) {
        if (one == lowest) break;
        CHECK(one.v4_value() < host(after_it).v4_value()); // nobody who came later was asked for before
    }
}

TEST_CASE("arp: the frames of a sweep, however many for one address, leave room for one of each other") {
    swept s;
    for (std::uint32_t n = 0; n < 22; ++n)
        for (int i = 0; i < 48; ++i) s.enqueue(host(n)); // the common bound is met
    CHECK(s.cache.count().queue_dropped > 0);
    s.enqueue(highest);
    s.answer(highest);
    CHECK(s.released() == 1); // [RFC 1122 2.3.2.2]: at least the latest is kept
}

TEST_CASE("arp: a sweep costs no more broadcasts, entries and frames than the bounds say") {
    swept s;
    s.pass(20s);
    const arp::cache_config c;
    CHECK(s.asked.size() <= c.request_burst + 20 * c.requests_per_second);
    CHECK(s.asked.size() >= 20 * c.requests_per_second); // nor fewer: somebody among them may be there
    CHECK(s.cache.entries(s.now).size() <= c.max_entries);
    std::size_t queued = 0;
    for (const auto& e : s.cache.entries(s.now)) queued += e.queued;
    CHECK(queued <= c.max_queued_total);
    CHECK(s.pool.live_blocks() == queued);
}
