// Where a datagram goes next, and which of our addresses it comes from: the host's own addresses with their
// connected networks, static routes and a default route, longest prefix first.
//
//     ipv4::routes routes;
//     routes.add_address(*ip::parse_prefix("192.0.2.2/24"));
//     routes.add(ip::prefix(), ip::address::v4(192, 0, 2, 1));       // default route
//     if (auto r = routes.lookup(destination)) ... r->next_hop, r->source ...
#pragma once

#include <tapir/framework/error.hpp>
#include <tapir/protocols/ip/address.hpp>

#include <optional>
#include <span>
#include <vector>

namespace tapir::ipv4 {

struct route {
    ip::prefix destination;
    std::optional<ip::address> gateway; ///< none: the destination itself is on the link
    ip::address source;                 ///< what datagrams over this route are sent from
};

struct hop {
    ip::address next_hop; ///< whom the link must reach
    ip::address source;
    bool operator==(const hop&) const = default;
};

class routes {
  public:
    /// An own address and the route to its network. errc::address_in_use if it is one already,
    /// errc::invalid_argument if no host can have it (a group, loopback, the network's broadcast address
    /// ...).
    result<> add_address(ip::prefix own);

    /// A route through a gateway: to 0.0.0.0/0 the default route. Replaces one to the same network. The
    /// gateway must be on a connected network, and not be this host: otherwise errc::invalid_argument.
    result<> add(ip::prefix destination, ip::address gateway);

    /// Whether there was such a route through a gateway.
    bool remove(ip::prefix destination);

    /// The longest prefix that holds `destination`; among equals the one added first. Nothing (network
    /// unreachable) without a route, and for what is never sent to: 0/8, 127/8, 240/4.
    std::optional<hop> lookup(ip::address destination) const;

    bool is_own(ip::address a) const;
    /// 255.255.255.255 or the broadcast address of a connected network.
    bool is_broadcast(ip::address a) const;

    /// Own addresses, in the order in which they were added.
    std::span<const ip::prefix> addresses() const { return addresses_; }
    /// Longest prefix first.
    std::span<const route> all() const { return routes_; }

  private:
    const route* connected(ip::address a) const;
    void insert(const route& r);

    std::vector<ip::prefix> addresses_;
    std::vector<route> routes_;
};

} // namespace tapir::ipv4
