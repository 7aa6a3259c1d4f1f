#include <tapir/framework/buffer.hpp>
#include <tapir/protocols/arp/cache.hpp>

#include <doctest/doctest.h>

#include <vector>

#include "tests/hex.hpp"

using namespace tapir;
using arp::packet;
using ethernet::mac_address;

namespace {

const mac_address own(0x02, 0, 0, 0, 0, 0x02);
const mac_address peer(0x02, 0, 0, 0, 0, 0x01);
const mac_address other(0x02, 0, 0, 0, 0, 0x03);
const ip::address own_ip = ip::address::v4(192, 0, 2, 2);
const ip::address peer_ip = ip::address::v4(192, 0, 2, 1);

ip::address host(std::uint32_t n) {
    return ip::address::v4(0xc0000200 + n);
}

/// A cache at 192.0.2.2/24 and the moment it lives in.
struct station {
    explicit station(const arp::cache_config& config = {}) : cache(config, own) {
        cache.add_address({own_ip, 24});
    }

    frame packet_of(std::uint8_t mark) {
        frame f(pool.allocate(64), 32);
        f.push_back(1)[0] = static_cast<std::byte>(mark);
        return f;
    }
    void enqueue(ip::address to, std::uint8_t mark) { cache.enqueue(to, packet_of(mark), now); }
    void after(duration d) {
        now += d;
        cache.on_timer(now);
    }
    void answer(ip::address from, mac_address mac) {
        cache.on_packet({.op = arp::operation::reply,
                         .sender_mac = mac,
                         .sender_ip = from,
                         .target_mac = own,
                         .target_ip = own_ip},
                        now);
    }
    void ask(ip::address from, mac_address mac, ip::address whom) {
        cache.on_packet(packet::request(mac, from, whom), now);
    }
    /// What the cache wants to send, of which the tests look at the destination and the packet.
    std::vector<arp::cache::transmission> sent() {
        std::vector<arp::cache::transmission> all;
        while (auto t = cache.next_transmission()) all.push_back(*t);
        return all;
    }
    std::vector<int> released(mac_address to) {
        std::vector<int> marks;
        while (auto r = cache.next_release()) {
            CHECK(r->destination == to);
            marks.push_back(load_u8(r->packet.data(), 0));
        }
        return marks;
    }

    buffer_pool pool;
    instant now{1h};
    arp::cache cache;
};

bool is_broadcast_request(const arp::cache::transmission& t, ip::address wanted) {
    return t.destination.is_broadcast() && t.packet == packet::request(own, own_ip, wanted);
}

} // namespace

TEST_CASE("a frame waits until its next hop has answered") {
    station s;
    CHECK(!s.cache.resolve(peer_ip, s.now));
    s.enqueue(peer_ip, 1);
    s.enqueue(peer_ip, 2);
    const auto sent = s.sent();
    REQUIRE(sent.size() == 1); // one question for both frames
    CHECK(is_broadcast_request(sent[0], peer_ip));
    CHECK(!s.cache.next_release());

    s.answer(peer_ip, peer);
    CHECK(s.released(peer) == std::vector{1, 2});
    CHECK(s.cache.resolve(peer_ip, s.now) == peer);
    CHECK(s.cache.count().resolved == 1);
    CHECK(s.sent().empty());
}

TEST_CASE("a frame for a known next hop is released at once") {
    station s;
    s.ask(peer_ip, peer, own_ip);
    s.enqueue(peer_ip, 7);
    CHECK(s.released(peer) == std::vector{7});
}

TEST_CASE("the queue of an unresolved address drops its oldest frame") { // [RFC 1122 2.3.2.2]
    arp::cache_config config;
    config.max_queued_frames = 3;
    station s(config);
    for (std::uint8_t mark = 1; mark <= 5; ++mark) s.enqueue(peer_ip, mark);
    CHECK(s.cache.count().queue_dropped == 2);
    s.answer(peer_ip, peer);
    CHECK(s.released(peer) == std::vector{3, 4, 5});
}

