#include <tapir/protocols/ip/address.hpp>

#include <charconv>
#include <optional>

namespace tapir::ip {

namespace {

// Takes a decimal number off the front of `text`. Leading zeros are refused: some parsers read them as octal,
// and an address that two programs read differently is a security hole.
std::optional<std::uint32_t> take_number(std::string_view& text, std::uint32_t max) {
    std::uint32_t value = 0;
    const char* const end = text.data() + text.size();
    if (text.empty() || text.front() < '0' || text.front() > '9') return std::nullopt;
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    const auto digits = static_cast<std::size_t>(stop - text.data());
    if (error != std::errc{} || value > max || (text.front() == '0' && digits > 1)) return std::nullopt;
    text.remove_prefix(digits);
    return value;
}

bool take(std::string_view& text, char expected) {
    if (text.empty() || text.front() != expected) return false;
    text.remove_prefix(1);
    return true;
}

std::optional<address> take_address(std::string_view& text) {
    std::uint32_t value = 0;
    for (int i = 0; i < 4; ++i) {
        if (i != 0 && !take(text, '.')) return std::nullopt;
        const auto octet = take_number(text, 255);
        if (!octet) return std::nullopt;
        value = (value << 8) | *octet;
    }
    return address::v4(value);
}

// [RFC 5952 4]: lower case, no leading zeros, the longest run of two or more zero groups (the first of
// equals) as "::".
std::string v6_to_string(const std::array<std::uint8_t, 16>& octets) {
    std::array<unsigned, 8> group{};
    for (std::size_t i = 0; i < 8; ++i) group[i] = (unsigned{octets[2 * i]} << 8) | octets[2 * i + 1];

    std::size_t gap = 8;
    std::size_t gap_size = 1;
    for (std::size_t i = 0; i < 8; ++i) {
        std::size_t n = 0;
        while (i + n < 8 && group[i + n] == 0) ++n;
        if (n > gap_size) {
            gap = i;
            gap_size = n;
        }
    }

    std::string text;
    for (std::size_t i = 0; i < 8;) {
        if (i == gap) {
            text += "::";
            i += gap_size;
            continue;
        }
        if (!text.empty() && text.back() != ':') text += ':';
        std::array<char, 4> digits{};
        const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), group[i], 16).ptr;
        text.append(digits.data(), end);
        ++i;
    }
    return text;
}

} // namespace

std::string address::to_string() const {
    if (!is_v4()) return v6_to_string(octets_);
    std::string text = std::to_string(octets_[12]);
    for (std::size_t i = 13; i < 16; ++i) text += '.' + std::to_string(octets_[i]);
    return text;
}

std::string endpoint::to_string() const {
    const std::string host = addr.to_string();
    return (addr.is_v4() ? host : '[' + host + ']') + ':' + std::to_string(port);
}

std::string prefix::to_string() const {
    return addr.to_string() + '/' + std::to_string(length);
}

result<address> parse_address(std::string_view text) {
    const auto a = take_address(text);
    if (!a || !text.empty()) return errc::invalid_argument;
    return *a;
}

result<endpoint> parse_endpoint(std::string_view text) {
    const auto a = take_address(text);
    if (!a || !take(text, ':')) return errc::invalid_argument;
    const auto port = take_number(text, 65535);
    if (!port || !text.empty()) return errc::invalid_argument;
    return endpoint(*a, static_cast<std::uint16_t>(*port));
}

result<prefix> parse_prefix(std::string_view text) {
    const auto a = take_address(text);
    if (!a || !take(text, '/')) return errc::invalid_argument;
    const auto length = take_number(text, 32);
    if (!length || !text.empty()) return errc::invalid_argument;
    return prefix(*a, *length);
}

} // namespace tapir::ip
