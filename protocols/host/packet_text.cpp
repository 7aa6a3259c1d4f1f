#include <tapir/protocols/host/packet_text.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tapir {
namespace {

std::string number(std::uint64_t value) {
    return std::to_string(value);
}

std::string hex(std::uint64_t value, int digits) {
    constexpr std::string_view digit = "0123456789abcdef";
    std::string text;
    for (int shift = (digits - 1) * 4; shift >= 0; shift -= 4) text += digit[(value >> shift) & 0xf];
    return text;
}

std::string dotted(bytes b, std::size_t at) {
    std::string text;
    for (std::size_t i = 0; i < 4; ++i) text += (i == 0 ? "" : ".") + number(load_u8(b, at + i));
    return text;
}

std::string mac(bytes b, std::size_t at) {
    std::string text;
    for (std::size_t i = 0; i < 6; ++i) text += (i == 0 ? "" : ":") + hex(load_u8(b, at + i), 2);
    return text;
}

std::string cut(std::string_view what, bytes b) {
    return std::string(what) + " cut short, len " + number(b.size());
}

std::string arp_text(bytes b) {
    if (b.size() < 28) return cut("arp", b);
    constexpr std::size_t sender_mac = 8, sender_ip = 14, target_ip = 24;
    switch (load_be16(b, 6)) {
    case 1: return "arp who-has " + dotted(b, target_ip) + " tell " + dotted(b, sender_ip);
    case 2: return "arp " + dotted(b, sender_ip) + " is-at " + mac(b, sender_mac);
    default: return "arp operation " + number(load_be16(b, 6));
    }
}

std::string icmp_text(bytes b) {
    if (b.size() < 8) return cut("", b);
    const unsigned type = load_u8(b, 0);
    const unsigned code = load_u8(b, 1);
    const std::string rest =
        " id " + number(load_be16(b, 4)) + " seq " + number(load_be16(b, 6)) + " len " + number(b.size() - 8);
    if (type == 8) return " echo request" + rest;
    if (type == 0) return " echo reply" + rest;
    if (type == 3) return " unreachable code " + number(code);
    return " type " + number(type) + " code " + number(code);
}

std::string flags_text(unsigned flags) {
    constexpr std::array<std::string_view, 8> names = {"FIN", "SYN", "RST", "PSH",
                                                       "ACK", "URG", "ECE", "CWR"};
    // As people write them: SYN,ACK and FIN,ACK, not in the order of the bits.
    constexpr std::array<std::size_t, 8> order = {1, 0, 2, 3, 4, 5, 6, 7};
    std::string text;
    for (const std::size_t bit : order)
        if ((flags >> bit & 1u) != 0) text += (text.empty() ? "" : ",") + std::string(names[bit]);
    return text.empty() ? "none" : text;
}

std::string sack_text(bytes option) {
    std::string text = " sack";
    for (std::size_t at = 2; at + 8 <= option.size(); at += 8)
        text += ' ' + number(load_be32(option, at)) + '-' + number(load_be32(option, at + 4));
    return text;
}

std::string options_text(bytes options) {
    std::string text;
    while (!options.empty()) {
        const unsigned kind = load_u8(options, 0);
        if (kind == 0) break;
        if (kind == 1) {
            options = options.subspan(1);
            continue;
        }
        const std::size_t length = options.size() > 1 ? load_u8(options, 1) : 0;
        if (length < 2 || length > options.size()) return text + " bad option " + number(kind);
        const bytes option = options.first(length);
        if (kind == 2 && length == 4) {
            text += " mss " + number(load_be16(option, 2));
        } else if (kind == 3 && length == 3) {
            text += " ws " + number(load_u8(option, 2));
        } else if (kind == 4 && length == 2) {
            text += " sack-ok";
        } else if (kind == 5) {
            text += sack_text(option);
        } else if (kind == 8 && length == 10) {
            text += " ts " + number(load_be32(option, 2)) + '/' + number(load_be32(option, 6));
        } else {
            text += " option " + number(kind);
        }
        options = options.subspan(length);
    }
    return text;
}

std::string tcp_text(std::string_view from, std::string_view to, bytes b) {
    const std::string ends = "tcp " + std::string(from);
    if (b.size() < 20) return cut(ends + " > " + std::string(to), b);
    return ends + ':' + number(load_be16(b, 0)) + " > " + std::string(to) + ':' + number(load_be16(b, 2)) +
           ' ' + segment_text(b);
}

std::string udp_text(std::string_view from, std::string_view to, bytes b) {
    const std::string ends = "udp " + std::string(from);
    if (b.size() < 8) return cut(ends + " > " + std::string(to), b);
    return ends + ':' + number(load_be16(b, 0)) + " > " + std::string(to) + ':' + number(load_be16(b, 2)) +
           " len " + number(b.size() - 8);
}

std::string ipv4_text(bytes b) {
    if (b.size() < 20) return cut("ipv4", b);
    const std::size_t header = std::size_t{load_u8(b, 0) & 0xfu} * 4;
    const std::size_t total = load_be16(b, 2);
    const std::string from = dotted(b, 12);
    const std::string to = dotted(b, 16);
    if (header < 20 || total < header || total > b.size())
        return "ipv4 " + from + " > " + to + " bad lengths: header " + number(header) + ", total " +
               number(total) + " of " + number(b.size());
    const std::size_t offset = std::size_t{load_be16(b, 6) & 0x1fffu} * 8;
    const bytes payload = b.first(total).subspan(header);
    if (offset != 0)
        return "ipv4 " + from + " > " + to + " fragment at " + number(offset) + " len " +
               number(payload.size());
    switch (load_u8(b, 9)) {
    case 1: return "icmp " + from + " > " + to + icmp_text(payload);
    case 6: return tcp_text(from, to, payload);
    case 17: return udp_text(from, to, payload);
    default:
        return "ipv4 " + from + " > " + to + " protocol " + number(load_u8(b, 9)) + " len " +
               number(payload.size());
    }
}

} // namespace

std::string segment_text(bytes b) {
    if (b.size() < 20) return cut("tcp", b);
    const std::size_t header = static_cast<std::size_t>(load_u8(b, 12) >> 4) * 4;
    const unsigned flags = load_u8(b, 13);
    std::string text = flags_text(flags) + " seq " + number(load_be32(b, 4));
    if ((flags & 0x10) != 0) text += " ack " + number(load_be32(b, 8));
    text += " win " + number(load_be16(b, 14));
    if (header < 20 || header > b.size()) return text + " bad header length " + number(header);
    text += " len " + number(b.size() - header);
    return text + options_text(b.first(header).subspan(20));
}

std::string packet_text(bytes f) {
    if (f.size() < 14) return cut("ethernet", f);
    const bytes payload = f.subspan(14);
    switch (load_be16(f, 12)) {
    case 0x0800: return ipv4_text(payload);
    case 0x0806: return arp_text(payload);
    default:
        return "ethernet " + mac(f, 6) + " > " + mac(f, 0) + " type 0x" + hex(load_be16(f, 12), 4) + " len " +
               number(payload.size());
    }
}

} // namespace tapir
