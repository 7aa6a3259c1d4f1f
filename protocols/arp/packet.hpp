// The ARP packet for IPv4 over Ethernet (RFC 826): a view that has been validated, and a struct to build one.
//
//     auto ask = arp::packet::request(own_mac, own_ip, wanted_ip);
//     ask.emit(frame.push_back(arp::packet::size));
#pragma once

#include <tapir/framework/bytes.hpp>
#include <tapir/protocols/ethernet/mac_address.hpp>
#include <tapir/protocols/ip/address.hpp>

#include <cstddef>
#include <cstdint>
#include <expected>
#include <string_view>

namespace tapir::arp {

enum class operation : std::uint16_t { request = 1, reply = 2 };

enum class malformed : std::uint8_t {
    too_short,
    bad_hardware,  ///< not Ethernet, or a hardware address that is not 6 bytes long
    bad_protocol,  ///< not IPv4, or a protocol address that is not 4 bytes long
    bad_operation, ///< neither request nor reply
};
std::string_view to_string(malformed reason);

class view {
  public:
    /// `payload` may be longer than the packet: frames are padded.
    static std::expected<view, malformed> parse(bytes payload);

    operation op() const { return static_cast<operation>(load_be16(packet_, 6)); }
    ethernet::mac_address sender_mac() const { return ethernet::mac_address::load(packet_, 8); }
    ip::address sender_ip() const { return ip::address::v4(load_be32(packet_, 14)); }
    ethernet::mac_address target_mac() const { return ethernet::mac_address::load(packet_, 18); }
    ip::address target_ip() const { return ip::address::v4(load_be32(packet_, 24)); }

  private:
    explicit view(bytes packet) : packet_(packet) {}
    bytes packet_;
};

struct packet {
    static constexpr std::size_t size = 28;

    operation op = operation::request;
    ethernet::mac_address sender_mac{};
    ip::address sender_ip{};
    ethernet::mac_address target_mac{};
    ip::address target_ip{};

    static packet of(const view& v);
    static packet request(ethernet::mac_address own_mac, ip::address own_ip, ip::address wanted);
    /// What `asked`, a request for an address of this station, is answered with.
    static packet reply_to(const packet& asked, ethernet::mac_address own_mac);
    /// A gratuitous request that tells every cache on the link who has `own_ip` now. [RFC 5227 2.3]
    static packet announcement(ethernet::mac_address own_mac, ip::address own_ip);

    /// Writes `size` bytes at the front of `out`.
    void emit(mutable_bytes out) const;

    bool operator==(const packet&) const = default;
};

} // namespace tapir::arp
