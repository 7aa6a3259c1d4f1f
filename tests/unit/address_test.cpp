#include <tapir/protocols/ip/address.hpp>

#include <doctest/doctest.h>

#include <array>
#include <ostream>
#include <string_view>

using namespace tapir;

namespace {
const ip::address a = ip::address::v4(192, 0, 2, 1);
}

TEST_CASE("an IPv4 address is parsed and printed") {
    CHECK(ip::parse_address("192.0.2.1").value() == a);
    CHECK(ip::parse_address("0.0.0.0").value() == ip::address());
    CHECK(ip::parse_address("255.255.255.255").value().is_broadcast());
    CHECK(a.to_string() == "192.0.2.1");
    CHECK(ip::address::v4(255, 10, 0, 100).to_string() == "255.10.0.100");
    CHECK(a.v4_value() == 0xc0000201);
}

TEST_CASE("an address that anybody could read differently is refused") {
    for (const char* text :
         {"",           "192",        "192.0.2",     "192.0.2.",     "192.0.2.1.",          "192.0.2.1.5",
          ".192.0.2.1", "192..2.1",   "192.0.2.256", "192.0.2.1000", "192.0.2.99999999999", "192.0.2.01",
          "192.0.2.00", "010.0.0.1",  "0x7f.0.0.1",  " 192.0.2.1",   "192.0.2.1 ",          "192.0.2.-1",
          "192.0.2.+1", "192.0.2.1a", "192.0.2.a",   "192,0,2,1",    "localhost",           "::1"}) {
        CAPTURE(text);
        const auto parsed = ip::parse_address(text);
        REQUIRE(!parsed);
        CHECK(parsed.error() == errc::invalid_argument);
    }
    CHECK(!ip::parse_address(std::string_view("192.0.2.1\0", 10)));
}

TEST_CASE("an endpoint needs its port, in decimal and in range") {
    CHECK(ip::parse_endpoint("192.0.2.1:80").value() == ip::endpoint(a, 80));
    CHECK(ip::parse_endpoint("192.0.2.1:0").value().port == 0);
    CHECK(ip::parse_endpoint("192.0.2.1:65535").value().port == 65535);
    CHECK(ip::endpoint(a, 80).to_string() == "192.0.2.1:80");
    for (const char* text :
         {"", "192.0.2.1", "192.0.2.1:", ":80", "192.0.2.1:65536", "192.0.2.1:080", "192.0.2.1:8o",
          "192.0.2.1:80 ", "192.0.2.1: 80", "192.0.2.1:-1", "192.0.2.1:80:80", "192.0.2:80"}) {
        CAPTURE(text);
        CHECK(!ip::parse_endpoint(text));
    }
}

TEST_CASE("a prefix keeps the host's part and knows its network and its broadcast address") {
    const auto p = ip::parse_prefix("192.0.2.2/24").value();
    CHECK(p.addr == ip::address::v4(192, 0, 2, 2));
    CHECK(p.length == 24);
    CHECK(p.to_string() == "192.0.2.2/24");
    CHECK(p.contains(ip::address::v4(192, 0, 2, 255)));
    CHECK(!p.contains(ip::address::v4(192, 0, 3, 1)));
    CHECK(p.broadcast() == ip::address::v4(192, 0, 2, 255));
    CHECK(ip::parse_prefix("10.0.0.1/31").value().broadcast() == ip::address::v4(10, 0, 0, 1));
    CHECK(ip::parse_prefix("10.0.0.1/32").value().contains(ip::address::v4(10, 0, 0, 1)));
    CHECK(!ip::parse_prefix("10.0.0.1/32").value().contains(ip::address::v4(10, 0, 0, 0)));
    CHECK(ip::parse_prefix("0.0.0.0/0").value().contains(a));
    for (const char* text :
         {"", "192.0.2.2", "192.0.2.2/", "192.0.2.2/33", "192.0.2.2/024", "192.0.2.2/24 ", "/24",
          "192.0.2/24", "192.0.2.2/-1", "192.0.2.2/24/24", "192.0.2.2/255.255.255.0"}) {
        CAPTURE(text);
        CHECK(!ip::parse_prefix(text));
    }
}

// [RFC 5952 4]
TEST_CASE("sixteen bytes that are no IPv4 address print as IPv6") {
    using octets = std::array<std::uint8_t, 16>;
    CHECK(ip::address(octets{}).to_string() == "::");
    CHECK(ip::address(octets{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}).to_string() == "::1");
    CHECK(ip::address(octets{0x20, 1, 0xd, 0xb8}).to_string() == "2001:db8::");
    CHECK(ip::address(octets{0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1}).to_string() ==
          "2001:db8:0:1:1:1:1:1"); // a single zero group is not shortened
    CHECK(ip::address(octets{0x20, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1}).to_string() ==
          "2001:0:0:1::1");
    CHECK(ip::address(octets{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1}).to_string() ==
          "2001:db8::1:0:0:1"); // of two equal runs the first
    CHECK(ip::endpoint(ip::address(octets{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}), 80).to_string() ==
          "[::1]:80");
    CHECK(!ip::address(octets{}).is_v4());
}
