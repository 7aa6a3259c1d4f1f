#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/ipv4/header.hpp>
#include <tapir/protocols/ipv4/input.hpp>

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tests/hex.hpp"

using namespace tapir;
using ipv4::drop;
using tapir::test::hex;
using tapir::test::same;
using tapir::test::to_vector;

namespace {

const ip::address own = ip::address::v4(192, 0, 2, 2);
const ip::address peer = ip::address::v4(192, 0, 2, 1);

std::vector<std::byte> datagram(const ipv4::header& h) {
    std::vector<std::byte> b(ipv4::header::size + h.payload_size, std::byte{0x55});
    h.emit(b);
    return b;
}

ipv4::header from_peer() {
    return {.protocol = ip::protocol::tcp, .source = peer, .destination = own, .payload_size = 4};
}

/// Sets the header's checksum right, options included.
std::vector<std::byte> mended(std::vector<std::byte> b) {
    const std::size_t size = 4u * (load_u8(b, 0) & 0x0fu);
    store_be16(b, 10, 0);
    store_be16(b, 10, static_cast<std::uint16_t>(~ip::ones_complement_sum(bytes(b).first(size))));
    return b;
}

std::vector<std::byte> with(std::vector<std::byte> b, std::size_t at, std::uint8_t value) {
    store_u8(b, at, value);
    return mended(std::move(b));
}

/// A datagram without payload whose options are `options`, which must be whole words.
std::vector<std::byte> with_options(const std::vector<std::byte>& options) {
    auto b = datagram(from_peer());
    b.resize(20);
    b.insert(b.end(), options.begin(), options.end());
    store_u8(b, 0, static_cast<std::uint8_t>(0x45 + options.size() / 4));
    store_be16(b, 2, static_cast<std::uint16_t>(b.size()));
    return mended(b);
}

struct host {
    host() { CHECK(routes.add_address({own, 24})); }

    /// The reason a datagram is dropped for; its counter must say the same.
    drop refused(const std::vector<std::byte>& b, bool to_link_group = false) {
        const auto before = in.count();
        const auto result = in.accept(b, to_link_group, routes);
        REQUIRE(!result);
        auto expected = before;
        ++expected.dropped[result.error()];
        CHECK(in.count().dropped == expected.dropped);
        CHECK(in.count().received == before.received + 1);
        CHECK(in.count().accepted == before.accepted);
        return result.error();
    }
    bool accepts(const std::vector<std::byte>& b, bool to_link_group = false) {
        return in.accept(b, to_link_group, routes).has_value();
    }
    drop refused(ipv4::header h) { return refused(datagram(h)); }

    ipv4::routes routes;
    ipv4::input in;
};

} // namespace

TEST_CASE("a header is written as RFC 791 draws it, and read back") {
    const ipv4::header h{.type_of_service = 0xb9,
                         .identification = 0x1234,
                         .dont_fragment = false,
                         .more_fragments = true,
                         .fragment_offset = 1480,
                         .ttl = 63,
                         .protocol = ip::protocol::udp,
                         .source = peer,
                         .destination = own,
                         .payload_size = 8};
    const auto b = datagram(h);
    CHECK(same(bytes(b).first(10), hex("45 b9 001c 1234 20b9 3f 11")));
    CHECK(same(bytes(b).subspan(12, 8), hex("c0000201 c0000202")));
    CHECK(ip::ones_complement_sum(bytes(b).first(20)) == 0xffff);
    const auto v = ipv4::view::parse(b);
    REQUIRE(v);
    CHECK(ipv4::header::of(*v) == h);
    CHECK(v->header_size() == 20);
    CHECK(v->total_length() == 28);
    CHECK(v->dscp() == 0x2e);
    CHECK(v->ecn() == ip::ecn::ect1);
    CHECK(v->is_fragment());
    CHECK(v->options().empty());
    CHECK(v->payload().size() == 8);
}

TEST_CASE("the header of a textbook capture has the checksum of the textbook") {
    const auto b = hex("4500 0073 0000 4000 4011 b861 c0a8 0001 c0a8 00c7");
    std::vector<std::byte> out(20);
    ipv4::header{.ttl = 64,
                 .protocol = ip::protocol::udp,
                 .source = ip::address::v4(192, 168, 0, 1),
                 .destination = ip::address::v4(192, 168, 0, 199),
                 .payload_size = 0x73 - 20}
        .emit(out);
    CHECK(same(out, b));
}

