// One link of a host: its station address, whom it knows there (ARP), and the way in and out through
// Ethernet.
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/random.hpp>
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/timer_wheel.hpp>
#include <tapir/framework/visit_counters.hpp>
#include <tapir/protocols/arp/cache.hpp>
#include <tapir/protocols/ethernet/header.hpp>
#include <tapir/protocols/ethernet/input.hpp>
#include <tapir/protocols/ip/address.hpp>
#include <tapir/protocols/link/link.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

namespace tapir {

class interface;

/// Whom an interface serves.
class interface_owner {
  public:
    /// `packet` is what stood behind the Ethernet header, padding included.
    virtual void on_ipv4(interface& from, frame&& packet, bool to_group) = 0;
    /// Packets, ours or forwarded, that have waited for one next hop, which does not answer on the link.
    virtual void on_unreachable(std::span<const frame> packets) = 0;
    /// The link takes frames again.
    virtual void on_room() = 0;
    /// ARP has found something out about an address of ours on that link.
    virtual void on_address(interface& on, const arp::address_event& e) = 0;

  protected:
    ~interface_owner() = default;
};

class interface final : private frame_receiver {
  public:
    /// `number`: which of its owner's interfaces this is.
    interface(interface_owner& owner, std::size_t number, reactor& on, buffer_pool& pool, link& over,
              ethernet::mac_address mac, const arp::cache_config& config);
    ~interface();

    /// Sends a frame that begins with an IPv4 header to a station on this link, now or when ARP has found it.
    void send(frame&& packet, ip::address next_hop, instant now);
    /// Sends a packet for us to our own station: to the shard that has its flow, if there are several.
    void pass_on(const frame& packet);
    bool ready() const { return link_.ready(); }
    /// Lets go out what was sent in this turn.
    void flush(instant now);

    /// One address more, which is announced.
    void add_address(ip::prefix address);
    /// The same when probing has found nobody with it: on_address() tells.
    void probe(ip::prefix address, random draws);

    std::size_t number() const { return number_; }
    ethernet::mac_address mac() const { return mac_; }
    std::size_t mtu() const { return link_.capabilities().mtu; }
    tapir::link& over() const { return link_; }
    const arp::cache& neighbours() const { return arp_; }

    struct counters {
        std::uint64_t unknown_type = 0; ///< neither IPv4 nor ARP
        std::uint64_t carrier_lost = 0;
        std::uint64_t finished_here =
            0; ///< segmented or summed in software: for a link that cannot, or to wait

        template <class Self, class F>
        static constexpr void visit(Self& c, F f) {
            f("unknown_type", c.unknown_type);
            f("carrier_lost", c.carrier_lost);
            f("finished_here", c.finished_here);
        }
    };
    const ethernet::input::counters& ethernet_counters() const { return input_.count(); }
    const counters& counted() const { return counters_; }

  private:
    void receive(frame&& f) override;
    void writable() override { owner_.on_room(); }
    void carrier(bool up) override;

    void wait(frame packet, ip::address next_hop, instant now);
    void transmit(frame&& packet, ethernet::mac_address to, ethernet::ether_type type);
    /// Everything that the ARP cache wants done.
    void run_arp();

    struct arp_timer : timer {
        explicit arp_timer(interface* i)
            : timer([](timer& t, instant now) {
                  auto& self = *static_cast<arp_timer&>(t).owner;
                  self.arp_.on_timer(now);
                  self.run_arp();
              }),
              owner(i) {}
        interface* owner;
    };

    interface_owner& owner_;
    std::size_t number_;
    reactor& reactor_;
    buffer_pool& pool_;
    tapir::link& link_;
    ethernet::mac_address mac_;
    ethernet::input input_;
    arp::cache arp_;
    arp_timer arp_timer_{this};
    counters counters_;
};
static_assert(visits_every_counter<interface::counters>());

} // namespace tapir
