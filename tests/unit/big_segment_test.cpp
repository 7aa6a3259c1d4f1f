// Large segments that go to the kernel as one packet: which ones may, and what its header says then.
#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/link/big_segment.hpp>
#include <tapir/protocols/link/vnet_header.hpp>
#include <tapir/protocols/tcp/header.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/support/sent_text.hpp"

using namespace tapir;
using test::sent_text;

namespace {

constexpr std::uint16_t mss = sent_text::mss;
constexpr std::size_t large = 45 * mss; // 65160
constexpr std::size_t ip_at = vnet_header::size + 14, tcp_at = ip_at + 20;

/// As a TAP has made it ready.
frame segment(sent_text& s, std::size_t at, std::size_t n, tcp::flags flags = tcp::flags::ack) {
    frame f = s.segment(at, n, flags);
    vnet_header::emit(f.push_front(vnet_header::size), f.meta);
    return f;
}

std::vector<std::byte> bytes_of(const big_segment& b) {
    std::vector<std::byte> all;
    for (const iovec& part : b.parts()) {
        const auto* at = static_cast<const std::byte*>(part.iov_base);
        all.insert(all.end(), at, at + part.iov_len);
    }
    return all;
}

/// Tells of a packet with `payload` bytes of the stream from its begin on.
void check_whole(const big_segment& b, std::size_t payload) {
    const auto all = bytes_of(b);
    const std::size_t headers = all.size() - payload;
    CHECK(b.size() == all.size());
    REQUIRE(headers == tcp_at + 32);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < payload; ++i) wrong += all[headers + i] != static_cast<std::byte>(i % 253);
    CHECK(wrong == 0);
    CHECK(load_be32(all, tcp_at + 4) == sent_text::first);
    CHECK(load_be16(all, ip_at + 2) == 0);
    ip::checksum of_header;
    of_header.add(bytes(all).subspan(ip_at, 20));
    CHECK(of_header.valid());
    // What the kernel expects: the pseudo-header's sum over all of it, not complemented.
    const std::uint64_t pseudo =
        ip::pseudo_header_sum(sent_text::source, sent_text::kernels, ip::protocol::tcp);
    CHECK(load_be16(all, tcp_at + 16) == ip::fold(pseudo + 32 + payload));
}

} // namespace

TEST_CASE("big segment: what follows in a stream joins, and one header tells of all") {
    sent_text s(64 * 1024, 8);
    frame f = segment(s, 0, large);
    big_segment big(f);
    CHECK(load_be16(f.data(), ip_at + 2) == 20 + 32 + large); // alone it is what it was
    std::vector<frame> rest;
    for (std::size_t n = 1; n < 5; ++n) rest.push_back(segment(s, n * large, large));
    for (const frame& next : rest) CHECK(big.append(next));
    check_whole(big, 5 * large);
    // Headers and five chunks that the segments lie in; not two for each segment.
    CHECK(big.parts().size() == 6);
}

TEST_CASE("big segment: the last one may be short, and its PSH is that of all") {
    sent_text s(64 * 1024, 8);
    frame f = segment(s, 0, large);
    const frame last = segment(s, large, 2 * mss + 100, tcp::flags::ack | tcp::flags::psh);
    const frame behind = segment(s, large + 2 * mss + 100, large);
    big_segment big(f);
    REQUIRE(big.append(last));
    check_whole(big, large + 2 * mss + 100);
    CHECK(load_u8(f.data(), tcp_at + 13) == 0x18);
    CHECK_FALSE(big.append(behind)); // the kernel would cut across
    check_whole(big, large + 2 * mss + 100);
}

