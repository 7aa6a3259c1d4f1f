// Which datagrams this host takes. Everything else is dropped here, silently but counted by reason, so that
// the protocols above see well-formed datagrams only, whole, from a possible source and to an address of
// ours.
//
//     ipv4::input in;
//     if (auto d = in.accept(eth.payload(), eth.destination().is_multicast(), routes))
//         switch (d->packet.protocol()) ...
#pragma once

#include <tapir/framework/bytes.hpp>
#include <tapir/framework/count_by.hpp>
#include <tapir/framework/visit_counters.hpp>
#include <tapir/protocols/ipv4/header.hpp>
#include <tapir/protocols/ipv4/routes.hpp>

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
    bad_options,     ///< an option that does not fit into the header
    source_routed,   ///< loose or strict source route
    bad_source,      ///< a group, broadcast, loopback, 0/8, 240/4
    own_source,      ///< an address of ours: spoofed, or a loop
    bad_destination, ///< loopback, 0/8, 240/4: never on a link
    not_ours,        ///< unicast to another host
    not_joined,      ///< a group that this host is not in: it is in none yet
    link_broadcast,  ///< unicast in a frame to a link-layer group
    fragment,        ///< reassembly is not supported yet
};
std::string_view to_string(drop reason);

struct datagram {
    view packet;
    /// Sent to all of a network, by its IP address: TCP drops it and nothing answers with an ICMP error.
    bool broadcast = false;
};

class input {
  public:
    /// `payload` is what the link carried, padding included; `to_link_group` says whether its frame went to
    /// a broadcast or multicast station address.
    std::expected<datagram, drop> accept(bytes payload, bool to_link_group, const routes& local);

    struct counters {
        std::uint64_t received = 0; ///< all, dropped ones too
        std::uint64_t accepted = 0;
        count_by<drop, drop::fragment> dropped;

        template <class Self, class F>
        static constexpr void visit(Self& c, F f) {
            f("received", c.received);
            f("accepted", c.accepted);
            f("dropped", c.dropped);
        }
    };
    const counters& count() const { return count_; }

  private:
    counters count_;
};
static_assert(visits_every_counter<input::counters>());

} // namespace tapir::ipv4
