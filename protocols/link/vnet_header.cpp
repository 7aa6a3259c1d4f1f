#include <tapir/protocols/link/offload.hpp>
#include <tapir/protocols/link/vnet_header.hpp>

#include <bit>
#include <cassert>
#include <cstdint>

namespace tapir::vnet_header {
namespace {

constexpr std::uint8_t needs_csum = 1;
constexpr std::uint8_t data_valid = 2;
constexpr std::uint8_t gso_none = 0;
constexpr std::uint8_t gso_tcp4 = 1;
constexpr std::uint8_t gso_ecn = 0x80;

std::uint16_t load_le16(bytes b, std::size_t at) {
    return std::byteswap(load_be16(b, at));
}

void store_le16(mutable_bytes b, std::size_t at, std::uint16_t v) {
    store_be16(b, at, std::byteswap(v));
}

} // namespace

void emit(mutable_bytes room, const offload& meta) {
    assert(room.size() == size && meta.gso_type != segmentation::tcp6);
    const bool partial = meta.csum == checksum_state::partial;
    const bool large = meta.gso_type != segmentation::none;
    // That a checksum was verified is no promise that we may pass on: who needs it looks again.
    store_u8(room, 0, partial ? needs_csum : std::uint8_t{0});
    store_u8(room, 1, large ? gso_tcp4 : gso_none);
    store_le16(room, 2, large ? meta.hdr_len : std::uint16_t{0});
    store_le16(room, 4, large ? meta.gso_size : std::uint16_t{0});
    store_le16(room, 6, partial ? meta.csum_start : std::uint16_t{0});
    store_le16(room, 8, partial ? meta.csum_offset : std::uint16_t{0});
}

std::optional<offload> parse(bytes header_and_frame) {
    if (header_and_frame.size() < size) return std::nullopt;
    const bytes h = header_and_frame.first(size);
    const bytes frame = header_and_frame.subspan(size);
    offload meta;
    const std::uint8_t flags = load_u8(h, 0);
    if ((flags & needs_csum) != 0) {
        constexpr std::size_t headers = 14 + 20; // nothing below the transport has such a checksum
        meta.csum = checksum_state::partial;
        meta.csum_start = load_le16(h, 6);
        meta.csum_offset = load_le16(h, 8);
        const std::size_t field = std::size_t{meta.csum_start} + meta.csum_offset;
        if (meta.csum_start < headers || field + 2 > frame.size()) return std::nullopt;
    } else if ((flags & data_valid) != 0) {
        meta.csum = checksum_state::valid;
    }
    const auto gso = static_cast<std::uint8_t>(load_u8(h, 1) & ~gso_ecn);
    if (gso == gso_none) return meta;
    const auto at = find_tcp4(frame);
    const std::uint16_t gso_size = load_le16(h, 4);
    constexpr std::uint16_t tcp_field = 16;
    if (gso != gso_tcp4 || !at || gso_size < min_gso_size || meta.csum == checksum_state::none)
        return std::nullopt;
    if (meta.csum == checksum_state::partial && (meta.csum_start != at->tcp || meta.csum_offset != tcp_field))
        return std::nullopt;
    if (at->end - at->payload <= gso_size) return meta; // one packet as it is
    meta.gso_type = segmentation::tcp4;
    meta.gso_size = gso_size;
    meta.hdr_len = static_cast<std::uint16_t>(at->payload);
    return meta;
}

} // namespace tapir::vnet_header