TEST_CASE(
    "all queues together are bounded, and the longest makes room, so that each keeps its newest frame") {
    arp::cache_config config;
    config.max_queued_total = 3;
    station s(config);
    s.enqueue(host(10), 1);
    s.enqueue(host(10), 2);
    s.enqueue(host(10), 3);
    s.enqueue(host(11), 4); // 10 has two more
    s.enqueue(host(12), 5); // and now one more
    s.enqueue(host(13), 6); // no room, and nobody with two
    s.enqueue(host(10), 7); // its own
    CHECK(s.cache.count().queue_dropped == 4);
    s.answer(host(11), other);
    CHECK(s.released(other) == std::vector{4});
    s.answer(host(13), other);
    CHECK(s.released(other).empty());
    s.answer(host(10), peer);
    CHECK(s.released(peer) == std::vector{7});
    s.enqueue(host(14), 8); // the released frames left room
    s.answer(host(14), other);
    CHECK(s.released(other) == std::vector{8});
}

TEST_CASE("an address that does not answer is asked for three times, a second apart, then fails") {
    station s; // [RFC 1122 2.3.2.1]: at most one request a second
    s.enqueue(peer_ip, 1);
    CHECK(s.sent().size() == 1);
    CHECK(s.cache.next_deadline() == s.now + 1s);
    s.after(999ms);
    CHECK(s.sent().empty());
    s.after(1ms);
    CHECK(s.sent().size() == 1);
    s.enqueue(peer_ip, 2); // asks no more often because more waits
    CHECK(s.sent().empty());
    s.after(1s);
    CHECK(s.sent().size() == 1);
    CHECK(!s.cache.next_failure());
    s.after(1s);
    CHECK(s.sent().empty());

    const auto failed = s.cache.next_failure();
    REQUIRE(failed);
    CHECK(failed->next_hop == peer_ip);
    REQUIRE(failed->packets.size() == 2);
    CHECK(load_u8(failed->packets[0].data(), 0) == 1);
    CHECK(load_u8(failed->packets[1].data(), 0) == 2);
    CHECK(!s.cache.next_failure());
    CHECK(s.cache.count().failed == 1);
    CHECK(s.cache.entries(s.now).empty());
    CHECK(s.cache.next_deadline() == never);

    CHECK(!s.cache.resolve(peer_ip, s.now)); // whoever tries again starts again
    CHECK(s.sent().size() == 1);
}

TEST_CASE("an entry past its time is used while its station is asked, and renewed by the answer") {
    station s;
    s.ask(peer_ip, peer, own_ip);
    s.sent();
    s.after(60s - 1ns);
    CHECK(s.cache.resolve(peer_ip, s.now) == peer);
    CHECK(s.sent().empty());
    s.after(1ns);
    CHECK(s.cache.entries(s.now)[0].state == arp::state::stale);

    CHECK(s.cache.resolve(peer_ip, s.now) == peer);
    const auto sent = s.sent();
    REQUIRE(sent.size() == 1);
    CHECK(sent[0].destination == peer); // [RFC 1122 2.3.2.1 (2)]: unicast poll
    CHECK(sent[0].packet.target_mac == peer);
    CHECK(sent[0].packet.target_ip == peer_ip);
    CHECK(s.cache.entries(s.now)[0].state == arp::state::probing);
    CHECK(s.cache.resolve(peer_ip, s.now) == peer);
    CHECK(s.sent().empty());

    s.answer(peer_ip, peer);
    CHECK(s.cache.entries(s.now)[0].state == arp::state::reachable);
    s.after(5s);
    CHECK(s.sent().empty());
}

TEST_CASE("a station that does not answer for itself is asked for by broadcast, then given up") {
    station s;
    s.ask(peer_ip, peer, own_ip);
    s.after(61s);
    CHECK(s.cache.resolve(peer_ip, s.now) == peer);
    s.after(1s);
    CHECK(s.cache.count().unicast_requests_sent == 2);
    CHECK(s.cache.resolve(peer_ip, s.now) == peer);
    s.sent();
    s.after(1s);
    const auto sent = s.sent();
    REQUIRE(sent.size() == 1);
    CHECK(is_broadcast_request(sent[0], peer_ip));
    CHECK(!s.cache.resolve(peer_ip, s.now)); // what it said before is forgotten
    CHECK(s.cache.entries(s.now)[0].mac.is_unspecified());
    s.enqueue(peer_ip, 9);
    s.after(1s);
    s.after(1s);
    s.after(1s);
    CHECK(s.cache.count().broadcast_requests_sent == 3);
    const auto failed = s.cache.next_failure();
    REQUIRE(failed);
    CHECK(failed->packets.size() == 1);
}

