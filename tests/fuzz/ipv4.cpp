// Any bytes as an IPv4 datagram, as they come and once more with a header that has a right checksum: without
// that, next to no input would get past it. And any bytes as a sequence of fragments that meet in reassembly.
#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/ipv4/fragments.hpp>
#include <tapir/protocols/ipv4/header.hpp>
#include <tapir/protocols/ipv4/input.hpp>
#include <tapir/protocols/ipv4/options.hpp>
#include <tapir/protocols/ipv4/reassembly.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tests/fuzz/must.hpp"
#include "tests/hex.hpp"

using namespace tapir;
using fuzz::must;

extern "C" const int tapir_fuzz_bounded_runs = 15'000;

namespace {

void look_at(const ipv4::view& v, bytes packet) {
    must(v.header_size() >= 20 && v.header_size() <= v.datagram().size());
    must(v.datagram().size() <= packet.size());
    must(v.options().size() + 20 == v.header_size());
    must(v.header_size() + v.payload().size() == v.datagram().size());
    must(v.fragment_offset() % 8 == 0 && v.fragment_offset() <= 65528);
    must(v.is_fragment() == (v.more_fragments() || v.fragment_offset() != 0));
    must((v.dscp() << 2 | static_cast<int>(v.ecn())) == v.type_of_service());
    must(v.source().is_v4() && v.destination().is_v4());
}

void round_trip(const ipv4::view& v) {
    const auto h = ipv4::header::of(v);
    std::vector<std::byte> again(ipv4::header::size + v.payload().size());
    h.emit(again);
    copy_bytes(mutable_bytes(again).subspan(ipv4::header::size), v.payload());
    const auto w = ipv4::view::parse(again);
    must(w.has_value() && ipv4::header::of(*w) == h && test::same(w->payload(), v.payload()));
}

void input(bytes packet, bool to_link_group) {
    ipv4::routes routes;
    must(routes.add_address({ip::address::v4(192, 0, 2, 2), 24}).has_value());
    ipv4::input in;
    const auto d = in.accept(packet, to_link_group, routes);
    must(in.count().received == 1 && in.count().accepted + in.count().dropped.total() == 1);
    if (!d) {
        must(!ipv4::to_string(d.error()).empty());
        return;
    }
    must(!d->transit);
    must(d->broadcast || (routes.is_own(d->packet.destination()) && !to_link_group));
    must(!d->packet.source().is_multicast() && !routes.is_own(d->packet.source()));
}

/// Cut for some MTU, everything is there once, in pieces that fit.
void cut(const ipv4::view& v, std::size_t mtu) {
    if (v.payload().empty() || ipv4::check_options(v.options()) != ipv4::options_are::fine) return;
    auto whole = ipv4::header::of(v);
    whole.dont_fragment = false;
    if (whole.fragment_offset + v.payload().size() > 65'515 - ipv4::max_options) return;
    std::vector<std::byte> again;
    ipv4::fragmenter parts(whole, v.options(), v.payload(), mtu);
    while (const auto p = parts.next()) {
        std::vector<std::byte> b(p->size());
        p->emit(b);
        const auto w = ipv4::view::parse(b);
        must(w.has_value() && b.size() <= mtu);
        must(ipv4::check_options(w->options()) == ipv4::options_are::fine);
        must(w->fragment_offset() == v.fragment_offset() + again.size());
        again.insert(again.end(), w->payload().begin(), w->payload().end());
    }
    must(test::same(again, v.payload()));
}

/// What stands at `at` of the datagram numbered `id`, unless somebody lies.
std::byte truth(std::size_t id, std::size_t at) {
    return static_cast<std::byte>(id * 31 + at * 7 + at / 251);
}

/// Six bytes of input make a fragment: of which datagram of which source, where, how long, the last or not,
/// with true content or not, and how much later.
void reassemble(bytes script) {
    buffer_pool pool;
    ipv4::reassembly_config c;
    c.max_bytes_per_source = 256 * 1024;
    c.max_bytes = 300 * 1024;
    c.max_datagrams = 5;
    c.max_datagrams_per_source = 3;
    c.max_fragments = 8;
    ipv4::reassembly parts(pool, c);
    instant now(1s);
    std::vector<std::byte> b;
    for (; script.size() >= 6; script = script.subspan(6)) {
        const unsigned who = load_u8(script, 0);
        const unsigned kind = load_u8(script, 1);
        const std::size_t offset = std::size_t{load_be16(script, 2)} % 8192 * 8 / (1 + kind % 4 * 32);
        const std::size_t size = std::size_t{load_u8(script, 4)} * (kind % 8 == 0 ? 64 : 8) + (kind >> 6);
        now += load_u8(script, 5) % 16 == 0 ? 7s : 1ms;
        ipv4::header h;
        h.dont_fragment = false;
        h.identification = static_cast<std::uint16_t>(who % 4);
        h.source = ip::address::v4(192, 0, 2, static_cast<std::uint8_t>(who / 64));
        h.destination = ip::address::v4(192, 0, 2, 99);
        h.fragment_offset = static_cast<std::uint16_t>(offset / 8 * 8);
        h.more_fragments = (kind & 0x20) != 0 || offset / 8 == 0;
        h.type_of_service = static_cast<std::uint8_t>(kind % 16 == 15 ? 3 : 2);
        h.payload_size = size;
        b.resize(ipv4::header::size + size);
        h.emit(b);
        for (std::size_t i = 0; i < size; ++i)
            b[ipv4::header::size + i] = truth(h.identification, h.fragment_offset + i);
        const bool lie = kind % 32 == 31 && size != 0;
        if (lie) b.back() ^= std::byte{1};
        while (const auto old = parts.expire(now)) {
            const bytes first = old->first_fragment.data();
            must(first.empty() || ipv4::view::parse(first).has_value());
        }
        const auto before = parts.count();
        const auto whole = parts.accept(*ipv4::view::parse(b), now);
        must(parts.count().fragments == before.fragments + 1);
        must(parts.bytes_held() <= c.max_bytes && parts.datagrams() <= c.max_datagrams);
        must(pool.live_bytes() <= parts.bytes_held() + (whole ? whole->storage.capacity() : 0));
        must(parts.sources() <= parts.datagrams());
        if (!whole) continue;
        must(parts.count().reassembled == before.reassembled + 1);
        const auto v = ipv4::view::parse(whole->storage.span().first(whole->size));
        must(v.has_value() && !v->is_fragment() && v->identification() == h.identification);
        std::size_t lies = 0;
        for (std::size_t i = 0; i < v->payload().size(); ++i)
            lies += v->payload()[i] != truth(h.identification, i) ? 1u : 0u;
        must(lies <= c.max_fragments); // at most one a piece: nothing is moved, doubled or lost
    }
    while (parts.expire(now + c.timeout)) {
    }
    must(parts.bytes_held() == 0 && parts.datagrams() == 0 && parts.sources() == 0);
    must(pool.live_blocks() == 0 && parts.next_deadline() == never);
}

void parse(bytes packet) {
    if (const auto v = ipv4::view::parse(packet)) {
        look_at(*v, packet);
        must(v->total_length() == v->datagram().size());
        round_trip(*v);
        cut(*v, ipv4::min_mtu + packet.size() / 3);
        must(ipv4::view::parse_quoted(packet).has_value());
    }
    if (const auto v = ipv4::view::parse_quoted(packet)) look_at(*v, packet);
    input(packet, false);
    input(packet, true);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const bytes packet = std::as_bytes(std::span(data, size));
    parse(packet);
    reassemble(packet);
    if (size < ipv4::header::size || size > ipv4::header::max_total_length) return 0;

    auto mended = test::to_vector(packet);
    const std::size_t words = std::clamp<std::size_t>(load_u8(packet, 0) & 0x0fu, 5, size / 4);
    store_u8(mended, 0, static_cast<std::uint8_t>(0x40 | std::min<std::size_t>(words, 15)));
    const std::size_t header_size = 4 * std::min<std::size_t>(words, 15);
    const auto total = std::clamp<std::size_t>(load_be16(packet, 2), header_size, size);
    store_be16(mended, 2, static_cast<std::uint16_t>(total));
    const auto sign = [&] {
        store_be16(mended, 10, 0);
        store_be16(mended, 10,
                   static_cast<std::uint16_t>(~ip::ones_complement_sum(bytes(mended).first(header_size))));
    };
    sign();
    must(ipv4::view::parse(mended).has_value());
    parse(mended);

    store_be32(mended, 12, 0xc0000201u + load_u8(packet, 15)); // a neighbour, or now and then not quite
    store_be32(mended, 16, 0xc0000202u);
    store_be16(mended, 6, 0);
    sign();
    parse(mended);
    return 0;
}
