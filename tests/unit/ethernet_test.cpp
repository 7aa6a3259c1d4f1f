#include <tapir/protocols/ethernet/header.hpp>
#include <tapir/protocols/ethernet/input.hpp>
#include <tapir/protocols/ipv4/header.hpp>

#include <doctest/doctest.h>

#include "tests/hex.hpp"

using namespace tapir;
using ethernet::mac_address;
using tapir::test::hex;
using tapir::test::same;

namespace {
const mac_address own(0x02, 0, 0, 0, 0, 0x02);
const mac_address peer(0x02, 0, 0, 0, 0, 0x01);
} // namespace

TEST_CASE("a station's address is parsed and printed") {
    CHECK(ethernet::parse_mac_address("02:00:00:00:ab:CD").value() == mac_address(2, 0, 0, 0, 0xab, 0xcd));
    CHECK(mac_address(2, 0, 0, 0, 0xab, 0xcd).to_string() == "02:00:00:00:ab:cd");
    for (const char* text : {"", "02:00:00:00:00", "02:00:00:00:00:0", "02:00:00:00:00:01:",
                             "02-00-00-00-00-01", "02:00:00:00:00:0g", "2:00:00:00:00:001", "020000000001",
                             " 2:00:00:00:00:01", "02:00:00:00:00:01:02"}) {
        CAPTURE(text);
        CHECK(!ethernet::parse_mac_address(text));
    }
}

TEST_CASE("groups, broadcast and nobody are told from stations") {
    CHECK(mac_address::broadcast().is_broadcast());
    CHECK(mac_address::broadcast().is_multicast());
    CHECK(mac_address(0x01, 0, 0x5e, 0, 0, 1).is_multicast());
    CHECK(!mac_address(0x01, 0, 0x5e, 0, 0, 1).is_broadcast());
    CHECK(!mac_address().is_station());
    CHECK(mac_address().is_unspecified());
    CHECK(own.is_station());
    CHECK(own.is_locally_administered());
    CHECK(!mac_address(0x00, 0x1b, 0x21, 0, 0, 1).is_locally_administered());
}

TEST_CASE("a header is read as it was written") {
    const ethernet::header h{.destination = peer, .source = own, .type = ethernet::ether_type::arp};
    std::vector<std::byte> frame(ethernet::header::size + 3, std::byte{0xaa});
    h.emit(frame);
    CHECK(same(frame, hex("0200 0000 0001 0200 0000 0002 0806 aaaaaa")));
    const auto v = ethernet::view::parse(frame);
    REQUIRE(v);
    CHECK(ethernet::header::of(*v) == h);
    CHECK(same(v->payload(), hex("aaaaaa")));
}

TEST_CASE("thirteen bytes are no frame, and a length is no type") {
    const auto frame = hex("0200 0000 0002 0200 0000 0001 0800");
    CHECK(ethernet::view::parse(bytes(frame).first(13)).error() == ethernet::malformed::too_short);
    CHECK(ethernet::view::parse({}).error() == ethernet::malformed::too_short);
    CHECK(ethernet::view::parse(frame)->payload().empty());
    CHECK(ethernet::view::parse(hex("0180 c200 0000 0200 0000 0001 05ff")).error() ==
          ethernet::malformed::length_field);
    CHECK(ethernet::view::parse(hex("0200 0000 0002 0200 0000 0001 0600")).has_value());
}

TEST_CASE("a station takes its own frames and groups', and counts what it drops") {
    ethernet::input in(own);
    CHECK(in.accept(hex("0200 0000 0002 0200 0000 0001 0800")).has_value());
    CHECK(in.accept(hex("ffff ffff ffff 0200 0000 0001 0806")).has_value());
    CHECK(in.accept(hex("0100 5e00 0001 0200 0000 0001 0800")).has_value());
    CHECK(in.accept(hex("0200 0000 0003 0200 0000 0001 0800")).error() == ethernet::drop::not_ours);
    CHECK(in.accept(hex("0200 0000 0002 ffff ffff ffff 0800")).error() == ethernet::drop::bad_source);
    CHECK(in.accept(hex("0200 0000 0002 0000 0000 0000 0800")).error() == ethernet::drop::bad_source);
    CHECK(in.accept(hex("0200 0000 0002 0200 0000 0001 0026")).error() == ethernet::drop::length_field);
    CHECK(in.accept(hex("0200")).error() == ethernet::drop::too_short);
    CHECK(in.count().received == 8);
    CHECK(in.count().dropped[ethernet::drop::not_ours] == 1);
    CHECK(in.count().dropped[ethernet::drop::bad_source] == 2);
    CHECK(in.count().dropped[ethernet::drop::length_field] == 1);
    CHECK(in.count().dropped[ethernet::drop::too_short] == 1);
    CHECK(in.count().dropped.total() == 5);
}

TEST_CASE("the padding of a 60-byte frame is not taken for payload by IPv4") {
    std::vector<std::byte> frame(ethernet::min_frame_size, std::byte{0xff}); // padding that is not even zero
    ethernet::header{.destination = own, .source = peer, .type = ethernet::ether_type::ipv4}.emit(frame);
    ipv4::header{.protocol = ip::protocol::udp,
                 .source = ip::address::v4(192, 0, 2, 1),
                 .destination = ip::address::v4(192, 0, 2, 2),
                 .payload_size = 3}
        .emit(mutable_bytes(frame).subspan(ethernet::header::size));
    copy_bytes(mutable_bytes(frame).subspan(34), hex("010203"));
    const auto eth = ethernet::view::parse(frame);
    REQUIRE(eth);
    CHECK(eth->payload().size() == 46);
    const auto ip = ipv4::view::parse(eth->payload());
    REQUIRE(ip);
    CHECK(same(ip->payload(), hex("010203")));
}
