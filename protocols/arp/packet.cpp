#include <tapir/protocols/arp/packet.hpp>

namespace tapir::arp {

namespace {
constexpr std::uint16_t hardware_ethernet = 1;
constexpr std::uint16_t protocol_ipv4 = 0x0800;
} // namespace

std::expected<view, malformed> view::parse(bytes payload) {
    if (payload.size() < packet::size) return std::unexpected(malformed::too_short);
    if (load_be16(payload, 0) != hardware_ethernet || load_u8(payload, 4) != 6)
        return std::unexpected(malformed::bad_hardware);
    if (load_be16(payload, 2) != protocol_ipv4 || load_u8(payload, 5) != 4)
        return std::unexpected(malformed::bad_protocol);
    const std::uint16_t op = load_be16(payload, 6);
    if (op != static_cast<std::uint16_t>(operation::request) &&
        op != static_cast<std::uint16_t>(operation::reply))
        return std::unexpected(malformed::bad_operation);
    return view(payload.first(packet::size));
}

packet packet::of(const view& v) {
    return {.op = v.op(),
            .sender_mac = v.sender_mac(),
            .sender_ip = v.sender_ip(),
            .target_mac = v.target_mac(),
            .target_ip = v.target_ip()};
}

packet packet::request(ethernet::mac_address own_mac, ip::address own_ip, ip::address wanted) {
    return {.op = operation::request,
            .sender_mac = own_mac,
            .sender_ip = own_ip,
            .target_mac = {},
            .target_ip = wanted};
}

packet packet::reply_to(const packet& asked, ethernet::mac_address own_mac) {
    return {.op = operation::reply,
            .sender_mac = own_mac,
            .sender_ip = asked.target_ip,
            .target_mac = asked.sender_mac,
            .target_ip = asked.sender_ip};
}

packet packet::announcement(ethernet::mac_address own_mac, ip::address own_ip) {
    return request(own_mac, own_ip, own_ip);
}

void packet::emit(mutable_bytes out) const {
    store_be16(out, 0, hardware_ethernet);
    store_be16(out, 2, protocol_ipv4);
    store_u8(out, 4, ethernet::mac_address::size);
    store_u8(out, 5, 4);
    store_be16(out, 6, static_cast<std::uint16_t>(op));
    sender_mac.store(out, 8);
    store_be32(out, 14, sender_ip.v4_value());
    target_mac.store(out, 18);
    store_be32(out, 24, target_ip.v4_value());
}

std::string_view to_string(malformed reason) {
    switch (reason) {
    case malformed::too_short: return "packet too short";
    case malformed::bad_hardware: return "not for Ethernet";
    case malformed::bad_protocol: return "not for IPv4";
    case malformed::bad_operation: return "neither request nor reply";
    }
    return "unknown";
}

} // namespace tapir::arp
