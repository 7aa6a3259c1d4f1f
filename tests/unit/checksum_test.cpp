#include <tapir/framework/random.hpp>
#include <tapir/protocols/ip/checksum.hpp>

#include <doctest/doctest.h>

#include <vector>

#include "tests/hex.hpp"

using namespace tapir;
using tapir::test::hex;

namespace {

/// The definition, word by word.
std::uint16_t plain_sum(bytes b) {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < b.size(); i += 2) {
        sum += (std::uint32_t{load_u8(b, i)} << 8) + (i + 1 < b.size() ? load_u8(b, i + 1) : 0u);
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return static_cast<std::uint16_t>(sum);
}

std::vector<std::byte> random_bytes(tapir::random& r, std::size_t n) {
    std::vector<std::byte> b(n);
    for (auto& x : b) x = static_cast<std::byte>(r.below(256));
    return b;
}

} // namespace

TEST_CASE("RFC 1071's example sums to ddf2") {
    CHECK(ip::ones_complement_sum(hex("0001 f203 f4f5 f6f7")) == 0xddf2);
    ip::checksum c;
    c.add(hex("0001 f203 f4f5 f6f7"));
    CHECK(c.sum() == 0xddf2);
    CHECK(c.value() == 0x220d);
}

TEST_CASE("an IPv4 header with its checksum in it sums to all ones") {
    auto header = hex("4500 0073 0000 4000 4011 b861 c0a8 0001 c0a8 00c7");
    ip::checksum c;
    c.add(header);
    CHECK(c.valid());
    store_be16(header, 10, 0);
    ip::checksum again;
    again.add(header);
    CHECK(!again.valid());
    CHECK(again.value() == 0xb861);
}

TEST_CASE("the sum of nothing is zero, and of all ones stays all ones") {
    CHECK(ip::ones_complement_sum({}) == 0);
    CHECK(ip::checksum().value() == 0xffff);
    CHECK(ip::ones_complement_sum(std::vector<std::byte>(65536, std::byte{0xff})) == 0xffff);
    CHECK(ip::ones_complement_sum(std::vector<std::byte>(1500)) == 0);
    CHECK(ip::ones_complement_sum(hex("ab")) == 0xab00);
    CHECK(ip::fold(~std::uint64_t{0}) == 0xffff);
    CHECK(ip::fold(0x1'0000) == 1);
}

TEST_CASE("every length and alignment gives the sum of the definition") {
    tapir::random r(1071);
    const auto all = random_bytes(r, 2100);
    for (std::size_t n = 0; n < 130; ++n)
        for (std::size_t from = 0; from < 9; ++from)
            REQUIRE(ip::ones_complement_sum(bytes(all).subspan(from, n)) ==
                    plain_sum(bytes(all).subspan(from, n)));
    for (const std::size_t n : {1459u, 1460u, 2047u, 2048u, 2099u})
        REQUIRE(ip::ones_complement_sum(bytes(all).first(n)) == plain_sum(bytes(all).first(n)));
}

TEST_CASE("sums over pieces of odd lengths add up to the sum of the whole") {
    tapir::random r(7);
    for (int round = 0; round < 500; ++round) {
        const auto all = random_bytes(r, r.below(300));
        ip::checksum c;
        for (bytes rest = all; !rest.empty();) {
            const std::size_t n = r.below(static_cast<std::uint32_t>(rest.size())) + 1;
            c.add(rest.first(n));
            if (r.below(4) == 0) c.add({});
            rest = rest.subspan(n);
        }
        REQUIRE(c.sum() == plain_sum(all));
    }
}

TEST_CASE("numbers go in where the sum stands, also behind an odd piece") {
    ip::checksum c;
    c.add(hex("01"));
    c.add_u16(0x0203);
    c.add_u32(0x04050607);
    c.add(hex("08"));
    CHECK(c.sum() == plain_sum(hex("0102 0304 0506 0708")));
    ip::checksum more(c.sum());
    more.add(hex("090a"));
    CHECK(more.sum() == plain_sum(hex("0102 0304 0506 0708 090a")));
}

// [RFC 9293 3.1]
TEST_CASE("the pseudo-header of mapped addresses sums like that of the IPv4 addresses") {
    const auto from = ip::address::v4(192, 0, 2, 1);
    const auto to = ip::address::v4(198, 51, 100, 2);
    CHECK(ip::pseudo_header_sum(from, to, ip::protocol::tcp) == plain_sum(hex("c000 0201 c633 6402 0006")));
    // a SYN, 20 bytes of TCP
    ip::checksum c(ip::pseudo_header_sum(from, to, ip::protocol::tcp));
    auto segment = hex("3039 0050 0000 0001 0000 0000 5002 ffff 0000 0000");
    c.add_u16(static_cast<std::uint16_t>(segment.size()));
    c.add(segment);
    store_be16(segment, 16, c.value());
    ip::checksum check(ip::pseudo_header_sum(from, to, ip::protocol::tcp));
    check.add_u16(static_cast<std::uint16_t>(segment.size()));
    check.add(segment);
    CHECK(check.valid());
    CHECK(c.value() ==
          static_cast<std::uint16_t>(~plain_sum(hex("c000 0201 c633 6402 0006 0014"
                                                    "3039 0050 0000 0001 0000 0000 5002 ffff"))));
}
