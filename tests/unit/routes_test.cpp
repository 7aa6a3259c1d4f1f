#include <tapir/protocols/ipv4/routes.hpp>

#include <doctest/doctest.h>

#include <ostream>

using namespace tapir;
using ipv4::hop;

namespace {

ip::address a(const char* text) {
    return ip::parse_address(text).value();
}
ip::prefix p(const char* text) {
    return ip::parse_prefix(text).value();
}

} // namespace

TEST_CASE("a neighbour is reached directly, from the address on its network") {
    ipv4::routes r;
    REQUIRE(r.add_address(p("192.0.2.2/24")));
    REQUIRE(r.add_address(p("10.0.0.1/8")));
    CHECK(r.lookup(a("192.0.2.77")) == hop{a("192.0.2.77"), a("192.0.2.2")});
    CHECK(r.lookup(a("10.200.0.9")) == hop{a("10.200.0.9"), a("10.0.0.1")});
    CHECK(!r.lookup(a("203.0.113.1")));
    CHECK(r.is_own(a("10.0.0.1")));
    CHECK(!r.is_own(a("10.0.0.2")));
}

TEST_CASE("of two own addresses on one network the first is the source") {
    ipv4::routes r;
    REQUIRE(r.add_address(p("192.0.2.2/24")));
    REQUIRE(r.add_address(p("192.0.2.3/24")));
    CHECK(r.lookup(a("192.0.2.77"))->source == a("192.0.2.2"));
    REQUIRE(r.add(p("0.0.0.0/0"), a("192.0.2.1")));
    CHECK(r.lookup(a("203.0.113.1"))->source == a("192.0.2.2"));
}

TEST_CASE("anything else goes through the default gateway, from the address on the gateway's network") {
    ipv4::routes r;
    REQUIRE(r.add_address(p("10.0.0.1/8")));
    REQUIRE(r.add_address(p("192.0.2.2/24")));
    REQUIRE(r.add(p("0.0.0.0/0"), a("192.0.2.1")));
    CHECK(r.lookup(a("203.0.113.1")) == hop{a("192.0.2.1"), a("192.0.2.2")});
    CHECK(r.lookup(a("10.1.1.1")) == hop{a("10.1.1.1"), a("10.0.0.1")});
}

TEST_CASE("the longest prefix wins, in whatever order routes come") {
    for (const bool short_first : {true, false}) {
        ipv4::routes r;
        REQUIRE(r.add_address(p("192.0.2.2/24")));
        const auto wide = [&] { REQUIRE(r.add(p("10.0.0.0/8"), a("192.0.2.8"))); };
        const auto narrow = [&] { REQUIRE(r.add(p("10.1.0.0/16"), a("192.0.2.16"))); };
        if (short_first) wide();
        narrow();
        if (!short_first) wide();
        REQUIRE(r.add(p("0.0.0.0/0"), a("192.0.2.1")));
        REQUIRE(r.add(p("10.1.2.3/32"), a("192.0.2.32")));
        CHECK(r.lookup(a("10.1.2.3"))->next_hop == a("192.0.2.32"));
        CHECK(r.lookup(a("10.1.2.4"))->next_hop == a("192.0.2.16"));
        CHECK(r.lookup(a("10.2.0.1"))->next_hop == a("192.0.2.8"));
        CHECK(r.lookup(a("11.0.0.1"))->next_hop == a("192.0.2.1"));
        for (std::size_t i = 1; i < r.all().size(); ++i)
            CHECK(r.all()[i - 1].destination.length >= r.all()[i].destination.length);
    }
}

TEST_CASE("a route to the same network replaces the old one, and can be removed") {
    ipv4::routes r;
    REQUIRE(r.add_address(p("192.0.2.2/24")));
    REQUIRE(r.add(p("0.0.0.0/0"), a("192.0.2.1")));
    REQUIRE(r.add(p("0.0.0.0/0"), a("192.0.2.9")));
    CHECK(r.all().size() == 2);
    CHECK(r.lookup(a("203.0.113.1"))->next_hop == a("192.0.2.9"));
    CHECK(r.remove(p("0.0.0.0/0")));
    CHECK(!r.remove(p("0.0.0.0/0")));
    CHECK(!r.lookup(a("203.0.113.1")));
    CHECK(!r.remove(p("192.0.2.0/24"))); // connected: it goes with the address only
}

TEST_CASE("a route written with host bits is the route of its network") {
    ipv4::routes r;
    REQUIRE(r.add_address(p("192.0.2.2/24")));
    REQUIRE(r.add(p("10.1.2.3/8"), a("192.0.2.1")));
    CHECK(r.lookup(a("10.9.9.9"))->next_hop == a("192.0.2.1"));
    CHECK(r.remove(p("10.0.0.0/8")));
}

