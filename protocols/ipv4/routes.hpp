// Where a datagram goes next, over which link, and which of our addresses it comes from: the host's own
// addresses with their connected networks, static routes and default routes, longest prefix first.
//
//     ipv4::routes routes;
//     routes.add_address(*ip::parse_prefix("192.0.2.2/24"));
//     routes.add_address(*ip::parse_prefix("10.0.0.1/8"), 1);        // on the second link
//     routes.add(ip::prefix(), ip::address::v4(192, 0, 2, 1));       // default route
//     if (auto r = routes.lookup(destination)) ... r->next_hop, r->source, r->link ...
//
// Of two routes for the same network, over two links, the one added first is taken; but an answer leaves by
// the link whose address it comes from, if that link has one of them.
#pragma once

#include <tapir/framework/error.hpp>
#include <tapir/protocols/ip/address.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace tapir::ipv4 {

struct route {
    ip::prefix destination;
    std::optional<ip::address> gateway; ///< none: the destination itself is on the link
    ip::address source;                 ///< what datagrams over this route are sent from
    std::size_t link = 0;               ///< number of the link, as the host counts them
};

struct hop {
    ip::address next_hop; ///< whom the link must reach
    ip::address source;
    std::size_t link = 0;
    bool operator==(const hop&) const = default;
};

struct own_address {
    ip::prefix prefix;
    std::size_t link = 0;
};

class routes {
  public:
    /// An own address on a link and the route to its network. errc::address_in_use if it is one already,
    /// errc::invalid_argument if no host can have it (a group, loopback, the network's broadcast address
    /// ...).
    result<> add_address(ip::prefix own, std::size_t link = 0);
    /// errc::address_unavailable if it is none of ours. The routes that go out from it go with it, but for
    /// those that another address of the same network can take over.
    result<> remove_address(ip::address own);

    /// A route through a gateway: to 0.0.0.0/0 the default route. Replaces one to the same network over the
    /// same link. The gateway must be on a connected network, and not be this host: otherwise
    /// errc::invalid_argument.
    result<> add(ip::prefix destination, ip::address gateway);
    /// A network whose hosts are on a link although none of our addresses there is in it, as behind a /32.
    /// errc::invalid_argument when we have no address on that link.
    result<> add_on_link(ip::prefix destination, std::size_t link);

    /// Whether there were such static routes, over whichever link.
    bool remove(ip::prefix destination);

    /// The longest prefix that holds `destination`; among equals one over the link that has the address
    /// `from`, else the one added first. Nothing (network unreachable) without a route, and for what is never
    /// sent to: 0/8, 127/8, 240/4. Valid until the next call.
    const std::optional<hop>& lookup(const ip::address& destination,
                                     const std::optional<ip::address>& from = {}) const {
        if (!latest_ || latest_->first.destination != destination || latest_->first.from != from)
            ask({.destination = destination, .from = from});
        return latest_->second;
    }

    bool is_own(const ip::address& a) const {
        return std::ranges::any_of(addresses_, [&](const own_address& o) { return o.prefix.addr == a; });
    }
    /// The link that has this address of ours.
    std::optional<std::size_t> link_of(ip::address own) const;
    /// 255.255.255.255 or the broadcast address of a connected network.
    bool is_broadcast(const ip::address& a) const {
        return a.is_broadcast() ||
               (a.is_v4() && std::ranges::find(broadcasts_, a.v4_value()) != broadcasts_.end());
    }
    /// The same as seen on one link: broadcast addresses of networks elsewhere are none here [RFC 1812
    /// 5.3.5.2].
    bool is_broadcast(ip::address a, std::size_t link) const;

    /// Another number after each change: what was asked before need not be asked again until then.
    std::uint32_t version() const { return version_; }

    /// Own addresses, in the order in which they were added.
    std::span<const own_address> addresses() const { return addresses_; }
    /// Longest prefix first.
    std::span<const route> all() const { return routes_; }

  private:
    struct question {
        ip::address destination;
        std::optional<ip::address> from;
    };
    const route* connected(ip::address a) const;
    void insert(const route& r);
    void ask(const question& q) const;
    std::optional<hop> find(const question& asked) const;

    void changed() {
        latest_.reset();
        ++version_;
    }

    std::vector<own_address> addresses_;
    std::vector<std::uint32_t> broadcasts_; ///< of their networks
    std::vector<route> routes_;
    std::uint32_t version_ = 1;
    /// What lookup() was asked last, and said: packets go where the one before went. Empty after a change.
    mutable std::optional<std::pair<question, std::optional<hop>>> latest_;
};

} // namespace tapir::ipv4
