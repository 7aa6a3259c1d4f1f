// The address of an Ethernet station: six bytes.
//
//     auto m = ethernet::parse_mac_address("02:00:00:00:00:01");     // result<mac_address>
#pragma once

#include <tapir/framework/bytes.hpp>
#include <tapir/framework/error.hpp>

#include <array>
#include <cassert>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace tapir::ethernet {

class mac_address {
  public:
    static constexpr std::size_t size = 6;

    /// 00:00:00:00:00:00, which is nobody's.
    constexpr mac_address() = default;
    constexpr explicit mac_address(const std::array<std::uint8_t, size>& octets) : octets_(octets) {}
    constexpr mac_address(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d, std::uint8_t e,
                          std::uint8_t f)
        : octets_{a, b, c, d, e, f} {}

    static constexpr mac_address broadcast() { return {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}; }

    static mac_address load(bytes b, std::size_t at) {
        mac_address m;
        assert(at <= b.size() && size <= b.size() - at);
        std::memcpy(m.octets_.data(), b.data() + at, size);
        return m;
    }
    void store(mutable_bytes b, std::size_t at) const {
        assert(at <= b.size() && size <= b.size() - at);
        std::memcpy(b.data() + at, octets_.data(), size);
    }

    constexpr const std::array<std::uint8_t, size>& octets() const { return octets_; }
    constexpr bool is_unspecified() const { return *this == mac_address(); }
    constexpr bool is_broadcast() const { return *this == broadcast(); }
    /// The group bit; broadcast has it too.
    constexpr bool is_multicast() const { return (octets_[0] & 0x01) != 0; }
    constexpr bool is_locally_administered() const { return (octets_[0] & 0x02) != 0; }
    /// What one station may have: neither a group nor all zero.
    constexpr bool is_station() const { return !is_multicast() && !is_unspecified(); }

    std::string to_string() const;

    constexpr auto operator<=>(const mac_address&) const = default;

  private:
    std::array<std::uint8_t, size> octets_{};
};

/// Six pairs of hexadecimal digits with colons between them; anything else is errc::invalid_argument.
result<mac_address> parse_mac_address(std::string_view text);

} // namespace tapir::ethernet
