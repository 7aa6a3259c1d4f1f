// Which datagrams this host takes, or passes on if it is a router. Everything else is dropped here, silently
// but counted by reason, so that what comes behind sees well-formed datagrams only, from a possible source
// and to an address of ours. They may be fragments still: those go to ipv4::reassembly.
//
//     ipv4::input in;
//     if (auto d = in.accept(eth.payload(), eth.destination().is_multicast(), routes, link))
//         switch (d->packet.protocol()) ...
//
// An address of ours is ours on whichever link it is asked for [RFC 1122 3.3.4.2, weak model]; a broadcast
// address is one on its own link only.
#pragma once

#include <tapir/framework/bytes.hpp>
#include <tapir/framework/count_by.hpp>
#include <tapir/framework/visit_counters.hpp>
#include <tapir/protocols/ipv4/header.hpp>
#include <tapir/protocols/ipv4/routes.hpp>

#include <cstddef>
#include <cstdint>
#include <expected>
#include <string_view>

namespace tapir::ipv4 {

enum class drop : std::uint8_t {
    too_short,
    bad_version,
    bad_header_length,
    bad_total_length,
    bad_checksum,
    bad_options,        ///< an option that does not fit into the header
    source_routed,      ///< loose or strict source route
    bad_source,         ///< a group, broadcast, loopback, 0/8, 240/4
    own_source,         ///< an address of ours: spoofed, or a loop
    bad_destination,    ///< loopback, 0/8, 240/4: never on a link
    not_ours,           ///< unicast to another host
    not_joined,         ///< a group that this host is not in: it is in none yet
    link_broadcast,     ///< unicast in a frame to a link-layer group
    directed_broadcast, ///< to all of a network on another link [RFC 2644 2]
    link_local,         ///< 169.254/16 on its way through: stays on its link [RFC 3927 7]
    too_long,           ///< a fragment on its way through that ends past the largest datagram
};
std::string_view to_string(drop reason);

struct datagram {
    view packet;
    /// Sent to all of a network, by its IP address: TCP drops it and nothing answers with an ICMP error.
    bool broadcast = false;
    /// To another host: only a router (`forwarding`) sees these.
    bool transit = false;
};

class input {
  public:
    /// `forwarding`: unicasts to other hosts are accepted, too, as `transit`.
    explicit input(bool forwarding = false) : forwarding_(forwarding) {}

    /// `payload` is what a link carried, padding included; `to_link_group` says whether its frame went to
    /// a broadcast or multicast station address, `link` which one it was.
    std::expected<datagram, drop> accept(bytes payload, bool to_link_group, const routes& local,
                                         std::size_t link = 0);

    struct counters {
        std::uint64_t received = 0; ///< all, dropped ones too
        std::uint64_t accepted = 0;
        count_by<drop, drop::too_long> dropped;

        template <class Self, class F>
        static constexpr void visit(Self& c, F f) {
            f("received", c.received);
            f("accepted", c.accepted);
            f("dropped", c.dropped);
        }
    };
    const counters& count() const { return count_; }

  private:
    struct way {
        const routes* by = nullptr;
        std::uint32_t version = 0;
        ip::address source;
        ip::address destination;
        bool operator==(const way&) const = default;
    };

    bool forwarding_;
    way usual_; ///< of the last that was ours, without options: the next mostly goes the same way
    counters count_;
};
static_assert(visits_every_counter<input::counters>());

} // namespace tapir::ipv4
