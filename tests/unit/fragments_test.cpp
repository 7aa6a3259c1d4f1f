// Cutting datagrams: RFC 791's fragmentation, and the numbers by which the pieces find each other.
#include <tapir/protocols/ipv4/fragments.hpp>
#include <tapir/protocols/ipv4/identification.hpp>
#include <tapir/protocols/ipv4/options.hpp>

#include <doctest/doctest.h>

#include <set>
#include <string>
#include <vector>

#include "tests/hex.hpp"

using namespace tapir;
using tapir::test::hex;
using tapir::test::same;

namespace {

const ip::address here = ip::address::v4(192, 0, 2, 2);
const ip::address there = ip::address::v4(203, 0, 113, 9);

std::vector<std::byte> numbered(std::size_t size) {
    std::vector<std::byte> b(size);
    for (std::size_t i = 0; i < size; ++i) b[i] = static_cast<std::byte>(i * 7 + i / 256);
    return b;
}

ipv4::header cuttable() {
    return {.identification = 77,
            .dont_fragment = false,
            .ttl = 9,
            .protocol = ip::protocol::udp,
            .source = here,
            .destination = there};
}

/// "0+1480 more, 1480+20": offset, payload bytes, and whether more follow.
std::string shape(ipv4::fragmenter parts) {
    std::string text;
    while (const auto p = parts.next()) {
        if (!text.empty()) text += ", ";
        text += std::to_string(p->head.fragment_offset) + '+' + std::to_string(p->payload.size());
        if (!p->options.empty()) text += " options " + std::to_string(p->options.size());
        if (p->head.more_fragments) text += " more";
    }
    return text;
}

} // namespace

TEST_CASE("a datagram over the MTU is cut where eight bytes allow it, and every piece is valid by itself") {
    const auto payload = numbered(4000);
    CHECK(shape({cuttable(), {}, payload, 1500}) == "0+1480 more, 1480+1480 more, 2960+1040");
    CHECK(shape({cuttable(), {}, payload, 1499}) == "0+1472 more, 1472+1472 more, 2944+1056");
    CHECK(shape({cuttable(), {}, payload, 4020}) == "0+4000");
    CHECK(shape({cuttable(), {}, payload, 4019}) == "0+3992 more, 3992+8");
    CHECK(shape({cuttable(), {}, numbered(100), ipv4::min_mtu}) == "0+48 more, 48+48 more, 96+4");

    std::vector<std::byte> again;
    ipv4::fragmenter parts(cuttable(), {}, payload, 1500);
    while (const auto p = parts.next()) {
        std::vector<std::byte> b(p->size());
        p->emit(b);
        const auto v = ipv4::view::parse(b);
        REQUIRE(v);
        CHECK(v->datagram().size() <= 1500);
        CHECK(v->identification() == 77);
        CHECK(v->ttl() == 9);
        CHECK(v->fragment_offset() == again.size());
        again.insert(again.end(), v->payload().begin(), v->payload().end());
    }
    CHECK(same(again, payload));
}

TEST_CASE("a fragment that is cut again keeps its place and, unless it was the last, its \"more\"") {
    auto middle = cuttable();
    middle.fragment_offset = 1480;
    middle.more_fragments = true;
    CHECK(shape({middle, {}, numbered(1480), 1000}) == "1480+976 more, 2456+504 more");
    middle.more_fragments = false;
    CHECK(shape({middle, {}, numbered(1480), 1000}) == "1480+976 more, 2456+504");
}

TEST_CASE("options marked as copied go into every piece, the others into the first only") { // [RFC 791 3.1]
    // record route (7, not copied), router alert (148, copied), a no-operation
    const auto options = hex("07070400000000 01 9404 0000");
    CHECK(shape({cuttable(), options, numbered(3000), 1500}) ==
          "0+1464 options 12 more, 1464+1472 options 4 more, 2936+64 options 4");
    CHECK(shape({cuttable(), hex("07070400 00000000"), numbered(2000), 1500}) ==
          "0+1472 options 8 more, 1472+528");
    std::vector<std::byte> copied(ipv4::max_options);
    CHECK(ipv4::copied_options(options, copied) == 4);
    CHECK(same(bytes(copied).first(4), hex("94040000")));
    // An odd copied option is filled up to whole words; behind the end of options nothing counts.
    CHECK(ipv4::copied_options(hex("8603ab 00"), copied) == 4);
    CHECK(same(bytes(copied).first(4), hex("8603ab00")));
    CHECK(ipv4::copied_options(hex("00 9404 00"), copied) == 0);
}

TEST_CASE("identifications to one destination do not come back soon, and cannot be told from another's") {
    const siphash_key secret{1, 2};
    ipv4::identification ids(secret);
    tapir::random r(7);
    std::set<std::uint16_t> seen;
    for (int i = 0; i < 16'000; ++i) seen.insert(ids.next(here, there, ip::protocol::udp, r));
    CHECK(seen.size() == 16'000);

    // A stranger who asks before and after this host has sent 100 datagrams to somebody else sees its own
    // number go on by one step: there is no common counter to scan through. [RFC 7739 4]
    const auto stranger = ip::address::v4(198, 51, 100, 1);
    const std::uint16_t before = ids.next(here, stranger, ip::protocol::icmp, r);
    for (int i = 0; i < 100; ++i) (void)ids.next(here, there, ip::protocol::udp, r);
    const auto step = static_cast<std::uint16_t>(ids.next(here, stranger, ip::protocol::icmp, r) - before);
    CHECK(step >= 1);
    CHECK(step <= 4);
    // Starts differ by destination, protocol and secret.
    ipv4::identification other(siphash_key{3, 4});
    std::set<std::uint16_t> starts;
    for (std::uint8_t i = 1; i < 100; ++i) {
        starts.insert(ids.next(here, ip::address::v4(203, 0, 113, i), ip::protocol::tcp, r));
        starts.insert(ids.next(here, ip::address::v4(203, 0, 113, i), ip::protocol::icmp, r));
        starts.insert(other.next(here, ip::address::v4(203, 0, 113, i), ip::protocol::tcp, r));
    }
    CHECK(starts.size() > 290);
}