TEST_CASE("a station with a new address is found again by broadcast") {
    station s;
    s.ask(peer_ip, peer, own_ip);
    s.after(61s);
    CHECK(s.cache.resolve(peer_ip, s.now) == peer);
    s.after(1s);
    s.after(1s);
    s.enqueue(peer_ip, 1);
    s.answer(peer_ip, other);
    CHECK(s.released(other) == std::vector{1});
    CHECK(s.cache.resolve(peer_ip, s.now) == other);
}

TEST_CASE("an entry that nobody uses is removed after its idle lifetime") {
    station s;
    s.ask(peer_ip, peer, own_ip);
    s.after(5min);
    CHECK(s.cache.resolve(peer_ip, s.now) == peer);
    s.answer(peer_ip, peer);
    s.after(5min + 1s); // idle since 5 minutes only
    CHECK(s.cache.entries(s.now).size() == 1);
    s.after(5min);
    CHECK(s.cache.entries(s.now).empty());
    CHECK(s.cache.count().expired == 1);
    CHECK(s.cache.next_deadline() == never);
}

TEST_CASE("a used entry outlives its idle lifetime without being asked for again") {
    arp::cache_config config;
    config.reachable_time = 24h;
    station s(config);
    s.ask(peer_ip, peer, own_ip);
    s.after(6min);
    CHECK(s.cache.resolve(peer_ip, s.now) == peer);
    s.after(4min); // the deadline that was set when it was learned
    CHECK(s.cache.entries(s.now).size() == 1);
    CHECK(s.cache.next_deadline() == s.now + 6min);
    s.after(6min);
    CHECK(s.cache.entries(s.now).empty());
}

TEST_CASE("requests for our address are answered to the asker, and the asker is remembered") { // [RFC 826]
    station s;
    const auto asked = packet::request(peer, peer_ip, own_ip);
    s.cache.on_packet(asked, s.now);
    const auto sent = s.sent();
    REQUIRE(sent.size() == 1);
    CHECK(sent[0].destination == peer);
    CHECK(sent[0].packet == packet::reply_to(asked, own));
    CHECK(s.cache.resolve(peer_ip, s.now) == peer);
    CHECK(s.cache.count().replies_sent == 1);
}

TEST_CASE("every own address is answered for, and asked from the one on the next hop's network") {
    station s;
    s.cache.add_address({ip::address::v4(10, 0, 0, 1), 8});
    s.ask(ip::address::v4(10, 1, 2, 3), peer, ip::address::v4(10, 0, 0, 1));
    REQUIRE(s.sent().size() == 1);
    CHECK(!s.cache.resolve(ip::address::v4(10, 9, 9, 9), s.now));
    const auto sent = s.sent();
    REQUIRE(sent.size() == 1);
    CHECK(sent[0].packet.sender_ip == ip::address::v4(10, 0, 0, 1));
}

TEST_CASE("a packet for another station creates no entry but refreshes a known one") { // [RFC 826]
    station s;
    s.ask(peer_ip, peer, host(9));
    CHECK(s.cache.entries(s.now).empty());
    CHECK(s.sent().empty());
    CHECK(s.cache.count().not_ours == 1);

    s.ask(peer_ip, peer, own_ip);
    s.sent();
    s.ask(peer_ip, other, peer_ip); // a gratuitous request: peer has a new card
    CHECK(s.cache.resolve(peer_ip, s.now) == other);
    CHECK(s.cache.count().moved == 1);
    CHECK(s.sent().empty());
}

TEST_CASE("a reply that nobody asked for creates no entry") {
    station s;
    s.answer(peer_ip, peer);
    CHECK(s.cache.entries(s.now).empty());
    CHECK(s.cache.count().unsolicited == 1);
}

TEST_CASE("an asker from outside our network is answered but not remembered") {
    station s;
    s.ask(ip::address::v4(203, 0, 113, 5), peer, own_ip);
    CHECK(s.sent().size() == 1);
    CHECK(s.cache.entries(s.now).empty());
}

TEST_CASE("an RFC 5227 probe for our address is answered, and no entry made for 0.0.0.0") {
    station s;
    s.ask(ip::address(), peer, own_ip);
    const auto sent = s.sent();
    REQUIRE(sent.size() == 1);
    CHECK(sent[0].packet.op == arp::operation::reply);
    CHECK(sent[0].packet.sender_ip == own_ip);
    CHECK(s.cache.entries(s.now).empty());
    CHECK(s.cache.count().conflicts == 0);
}

