#include <tapir/protocols/ethernet/mac_address.hpp>

namespace tapir::ethernet {

namespace {
int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}
} // namespace

std::string mac_address::to_string() const {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    for (const std::uint8_t octet : octets_) {
        if (!text.empty()) text += ':';
        text += digits[octet >> 4];
        text += digits[octet & 0xf];
    }
    return text;
}

result<mac_address> parse_mac_address(std::string_view text) {
    std::array<std::uint8_t, mac_address::size> octets{};
    if (text.size() != 3 * octets.size() - 1) return errc::invalid_argument;
    for (std::size_t i = 0; i < octets.size(); ++i) {
        const int high = digit(text[3 * i]);
        const int low = digit(text[3 * i + 1]);
        if (high < 0 || low < 0 || (i != 0 && text[3 * i - 1] != ':')) return errc::invalid_argument;
        octets[i] = static_cast<std::uint8_t>(high * 16 + low);
    }
    return mac_address(octets);
}

} // namespace tapir::ethernet
