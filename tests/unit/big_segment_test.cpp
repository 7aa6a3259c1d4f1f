// Large segments that go to the kernel as one packet: which ones may, and what its header says then.
#include <tapir/protocols/ethernet/header.hpp>
#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/ipv4/header.hpp>
#include <tapir/protocols/link/big_segment.hpp>
#include <tapir/protocols/link/vnet_header.hpp>
#include <tapir/protocols/tcp/header.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

using namespace tapir;

namespace {

constexpr std::uint16_t mss = 1448;
constexpr std::size_t large = 45 * mss; // 65160
constexpr std::size_t ip_at = vnet_header::size + 14, tcp_at = ip_at + 20;

const ip::address source = ip::address::v4(192, 0, 2, 1);
const ip::address destination = ip::address::v4(192, 0, 2, 2);

/// A stream of bytes in chunks of `chunk_size` as a send queue holds them, and segments of it as a TAP gets
/// them.
struct sent_text {
    explicit sent_text(std::size_t chunk_size, std::size_t count = 8) : size(chunk_size) {
        std::uint32_t n = 0;
        for (std::size_t i = 0; i < count; ++i) {
            buffer b = pool.allocate(chunk_size);
            for (std::byte& at : b.span().first(chunk_size)) at = static_cast<std::byte>(n++ % 253);
            chunks.emplace_back(std::move(b), 0, chunk_size);
        }
    }

    frame segment(std::size_t at, std::size_t n, tcp::flags flags = tcp::flags::ack) {
        frame f(pool.allocate(frame::default_headroom), frame::default_headroom);
        for (std::size_t left = n, from = at; left != 0;) {
            const std::size_t inside = from % size, here = std::min(left, size - inside);
            f.share_back(chunks[from / size].slice(inside, here));
            from += here;
            left -= here;
        }
        tcp::header t;
        t.source_port = 80;
        t.destination_port = 4000;
        t.seq = tcp::seq(first + static_cast<std::uint32_t>(at));
        t.ack = tcp::seq(77);
        t.flags = flags;
        t.window = 500;
        t.options.ts = tcp::timestamps{.value = 5, .echo = 6};
        const std::size_t header = t.size();
        const std::uint16_t pseudo = ip::pseudo_header_sum(source, destination, ip::protocol::tcp);
        tcp::emit(f.push_front(header), t, pseudo, f.tail(), tcp::checksum_mode::partial);
        f.meta.csum = checksum_state::partial;
        f.meta.csum_start = 34;
        f.meta.csum_offset = 16;
        if (n > mss) {
            f.meta.gso_type = segmentation::tcp4;
            f.meta.gso_size = mss;
            f.meta.hdr_len = static_cast<std::uint16_t>(34 + header);
        }
        ipv4::header i;
        i.protocol = ip::protocol::tcp;
        i.source = source;
        i.destination = destination;
        i.payload_size = f.size();
        i.emit(f.push_front(ipv4::header::size));
        ethernet::header e;
        e.destination = ethernet::mac_address(2, 0, 0, 0, 0, 2);
        e.source = ethernet::mac_address(2, 0, 0, 0, 0, 1);
        e.type = ethernet::ether_type::ipv4;
        e.emit(f.push_front(ethernet::header::size));
        vnet_header::emit(f.push_front(vnet_header::size), f.meta);
        return f;
    }

    static constexpr std::uint32_t first = 0xffff'8000; // it wraps
    std::size_t size;
    buffer_pool pool;
    std::vector<chunk> chunks;
};

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
    const std::uint64_t pseudo = ip::pseudo_header_sum(source, destination, ip::protocol::tcp);
    CHECK(load_be16(all, tcp_at + 16) == ip::fold(pseudo + 32 + payload));
}

} // namespace

