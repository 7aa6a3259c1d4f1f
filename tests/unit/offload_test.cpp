// Large segments and partial checksums: the virtio-net header, cutting, and who does what is left to be done.
#include <tapir/framework/random.hpp>
#include <tapir/framework/sim_backend.hpp>
#include <tapir/protocols/ethernet/header.hpp>
#include <tapir/protocols/host/host.hpp>
#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/ipv4/header.hpp>
#include <tapir/protocols/link/capture.hpp>
#include <tapir/protocols/link/impair.hpp>
#include <tapir/protocols/link/offload.hpp>
#include <tapir/protocols/link/segmenter.hpp>
#include <tapir/protocols/link/vnet_header.hpp>
#include <tapir/protocols/link/wire.hpp>
#include <tapir/protocols/tcp/header.hpp>

#include <doctest/doctest.h>

#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "tests/hex.hpp"
#include "tests/support/link_end.hpp"
#include "tests/support/station.hpp"

using namespace tapir;
using test::pass_time;
using test::recording_receiver;

namespace {

const ip::address source = ip::address::v4(192, 0, 2, 1);
const ip::address destination = ip::address::v4(192, 0, 2, 2);
constexpr std::size_t headers = 14 + 20 + 20;

std::uint16_t pseudo_sum() {
    return ip::pseudo_header_sum(source, destination, ip::protocol::tcp);
}

std::vector<std::byte> pattern(std::size_t n) {
    std::vector<std::byte> all(n);
    for (std::size_t i = 0; i < n; ++i) all[i] = static_cast<std::byte>(i * 7 + i / 251);
    return all;
}

/// A segment as a host hands it to a link that cuts.
frame large_frame(buffer_pool& pool, std::size_t size, std::uint16_t gso_size,
                  tcp::flags f = tcp::flags::ack) {
    const auto payload = pattern(size);
    frame out(pool.allocate(frame::default_headroom + size), frame::default_headroom);
    copy_bytes(out.push_back(size), payload);
    tcp::header t;
    t.source_port = 80;
    t.destination_port = 4000;
    t.seq = tcp::seq(0xffff'f000);
    t.ack = tcp::seq(77);
    t.flags = f;
    t.window = 500;
    const std::array<bytes, 1> parts{payload};
    tcp::emit(out.push_front(t.size()), t, pseudo_sum(), parts, tcp::checksum_mode::partial);
    ipv4::header i;
    i.protocol = ip::protocol::tcp;
    i.source = source;
    i.destination = destination;
    i.identification = 0xffff;
    i.payload_size = out.size();
    i.emit(out.push_front(ipv4::header::size));
    ethernet::header e;
    e.destination = ethernet::mac_address(2, 0, 0, 0, 0, 2);
    e.source = ethernet::mac_address(2, 0, 0, 0, 0, 1);
    e.type = ethernet::ether_type::ipv4;
    e.emit(out.push_front(ethernet::header::size));
    out.meta.csum = checksum_state::partial;
    out.meta.csum_start = 34;
    out.meta.csum_offset = 16;
    if (size > gso_size) {
        out.meta.gso_type = segmentation::tcp4;
        out.meta.gso_size = gso_size;
        out.meta.hdr_len = headers;
    }
    return out;
}

bool intact(const frame& f) {
    const auto v = ipv4::view::parse(f.data().subspan(14));
    return v && finished(f.meta) && f.size() == 14 + v->datagram().size() &&
           tcp::checksum_ok(v->payload(), pseudo_sum());
}

std::vector<frame> cut(const frame& whole, buffer_pool& pool) {
    std::vector<frame> pieces;
    segment_cutter cutter(whole, pool);
    while (auto piece = cutter.next()) pieces.push_back(std::move(*piece));
    return pieces;
}

tcp::header tcp_of(const frame& f) {
    return tcp::parse(f.data().subspan(34)).value().header;
}

/// Header and frame, as they are read.
std::vector<std::byte> read_from_tap(const char* header, const frame& f) {
    auto all = test::hex(header);
    const bytes content = f.data();
    all.insert(all.end(), content.begin(), content.end());
    return all;
}

} // namespace

TEST_CASE("a large segment is cut in pieces that are whole packets each") {
    buffer_pool pool;
    using tcp::flags;
    const frame whole =
        large_frame(pool, 2 * 1000 + 1, 1000, flags::ack | flags::psh | flags::fin | flags::cwr | flags::ece);
    CHECK(segments_in(whole) == 3);
    CHECK(largest_packet(whole) == 1040);
    const auto pieces = cut(whole, pool);
    REQUIRE(pieces.size() == 3);
    std::vector<std::byte> together;
    for (std::size_t i = 0; i < pieces.size(); ++i) {
        CAPTURE(i);
        CHECK(intact(pieces[i]));
        const auto v = ipv4::view::parse(pieces[i].data().subspan(14)).value();
        CHECK(ipv4::header::of(v).identification == static_cast<std::uint16_t>(0xffff + i));
        CHECK(v.dont_fragment());
        const tcp::header t = tcp_of(pieces[i]);
        CHECK(t.seq == tcp::seq(0xffff'f000) + static_cast<std::uint32_t>(1000 * i));
        CHECK(t.ack == tcp::seq(77));
        CHECK(has(t.flags, flags::psh) == (i == 2));
        CHECK(has(t.flags, flags::fin) == (i == 2));
        CHECK(has(t.flags, flags::cwr) == (i == 0));
        CHECK(has(t.flags, flags::ece));
        const bytes text = pieces[i].data().subspan(headers);
        CHECK(text.size() == (i == 2 ? 1 : 1000));
        together.insert(together.end(), text.begin(), text.end());
    }
    CHECK(together == pattern(2001));
}

TEST_CASE("pieces of every size are intact, and what is an exact multiple has no empty one") {
    buffer_pool pool;
    for (std::size_t size = 990; size <= 1030; ++size) {
        const frame whole = large_frame(pool, size, 101);
        const auto pieces = cut(whole, pool);
        CHECK(pieces.size() == (size + 100) / 101);
        for (const frame& f : pieces) CHECK(intact(f));
    }
}

TEST_CASE("a large segment whose text was shared, not copied, is finished like one in one piece") {
    buffer_pool pool;
    const frame whole = large_frame(pool, 20'000, 1448);
    frame shared(pool.allocate(frame::default_headroom), frame::default_headroom - headers);
    copy_bytes(shared.push_back(headers), whole.data().first(headers));
    shared.share_back(whole.share(headers, 12'345));
    shared.share_back(whole.share(headers + 12'345, 20'000 - 12'345));
    shared.meta = whole.meta;
    REQUIRE(shared.size() == whole.size());

    const std::vector<frame> expected = cut(whole, pool);
    std::size_t n = 0;
    finish(std::move(shared), pool, [&](frame&& piece) {
        REQUIRE(n < expected.size());
        CHECK(std::ranges::equal(piece.data(), expected[n].data()));
        CHECK(intact(piece));
        ++n;
    });
    CHECK(n == 14);
}

TEST_CASE("an urgent pointer goes on pointing at the same byte") {
    buffer_pool pool;
    frame whole = large_frame(pool, 3000, 1000, tcp::flags::ack | tcp::flags::urg);
    store_be16(whole.mutable_data(), 34 + 18, 1500);
    const auto pieces = cut(whole, pool);
    REQUIRE(pieces.size() == 3);
    CHECK(load_be16(pieces[0].data(), 34 + 18) == 1500);
    CHECK(load_be16(pieces[1].data(), 34 + 18) == 500);
    CHECK(load_be16(pieces[2].data(), 34 + 18) == 0);
    CHECK(has(tcp_of(pieces[1]).flags, tcp::flags::urg));
    CHECK(!has(tcp_of(pieces[2]).flags, tcp::flags::urg));
    for (const frame& f : pieces) CHECK(intact(f));
}

TEST_CASE("what is no TCP segment over IPv4 is not cut") {
    buffer_pool pool;
    const auto spoilt = [&](std::size_t at, std::uint8_t value) {
        frame f = large_frame(pool, 3000, 1000);
        store_u8(f.mutable_data(), at, value);
        return cut(f, pool).size();
    };
    CHECK(spoilt(14, 0x45) == 3);
    CHECK(spoilt(13, 0x06) == 0);      // ARP
    CHECK(spoilt(14, 0x65) == 0);      // version 6
    CHECK(spoilt(14, 0x44) == 0);      // a header of 16 bytes
    CHECK(spoilt(16, 0xff) == 0);      // longer than the frame
    CHECK(spoilt(20, 0x20) == 0);      // a fragment
    CHECK(spoilt(23, 17) == 0);        // UDP
    CHECK(spoilt(34 + 12, 0x40) == 0); // a header of 16 bytes
    frame tiny = large_frame(pool, 3000, 1000);
    tiny.meta.gso_size = min_gso_size - 1;
    CHECK(cut(tiny, pool).empty());
}

TEST_CASE("virtio-net header: what is written is read again") {
    buffer_pool pool;
    for (const std::size_t size : {std::size_t{100}, std::size_t{3000}}) {
        frame f = large_frame(pool, size, 1000);
        const offload before = f.meta;
        vnet_header::emit(f.push_front(vnet_header::size), f.meta);
        CHECK(load_u8(f.data(), 0) == 1);
        CHECK(load_u8(f.data(), 1) == (size > 1000 ? 1 : 0));
        CHECK(load_u8(f.data(), 6) == 34);
        const auto after = vnet_header::parse(f.data());
        REQUIRE(after.has_value());
        CHECK(after->csum == before.csum);
        CHECK(after->gso_type == before.gso_type);
        CHECK(after->csum_start == before.csum_start);
        CHECK(after->csum_offset == before.csum_offset);
        CHECK(after->gso_size == before.gso_size);
        CHECK(after->hdr_len == before.hdr_len);
    }
    std::array<std::byte, vnet_header::size> plain{};
    vnet_header::emit(plain, offload());
    CHECK(test::same(plain, test::hex("00 00 0000 0000 0000 0000")));
}

TEST_CASE("virtio-net header: hints are not believed, and what cannot be is refused") {
    buffer_pool pool;
    const frame f = large_frame(pool, 3000, 1000);
    const auto says = [&](const char* header) { return vnet_header::parse(read_from_tap(header, f)); };
    CHECK(says("00 00 0000 0000 0000 0000")->csum == checksum_state::none);
    CHECK(says("02 00 0000 0000 0000 0000")->csum == checksum_state::valid);
    CHECK(says("01 00 0000 0000 2200 1000")->csum == checksum_state::partial);
    CHECK(says("01 01 ffff e803 2200 1000")->hdr_len == headers);
    CHECK(says("01 81 0000 e803 2200 1000")->gso_size == 1000); // with ECN
    CHECK(says("02 01 0000 e803 0000 0000")->gso_type == segmentation::tcp4);
    CHECK(says("01 01 0000 b80b 2200 1000")->gso_type == segmentation::none); // one piece of 3000
    CHECK(!says("01 00 0000 0000 2100 1000"));                                // inside the IP header
    CHECK(!says("01 00 0000 0000 ffff ffff"));                                // outside of the frame
    CHECK(!says("01 00 0000 0000 ed0b 0000"));                                // its last byte
    CHECK(says("01 00 0000 0000 ec0b 0000").has_value());
    CHECK(!says("00 01 0000 e803 0000 0000")); // nobody has a checksum for the pieces
    CHECK(!says("01 01 0000 e803 2300 0f00")); // another checksum than TCP's
    CHECK(!says("01 01 0000 0000 2200 1000")); // no size
    CHECK(!says("01 01 0000 0700 2200 1000")); // absurdly small
    CHECK(!says("01 03 0000 e803 2200 1000")); // UDP
    CHECK(!says("01 04 0000 e803 2200 1000")); // IPv6
    CHECK(!vnet_header::parse(test::hex("01 00 0000 0000 2200 10")));
    CHECK(vnet_header::parse(test::hex("00 00 0000 0000 0000 0000")).has_value());
}

TEST_CASE("a segmenter sends what frames are on a cable, and passes on what it has nothing to do with") {
    reactor r(make_sim_backend());
    wire w(r);
    recording_receiver far;
    w.right().attach(&far);
    segmenter above(w.left());
    CHECK(above.capabilities().segmentation);
    CHECK(above.capabilities().checksum);
    CHECK(!w.left().capabilities().segmentation);
    buffer_pool pool;
    above.send(large_frame(pool, 3001, 1000));
    above.send(large_frame(pool, 300, 1000));
    above.send(test::numbered_frame(pool, 5));
    r.run(pass_time(1us));
    REQUIRE(far.frames.size() == 6);
    for (std::size_t i = 0; i < 5; ++i) CHECK(intact(far.frames[i]));
    CHECK(above.count().cut == 1);
    CHECK(above.count().pieces == 4);
    CHECK(above.count().completed == 1);
}

TEST_CASE("a frame that others look at is completed in a copy") {
    buffer_pool pool;
    frame shared = large_frame(pool, 300, 1000);
    const auto before = test::to_vector(shared.data());
    std::vector<frame> out;
    frame same = shared;
    finish(std::move(same), pool, [&](frame&& f) { out.push_back(std::move(f)); });
    REQUIRE(out.size() == 1);
    CHECK(intact(out[0]));
    CHECK(test::same(shared.data(), before));
}

TEST_CASE("a wire that carries large segments carries them whole, and keeps to its MTU all the same") {
    reactor r(make_sim_backend());
    wire_config c;
    c.segmentation = true;
    wire w(r, c);
    recording_receiver far;
    w.right().attach(&far);
    buffer_pool pool;
    w.left().send(large_frame(pool, 30'000, 1460));
    w.left().send(large_frame(pool, 30'000, 1461));
    r.run(pass_time(1us));
    REQUIRE(far.frames.size() == 1);
    CHECK(far.frames[0].size() == headers + 30'000);
    CHECK(far.frames[0].meta.gso_size == 1460);
    CHECK(w.left().counters().large_out == 1);
    CHECK(w.left().counters().segments_out == 21);
    CHECK(w.right().counters().segments_in == 21);
    CHECK(w.left().counters().dropped_too_big == 1);
}

TEST_CASE("impairments meet packets, whichever way a large segment comes") {
    for (const direction way : {direction::out, direction::in}) {
        reactor r(make_sim_backend());
        wire_config c;
        c.segmentation = true;
        wire w(r, c);
        impair path(r, w.left(), impair_config());
        recording_receiver near;
        recording_receiver far;
        path.attach(&near);
        w.right().attach(&far);
        path.inject(fault(1, way, fault_kind::loss));
        buffer_pool pool;
        tapir::link& from = way == direction::out ? static_cast<tapir::link&>(path) : w.right();
        from.send(large_frame(pool, 4000, 1000));
        r.run(pass_time(1us));
        const auto& got = way == direction::out ? far.frames : near.frames;
        REQUIRE(got.size() == 3);
        CHECK(path.faults().frames == 4);
        for (const frame& f : got) CHECK(intact(f));
        CHECK(tcp_of(got[1]).seq - tcp_of(got[0]).seq == 2000);
    }
}

TEST_CASE("a capture shows a large segment as it is, with a checksum that is right") {
    reactor r(make_sim_backend());
    wire_config c;
    c.segmentation = true;
    wire w(r, c);
    recording_receiver far;
    w.right().attach(&far);
    capture seen(r, w.left());
    buffer_pool pool;
    const frame sent = large_frame(pool, 60'000, 1460);
    frame same = sent;
    seen.send(std::move(same));
    const auto pcap = seen.pcap();
    const bytes packet = bytes(pcap).subspan(24 + 16 + 34);
    REQUIRE(packet.size() == 20 + 60'000);
    CHECK(tcp::checksum_ok(packet, pseudo_sum()));
}

TEST_CASE("a large segment waits for an address as packets, which is what the queues count") {
    reactor r(make_sim_backend());
    wire_config c;
    c.latency = 1ms;
    c.segmentation = true;
    wire w(r, c);
    host_config how;
    how.forwarding = true;
    host router(r, how);
    const ethernet::mac_address routers(2, 0, 0, 0, 0, 2); // as large_frame() has it
    REQUIRE(
        router.add_interface(w.left(), routers, ip::prefix(ip::address::v4(192, 0, 2, 7), 24)).has_value());
    test::station there(w.right(), ethernet::mac_address(2, 0, 0, 0, 0, 1), destination);
    buffer_pool pool;
    w.right().send(large_frame(pool, 30'000, 1460));
    r.run(pass_time(10ms));
    CHECK(there.received.size() == 21);
    std::size_t text = 0;
    for (const test::packet& one : there.received) {
        const auto v = ipv4::view::parse(one);
        REQUIRE(v.has_value());
        CHECK(tcp::checksum_ok(v->payload(), pseudo_sum()));
        text += v->payload().size() - 20;
    }
    CHECK(text == 30'000);
    w.right().send(large_frame(pool, 30'000, 1460)); // now it need not wait
    r.run(pass_time(10ms));
    CHECK(there.received.size() == 22);
}