TEST_CASE("a gateway must be a neighbour, and not ourselves") {
    ipv4::routes r;
    CHECK(r.add(p("0.0.0.0/0"), a("192.0.2.1")).error() == errc::invalid_argument);
    REQUIRE(r.add_address(p("192.0.2.2/24")));
    CHECK(r.add(p("0.0.0.0/0"), a("203.0.113.1")).error() == errc::invalid_argument);
    CHECK(r.add(p("0.0.0.0/0"), a("192.0.2.2")).error() == errc::invalid_argument);
    CHECK(r.add(p("0.0.0.0/0"), a("192.0.2.255")).error() == errc::invalid_argument);
    CHECK(r.all().size() == 1);
}

TEST_CASE("an address that no host can have is refused, and so is one taken twice") {
    ipv4::routes r;
    for (const char* text : {"0.0.0.0/0", "0.1.2.3/8", "127.0.0.1/8", "224.0.0.1/24", "255.255.255.255/32",
                             "240.0.0.1/8", "192.0.2.255/24", "192.0.2.0/24"}) {
        CAPTURE(text);
        CHECK(r.add_address(p(text)).error() == errc::invalid_argument);
    }
    CHECK(r.addresses().empty());
    REQUIRE(r.add_address(p("192.0.2.2/24")));
    CHECK(r.add_address(p("192.0.2.2/16")).error() == errc::address_in_use);
    CHECK(r.addresses().size() == 1);
}

TEST_CASE("both addresses of a /31 are hosts, and a /32 has no neighbours") { // [RFC 3021 2.1]
    ipv4::routes r;
    REQUIRE(r.add_address(p("192.0.2.0/31")));
    CHECK(!r.is_broadcast(a("192.0.2.1")));
    CHECK(r.lookup(a("192.0.2.1")) == hop{a("192.0.2.1"), a("192.0.2.0")});
    REQUIRE(r.add_address(p("198.51.100.7/32")));
    CHECK(!r.is_broadcast(a("198.51.100.7")));
    CHECK(!r.lookup(a("198.51.100.8")));
}

TEST_CASE("broadcasts and groups stay on the link; impossible destinations have no route") {
    ipv4::routes r;
    CHECK(!r.lookup(a("255.255.255.255")));
    REQUIRE(r.add_address(p("192.0.2.2/24")));
    REQUIRE(r.add(p("0.0.0.0/0"), a("192.0.2.1")));
    CHECK(r.lookup(a("255.255.255.255")) == hop{a("255.255.255.255"), a("192.0.2.2")});
    CHECK(r.lookup(a("224.0.0.251")) == hop{a("224.0.0.251"), a("192.0.2.2")});
    CHECK(r.lookup(a("192.0.2.255")) == hop{a("192.0.2.255"), a("192.0.2.2")});
    CHECK(r.is_broadcast(a("192.0.2.255")));
    CHECK(r.is_broadcast(a("255.255.255.255")));
    CHECK(!r.is_broadcast(a("192.0.2.254")));
    for (const char* text : {"0.0.0.0", "0.1.2.3", "127.0.0.1", "240.0.0.1"}) {
        CAPTURE(text);
        CHECK(!r.lookup(a(text)));
    }
    CHECK(!r.lookup(ip::address(std::array<std::uint8_t, 16>{0x20, 0x01})));
}

TEST_CASE("a packet for another network leaves by the right route: link, gateway and source") {
    ipv4::routes r;
    REQUIRE(r.add_address(p("192.0.2.2/24"), 0));
    REQUIRE(r.add_address(p("10.0.0.1/8"), 1));
    REQUIRE(r.add(p("0.0.0.0/0"), a("192.0.2.1")));
    REQUIRE(r.add(p("198.51.100.0/24"), a("10.9.9.9")));
    CHECK(r.lookup(a("198.51.100.7")) == hop{a("10.9.9.9"), a("10.0.0.1"), 1});
    CHECK(r.lookup(a("198.51.101.7")) == hop{a("192.0.2.1"), a("192.0.2.2"), 0});
    CHECK(r.lookup(a("10.0.0.5")) == hop{a("10.0.0.5"), a("10.0.0.1"), 1});
    CHECK(r.link_of(a("10.0.0.1")) == 1u);
    CHECK(!r.link_of(a("10.0.0.2")));
}