TEST_CASE("the largest datagram passes whole") {
    auto h = from_peer();
    h.payload_size = ipv4::header::max_total_length - ipv4::header::size;
    const auto b = datagram(h);
    REQUIRE(ipv4::view::parse(b));
    CHECK(ipv4::view::parse(b)->payload().size() == 65515);
}

TEST_CASE("bytes behind the total length are padding") {
    auto b = datagram(from_peer());
    b.resize(46, std::byte{0xee});
    const auto v = ipv4::view::parse(b);
    REQUIRE(v);
    CHECK(same(v->payload(), hex("55555555")));
    CHECK(v->datagram().size() == 24);
}

TEST_CASE("a malformed header is dropped for its reason, and counted") {
    host h;
    const auto good = datagram(from_peer());
    REQUIRE(h.accepts(good));
    CHECK(h.refused(std::vector<std::byte>{}) == drop::too_short);
    CHECK(h.refused(to_vector(bytes(good).first(19))) == drop::too_short);
    CHECK(h.refused(with(good, 0, 0x65)) == drop::bad_version);
    CHECK(h.refused(with(good, 0, 0x44)) == drop::bad_header_length);
    auto longer_than_there_is = good;
    store_u8(longer_than_there_is, 0, 0x4f);
    CHECK(h.refused(longer_than_there_is) == drop::bad_header_length);
    CHECK(h.refused(with(good, 3, 19)) == drop::bad_total_length);
    CHECK(h.refused(with(good, 3, 25)) == drop::bad_total_length);
    CHECK(h.refused(to_vector(bytes(good).first(23))) == drop::bad_total_length);
    auto corrupt = good;
    store_u8(corrupt, 8, 63);
    CHECK(h.refused(corrupt) == drop::bad_checksum); // [RFC 1122 3.2.1.2]
    // options announced by the header length reach into the payload: longer than the datagram
    auto options_beyond = with_options(hex("01010101"));
    store_be16(options_beyond, 2, 20);
    CHECK(h.refused(mended(options_beyond)) == drop::bad_total_length);
}

TEST_CASE("every single flipped bit of a header is noticed") {
    host h;
    const auto good = datagram(from_peer());
    for (std::size_t bit = 0; bit < 160; ++bit) {
        auto b = good;
        b[bit / 8] ^= static_cast<std::byte>(0x80 >> (bit % 8));
        REQUIRE(!h.accepts(b));
    }
    CHECK(h.in.count().dropped.total() == 160);
}

TEST_CASE("unknown options are skipped") { // [RFC 1122 3.2.1.8]
    host h;
    CHECK(h.accepts(with_options(hex("01010101"))));
    CHECK(h.accepts(with_options(hex("94040000"))));            // router alert
    CHECK(h.accepts(with_options(hex("5e03ab00 ffffffff"))));   // after the end anything may stand
    CHECK(h.accepts(with_options(hex("0707 0400 0000 0001")))); // record route
    CHECK(h.accepts(with_options(std::vector<std::byte>(40, std::byte{1}))));
    const auto b = with_options(hex("94040000"));
    CHECK(ipv4::view::parse(b)->options().size() == 4);
    CHECK(ipv4::view::parse(b)->payload().empty());
}

TEST_CASE("options that do not fit, and source routes, are dropped") {
    host h;
    CHECK(h.refused(with_options(hex("94050000"))) == drop::bad_options);
    CHECK(h.refused(with_options(hex("94010000"))) == drop::bad_options);
    CHECK(h.refused(with_options(hex("94000000"))) == drop::bad_options);
    CHECK(h.refused(with_options(hex("01010194"))) == drop::bad_options); // cut before its length
    CHECK(h.refused(with_options(hex("8307 04c0 0002 0900"))) == drop::source_routed); // [RFC 7126 4.3]
    CHECK(h.refused(with_options(hex("8907 04c0 0002 0900"))) == drop::source_routed); // [RFC 7126 4.4]
}

