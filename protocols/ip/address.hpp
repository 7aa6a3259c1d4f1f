// IP addresses and endpoints. Above the ipv4 layer an address is always 16 bytes (IPv4 as ::ffff:a.b.c.d), so
// that IPv6 will not touch TCP.
//
//     ip::address a = ip::address::v4(192, 0, 2, 1);
//     auto e = ip::parse_endpoint("192.0.2.1:80");     // result<ip::endpoint>
#pragma once

#include <tapir/framework/error.hpp>

#include <array>
#include <bit>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace tapir::ip {

class address {
  public:
    /// The unspecified address (0.0.0.0 in its mapped form).
    constexpr address() : octets_{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0} {}
    constexpr explicit address(const std::array<std::uint8_t, 16>& octets) : octets_(octets) {}

    static constexpr address v4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d) {
        return v4((std::uint32_t{a} << 24) | (std::uint32_t{b} << 16) | (std::uint32_t{c} << 8) | d);
    }
    /// From a number in host order: 0xc0000201 is 192.0.2.1.
    static constexpr address v4(std::uint32_t value) {
        return address(
            halves{0, std::bit_cast<std::uint64_t>(words_of_half{mapped, in_network_order(value)})});
    }

    constexpr const std::array<std::uint8_t, 16>& octets() const { return octets_; }
    constexpr bool is_v4() const { // asked of every packet, several times
        const auto [first, second] = std::bit_cast<halves>(octets_);
        return first == 0 && std::bit_cast<words_of_half>(second)[0] == mapped;
    }
    /// The IPv4 address as a number in host order; meaningful only if is_v4().
    constexpr std::uint32_t v4_value() const {
        return in_network_order(std::bit_cast<std::array<std::uint32_t, 4>>(octets_)[3]);
    }
    constexpr bool is_unspecified() const { return is_v4() && v4_value() == 0; }
    /// 224.0.0.0/4
    constexpr bool is_multicast() const { return is_v4() && (octets_[12] >> 4) == 0xe; }
    /// 255.255.255.255
    constexpr bool is_broadcast() const { return is_v4() && v4_value() == 0xffffffffu; }
    /// Of one host: none of the above.
    constexpr bool is_unicast() const { return !is_unspecified() && !is_multicast() && !is_broadcast(); }

    std::string to_string() const;

    constexpr auto operator<=>(const address&) const = default;
    /// By the halves in which it is written: sixteen bytes read at once would wait for both to reach memory.
    constexpr bool operator==(const address& other) const {
        const auto a = std::bit_cast<halves>(octets_);
        const auto b = std::bit_cast<halves>(other.octets_);
        return ((a[0] ^ b[0]) | (a[1] ^ b[1])) == 0;
    }

  private:
    using halves = std::array<std::uint64_t, 2>;
    using words_of_half = std::array<std::uint32_t, 2>;
    static constexpr auto mapped =
        std::bit_cast<std::uint32_t>(std::array<std::uint8_t, 4>{0, 0, 0xff, 0xff});
    static constexpr std::uint32_t in_network_order(std::uint32_t v) {
        return std::endian::native == std::endian::little ? std::byteswap(v) : v;
    }
    constexpr explicit address(const halves& h) : octets_(std::bit_cast<std::array<std::uint8_t, 16>>(h)) {}
    std::array<std::uint8_t, 16> octets_;
};

/// Dotted IPv4 only, today; anything else is errc::invalid_argument.
result<address> parse_address(std::string_view text);

struct endpoint {
    constexpr endpoint() = default;
    constexpr endpoint(address a, std::uint16_t p) : addr(a), port(p) {}
    address addr;
    std::uint16_t port = 0;

    std::string to_string() const;
    constexpr auto operator<=>(const endpoint&) const = default;
};

/// "192.0.2.1:80"
result<endpoint> parse_endpoint(std::string_view text);

/// An address and the length of its network's prefix: "192.0.2.2/24".
struct prefix {
    constexpr prefix() = default;
    constexpr prefix(address a, unsigned n) : addr(a), length(n) {}
    address addr;
    unsigned length = 0; ///< 0..32

    constexpr std::uint32_t mask() const { return length == 0 ? 0 : ~std::uint32_t{0} << (32 - length); }
    constexpr bool contains(const address& a) const {
        return a.is_v4() && (a.v4_value() & mask()) == (addr.v4_value() & mask());
    }
    /// The directed broadcast address; the address itself for /31 and /32 (RFC 3021).
    constexpr address broadcast() const {
        return length >= 31 ? addr : address::v4(addr.v4_value() | ~mask());
    }
    std::string to_string() const;
    constexpr auto operator<=>(const prefix&) const = default;
};

result<prefix> parse_prefix(std::string_view text);

/// Protocol numbers (IANA) that host dispatches on.
enum class protocol : std::uint8_t { icmp = 1, tcp = 6, udp = 17 };

} // namespace tapir::ip
