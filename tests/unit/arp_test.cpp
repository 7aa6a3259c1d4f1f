#include <tapir/protocols/arp/packet.hpp>

#include <doctest/doctest.h>

#include "tests/hex.hpp"

using namespace tapir;
using ethernet::mac_address;
using tapir::test::hex;
using tapir::test::same;

namespace {
const mac_address own(0x02, 0, 0, 0, 0, 0x02);
const mac_address peer(0x02, 0, 0, 0, 0, 0x01);
const ip::address own_ip = ip::address::v4(192, 0, 2, 2);
const ip::address peer_ip = ip::address::v4(192, 0, 2, 1);

const char* const request_bytes = "0001 0800 06 04 0001 020000000001 c0000201 000000000000 c0000202";
} // namespace

TEST_CASE("a request is written as RFC 826 draws it, and read back") {
    std::vector<std::byte> out(arp::packet::size);
    const auto p = arp::packet::request(peer, peer_ip, own_ip);
    p.emit(out);
    CHECK(same(out, hex(request_bytes)));
    const auto v = arp::view::parse(out);
    REQUIRE(v);
    CHECK(arp::packet::of(*v) == p);
}

TEST_CASE("a reply turns the question round") {
    const auto asked = arp::packet::request(peer, peer_ip, own_ip);
    CHECK(arp::packet::reply_to(asked, own) == arp::packet{.op = arp::operation::reply,
                                                           .sender_mac = own,
                                                           .sender_ip = own_ip,
                                                           .target_mac = peer,
                                                           .target_ip = peer_ip});
}

TEST_CASE("an announcement names the same address as sender and target") { // [RFC 5227 2.3]
    const auto p = arp::packet::announcement(own, own_ip);
    CHECK(p.op == arp::operation::request);
    CHECK(p.sender_ip == own_ip);
    CHECK(p.target_ip == own_ip);
    CHECK(p.target_mac.is_unspecified());
}

TEST_CASE("a packet in a padded frame is read without its padding") {
    auto padded = hex(request_bytes);
    padded.resize(46, std::byte{0xee});
    REQUIRE(arp::view::parse(padded));
    CHECK(arp::view::parse(padded)->target_ip() == own_ip);
}

TEST_CASE("a malformed packet is refused for its reason") {
    const auto good = hex(request_bytes);
    const auto with = [&](std::size_t at, std::uint8_t value) {
        auto b = good;
        store_u8(b, at, value);
        return b;
    };
    CHECK(arp::view::parse(bytes(good).first(27)).error() == arp::malformed::too_short);
    CHECK(arp::view::parse({}).error() == arp::malformed::too_short);
    CHECK(arp::view::parse(with(1, 6)).error() == arp::malformed::bad_hardware);
    CHECK(arp::view::parse(with(4, 8)).error() == arp::malformed::bad_hardware);
    CHECK(arp::view::parse(with(2, 0x86)).error() == arp::malformed::bad_protocol);
    CHECK(arp::view::parse(with(5, 16)).error() == arp::malformed::bad_protocol);
    CHECK(arp::view::parse(with(7, 0)).error() == arp::malformed::bad_operation);
    CHECK(arp::view::parse(with(7, 3)).error() == arp::malformed::bad_operation);
    CHECK(arp::view::parse(with(6, 1)).error() == arp::malformed::bad_operation);
}
