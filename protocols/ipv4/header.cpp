#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/ipv4/header.hpp>

#include <algorithm>
#include <array>
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

namespace {
std::uint16_t sum_of(bytes of_header) {
    std::uint64_t sum = 0; // nearly all have no options: five words
    for (std::size_t at = 0; at < header::size; at += 4) sum += load_be32(of_header, at);
    if (of_header.size() != header::size) sum += ip::ones_complement_sum(of_header.subspan(header::size));
    return ip::fold(sum);
}
} // namespace

std::expected<view, malformed> view::parse(bytes packet) {
    const auto v = parse_header(packet);
    if (!v) return v;
    if (v->total_length() > packet.size()) return std::unexpected(malformed::bad_total_length);
    // [RFC 1122 3.2.1.2]: every header's checksum is verified.
    if (sum_of(packet.first(v->header_size())) != 0xffff) return std::unexpected(malformed::bad_checksum);
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
    assert(out.size() >= whole);
    const unsigned flags = (dont_fragment ? 0x4000u : 0u) | (more_fragments ? 0x2000u : 0u);
    std::array<std::uint32_t, 5> words{
        static_cast<std::uint32_t>((0x40u | whole / 4) << 24 | unsigned{type_of_service} << 16 |
                                   (whole + payload_size)),
        std::uint32_t{identification} << 16 | flags | fragment_offset / 8u,
        std::uint32_t{ttl} << 24 | static_cast<std::uint32_t>(protocol) << 16,
        source.v4_value(),
        destination.v4_value(),
    };
    // Summed as values: to read back as wide words what was just stored in narrow ones makes a core wait.
    std::uint64_t sum = options.empty() ? 0 : ip::ones_complement_sum(options);
    for (const std::uint32_t word : words) sum += word;
    words[2] |= static_cast<std::uint16_t>(~ip::fold(sum));
    const mutable_bytes fixed = out.first(size);
    for (std::size_t i = 0; i < words.size(); ++i) store_be32(fixed, 4 * i, words[i]);
    copy_bytes(out.subspan(size), options);
}

} // namespace tapir::ipv4
