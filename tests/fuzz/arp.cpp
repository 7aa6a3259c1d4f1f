// Any bytes as an ARP packet, and any sequence of packets, questions and pauses for the cache: its bounds
// hold and every frame it was given comes out again, released, failed or counted as dropped.
#include <tapir/framework/buffer.hpp>
#include <tapir/protocols/arp/cache.hpp>
#include <tapir/protocols/arp/packet.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tests/fuzz/must.hpp"
#include "tests/hex.hpp"

using namespace tapir;
using fuzz::must;

extern "C" const int tapir_fuzz_bounded_runs = 50'000;

namespace {

const ethernet::mac_address own_mac(0x02, 0, 0, 0, 0, 0x02);
const ip::prefix own(ip::address::v4(192, 0, 2, 2), 24);

void round_trip(bytes payload) {
    const auto v = arp::view::parse(payload);
    if (!v) return;
    const auto p = arp::packet::of(*v);
    std::vector<std::byte> again(arp::packet::size);
    p.emit(again);
    must(test::same(again, payload.first(arp::packet::size)));
    must(arp::packet::of(*arp::view::parse(again)) == p);
}

ip::address neighbour(std::uint8_t n) {
    return ip::address::v4(0xc0000200u + n % 8u); // few, so that they meet again; our own address among them
}

struct driver {
    driver() : cache(config(), own_mac) { cache.add_address(own); }

    static arp::cache_config config() {
        arp::cache_config c;
        c.max_entries = 4;
        c.max_queued_frames = 3;
        c.max_queued_total = 6;
        c.max_transmissions = 8;
        return c;
    }

    // Eight bytes are one step.
    void step(bytes b) {
        const std::uint8_t x = load_u8(b, 1);
        const std::uint8_t y = load_u8(b, 2);
        switch (load_u8(b, 0) % 5) {
        case 0: cache.enqueue(neighbour(x), frame(pool.allocate(64), 32), now), ++given; break;
        case 1: {
            const arp::packet p{.op = (y & 1) != 0 ? arp::operation::request : arp::operation::reply,
                                .sender_mac = ethernet::mac_address(load_u8(b, 3), 0, 0, 0, 0, y),
                                .sender_ip = neighbour(x),
                                .target_mac = own_mac,
                                .target_ip = (y & 2) != 0 ? own.addr : neighbour(y)};
            cache.on_packet(p, now);
            break;
        }
        case 2:
            now += duration(std::int64_t{load_be16(b, 4)} * 10'000'000);
            cache.on_timer(now);
            must(cache.next_deadline() > now);
            break;
        case 3:
            if (const auto mac = cache.resolve(ip::address::v4(load_be32(b, 1)), now))
                must(!mac->is_unspecified());
            break;
        case 4: pull(); break;
        }
        std::size_t queued = 0;
        for (const auto& e : cache.entries(now)) {
            must(e.queued <= config().max_queued_frames);
            must(e.queued == 0 || e.state == arp::state::incomplete);
            must((e.state == arp::state::incomplete) == e.mac.is_unspecified());
            queued += e.queued;
        }
        must(queued <= config().max_queued_total);
        must(cache.entries(now).size() <= config().max_entries);
        must(cache.entries(now).empty() || cache.next_deadline() != never);
    }

    void pull() {
        std::size_t packets = 0;
        while (cache.next_transmission()) ++packets;
        must(packets <= config().max_transmissions);
        while (const auto r = cache.next_release()) ++taken;
        while (const auto f = cache.next_failure()) taken += f->packets.size();
    }

    void finish() {
        for (int i = 0; i < 10; ++i) { // longer than any question lasts
            now += 1s;
            cache.on_timer(now);
        }
        pull();
        for (const auto& e : cache.entries(now)) must(e.queued == 0);
        must(given == taken + cache.count().queue_dropped);
        must(pool.live_blocks() == 0);
    }

    buffer_pool pool;
    instant now{1h};
    arp::cache cache;
    std::uint64_t given = 0;
    std::uint64_t taken = 0;
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const bytes input = std::as_bytes(std::span(data, size));
    round_trip(input);
    if (size >= arp::packet::size) { // the constant fields set right, so that the rest is reached more often
        auto mended = test::to_vector(input.first(arp::packet::size));
        copy_bytes(mended, test::hex("0001 0800 06 04 00"));
        round_trip(mended);
    }
    driver d;
    d.cache.on_packet(input, d.now);
    for (bytes rest = input; rest.size() >= 8; rest = rest.subspan(8)) d.step(rest.first(8));
    d.finish();
    return 0;
}
