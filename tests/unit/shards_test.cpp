// Whose a frame is, what hands it over, and what each of several hosts may begin by itself.
#include <tapir/framework/crossing.hpp>
#include <tapir/framework/sim_backend.hpp>
#include <tapir/protocols/arp/packet.hpp>
#include <tapir/protocols/host/shard_link.hpp>
#include <tapir/protocols/host/steering.hpp>
#include <tapir/protocols/icmp/message.hpp>
#include <tapir/protocols/ipv4/identification.hpp>
#include <tapir/protocols/link/wire.hpp>

#include <doctest/doctest.h>

#include <array>
#include <set>
#include <vector>

#include "tests/support/link_end.hpp"
#include "tests/support/station.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

constexpr siphash_key key{1, 2};
constexpr ip::address peer = ip::address::v4(192, 0, 2, 1);
constexpr ip::address own = ip::address::v4(192, 0, 2, 2);
const ethernet::mac_address station_mac(2, 0, 0, 0, 0, 1);
const ethernet::mac_address own_mac(2, 0, 0, 0, 0, 2);

packet framed(bytes payload, ethernet::ether_type type = ethernet::ether_type::ipv4,
              ethernet::mac_address from = station_mac) {
    packet f(ethernet::header::size + payload.size());
    ethernet::header h;
    h.destination = own_mac;
    h.source = from;
    h.type = type;
    h.emit(f);
    copy_bytes(mutable_bytes(f).subspan(ethernet::header::size), payload);
    return f;
}

/// The first bytes of a segment or datagram, as far as its ports matter.
packet transport(ip::protocol p, const ip::endpoint& from, const ip::endpoint& to, std::size_t size = 20) {
    packet body(size);
    store_be16(body, 0, from.port);
    store_be16(body, 2, to.port);
    ipv4::header h;
    h.protocol = p;
    h.source = from.addr;
    h.destination = to.addr;
    return datagram(h, body);
}

packet icmp_from_peer(const icmp::message& m) {
    packet body(m.size());
    m.emit(body);
    ipv4::header h;
    h.protocol = ip::protocol::icmp;
    h.source = peer;
    h.destination = own;
    return datagram(h, body);
}

steered one(std::uint32_t host) {
    return {steered::kind::one, host};
}

/// Two shards on two wires, which nobody joins: what is sent at the far ends is what their queues got.
struct two_shards {
    explicit two_shards(std::size_t ring = shard_link::ring_size)
        : others(std::make_shared<crossing>(2, ring)), first(r, left.left(), {key, 0, 2}, others),
          second(r, right.left(), {key, 1, 2}, others) {
        first.attach(&got[0]);
        second.attach(&got[1]);
    }
    /// To the queue of the first.
    void arrive(const packet& f, const offload& meta = {}) {
        frame sent(pool.allocate(f.size() + 16), 16);
        copy_bytes(sent.push_back(f.size()), f);
        sent.meta = meta;
        left.right().send(std::move(sent));
        r.run(pass_time(1ms));
    }
    static wire_config with_offload() {
        wire_config c;
        c.segmentation = true;
        return c;
    }

    reactor r{make_sim_backend()};
    buffer_pool pool;
    wire left{r, with_offload()};
    wire right{r, with_offload()};
    std::shared_ptr<crossing> others;
    std::array<recording_receiver, 2> got;
    shard_link first;
    shard_link second;
};

/// A port of the peer whose connection to our port 80 is that shard's.
std::uint16_t port_for(std::uint32_t shard, std::uint32_t count = 2) {
    const ip::flow_share share(key, 0, count);
    for (std::uint16_t p = 1024;; ++p)
        if (share.owner(ip::endpoint(own, 80), ip::endpoint(peer, p)) == shard) return p;
}

} // namespace