TEST_CASE("big segment: what follows in a stream joins, and one header tells of all") {
    sent_text s(64 * 1024);
    frame f = s.segment(0, large);
    big_segment big(f);
    CHECK(load_be16(f.data(), ip_at + 2) == 20 + 32 + large); // alone it is what it was
    std::vector<frame> rest;
    for (std::size_t n = 1; n < 5; ++n) rest.push_back(s.segment(n * large, large));
    for (const frame& next : rest) CHECK(big.append(next));
    check_whole(big, 5 * large);
    // Headers and five chunks that the segments lie in; not two for each segment.
    CHECK(big.parts().size() == 6);
}

TEST_CASE("big segment: the last one may be short, and its PSH is that of all") {
    sent_text s(64 * 1024);
    frame f = s.segment(0, large);
    const frame last = s.segment(large, 2 * mss + 100, tcp::flags::ack | tcp::flags::psh);
    const frame behind = s.segment(large + 2 * mss + 100, large);
    big_segment big(f);
    REQUIRE(big.append(last));
    check_whole(big, large + 2 * mss + 100);
    CHECK(load_u8(f.data(), tcp_at + 13) == 0x18);
    CHECK_FALSE(big.append(behind)); // the kernel would cut across
    check_whole(big, large + 2 * mss + 100);
}

TEST_CASE("big segment: headers that differ anywhere but where they must are two packets") {
    sent_text s(64 * 1024);
    const std::size_t headers = tcp_at + 32;
    const auto may_differ = [](std::size_t at) {
        return (at >= ip_at + 2 && at < ip_at + 4) || (at >= ip_at + 10 && at < ip_at + 12) ||
               (at >= tcp_at + 16 && at < tcp_at + 18); // length and checksums
    };
    for (std::size_t at = 0; at < headers; ++at) {
        for (const unsigned bit : {0x01u, 0x08u, 0x80u}) {
            const bool push = at == tcp_at + 13 && bit == 0x08;
            frame f = s.segment(0, large);
            frame next = s.segment(large, large);
            const mutable_bytes h = next.mutable_data();
            store_u8(h, at, static_cast<std::uint8_t>(load_u8(h, at) ^ bit));
            big_segment big(f);
            CAPTURE(at);
            CHECK(big.append(next) == (push || may_differ(at)));
        }
    }
}

TEST_CASE("big segment: what is not the next of the stream, or no large segment, stays by itself") {
    sent_text s(64 * 1024);
    const auto joins = [](frame first, const frame& next) {
        big_segment big(first);
        const bool joined = big.append(next);
        if (!joined) CHECK(load_be16(first.data(), ip_at + 2) != 0);
        return joined;
    };
    CHECK(joins(s.segment(0, large), s.segment(large, large)));
    CHECK_FALSE(joins(s.segment(0, large), s.segment(large + mss, large)));
    CHECK_FALSE(joins(s.segment(large, large), s.segment(0, large)));
    CHECK_FALSE(joins(s.segment(0, large), s.segment(large, mss))); // not to be cut
    CHECK_FALSE(joins(s.segment(0, mss), s.segment(mss, large)));   // nor this
    CHECK_FALSE(joins(s.segment(0, large - 1), s.segment(large - 1, large)));

    // With text among its headers, as one that has been copied together.
    buffer_pool pool;
    CHECK_FALSE(joins(s.segment(0, large).copy(pool), s.segment(large, large)));
    CHECK_FALSE(joins(s.segment(0, large), s.segment(large, large).copy(pool)));
}

TEST_CASE("big segment: there are no more parts than the kernel takes without memory of its own") {
    sent_text s(33'000, 10);
    constexpr std::size_t size = 22 * mss; // 31856: in two chunks mostly
    frame f = s.segment(0, size);
    big_segment big(f);
    std::vector<frame> rest;
    for (std::size_t n = 1; n < 10; ++n) rest.push_back(s.segment(n * size, size));
    std::size_t joined = 0;
    while (big.append(rest[joined])) ++joined;
    CHECK(joined == 6); // seven lie in seven chunks, eight in eight
    CHECK(big.parts().size() == big_segment::most_parts);
    check_whole(big, 7 * size);
    CHECK_FALSE(big.append(rest[joined]));
    check_whole(big, 7 * size); // as it was
}
