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

} // namespace tapir::pcap
