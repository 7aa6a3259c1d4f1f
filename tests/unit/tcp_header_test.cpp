#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/tcp/header.hpp>
#include <tapir/protocols/tcp/segment.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

namespace tapir::tcp {
namespace {

std::vector<std::byte> wire(std::initializer_list<int> octets) {
    std::vector<std::byte> b;
    for (const int o : octets) b.push_back(static_cast<std::byte>(o));
    return b;
}

std::vector<std::byte> emitted(const header& h, std::string_view text = {}, std::uint16_t sum = 0) {
    std::vector<std::byte> b(h.size() + text.size());
    const std::array parts = {as_bytes(text)};
    emit(std::span(b).first(h.size()), h, sum, parts);
    copy_bytes(std::span(b).subspan(h.size()), as_bytes(text));
    return b;
}

/// A header whose options are exactly these octets.
std::vector<std::byte> with_options(std::initializer_list<int> octets) {
    header h;
    h.source_port = 1;
    h.destination_port = 2;
    std::vector<std::byte> b = emitted(h);
    for (const int o : octets) b.push_back(static_cast<std::byte>(o));
    while (b.size() % 4 != 0) b.push_back(std::byte{0});
    b[12] = static_cast<std::byte>((b.size() / 4) << 4);
    return b;
}

TEST_CASE("a SYN with all its options, octet by octet, both ways") {
    header h;
    h.source_port = 0x1234;
    h.destination_port = 80;
    h.seq = seq(0x01020304);
    h.ack = seq(0);
    h.flags = flags::syn;
    h.window = 0xfaf0;
    h.options.mss = std::uint16_t{1460};
    h.options.sack_permitted = true;
    h.options.ts = timestamps{0x11223344, 0};
    h.options.window_scale = std::uint8_t{7};
    const auto b = emitted(h);
    CHECK(b == wire({0x12,
                     0x34,
                     0,
                     80,
                     1,
                     2,
                     3,
                     4,
                     0,
                     0,
                     0,
                     0,
                     0xa0,
                     0x02,
                     0xfa,
                     0xf0,
                     static_cast<int>(b[16]),
                     static_cast<int>(b[17]),
                     0,
                     0, //
                     2,
                     4,
                     0x05,
                     0xb4,
                     4,
                     2,
                     8,
                     10,
                     0x11,
                     0x22,
                     0x33,
                     0x44,
                     0,
                     0,
                     0,
                     0,
                     1,
                     3,
                     3,
                     7}));
    CHECK(checksum_ok(b, 0));
    const auto parsed = parse(b);
    REQUIRE(parsed.has_value());
    CHECK(parsed->header == h);
    CHECK(parsed->size == 40);
}

TEST_CASE("header and payload survive the wire, whatever the options") {
    for (unsigned mask = 0; mask < 16; ++mask) {
        header h;
        h.source_port = 1000;
        h.destination_port = 2000;
        h.seq = seq(0xfffffffe);
        h.ack = seq(7);
        h.flags = flags::ack | flags::psh;
        h.window = 1;
        h.urgent = 3;
        if ((mask & 1) != 0) h.options.mss = std::uint16_t{536};
        if ((mask & 2) != 0) h.options.window_scale = std::uint8_t{0};
        if ((mask & 4) != 0) h.options.ts = timestamps{1, 2};
        if ((mask & 8) != 0) {
            h.options.sack_count = 2;
            h.options.sack[0] = {seq(10), seq(20)};
            h.options.sack[1] = {seq(30), seq(40)};
        }
        const std::uint16_t sum = ip::pseudo_header_sum(ip::address::v4(10, 0, 0, 1),
                                                        ip::address::v4(10, 0, 0, 2), ip::protocol::tcp);
        auto b = emitted(h, "odd payload", sum);
        CHECK(checksum_ok(b, sum));
        const auto parsed = parse(b);
        REQUIRE(parsed.has_value());
        CHECK(parsed->header == h);
        CHECK(as_text(std::span<const std::byte>(b).subspan(parsed->size)) == "odd payload");
        for (std::size_t i = 0; i < b.size(); ++i) { // [RFC 9293 3.1 MUST-3]: any flipped bit is seen
            b[i] ^= std::byte{0x10};
            CHECK_FALSE(checksum_ok(b, sum));
            b[i] ^= std::byte{0x10};
        }
    }
}

TEST_CASE("what is no header is refused, with the reason") {
    header h;
    h.source_port = 1;
    h.destination_port = 2;
    const auto good = emitted(h);
    for (std::size_t n = 0; n < good.size(); ++n) {
        const auto cut = parse(bytes(good).first(n));
        REQUIRE_FALSE(cut.has_value());
        CHECK(cut.error() == header_error::truncated);
    }
    auto b = good;
    b[12] = std::byte{0x40};
    CHECK(parse(b).error() == header_error::bad_data_offset);
    b[12] = std::byte{0x60};
    CHECK(parse(b).error() == header_error::truncated);
    b = good;
    b[1] = std::byte{0};
    CHECK(parse(b).error() == header_error::zero_port);
    b = good;
    b[3] = std::byte{0};
    CHECK(parse(b).error() == header_error::zero_port);
}

TEST_CASE("unknown options are skipped, NOPs stand anywhere, the end ends") { // [RFC 9293 3.1 MUST-5, MUST-6]
    const auto o = parse(with_options({1, 253, 4, 9, 9, 1, 2, 4, 2, 0, 254, 2, 0, 3, 3, 5}))->header.options;
    CHECK(o.mss == std::uint16_t{512});
    CHECK_FALSE(o.window_scale.has_value()); // behind the end
    CHECK_FALSE(o.malformed);
}

TEST_CASE("options whose length leads nowhere stop the list and are noted, the rest holds") { // [MUST-7]
    const auto zero = parse(with_options({2, 4, 2, 0, 8, 0, 3, 3}))->header.options;
    CHECK(zero.mss == std::uint16_t{512});
    CHECK(zero.malformed);
    CHECK_FALSE(zero.window_scale.has_value());
    CHECK(parse(with_options({8, 10, 1, 2}))->header.options.malformed);      // longer than the header
    CHECK(parse(with_options({1, 1, 1, 2}))->header.options.malformed);       // no room for a length
    CHECK(parse(with_options({2, 3, 1, 3, 3, 9}))->header.options.malformed); // an MSS of one byte
    CHECK(parse(with_options({2, 3, 1, 3, 3, 9}))->header.options.window_scale == std::uint8_t{9});
    CHECK(parse(with_options({5, 9, 1, 2, 3, 4, 5, 6, 7}))->header.options.malformed);
    CHECK(parse(with_options({5, 2}))->header.options.malformed);
}

TEST_CASE("a partial checksum is the pseudo-header's, folded and not complemented") {
    header h;
    h.source_port = 1;
    h.destination_port = 2;
    std::array<std::byte, 20> b;
    const std::array payload = {as_bytes("abc")};
    emit(b, h, 0x1111, payload, checksum_mode::partial);
    CHECK(load_be16(b, 16) == 0x1111 + 23);
}

TEST_CASE("segments print and compare by contents, not by time of arrival") {
    buffer_pool pool;
    segment a;
    a.header.flags = flags::syn | flags::ack;
    a.header.seq = seq(5);
    a.header.ack = seq(6);
    a.header.options.mss = std::uint16_t{1460};
    a.payload = chunk(pool.copy_of(as_bytes("xyz")), 0, 3);
    segment b = a;
    b.payload = chunk(pool.copy_of(as_bytes("xyz")), 0, 3);
    b.arrived = instant(std::chrono::seconds(9));
    CHECK(a == b);
    b.payload.drop_back(1);
    CHECK_FALSE(a == b);
    CHECK(to_string(a) == "SYN|ACK seq=5 ack=6 win=0 <mss 1460> len=3");
    CHECK(a.length() == 4);
    CHECK(a.end() == seq(9));
}

} // namespace
} // namespace tapir::tcp
