#include <tapir/protocols/link/ecn_field.hpp>

#include <cstddef>
#include <cstdint>

namespace tapir {
namespace {

constexpr std::size_t ether_type_at = 12;
constexpr std::size_t ip_at = 14;
constexpr std::size_t ip_header_size = 20;

bool is_ipv4(bytes frame) {
    return frame.size() >= ip_at + ip_header_size && load_be16(frame, ether_type_at) == 0x0800;
}

} // namespace

unsigned ecn_field(bytes frame) {
    return is_ipv4(frame) ? load_u8(frame, ip_at + 1) & 3u : 0;
}

void set_ecn_field(mutable_bytes frame, unsigned value) {
    if (!is_ipv4(frame)) return;
    const std::uint16_t before = load_be16(frame, ip_at);
    const auto after = static_cast<std::uint16_t>((before & ~3u) | (value & 3u));
    // HC' = ~(~HC + ~m + m')
    std::uint32_t sum = static_cast<std::uint16_t>(~load_be16(frame, ip_at + 10));
    sum += static_cast<std::uint16_t>(~before);
    sum += after;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    store_be16(frame, ip_at, after);
    store_be16(frame, ip_at + 10, static_cast<std::uint16_t>(~sum));
}

bool asks_for_ecn(bytes frame) {
    constexpr std::uint8_t tcp = 6;
    constexpr std::size_t flags = 13;
    if (!is_ipv4(frame) || load_u8(frame, ip_at + 9) != tcp || (load_be16(frame, ip_at + 6) & 0x1fff) != 0)
        return false;
    const std::size_t at = ip_at + std::size_t{4} * (load_u8(frame, ip_at) & 0x0fu) + flags;
    return frame.size() > at && (load_u8(frame, at) & 0xd2) == 0xc2; // CWR, ECE, SYN, and no ACK
}

} // namespace tapir
