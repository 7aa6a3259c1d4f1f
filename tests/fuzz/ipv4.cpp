// Any bytes as an IPv4 datagram, as they come and once more with a header that has a right checksum: without
// that, next to no input would get past it.
#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/ipv4/header.hpp>
#include <tapir/protocols/ipv4/input.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tests/fuzz/must.hpp"
#include "tests/hex.hpp"

using namespace tapir;
using fuzz::must;

namespace {

void look_at(const ipv4::view& v, bytes packet) {
    must(v.header_size() >= 20 && v.header_size() <= v.datagram().size());
    must(v.datagram().size() <= packet.size());
    must(v.options().size() + 20 == v.header_size());
    must(v.header_size() + v.payload().size() == v.datagram().size());
    must(v.fragment_offset() % 8 == 0 && v.fragment_offset() <= 65528);
    must(v.is_fragment() == (v.more_fragments() || v.fragment_offset() != 0));
    must((v.dscp() << 2 | v.ecn()) == v.type_of_service());
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
    must(!d->packet.is_fragment());
    must(d->broadcast || (routes.is_own(d->packet.destination()) && !to_link_group));
    must(!d->packet.source().is_multicast() && !routes.is_own(d->packet.source()));
}

void parse(bytes packet) {
    if (const auto v = ipv4::view::parse(packet)) {
        look_at(*v, packet);
        must(v->total_length() == v->datagram().size());
        round_trip(*v);
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
