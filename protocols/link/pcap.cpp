#include <tapir/protocols/link/pcap.hpp>

namespace tapir::pcap {

std::array<std::byte, file_header_size> file_header(std::uint32_t snap_length) {
    constexpr std::uint32_t nanosecond_magic = 0xa1b23c4d;
    constexpr std::uint32_t linktype_ethernet = 1;
    std::array<std::byte, file_header_size> h{};
    store_be32(h, 0, nanosecond_magic);
    store_be16(h, 4, 2); // version 2.4
    store_be16(h, 6, 4);
    store_be32(h, 16, snap_length); // between them: time zone and accuracy, zero by convention
    store_be32(h, 20, linktype_ethernet);
    return h;
}

std::array<std::byte, record_header_size> record_header(duration since_epoch, std::size_t captured,
                                                        std::size_t original) {
    constexpr std::int64_t second = 1'000'000'000;
    const std::int64_t ns = since_epoch.count() < 0 ? 0 : since_epoch.count();
    std::array<std::byte, record_header_size> h{};
    store_be32(h, 0, static_cast<std::uint32_t>(ns / second));
    store_be32(h, 4, static_cast<std::uint32_t>(ns % second));
    store_be32(h, 8, static_cast<std::uint32_t>(captured));
    store_be32(h, 12, static_cast<std::uint32_t>(original));
    return h;
}

void complete_checksum(mutable_bytes frame, const offload& meta) {
    const std::size_t field = std::size_t{meta.csum_start} + meta.csum_offset;
    if (meta.csum != checksum_state::partial || field + 2 > frame.size()) return;
    constexpr std::uint16_t udp_field = 6; // where UDP has its checksum, and 0 would mean "none"
    const bytes covered = bytes(frame).subspan(meta.csum_start);
    std::uint64_t sum = 0;
    for (std::size_t at = 0; at + 1 < covered.size(); at += 2) sum += load_be16(covered, at);
    if (covered.size() % 2 != 0) sum += std::uint64_t{load_u8(covered, covered.size() - 1)} << 8;
    while ((sum >> 16) != 0) sum = (sum & 0xffff) + (sum >> 16);
    auto complete = static_cast<std::uint16_t>(~sum & 0xffff);
    if (complete == 0 && meta.csum_offset == udp_field) complete = 0xffff;
    store_be16(frame, field, complete);
}

} // namespace tapir::pcap