TEST_CASE("of two default routes the first is taken, but an answer leaves by the link that was asked") {
    ipv4::routes r;
    REQUIRE(r.add_address(p("192.0.2.2/24"), 0));
    REQUIRE(r.add_address(p("198.51.100.2/24"), 1));
    REQUIRE(r.add(p("0.0.0.0/0"), a("192.0.2.1")));
    REQUIRE(r.add(p("0.0.0.0/0"), a("198.51.100.1")));
    CHECK(r.lookup(a("203.0.113.5")) == hop{a("192.0.2.1"), a("192.0.2.2"), 0});
    CHECK(r.lookup(a("203.0.113.5"), a("192.0.2.2")) == hop{a("192.0.2.1"), a("192.0.2.2"), 0});
    CHECK(r.lookup(a("203.0.113.5"), a("198.51.100.2")) == hop{a("198.51.100.1"), a("198.51.100.2"), 1});
    // A longer prefix counts for more than the address.
    REQUIRE(r.add(p("203.0.113.0/24"), a("192.0.2.7")));
    CHECK(r.lookup(a("203.0.113.5"), a("198.51.100.2"))->next_hop == a("192.0.2.7"));
    CHECK(r.lookup(a("255.255.255.255"), a("198.51.100.2")) ==
          hop{a("255.255.255.255"), a("198.51.100.2"), 1});
    CHECK(r.remove(p("0.0.0.0/0")));
    CHECK(!r.lookup(a("8.8.8.8")));
}

TEST_CASE("behind a /32 stands whoever a route puts on the link, a gateway too") {
    ipv4::routes r;
    REQUIRE(r.add_address(p("203.0.113.7/32"), 3));
    CHECK(!r.lookup(a("192.0.2.1")));
    CHECK(r.add_on_link(p("192.0.2.1/32"), 2).error() == errc::invalid_argument); // no address there
    REQUIRE(r.add_on_link(p("192.0.2.1/32"), 3));
    REQUIRE(r.add(p("0.0.0.0/0"), a("192.0.2.1")));
    CHECK(r.lookup(a("198.51.100.1")) == hop{a("192.0.2.1"), a("203.0.113.7"), 3});
    CHECK(!r.remove(p("203.0.113.7/32")));
    CHECK(r.remove(p("192.0.2.1/32")));
}

TEST_CASE("an address that goes takes its routes along, unless a sister address inherits them") {
    ipv4::routes r;
    REQUIRE(r.add_address(p("192.0.2.2/24"), 0));
    REQUIRE(r.add_address(p("192.0.2.3/24"), 0));
    REQUIRE(r.add_address(p("10.0.0.1/8"), 1));
    REQUIRE(r.add(p("0.0.0.0/0"), a("192.0.2.1")));
    CHECK(r.remove_address(a("192.0.2.9")).error() == errc::address_unavailable);
    REQUIRE(r.remove_address(a("192.0.2.2")));
    CHECK(r.lookup(a("203.0.113.1")) == hop{a("192.0.2.1"), a("192.0.2.3"), 0});
    CHECK(r.lookup(a("192.0.2.50")) == hop{a("192.0.2.50"), a("192.0.2.3"), 0});
    REQUIRE(r.remove_address(a("192.0.2.3")));
    CHECK(!r.lookup(a("203.0.113.1")));
    CHECK(!r.lookup(a("192.0.2.50")));
    CHECK(r.lookup(a("10.0.0.9"))->link == 1);
}

TEST_CASE("a broadcast address is one on its own link only") {
    ipv4::routes r;
    REQUIRE(r.add_address(p("192.0.2.2/24"), 0));
    REQUIRE(r.add_address(p("10.0.0.1/8"), 1));
    CHECK(r.is_broadcast(a("192.0.2.255"), 0));
    CHECK(!r.is_broadcast(a("192.0.2.255"), 1));
    CHECK(r.is_broadcast(a("10.255.255.255"), 1));
    CHECK(r.is_broadcast(a("255.255.255.255"), 1));
}

TEST_CASE("the same question has another answer after every change") {
    ipv4::routes r;
    const auto way = [&r] { return r.lookup(a("203.0.113.1")); };
    CHECK(!way());
    REQUIRE(r.add_address(p("192.0.2.2/24")));
    CHECK(!way());
    REQUIRE(r.add(p("0.0.0.0/0"), a("192.0.2.1")));
    CHECK(way() == hop{a("192.0.2.1"), a("192.0.2.2")});
    REQUIRE(r.add(p("0.0.0.0/0"), a("192.0.2.9")));
    CHECK(way() == hop{a("192.0.2.9"), a("192.0.2.2")});
    REQUIRE(r.add_on_link(p("203.0.113.0/24"), 0));
    CHECK(way() == hop{a("203.0.113.1"), a("192.0.2.2")});
    REQUIRE(r.remove(p("203.0.113.0/24")));
    CHECK(way() == hop{a("192.0.2.9"), a("192.0.2.2")});
    REQUIRE(r.add_address(p("203.0.113.2/24"), 1));
    CHECK(way() == hop{a("203.0.113.1"), a("203.0.113.2"), 1});
    CHECK(r.lookup(a("203.0.113.1"), a("192.0.2.2")) == hop{a("203.0.113.1"), a("203.0.113.2"), 1});
    REQUIRE(r.remove_address(a("203.0.113.2")));
    REQUIRE(r.remove_address(a("192.0.2.2")));
    CHECK(!way());
}
