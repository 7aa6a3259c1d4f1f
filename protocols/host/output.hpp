// The one way out of a host for datagrams of any protocol: the route, the identification, fragments when the
// link is too small for the whole, the link.
//
//     frame f(pool.allocate(frame::default_headroom + n), frame::default_headroom);
//     ... f.push_back(n) ...                                   // transport header and payload
//     ipv4::header h;
//     h.protocol = ip::protocol::udp;
//     h.dont_fragment = false;                                 // may be cut
//     h.source = here, h.destination = there;
//     auto sent = out.send(h, std::move(f));                   // identification and size are filled in
//
// What was sent leaves the links with the host's flush at the end of the turn.
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/error.hpp>
#include <tapir/framework/random.hpp>
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/siphash.hpp>
#include <tapir/framework/visit_counters.hpp>
#include <tapir/protocols/host/interface.hpp>
#include <tapir/protocols/ip/address.hpp>
#include <tapir/protocols/ipv4/header.hpp>
#include <tapir/protocols/ipv4/identification.hpp>
#include <tapir/protocols/ipv4/path_mtu.hpp>
#include <tapir/protocols/ipv4/routes.hpp>
#include <tapir/protocols/link/frame.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace tapir {

class ip_output {
  public:
    using interface_list = std::vector<std::unique_ptr<interface>>;

    ip_output(reactor& on, buffer_pool& pool, const ipv4::routes& routes, const interface_list& links,
              const ipv4::path_mtu_config& paths, const siphash_key& secret, const ip::flow_share& share,
              random r)
        : reactor_(on), pool_(pool), routes_(routes), links_(links), paths_(paths),
          identification_(secret, share), random_(r) {}

    /// `h` with its source set, by route() if need be; `payload` with 34 bytes of headroom.
    /// errc::network_unreachable without a route, errc::too_large for more than 65,515 bytes, or for more
    /// than the link takes when h.dont_fragment is set, which is not heeded on links and paths below
    /// path_mtu_config::min_mtu. Both are counted.
    result<> send(ipv4::header h, frame&& payload);

    /// A packet with its finished header over a known hop, cut in pieces if it has to be and may.
    /// errc::too_large when it may not.
    result<> send_packet(frame packet, const ipv4::hop& way);

    /// The link, the next hop, and what a datagram without a source of its own is sent from. Not for our own
    /// addresses: there is no loopback.
    std::optional<ipv4::hop> route(ip::address destination, std::optional<ip::address> source = {}) const;
    /// The largest packet that goes to `destination` in one piece, by the link's MTU and what routers have
    /// told; 1500 without a route.
    ipv4::path_mtu::path path_to(ip::address destination, std::optional<ip::address> source = {}) const;
    ipv4::path_mtu& paths() { return paths_; }
    const ipv4::path_mtu& paths() const { return paths_; }
    std::size_t link_mtu(std::size_t link) const { return links_[link]->mtu(); }

    struct counters {
        std::uint64_t sent = 0;              ///< datagrams, each counted once however it is cut
        std::uint64_t no_route = 0;          ///< our datagrams without a way to go
        std::uint64_t too_large = 0;         ///< larger than the link or a datagram, and not to be cut
        std::uint64_t fragmented = 0;        ///< datagrams cut in pieces
        std::uint64_t fragments_created = 0; ///< the pieces

        template <class Self, class F>
        static constexpr void visit(Self& c, F f) {
            f("sent", c.sent);
            f("no_route", c.no_route);
            f("too_large", c.too_large);
            f("fragmented", c.fragmented);
            f("fragments_created", c.fragments_created);
        }
    };
    const counters& count() const { return count_; }

  private:
    result<> refuse(errc why, std::uint64_t& counter) {
        ++counter;
        return why;
    }
    /// A large segment in packets of their own, over the same hop; what is too large even so is cut again.
    void send_segments(frame packet, bool identify, const ipv4::hop& way);
    void send_pieces(const ipv4::header& whole, bytes options, bytes payload, std::size_t mtu,
                     const ipv4::hop& way);

    reactor& reactor_;
    buffer_pool& pool_;
    const ipv4::routes& routes_;
    const interface_list& links_;
    ipv4::path_mtu paths_;
    ipv4::identification identification_;
    random random_;
    counters count_;
};
static_assert(visits_every_counter<ip_output::counters>());

} // namespace tapir