TEST_CASE("a source that is not one other host is dropped") { // [RFC 1122 3.2.1.3]
    host h;
    const auto from = [&](ip::address a) {
        auto header = from_peer();
        header.source = a;
        return h.refused(header);
    };
    CHECK(from(ip::address::v4(224, 0, 0, 1)) == drop::bad_source);
    CHECK(from(ip::address::v4(255, 255, 255, 255)) == drop::bad_source);
    CHECK(from(ip::address::v4(192, 0, 2, 255)) == drop::bad_source);
    CHECK(from(ip::address::v4(127, 0, 0, 1)) == drop::bad_source);
    CHECK(from(ip::address::v4(0, 0, 0, 0)) == drop::bad_source);
    CHECK(from(ip::address::v4(0, 1, 2, 3)) == drop::bad_source);
    CHECK(from(ip::address::v4(240, 0, 0, 1)) == drop::bad_source);
    CHECK(from(own) == drop::own_source); // the "land" attack
}

TEST_CASE("a destination that is not ours is dropped") {
    host h;
    const auto to = [&](ip::address a) {
        auto header = from_peer();
        header.destination = a;
        return h.refused(header);
    };
    CHECK(to(ip::address::v4(192, 0, 2, 3)) == drop::not_ours);
    CHECK(to(ip::address::v4(192, 0, 2, 0)) == drop::not_ours);
    CHECK(to(ip::address::v4(10, 255, 255, 255)) == drop::not_ours);
    CHECK(to(ip::address::v4(224, 0, 0, 1)) == drop::not_joined);
    CHECK(to(ip::address::v4(127, 0, 0, 1)) == drop::bad_destination);
    CHECK(to(ip::address::v4(0, 0, 0, 0)) == drop::bad_destination);
    CHECK(to(ip::address::v4(250, 0, 0, 1)) == drop::bad_destination);
}

TEST_CASE("broadcasts are accepted and marked; a unicast in a link-layer broadcast is dropped") {
    host h; // [RFC 1122 3.3.6]
    auto header = from_peer();
    CHECK(h.refused(datagram(header), true) == drop::link_broadcast);
    const auto unicast = h.in.accept(datagram(header), false, h.routes);
    REQUIRE(unicast);
    CHECK(!unicast->broadcast);
    for (const auto a : {ip::address::v4(255, 255, 255, 255), ip::address::v4(192, 0, 2, 255)}) {
        header.destination = a;
        const auto b = datagram(header);
        const auto d = h.in.accept(b, true, h.routes);
        REQUIRE(d);
        CHECK(d->broadcast);
    }
}

TEST_CASE("fragments are accepted like any datagram: the first, the middle and the last") {
    host h;
    auto header = from_peer();
    header.dont_fragment = false;
    header.payload_size = 8;
    header.more_fragments = true;
    CHECK(h.accepts(datagram(header)));
    header.fragment_offset = 8;
    CHECK(h.accepts(datagram(header)));
    header.more_fragments = false;
    CHECK(h.accepts(datagram(header)));
    header.destination = ip::address::v4(192, 0, 2, 3);
    CHECK(h.refused(header) == drop::not_ours); // strangers' fragments do not count as ours
}

TEST_CASE(
    "whose datagrams were taken is asked anew when addresses change, when a group is meant, and of others") {
    host h;
    const auto b = datagram(from_peer());
    CHECK(h.accepts(b));
    CHECK(h.accepts(b));
    CHECK(h.refused(b, true) == drop::link_broadcast);
    auto header = from_peer();
    header.source = own;
    CHECK(h.refused(header) == drop::own_source);
    CHECK(h.accepts(b));
    CHECK(h.in.count().accepted == 3);
    REQUIRE(h.routes.remove_address(own));
    CHECK(h.refused(b) == drop::not_ours);
    REQUIRE(h.routes.add_address({peer, 24}));
    REQUIRE(h.routes.add_address({own, 24}));
    CHECK(h.refused(b) == drop::own_source);
}

