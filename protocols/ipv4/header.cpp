#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/ipv4/header.hpp>

#include <algorithm>
#include <cassert>

namespace tapir::ipv4 {

std::expected<view, malformed> view::parse_header(bytes packet) {
    if (packet.size() < header::size) return std::unexpected(malformed::too_short);
    // [RFC 1122 3.2.1.1]: another version is dropped.
    if ((load_u8(packet, 0) >> 4) != 4) return std::unexpected(malformed::bad_version);
    const view v(packet);
    if (v.header_size() < header::size || v.header_size() > packet.size())
        return std::unexpected(malformed::bad_header_length);
    if (v.total_length() < v.header_size()) return std::unexpected(malformed::bad_total_length);
    return v;
}

std::expected<view, malformed> view::parse(bytes packet) {
    const auto v = parse_header(packet);
    if (!v) return v;
    if (v->total_length() > packet.size()) return std::unexpected(malformed::bad_total_length);
    // [RFC 1122 3.2.1.2]: every header's checksum is verified.
    if (ip::ones_complement_sum(packet.first(v->header_size())) != 0xffff)
        return std::unexpected(malformed::bad_checksum);
    return view(packet.first(v->total_length()));
}

std::expected<view, malformed> view::parse_quoted(bytes packet) {
    const auto v = parse_header(packet);
    if (!v) return v;
    return view(packet.first(std::min(v->total_length(), packet.size())));
}

header header::of(const view& v) {
    return {.type_of_service = v.type_of_service(),
            .identification = v.identification(),
            .dont_fragment = v.dont_fragment(),
            .more_fragments = v.more_fragments(),
            .fragment_offset = static_cast<std::uint16_t>(v.fragment_offset()),
            .ttl = v.ttl(),
            .protocol = v.protocol(),
            .source = v.source(),
            .destination = v.destination(),
            .payload_size = v.total_length() - v.header_size()};
}

void header::emit(mutable_bytes out, bytes options) const {
    assert(options.size() <= 40 && options.size() % 4 == 0);
    assert(payload_size <= max_total_length - size - options.size());
    assert(fragment_offset % 8 == 0);
    const std::size_t whole = size + options.size();
    const unsigned flags = (dont_fragment ? 0x4000u : 0u) | (more_fragments ? 0x2000u : 0u);
    store_u8(out, 0, static_cast<std::uint8_t>(0x40 | whole / 4));
    store_u8(out, 1, type_of_service);
    store_be16(out, 2, static_cast<std::uint16_t>(whole + payload_size));
    store_be16(out, 4, identification);
    store_be16(out, 6, static_cast<std::uint16_t>(flags | (fragment_offset / 8u)));
    store_u8(out, 8, ttl);
    store_u8(out, 9, static_cast<std::uint8_t>(protocol));
    store_be16(out, 10, 0);
    store_be32(out, 12, source.v4_value());
    store_be32(out, 16, destination.v4_value());
    copy_bytes(out.subspan(size), options);
    ip::checksum sum;
    sum.add(out.first(whole));
    store_be16(out, 10, sum.value());
}

} // namespace tapir::ipv4
