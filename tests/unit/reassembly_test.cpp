// Fragments become datagrams again, or go away without a trace: RFC 791 3.2, RFC 1122 3.3.2, and what
// attackers made of it.
#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/ipv4/fragments.hpp>
#include <tapir/protocols/ipv4/reassembly.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "tests/hex.hpp"

using namespace tapir;
using ipv4::abandoned;
using ipv4::fragment_drop;
using tapir::test::hex;
using tapir::test::same;

namespace {

const ip::address here = ip::address::v4(192, 0, 2, 2);
const ip::address peer = ip::address::v4(192, 0, 2, 1);

std::vector<std::byte> numbered(std::size_t size, unsigned salt = 0) {
    std::vector<std::byte> b(size);
    for (std::size_t i = 0; i < size; ++i) b[i] = static_cast<std::byte>(i * 7 + i / 256 + salt);
    return b;
}

ipv4::header from_peer(std::uint16_t id = 1) {
    return {.identification = id,
            .dont_fragment = false,
            .protocol = ip::protocol::udp,
            .source = peer,
            .destination = here};
}

using packet = std::vector<std::byte>;

packet fragment(std::size_t offset, bytes payload, bool more, ipv4::header h = from_peer()) {
    h.fragment_offset = static_cast<std::uint16_t>(offset);
    h.more_fragments = more;
    h.payload_size = payload.size();
    packet b(ipv4::header::size + payload.size());
    h.emit(b);
    copy_bytes(mutable_bytes(b).subspan(ipv4::header::size), payload);
    return b;
}

std::vector<packet> pieces(bytes payload, std::size_t mtu, const ipv4::header& h = from_peer(),
                           bytes options = {}) {
    std::vector<packet> all;
    ipv4::fragmenter parts(h, options, payload, mtu);
    while (const auto p = parts.next()) {
        all.emplace_back(p->size());
        p->emit(all.back());
    }
    return all;
}

struct lab {
    explicit lab(const ipv4::reassembly_config& c = {}) : parts(pool, c) {}

    /// The datagram that this fragment completed, or an empty one.
    packet receive(const packet& b) {
        const auto v = ipv4::view::parse(b);
        REQUIRE(v);
        const auto whole = parts.accept(*v, now);
        if (!whole) return {};
        const bytes got = whole->storage.span().first(whole->size);
        REQUIRE(ipv4::view::parse(got));
        return {got.begin(), got.end()};
    }
    packet receive(const std::vector<packet>& all) {
        packet last;
        for (const packet& p : all) last = receive(p);
        return last;
    }
    std::uint64_t dropped(fragment_drop why) const { return parts.count().dropped[why]; }
    std::uint64_t given_up(abandoned why) const { return parts.count().abandoned_datagrams[why]; }
    /// Lets the time of all that waits pass: everything is given back.
    bool empty_in_the_end() {
        now += 31s;
        while (parts.expire(now)) {
        }
        return parts.datagrams() == 0 && parts.sources() == 0 && parts.bytes_held() == 0 &&
               pool.live_blocks() == 0 && parts.next_deadline() == never;
    }

    buffer_pool pool;
    ipv4::reassembly parts;
    instant now = instant(100s);
};

} // namespace

TEST_CASE("reassembly: fragments in any order become the datagram that was cut") {
    const auto payload = numbered(8008);
    auto order = pieces(payload, 1500);
    REQUIRE(order.size() == 6);
    std::vector<std::size_t> turn{0, 1, 2, 3, 4, 5};
    lab l;
    do {
        packet whole;
        for (std::size_t i = 0; i < turn.size(); ++i) {
            CHECK(whole.empty());
            whole = l.receive(order[turn[i]]);
        }
        const auto v = ipv4::view::parse(whole);
        REQUIRE(v);
        REQUIRE(same(v->payload(), payload));
        CHECK(!v->is_fragment());
        CHECK(v->identification() == 1);
        CHECK(l.parts.bytes_held() == 0);
    } while (std::ranges::next_permutation(turn).found);
    CHECK(l.parts.count().reassembled == 720);
    CHECK(l.pool.live_blocks() == 0);
    CHECK(l.parts.sources() == 0);
}