TEST_CASE("a router takes what is for others, marked; what must not pass it does not") {
    ipv4::routes routes;
    REQUIRE(routes.add_address({own, 24}, 0));
    REQUIRE(routes.add_address({ip::address::v4(10, 0, 0, 1), 8}, 1));
    ipv4::input in(true);
    const auto to = [&](ip::address a, std::size_t link = 0, bool group = false, ip::address from = peer) {
        auto header = from_peer();
        header.source = from;
        header.destination = a;
        const auto b = datagram(header);
        const auto d = in.accept(b, group, routes, link);
        if (!d) return std::string(ipv4::to_string(d.error()));
        return std::string(d->transit ? "transit" : "ours") + (d->broadcast ? ", broadcast" : "");
    };
    const auto link_local = ip::address::v4(169, 254, 1, 1);
    CHECK(to(ip::address::v4(203, 0, 113, 9)) == "transit");
    CHECK(to(ip::address::v4(10, 0, 0, 7)) == "transit");
    CHECK(to(ip::address::v4(10, 0, 0, 1)) == "ours"); // from the other link, too [RFC 1122 3.3.4.2]
    CHECK(to(ip::address::v4(203, 0, 113, 9), 0, true) ==
          to_string(drop::link_broadcast));                                               // [RFC 1812 5.3.4]
    CHECK(to(ip::address::v4(10, 255, 255, 255)) == to_string(drop::directed_broadcast)); // [RFC 2644 2]
    CHECK(to(ip::address::v4(10, 255, 255, 255), 1, true, ip::address::v4(10, 0, 0, 7)) == "ours, broadcast");
    CHECK(to(ip::address::v4(224, 0, 0, 5)) == to_string(drop::not_joined));
    CHECK(to(ip::address::v4(240, 0, 0, 5)) == to_string(drop::bad_destination));
    CHECK(to(link_local) == to_string(drop::link_local)); // [RFC 3927 7]
    CHECK(to(ip::address::v4(10, 0, 0, 7), 0, false, link_local) == to_string(drop::link_local));
    CHECK(to(ip::address::v4(10, 0, 0, 7), 0, false, ip::address::v4(127, 0, 0, 1)) ==
          to_string(drop::bad_source));
    CHECK(to(ip::address::v4(10, 0, 0, 7), 1, false, own) == to_string(drop::own_source));

    // A fragment that ends past the largest datagram: cut again, its rest would stand near the front.
    auto header = from_peer();
    header.destination = ip::address::v4(10, 0, 0, 7);
    header.dont_fragment = false;
    header.payload_size = 8;
    header.fragment_offset = 65'504;
    CHECK(in.accept(datagram(header), false, routes, 0).has_value());
    header.fragment_offset = 65'512;
    const auto b = datagram(header);
    const auto refused = in.accept(b, false, routes, 0);
    REQUIRE(!refused);
    CHECK(refused.error() == drop::too_long);
}

TEST_CASE("options are written behind the header and covered by its checksum") {
    const auto options = hex("94040000 07070400");
    auto h = from_peer();
    std::vector<std::byte> b(ipv4::header::size + 8 + 4);
    h.emit(b, options);
    const auto v = ipv4::view::parse(b);
    REQUIRE(v);
    CHECK(v->header_size() == 28);
    CHECK(same(v->options(), options));
    CHECK(v->payload().size() == 4);
}

TEST_CASE("a datagram that arrives with its last hop used up is for us all the same") { // [RFC 1122 3.2.1.7]
    host h;
    for (const unsigned ttl : {0u, 1u, 255u}) {
        auto header = from_peer();
        header.ttl = static_cast<std::uint8_t>(ttl);
        CHECK(h.accepts(datagram(header)));
    }
}

TEST_CASE("a quoted datagram may end early and may have a worn checksum, but not a worn shape") {
    auto h = from_peer();
    h.payload_size = 100;
    auto b = datagram(h);
    b.resize(28);
    store_u8(b, 8, 3);
    CHECK(!ipv4::view::parse(b));
    const auto v = ipv4::view::parse_quoted(b);
    REQUIRE(v);
    CHECK(v->total_length() == 120);
    CHECK(v->payload().size() == 8);
    CHECK(ipv4::view::parse_quoted(bytes(b).first(19)).error() == ipv4::malformed::too_short);
    store_u8(b, 0, 0x49);
    CHECK(ipv4::view::parse_quoted(b).error() == ipv4::malformed::bad_header_length);
    store_u8(b, 0, 0x55);
    CHECK(ipv4::view::parse_quoted(b).error() == ipv4::malformed::bad_version);
    store_u8(b, 0, 0x45);
    store_be16(b, 2, 10);
    CHECK(ipv4::view::parse_quoted(b).error() == ipv4::malformed::bad_total_length);
}