TEST_CASE("who claims our address is counted, and answered with one announcement in ten seconds") {
    station s; // [RFC 5227 2.4 (c)]
    s.ask(own_ip, other, own_ip);
    const auto sent = s.sent();
    REQUIRE(sent.size() == 1);
    CHECK(sent[0].destination.is_broadcast());
    CHECK(sent[0].packet == packet::announcement(own, own_ip));
    s.after(9s);
    s.answer(own_ip, other);
    CHECK(s.sent().empty());
    CHECK(s.cache.count().conflicts == 2);
    s.after(1s);
    s.ask(own_ip, other, peer_ip);
    CHECK(s.sent().size() == 1);
    CHECK(s.cache.count().conflicts == 3);
    CHECK(s.cache.entries(s.now).empty());
}

TEST_CASE("senders that no station can have, and our own echo, change nothing") {
    station s;
    s.ask(peer_ip, mac_address::broadcast(), own_ip);
    s.ask(peer_ip, mac_address(), own_ip);
    s.ask(peer_ip, mac_address(1, 0, 0x5e, 0, 0, 1), own_ip);
    s.ask(ip::address::v4(224, 0, 0, 1), peer, own_ip);
    s.ask(ip::address::v4(255, 255, 255, 255), peer, own_ip);
    s.ask(ip::address::v4(127, 0, 0, 1), peer, own_ip);
    s.ask(host(255), peer, own_ip);
    CHECK(s.cache.count().bad_sender == 7);
    s.ask(own_ip, own, peer_ip);
    CHECK(s.cache.count().own == 1);
    CHECK(s.cache.count().conflicts == 0);
    CHECK(s.cache.entries(s.now).empty());
    CHECK(s.sent().empty());
}

TEST_CASE("malformed packets are counted by reason") {
    station s;
    auto b = test::hex("0001 0800 06 04 0001 020000000001 c0000201 000000000000 c0000202");
    s.cache.on_packet(b, s.now);
    CHECK(s.cache.count().requests_received == 1);
    CHECK(s.sent().size() == 1);
    s.cache.on_packet(bytes(b).first(20), s.now);
    store_u8(b, 7, 9);
    s.cache.on_packet(b, s.now);
    store_u8(b, 5, 16);
    s.cache.on_packet(b, s.now);
    store_u8(b, 4, 8);
    s.cache.on_packet(b, s.now);
    const auto& bad = s.cache.count().malformed_packets;
    CHECK(bad[arp::malformed::too_short] == 1);
    CHECK(bad[arp::malformed::bad_operation] == 1);
    CHECK(bad[arp::malformed::bad_protocol] == 1);
    CHECK(bad[arp::malformed::bad_hardware] == 1);
    CHECK(s.cache.count().requests_received == 1);
}

TEST_CASE("groups and broadcasts are mapped, never asked for") { // [RFC 1112 6.4]
    station s;
    CHECK(s.cache.resolve(ip::address::v4(255, 255, 255, 255), s.now) == mac_address::broadcast());
    CHECK(s.cache.resolve(host(255), s.now) == mac_address::broadcast());
    CHECK(s.cache.resolve(ip::address::v4(239, 255, 1, 2), s.now) == mac_address(1, 0, 0x5e, 0x7f, 1, 2));
    CHECK(s.sent().empty());
    CHECK(s.cache.entries(s.now).empty());
}

