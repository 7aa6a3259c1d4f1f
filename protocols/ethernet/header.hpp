// The Ethernet II header (RFC 894): a view that has been validated, and a struct to build one from.
//
// A frame shorter than 60 bytes is padded by its sender, and nothing in this header says where the padding
// begins: payload() includes it, and the protocol above cuts it off by its own length (IPv4's total length).
//
//     auto eth = ethernet::view::parse(frame.data());
//     if (eth && eth->type() == ethernet::ether_type::ipv4) ... eth->payload() ...
//
//     ethernet::header h{.destination = peer, .source = own, .type = ethernet::ether_type::ipv4};
//     h.emit(frame.push_front(ethernet::header::size));
#pragma once

#include <tapir/framework/bytes.hpp>
#include <tapir/protocols/ethernet/mac_address.hpp>

#include <cstddef>
#include <cstdint>
#include <expected>

namespace tapir::ethernet {

enum class ether_type : std::uint16_t { ipv4 = 0x0800, arp = 0x0806, vlan = 0x8100, ipv6 = 0x86dd };

/// Values of the type field from here on are types; those below are lengths of IEEE 802.3.
inline constexpr std::uint16_t first_ether_type = 0x0600;
/// Bytes of the shortest frame on a wire, without its check sequence.
inline constexpr std::size_t min_frame_size = 60;

enum class malformed : std::uint8_t {
    too_short,    ///< no room for the header
    length_field, ///< IEEE 802.3 with a length instead of a type (spanning tree and the like)
};

class view {
  public:
    static std::expected<view, malformed> parse(bytes frame);

    mac_address destination() const { return mac_address::load(frame_, 0); }
    mac_address source() const { return mac_address::load(frame_, 6); }
    ether_type type() const { return static_cast<ether_type>(load_be16(frame_, 12)); }
    /// Everything behind the header, padding included.
    bytes payload() const { return frame_.subspan(14); }

  private:
    explicit view(bytes frame) : frame_(frame) {}
    bytes frame_;
};

struct header {
    static constexpr std::size_t size = 14;

    mac_address destination{};
    mac_address source{};
    ether_type type = ether_type::ipv4;

    static header of(const view& v);
    /// Writes `size` bytes at the front of `out`.
    void emit(mutable_bytes out) const;

    bool operator==(const header&) const = default;
};

} // namespace tapir::ethernet