TEST_CASE("shards: the owner of a flow follows from its 4-tuple and the key, evenly") {
    constexpr std::uint32_t count = 3;
    std::array<int, count> flows{};
    int moved = 0;
    for (std::uint16_t port = 1000; port < 4000; ++port) {
        const ip::endpoint local(own, 80);
        const ip::endpoint remote(peer, port);
        const std::uint32_t owner = ip::flow_share(key, 0, count).owner(local, remote);
        REQUIRE(owner < count);
        ++flows[owner];
        for (std::uint32_t each = 0; each < count; ++each) {
            const ip::flow_share share(key, each, count);
            CHECK(share.owner(local, remote) == owner);
            CHECK(share.owns(local, remote) == (each == owner));
        }
        if (ip::flow_share(siphash_key{1, 3}, 0, count).owner(local, remote) != owner) ++moved;
    }
    for (const int n : flows) CHECK((n > 900 && n < 1100));
    CHECK((moved > 1900 && moved < 2100)); // two of three
    CHECK(ip::flow_share().owns(ip::endpoint(own, 1), ip::endpoint(peer, 2)));
    CHECK(ip::flow_share().owns(std::uint16_t{53}));
}

TEST_CASE("shards: a frame is steered by what it carries") {
    const ip::flow_share share(key, 1, 4);
    const ip::endpoint here(own, 80);
    for (std::uint16_t port = 1000; port < 1100; ++port) {
        const ip::endpoint there(peer, port);
        const packet segment = transport(ip::protocol::tcp, there, here);
        CHECK(steer(framed(segment), share) == one(share.owner(here, there)));
        // The same connection in an ICMP error: what we sent is quoted.
        const packet ours = transport(ip::protocol::tcp, here, there);
        const auto error =
            icmp::message::destination_unreachable(icmp::unreachable_code::fragmentation_needed, ours, 1280);
        CHECK(steer(framed(icmp_from_peer(error)), share) == one(share.owner(here, there)));
        const packet query = transport(ip::protocol::udp, there, ip::endpoint(own, port));
        CHECK(steer(framed(query), share) == one(port % 4u));
        const packet asked = transport(ip::protocol::udp, ip::endpoint(own, port), there);
        const auto late = icmp::message::time_exceeded(icmp::time_exceeded_code::ttl, asked);
        CHECK(steer(framed(icmp_from_peer(late)), share) == one(port % 4u));
    }
    const steered stays;
    CHECK(steer(framed(ping(peer, own, 56)), share) == stays);
    for (const packet& piece : cut(ping(peer, own, 4000), 1500)) CHECK(steer(framed(piece), share) == one(0));
    packet options = transport(ip::protocol::tcp, ip::endpoint(peer, 1000), here, 40);
    store_u8(options, 0, 0x46); // its ports stand 4 bytes later, behind options
    store_be16(options, 24, 2000);
    store_be16(options, 26, 80);
    CHECK(steer(framed(options), share) == one(share.owner(here, ip::endpoint(peer, 2000))));
}

TEST_CASE("shards: ARP's questions stay, its news go to all") {
    const ip::flow_share share(key, 1, 4);
    const auto steered_arp = [&](const arp::packet& p) {
        packet b(arp::packet::size);
        p.emit(b);
        return steer(framed(b, ethernet::ether_type::arp), share);
    };
    const auto question = arp::packet::request(station_mac, peer, own);
    CHECK(steered_arp(question) == steered());
    CHECK(steered_arp(arp::packet::reply_to(question, own_mac)).to == steered::kind::all);
    CHECK(steered_arp(arp::packet::announcement(station_mac, peer)).to == steered::kind::all);
}

TEST_CASE("shards: what cannot be told apart stays where it came, whatever its bytes") {
    const ip::flow_share share(key, 1, 4);
    const packet segment = framed(transport(ip::protocol::tcp, ip::endpoint(peer, 1), ip::endpoint(own, 2)));
    for (std::size_t cut_off = 0; cut_off < ethernet::header::size + ipv4::header::size + 4; ++cut_off)
        CHECK(steer(bytes(segment).first(cut_off), share) == steered());
    tapir::random draws(3);
    for (int i = 0; i < 20'000; ++i) { // with addresses and lengths that lie
        packet wild = segment;
        for (int n = 0; n < 4; ++n)
            wild[12 + draws.below(static_cast<std::uint32_t>(wild.size()) - 12)] =
                static_cast<std::byte>(draws.below(256));
        const steered s =
            steer(bytes(wild).first(draws.below(static_cast<std::uint32_t>(wild.size() + 1))), share);
        CHECK(s.host < 4);
    }
}