TEST_CASE("a full table gives up stale entries first, then unanswered questions, then the least used") {
    arp::cache_config config;
    config.max_entries = 3;
    station s(config);
    s.ask(host(10), peer, own_ip);
    s.after(61s); // 10 is stale
    s.ask(host(11), peer, own_ip);
    s.enqueue(host(12), 1); // incomplete
    s.sent();

    const auto known = [&] {
        std::vector<std::uint32_t> hosts;
        for (const auto& e : s.cache.entries(s.now)) hosts.push_back(e.address.v4_value() & 0xff);
        return hosts;
    };
    CHECK(!s.cache.resolve(host(13), s.now));
    CHECK(known() == std::vector<std::uint32_t>{11, 12, 13});
    CHECK(!s.cache.resolve(host(14), s.now)); // 12 and 13 have their second yet: 14 has to come again
    CHECK(!s.cache.is_asked_for(host(14)));
    CHECK(s.cache.count().not_asked == 1);
    CHECK(known() == std::vector<std::uint32_t>{11, 12, 13});
    s.now += 1ms;
    CHECK(!s.cache.resolve(host(13), s.now));
    s.after(1s);
    CHECK(!s.cache.resolve(host(14), s.now)); // of 12 and 13, both unanswered, 12 was wanted less lately
    CHECK(known() == std::vector<std::uint32_t>{11, 13, 14});
    CHECK(s.cache.count().evicted == 2);

    s.answer(host(13), peer);
    s.answer(host(14), peer);
    s.ask(host(15), peer, own_ip); // a stranger displaces nobody we talk to
    CHECK(s.cache.count().table_full == 1);
    CHECK(s.cache.count().replies_sent == 3);

    s.now += 1ms;
    CHECK(s.cache.resolve(host(11), s.now) == peer);
    CHECK(s.cache.resolve(host(14), s.now) == peer);
    CHECK(
        !s.cache.resolve(host(16), s.now)); // all reachable, and nobody asked for: 13 was used least recently
    CHECK(known() == std::vector<std::uint32_t>{11, 14, 16});
    CHECK(!s.cache.resolve(host(17), s.now)); // but not two for two questions
    CHECK(known() == std::vector<std::uint32_t>{11, 14, 16});
}

TEST_CASE("frames lost to eviction are counted") {
    arp::cache_config config;
    config.max_entries = 1;
    station s(config);
    s.enqueue(host(10), 1);
    s.enqueue(host(10), 2);
    s.enqueue(host(11), 3);
    CHECK(s.cache.count().not_asked == 1);
    s.after(1s);
    s.enqueue(host(11), 4);
    CHECK(s.cache.count().queue_dropped == 3); // two evicted, one that nobody was asked for
    CHECK(s.cache.entries(s.now).size() == 1);
    s.answer(host(11), peer);
    CHECK(s.released(peer) == std::vector{4});
    CHECK(s.pool.live_blocks() == 0);
}

TEST_CASE("packets that are never pulled are bounded and counted") {
    arp::cache_config config;
    config.max_transmissions = 4;
    station s(config);
    for (int i = 0; i < 10; ++i) s.ask(peer_ip, peer, own_ip);
    CHECK(s.sent().size() == 4);
    CHECK(s.cache.count().replies_sent == 4);
    CHECK(s.cache.count().transmissions_dropped == 6);
}

TEST_CASE("an address taken into use is announced twice, two seconds apart") { // [RFC 5227 2.3]
    station s;
    s.cache.announce(s.now);
    auto sent = s.sent();
    REQUIRE(sent.size() == 1);
    CHECK(sent[0].destination.is_broadcast());
    CHECK(sent[0].packet == packet::announcement(own, own_ip));
    CHECK(s.cache.next_deadline() == s.now + 2s);
    s.after(2s);
    CHECK(s.sent().size() == 1);
    CHECK(s.cache.next_deadline() == never);
    s.after(10s);
    CHECK(s.sent().empty());
    CHECK(s.cache.count().announcements_sent == 2);
}

TEST_CASE("the next deadline is never later than the first thing due") {
    station s;
    CHECK(s.cache.next_deadline() == never);
    s.cache.announce(s.now);
    s.enqueue(host(10), 1);
    s.now += 500ms;
    s.enqueue(host(11), 1);
    s.sent();
    CHECK(s.cache.next_deadline() == s.now + 500ms);
    s.after(500ms);
    CHECK(s.sent().size() == 1);
    CHECK(s.cache.next_deadline() == s.now + 500ms);
    s.after(500ms);
    CHECK(s.sent().size() == 1);
    CHECK(s.cache.next_deadline() == s.now + 500ms);
    s.after(500ms); // the second announcement, and host 10 again
    CHECK(s.sent().size() == 2);
}

TEST_CASE("arp cache: a station whose address becomes that of everybody is forgotten") {
    station s;
    CHECK_FALSE(s.cache.resolve(host(127), s.now));
    s.answer(host(127), peer);
    CHECK(s.cache.resolve(host(127), s.now) == peer);
    s.cache.add_address({host(3), 25});
    CHECK(s.cache.resolve(host(127), s.now) == mac_address::broadcast());
}