TEST_CASE("big segment: headers that differ anywhere but where they must are two packets") {
    sent_text s(64 * 1024, 8);
    const std::size_t headers = tcp_at + 32;
    const auto may_differ = [](std::size_t at) {
        return (at >= ip_at + 2 && at < ip_at + 4) || (at >= ip_at + 10 && at < ip_at + 12) ||
               (at >= tcp_at + 16 && at < tcp_at + 18); // length and checksums
    };
    for (std::size_t at = 0; at < headers; ++at) {
        for (const unsigned bit : {0x01u, 0x08u, 0x80u}) {
            const bool push = at == tcp_at + 13 && bit == 0x08;
            frame f = segment(s, 0, large);
            frame next = segment(s, large, large);
            const mutable_bytes h = next.mutable_data();
            store_u8(h, at, static_cast<std::uint8_t>(load_u8(h, at) ^ bit));
            big_segment big(f);
            CAPTURE(at);
            CHECK(big.append(next) == (push || may_differ(at)));
        }
    }
}

TEST_CASE("big segment: what is not the next of the stream, or no large segment, stays by itself") {
    sent_text s(64 * 1024, 8);
    const auto joins = [](frame first, const frame& next) {
        big_segment big(first);
        const bool joined = big.append(next);
        if (!joined) CHECK(load_be16(first.data(), ip_at + 2) != 0);
        return joined;
    };
    CHECK(joins(segment(s, 0, large), segment(s, large, large)));
    CHECK_FALSE(joins(segment(s, 0, large), segment(s, large + mss, large)));
    CHECK_FALSE(joins(segment(s, large, large), segment(s, 0, large)));
    CHECK_FALSE(joins(segment(s, 0, large), segment(s, large, mss))); // not to be cut
    CHECK_FALSE(joins(segment(s, 0, mss), segment(s, mss, large)));   // nor this
    CHECK_FALSE(joins(segment(s, 0, large - 1), segment(s, large - 1, large)));

    // With text among its headers, as one that has been copied together.
    buffer_pool pool;
    CHECK_FALSE(joins(segment(s, 0, large).copy(pool), segment(s, large, large)));
    CHECK_FALSE(joins(segment(s, 0, large), segment(s, large, large).copy(pool)));
}

TEST_CASE("big segment: undone, the first is what it was") {
    sent_text s(64 * 1024, 8);
    frame f = segment(s, 0, large);
    buffer_pool pool;
    const frame as_it_was = f.copy(pool);
    const frame next = segment(s, large, large, tcp::flags::ack | tcp::flags::psh);
    const frame third = segment(s, 2 * large, large);
    big_segment big(f);
    big.undo();
    CHECK(std::ranges::equal(f.data(), as_it_was.data().first(f.data().size())));
    REQUIRE(big.append(next));
    REQUIRE(big.append(third));
    CHECK_FALSE(std::ranges::equal(f.data(), as_it_was.data().first(f.data().size())));
    big.undo();
    CHECK(std::ranges::equal(f.data(), as_it_was.data().first(f.data().size())));
}

TEST_CASE("big segment: what is said of one place, or once, joins nothing") {
    sent_text s(64 * 1024, 8);
    for (const auto flag : {tcp::flags::fin, tcp::flags::urg, tcp::flags::cwr}) {
        frame f = segment(s, 0, large, tcp::flags::ack | flag);
        const frame next = segment(s, large, large, tcp::flags::ack | flag);
        big_segment big(f);
        CHECK_FALSE(big.append(next));
    }
    frame f = segment(s, 0, large, tcp::flags::ack | tcp::flags::ece);
    const frame next = segment(s, large, large, tcp::flags::ack | tcp::flags::ece);
    big_segment big(f);
    CHECK(big.append(next)); // as long as it is heard of
}

TEST_CASE("big segment: there are no more parts than the kernel takes without memory of its own") {
    sent_text s(33'000, 10);
    constexpr std::size_t size = 22 * mss; // 31856: in two chunks mostly
    frame f = segment(s, 0, size);
    big_segment big(f);
    std::vector<frame> rest;
    for (std::size_t n = 1; n < 10; ++n) rest.push_back(segment(s, n * size, size));
    std::size_t joined = 0;
    while (big.append(rest[joined])) ++joined;
    CHECK(joined == 6); // seven lie in seven chunks, eight in eight
    CHECK(big.parts().size() == big_segment::most_parts);
    check_whole(big, 7 * size);
    CHECK_FALSE(big.append(rest[joined]));
    check_whole(big, 7 * size); // as it was
}
