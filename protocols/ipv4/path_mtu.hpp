// The largest packet that passes to each destination, as routers on the way have told (RFC 1191). Only what
// was told is kept, and for ten minutes: then the path is tried again with the link's own MTU, since routes
// change and nobody tells when one grows.
//
//     if (const auto mtu = paths.estimate(icmp.next_hop_mtu, quoted_length))       // then the transport
//     checks
//         if (tcp_believes_it) paths.learn(destination, *mtu, now);                // [RFC 5927 7]
//     const auto p = paths.to(destination, link_mtu, now);
#pragma once

#include <tapir/framework/time.hpp>
#include <tapir/framework/visit_counters.hpp>
#include <tapir/protocols/ip/address.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>

namespace tapir::ipv4 {

struct path_mtu_config {
    /// Until a larger packet is tried again: "recommended 10 minutes" [RFC 1191 6.3].
    duration lifetime = 10min;
    /// Destinations remembered; past that the one that would be forgotten first goes.
    std::size_t max_destinations = 1024;
    /// Nobody can push a path below this: what a path can carry by cutting packets it may cut, and whoever
    /// forges "16 bytes" must not make us send a thousand headers. Ethernet's smallest plateau, as in Linux.
    std::uint16_t min_mtu = 552;
};

class path_mtu {
  public:
    explicit path_mtu(const path_mtu_config& config) : config_(config) {}

    /// What "fragmentation needed" about a packet of `quoted_length` bytes means: the MTU told, or, from
    /// routers that tell none, the next common size below [RFC 1191 5, 7.1]. Nothing when the packet would
    /// have fitted [RFC 5927 7.2].
    static std::optional<std::uint16_t> estimate(std::uint16_t told, std::size_t quoted_length);

    /// Lowers the estimate, never raises it [RFC 1191 4].
    void learn(const ip::address& destination, std::uint16_t mtu, instant now);

    struct path {
        std::uint16_t mtu;
        std::uint16_t link_mtu;
        /// The path carries less than min_mtu: packets go without DF, and routers cut them; or we do, where
        /// it is our own link.
        bool may_fragment;
    };
    path to(const ip::address& destination, std::size_t link_mtu, instant now) const {
        const auto link = static_cast<std::uint16_t>(std::min<std::size_t>(link_mtu, 65535));
        const path of_link{.mtu = link, .link_mtu = link, .may_fragment = link < config_.min_mtu};
        return table_.empty() ? of_link : learnt(destination, of_link, now);
    }

    std::size_t destinations() const { return table_.size(); }

    struct counters {
        std::uint64_t lowered = 0;
        std::uint64_t below_minimum = 0; ///< of these, raised to min_mtu
        std::uint64_t evicted = 0;       ///< to make room

        template <class Self, class F>
        static constexpr void visit(Self& c, F f) {
            f("lowered", c.lowered);
            f("below_minimum", c.below_minimum);
            f("evicted", c.evicted);
        }
    };
    const counters& count() const { return count_; }

  private:
    struct entry {
        std::uint16_t mtu;
        bool may_fragment;
        instant expires;
    };
    void make_room(instant now);
    path learnt(const ip::address& destination, path of_link, instant now) const;

    path_mtu_config config_;
    std::map<std::uint32_t, entry> table_;
    counters count_;
};
static_assert(visits_every_counter<path_mtu::counters>());

} // namespace tapir::ipv4