TEST_CASE("reassembly: the largest datagram, in the smallest usual pieces") {
    lab l;
    const auto payload = numbered(65'515);
    const auto all = pieces(payload, 576);
    CHECK(all.size() == 119);
    const packet whole = l.receive(all);
    REQUIRE(whole.size() == 65'535);
    CHECK(same(bytes(whole).subspan(20), payload));
    CHECK(l.empty_in_the_end());
}

TEST_CASE("reassembly: the first fragment's header is the datagram's, options and all") {
    lab l;
    const auto options = hex("07070400000000 00 94040000");
    auto all = pieces(numbered(2000), 1500, from_peer(), options);
    std::ranges::reverse(all);
    const packet whole = l.receive(all);
    REQUIRE(!whole.empty());
    const auto v = ipv4::view::parse(whole);
    CHECK(same(v->options(), options));
    CHECK(same(v->payload(), numbered(2000)));
}

TEST_CASE("reassembly: source, destination, protocol and identification tell datagrams apart") {
    lab l;
    std::vector<ipv4::header> kinds(5, from_peer());
    kinds[1].identification = 2;
    kinds[2].protocol = ip::protocol::icmp;
    kinds[3].source = ip::address::v4(192, 0, 2, 9);
    kinds[4].destination = ip::address::v4(192, 0, 2, 3);
    std::vector<std::vector<packet>> cut;
    for (unsigned i = 0; i < 5; ++i) cut.push_back(pieces(numbered(2000, i), 1500, kinds[i]));
    for (unsigned i = 0; i < 5; ++i) CHECK(l.receive(cut[i][1]).empty());
    CHECK(l.parts.datagrams() == 5);
    CHECK(l.parts.sources() == 2);
    for (unsigned i = 0; i < 5; ++i) CHECK(same(bytes(l.receive(cut[i][0])).subspan(20), numbered(2000, i)));
    CHECK(l.empty_in_the_end());
}

TEST_CASE("reassembly: a fragment that comes twice is ignored, before and after others") {
    lab l;
    const auto all = pieces(numbered(4000), 1500);
    CHECK(l.receive(all[0]).empty());
    CHECK(l.receive(all[0]).empty());
    CHECK(l.receive(all[2]).empty());
    CHECK(l.receive(all[2]).empty());
    CHECK(l.receive(all[0]).empty());
    CHECK(l.parts.count().duplicates == 3);
    CHECK(same(bytes(l.receive(all[1])).subspan(20), numbered(4000)));
    CHECK(l.empty_in_the_end());
}

TEST_CASE("reassembly: any overlap that is no exact repetition gives up the datagram and all that follows") {
    // [RFC 5722 3]; teardrop, and what [RFC 1858 3.2] [RFC 3128] rewrite ports with.
    const auto payload = numbered(3000);
    const bytes b(payload);
    const auto same_place_other_content = numbered(800, 1);
    struct overlap {
        const char* name;
        packet second;
    };
    const std::vector<overlap> overlaps{
        {"its end", fragment(1200, b.subspan(1200, 800), true)},
        {"its begin", fragment(400, b.subspan(400, 800), true)},
        {"inside", fragment(880, b.subspan(880, 80), true)},
        {"around", fragment(0, b.first(2400), true)},
        {"the same place, shorter", fragment(800, b.subspan(800, 400), true)},
        {"the same place, longer", fragment(800, b.subspan(800, 1200), true)},
        {"the same place, other bytes", fragment(800, same_place_other_content, true)},
        {"the last inside it", fragment(880, b.subspan(880, 40), false)},
    };
    for (const overlap& o : overlaps) {
        CAPTURE(o.name);
        lab l;
        CHECK(l.receive(fragment(800, b.subspan(800, 800), true)).empty());
        CHECK(l.receive(o.second).empty());
        CHECK(l.given_up(abandoned::overlap) + l.given_up(abandoned::inconsistent_end) == 1);
        CHECK(l.pool.live_blocks() == 0); // at once
        // The rest of it, which alone would be whole, is not believed either.
        CHECK(l.receive(pieces(payload, 1500)).empty());
        CHECK(l.dropped(fragment_drop::of_abandoned) == 3);
        CHECK(l.empty_in_the_end());
        CHECK(!l.receive(pieces(payload, 1500)).empty()); // later the number is free again
    }
}

TEST_CASE("reassembly: two ends, or bytes behind the end, give up the datagram") {
    const auto payload = numbered(3000);
    const bytes b(payload);
    const std::vector<std::vector<packet>> bad{
        {fragment(1600, b.subspan(1600, 100), false), fragment(2400, b.subspan(2400, 100), false)},
        {fragment(2400, b.subspan(2400, 100), false), fragment(1600, b.subspan(1600, 100), false)},
        {fragment(1600, b.subspan(1600, 100), false), fragment(2400, b.subspan(2400, 80), true)},
        {fragment(2400, b.subspan(2400, 80), true), fragment(1600, b.subspan(1600, 100), false)},
        {fragment(1600, b.subspan(1600, 80), false), fragment(1600, b.subspan(1600, 80), true)},
    };
    for (std::size_t i = 0; i < bad.size(); ++i) {
        CAPTURE(i);
        lab l;
        for (const packet& p : bad[i]) CHECK(l.receive(p).empty());
        CHECK(l.given_up(abandoned::inconsistent_end) == 1);
        CHECK(l.empty_in_the_end());
    }
}

TEST_CASE("reassembly: the same bytes with and without more to follow are no exact repetition") {
    // Were the second ignored but its end believed, the datagram would have all its bytes and never be whole.
    const auto payload = numbered(800);
    const bytes b(payload);
    const packet first = fragment(0, b.first(400), true);
    const packet more = fragment(400, b.subspan(400), true);
    const packet last = fragment(400, b.subspan(400), false);
    const std::vector<std::vector<packet>> bad{
        {more, last, first},
        {last, more, first},
        {first, more, last},
    };
    for (std::size_t i = 0; i < bad.size(); ++i) {
        CAPTURE(i);
        lab l;
        CHECK(l.receive(bad[i]).empty());
        CHECK(l.given_up(abandoned::inconsistent_end) == 1);
        CHECK(l.parts.count().duplicates == 0);
        CHECK(l.pool.live_blocks() == 0); // at once
        CHECK(l.empty_in_the_end());
    }
}

TEST_CASE("reassembly: fragments that no honest sender makes are dropped for their reason") {
    const auto payload = numbered(2000);
    const bytes b(payload);
    lab l;
    CHECK(l.receive(fragment(80, {}, true)).empty());
    CHECK(l.receive(fragment(80, {}, false)).empty());
    CHECK(l.dropped(fragment_drop::empty) == 2);
    CHECK(l.receive(fragment(0, b.first(1001), true)).empty());
    CHECK(l.dropped(fragment_drop::misaligned) == 1);
    CHECK(l.receive(fragment(0, b.first(8), true)).empty()); // eight bytes: the port alone [RFC 1858 3]
    CHECK(l.receive(fragment(0, b.first(40), true)).empty());
    CHECK(l.dropped(fragment_drop::too_small) == 2);
    CHECK(l.receive(fragment(65'512, b.first(8), false)).empty()); // the "ping of death"
    CHECK(l.receive(fragment(64'000, b.first(1520), true)).empty());
    CHECK(l.dropped(fragment_drop::too_long) == 2);
    CHECK(l.parts.datagrams() == 0); // none of them cost anything
    CHECK(l.parts.count().fragments == 7);
    // At the bounds all is well: 44 bytes that a link of MTU 68 carries, one byte at the very end.
    CHECK(l.receive(fragment(0, b.first(48), true)).empty());
    CHECK(l.receive(fragment(65'504, b.first(11), false)).empty());
    CHECK(l.parts.datagrams() == 1);
    CHECK(l.empty_in_the_end());
}

TEST_CASE("reassembly: a fragment that was cut again on the way leaves a tiny one, and is whole again here") {
    const auto payload = numbered(4000);
    lab l;
    packet whole;
    for (const packet& p : pieces(payload, 1500)) {
        const auto v = ipv4::view::parse(p);
        REQUIRE(v);
        for (const packet& part : pieces(v->payload(), 1492, ipv4::header::of(*v))) { // a hop of PPPoE
            CHECK(whole.empty());
            whole = l.receive(part);
        }
    }
    const auto v = ipv4::view::parse(whole);
    REQUIRE(v);
    CHECK(same(v->payload(), payload));
    CHECK(l.dropped(fragment_drop::too_small) == 0);
    CHECK(l.empty_in_the_end());
}

TEST_CASE("reassembly: a datagram that is too long only with the first fragment's options is given up") {
    lab l;
    const auto payload = numbered(65'515);
    const bytes b(payload);
    CHECK(l.receive(fragment(32'000, b.subspan(32'000), false)).empty());
    const auto options = hex("07070400000000 00");
    const auto first = pieces(b.first(32'000), 40'000, from_peer(), options);
    REQUIRE(first.size() == 1);
    packet p = first[0];
    store_be16(p, 6, 0x2000);
    store_be16(p, 10, 0);
    store_be16(p, 10, static_cast<std::uint16_t>(~ip::ones_complement_sum(bytes(p).first(28))));
    CHECK(l.receive(p).empty());
    CHECK(l.given_up(abandoned::too_long) == 1);
    CHECK(l.empty_in_the_end());
}

TEST_CASE("reassembly: congestion marked on one fragment is marked on the datagram") { // [RFC 3168 5.3]
    const auto with_ecn = [](unsigned first, unsigned second) {
        lab l;
        auto a = from_peer();
        a.type_of_service = static_cast<std::uint8_t>(0xb8 | first);
        auto b = a;
        b.type_of_service = static_cast<std::uint8_t>(0xb8 | second);
        const auto payload = numbered(1600);
        CHECK(l.receive(fragment(0, bytes(payload).first(800), true, a)).empty());
        const packet whole = l.receive(fragment(800, bytes(payload).subspan(800), false, b));
        if (whole.empty()) {
            CHECK(l.given_up(abandoned::bad_ecn) == 1);
            return -1;
        }
        CHECK(ipv4::view::parse(whole)->dscp() == 0x2e);
        return static_cast<int>(ipv4::view::parse(whole)->ecn());
    };
    CHECK(with_ecn(0, 0) == 0);
    CHECK(with_ecn(2, 2) == 2);
    CHECK(with_ecn(2, 3) == 3);
    CHECK(with_ecn(3, 2) == 3);
    CHECK(with_ecn(3, 0) == -1);
    CHECK(with_ecn(0, 3) == -1);
}

TEST_CASE("reassembly: what is not whole after 30 s goes, with its first fragment to tell the sender about") {
    // [RFC 1122 3.3.2]; [RFC 792]: without the first fragment nobody is told.
    lab l;
    const auto all = pieces(numbered(4000), 1500);
    const auto headless = pieces(numbered(4000), 1500, from_peer(2));
    CHECK(l.parts.next_deadline() == never);
    CHECK(l.receive(all[0]).empty());
    const instant start = l.now;
    l.now += 10s;
    CHECK(l.receive(headless[1]).empty());
    l.now += 10s;
    CHECK(l.receive(all[1]).empty()); // no longer life for that
    CHECK(l.parts.next_deadline() == start + 30s);
    CHECK(!l.parts.expire(start + 30s - 1ns));
    {
        const auto first = l.parts.expire(start + 30s);
        REQUIRE(first);
        CHECK(same(first->first_fragment.data(), all[0]));
    }
    CHECK(!l.parts.expire(start + 30s));
    const auto second = l.parts.expire(start + 40s);
    REQUIRE(second);
    CHECK(second->first_fragment.empty());
    CHECK(l.given_up(abandoned::timed_out) == 2);
    CHECK(l.receive(all[2]).empty()); // too late: the rest waits for nothing, and goes as well
    CHECK(l.parts.datagrams() == 1);
    CHECK(l.empty_in_the_end());
}

TEST_CASE("reassembly: of one datagram no more fragments are kept than the bound") {
    lab l;
    const auto payload = numbered(65'000);
    for (std::size_t i = 0; i < 129; ++i)
        CHECK(l.receive(fragment(2 * i * 48, bytes(payload).first(48), true)).empty());
    CHECK(l.given_up(abandoned::too_many_fragments) == 1);
    CHECK(l.pool.live_blocks() == 0);
    CHECK(l.empty_in_the_end());
}

TEST_CASE(
    "reassembly: fragments never completed from one source hold its share, from all sources the bound") {
    ipv4::reassembly_config c;
    c.max_bytes = 1024 * 1024;
    c.max_bytes_per_source = 256 * 1024;
    lab l(c);
    const auto payload = numbered(1480);
    const auto flood = [&](ip::address from, unsigned n) {
        for (unsigned i = 0; i < n; ++i) {
            auto h = from_peer(static_cast<std::uint16_t>(i));
            h.source = from;
            (void)l.receive(fragment(0, payload, true, h));
        }
    };
    auto honest_header = from_peer(500);
    honest_header.source = ip::address::v4(198, 51, 100, 1);
    const auto honest = pieces(numbered(8000), 1500, honest_header);
    CHECK(l.receive(honest[0]).empty());
    flood(peer, 2000);
    CHECK(l.parts.bytes_held() <= 256 * 1024 + 4096); // the honest one's fragment beside the flood's share
    CHECK(l.given_up(abandoned::source_full) > 1800);
    CHECK(l.given_up(abandoned::full) == 0);
    for (std::size_t i = 1; i + 1 < honest.size(); ++i) CHECK(l.receive(honest[i]).empty());
    CHECK(!l.receive(honest.back()).empty()); // it never noticed
    // From many sources at once: the bound for all holds, the oldest go.
    std::size_t most = 0;
    for (std::uint8_t i = 1; i < 200; ++i) {
        flood(ip::address::v4(203, 0, 113, i), 20);
        most = std::max(most, l.parts.bytes_held());
        CHECK(l.pool.live_bytes() <= l.parts.bytes_held());
    }
    CHECK(most <= c.max_bytes);
    CHECK(l.given_up(abandoned::full) > 2000);
    // And whoever comes now has its turn all the same.
    CHECK(!l.receive(pieces(numbered(8000), 1500, honest_header)).empty());
    CHECK(l.empty_in_the_end());
}

TEST_CASE("reassembly: datagrams are bounded in number, for one source and for all") {
    ipv4::reassembly_config c;
    c.max_datagrams = 10;
    c.max_datagrams_per_source = 4;
    lab l(c);
    const auto payload = numbered(80);
    for (std::uint16_t id = 0; id < 6; ++id) (void)l.receive(fragment(0, payload, true, from_peer(id)));
    CHECK(l.parts.datagrams() == 4);
    CHECK(l.given_up(abandoned::source_full) == 2);
    for (std::uint8_t i = 1; i <= 8; ++i) {
        auto h = from_peer();
        h.source = ip::address::v4(203, 0, 113, i);
        (void)l.receive(fragment(0, payload, true, h));
    }
    CHECK(l.parts.datagrams() == 10);
    CHECK(l.given_up(abandoned::full) == 2);
    // The oldest of all were the first source's: two are left, the youngest.
    CHECK(l.receive(fragment(80, payload, false, from_peer(3))).empty());
    CHECK(!l.receive(fragment(80, payload, false, from_peer(5))).empty());
    CHECK(l.empty_in_the_end());
}

TEST_CASE("reassembly: a datagram that alone outgrows its source's share goes itself") {
    ipv4::reassembly_config c;
    c.max_bytes_per_source = 256 * 1024;
    c.max_fragments = 2000;
    lab l(c);
    const auto payload = numbered(48);
    for (std::size_t i = 0; i < 1000; ++i) {
        (void)l.receive(fragment(i * 48, payload, true));
        REQUIRE(l.parts.bytes_held() <= c.max_bytes_per_source);
    }
    CHECK(l.given_up(abandoned::source_full) >= 1);
    CHECK(l.empty_in_the_end());
}