TEST_CASE(
    "shards: a foreign frame is handed over with all that is known of it, a shard's own is not copied") {
    two_shards w;
    const packet mine = framed(transport(ip::protocol::tcp, {peer, port_for(0)}, {own, 80}, 3000));
    const packet theirs = framed(transport(ip::protocol::tcp, {peer, port_for(1)}, {own, 80}, 3000));
    offload meta;
    meta.csum = checksum_state::partial;
    meta.gso_type = segmentation::tcp4;
    meta.csum_start = 34;
    meta.csum_offset = 16;
    meta.gso_size = 1000;
    meta.hdr_len = 54;
    w.arrive(mine, meta);
    w.arrive(theirs, meta);
    REQUIRE(w.got[0].frames.size() == 1);
    REQUIRE(w.got[1].frames.size() == 1);
    const frame& moved = w.got[1].frames[0];
    CHECK(std::ranges::equal(moved.data(), theirs));
    CHECK(moved.meta.csum == checksum_state::partial);
    CHECK(moved.meta.gso_type == segmentation::tcp4);
    CHECK(moved.meta.csum_start == 34);
    CHECK(moved.meta.csum_offset == 16);
    CHECK(moved.meta.gso_size == 1000);
    CHECK(moved.meta.hdr_len == 54);
    CHECK(moved.arrived > instant());
    CHECK(moved.arrived <= w.r.now());
    CHECK(w.first.counters().frames_in == 2);
    CHECK(w.first.counters().handed_over == 1);
    CHECK(w.second.counters().taken_over == 1);
    CHECK(w.second.counters().handed_over == 0);
}

TEST_CASE("shards: what finds the ring full is lost and counted; its shard goes on") {
    two_shards w(4096);
    const packet theirs = framed(transport(ip::protocol::tcp, {peer, port_for(1)}, {own, 80}, 1000));
    for (int i = 0; i < 10; ++i) {
        frame f(w.pool.allocate(theirs.size()), 0);
        copy_bytes(f.push_back(theirs.size()), theirs);
        w.left.right().send(std::move(f));
    }
    w.r.run(pass_time(1ms));
    const auto full = w.first.counters().handover_full;
    CHECK((full > 0 && full < 10));
    CHECK(w.got[1].frames.size() == 10 - full);
    w.arrive(theirs);
    CHECK(w.got[1].frames.size() == 11 - full);
}

TEST_CASE("shards: what all want to know each gets once") {
    two_shards w;
    packet b(arp::packet::size);
    arp::packet::announcement(station_mac, peer).emit(b);
    w.arrive(framed(b, ethernet::ether_type::arp));
    CHECK(w.got[0].frames.size() == 1);
    CHECK(w.got[1].frames.size() == 1);
    CHECK(w.first.counters().given_to_all == 1);
    CHECK(w.first.counters().handed_over == 0);
}

TEST_CASE("shards: what a host sends to its own station goes to the owner, and never out") {
    two_shards w;
    recording_receiver outside;
    w.left.right().attach(&outside);
    for (const std::uint32_t shard : {0u, 1u}) {
        const packet whole = framed(transport(ip::protocol::tcp, {peer, port_for(shard)}, {own, 80}),
                                    ethernet::ether_type::ipv4, own_mac);
        frame f(w.pool.allocate(whole.size()), 0);
        copy_bytes(f.push_back(whole.size()), whole);
        w.first.send(std::move(f));
    }
    w.r.run(pass_time(1ms));
    CHECK(w.got[0].frames.empty()); // its own it has already
    CHECK(w.got[1].frames.size() == 1);
    CHECK(outside.frames.empty());
}

TEST_CASE("shards: no two of them identify fragments alike") {
    std::array<std::set<std::uint16_t>, 3> used;
    for (std::uint32_t shard = 0; shard < 3; ++shard) {
        ipv4::identification ids(key, {key, shard, 3});
        tapir::random draws(9);
        for (int i = 0; i < 5000; ++i) used[shard].insert(ids.next(own, peer, ip::protocol::udp, draws));
    }
    for (const std::uint16_t id : used[0]) {
        CHECK(!used[1].contains(id));
        CHECK(!used[2].contains(id));
    }
    CHECK(used[0].size() > 4000);
}
