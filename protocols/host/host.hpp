// A host on the network: the place where links, the protocol layers and coroutines meet. Frames come up from
// its interfaces, are dispatched by protocol number, and what the layers want to say goes out once per turn.
//
//     tapir::host host(reactor, tapir::host_config());
//     host.add_interface(tap, mac, *tapir::ip::parse_prefix("192.0.2.2/24"));
//     host.add_route(tapir::ip::prefix(), *tapir::ip::parse_address("192.0.2.1"));
//     auto listener = host.listen(tapir::ip::endpoint({}, 80));
//     auto server = co_await host.connect(*tapir::ip::parse_endpoint("192.0.2.1:8000"));
//     auto port = host.bind_udp(tapir::ip::endpoint({}, 53));
//
// Stopping or destroying it resumes every waiter with errc::host_stopped; handles may outlive it.
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/error.hpp>
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/siphash.hpp>
#include <tapir/framework/task.hpp>
#include <tapir/framework/visit_counters.hpp>
#include <tapir/protocols/arp/cache.hpp>
#include <tapir/protocols/ethernet/mac_address.hpp>
#include <tapir/protocols/host/forwarder.hpp>
#include <tapir/protocols/host/interface.hpp>
#include <tapir/protocols/host/output.hpp>
#include <tapir/protocols/icmp/responder.hpp>
#include <tapir/protocols/ip/address.hpp>
#include <tapir/protocols/ip/flow_share.hpp>
#include <tapir/protocols/ipv4/input.hpp>
#include <tapir/protocols/ipv4/path_mtu.hpp>
#include <tapir/protocols/ipv4/reassembly.hpp>
#include <tapir/protocols/ipv4/routes.hpp>
#include <tapir/protocols/link/link.hpp>
#include <tapir/protocols/tcp/config.hpp>
#include <tapir/protocols/tcp/connection.hpp>
#include <tapir/protocols/tcp/listener.hpp>
#include <tapir/protocols/tcp/stack.hpp>
#include <tapir/protocols/tcp/trace.hpp>
#include <tapir/protocols/udp/config.hpp>
#include <tapir/protocols/udp/output.hpp>
#include <tapir/protocols/udp/socket.hpp>
#include <tapir/protocols/udp/stack.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace tapir {

struct host_config {
    host_config() = default;
    std::string name = "tapir"; ///< in log messages
    tcp::config tcp;
    udp::config udp;
    arp::cache_config arp;
    icmp::responder_config icmp;
    ipv4::reassembly_config reassembly;
    ipv4::path_mtu_config path_mtu;
    /// Whether datagrams for others go on over another link: off, since a host is no router unless it is told
    /// to be [RFC 1122 3.3.1.1].
    bool forwarding = false;
    /// Keys initial sequence numbers, timestamps, ports and hash tables. Without one it is drawn from the
    /// reactor's seeded source: right for tests, guessable on a real network. Programs pass os_secret().
    std::optional<siphash_key> secret;
    /// The flows that are this host's, if it is one of several shards (shard_link.hpp): all by default. The
    /// shards of one host share a secret: a client of any has the Fast Open cookie of all.
    ip::flow_share share;
    tcp::trace_sink* trace = nullptr;
};

class host final : private interface_owner, private tcp::output_sink, private udp::output_sink {
  public:
    host(reactor& on, host_config config = {});
    host(const host&) = delete;
    host& operator=(const host&) = delete;
    ~host();

    /// Takes `address` on `over` and announces it (gratuitous ARP); with config.arp.probe it is usable only
    /// when on_address_event() says so. The link must outlive the host. Returns the interface's number,
    /// counted from 0. errc::invalid_argument for an address no host can have, errc::address_in_use for one
    /// it has.
    result<std::size_t> add_interface(link& over, ethernet::mac_address mac, ip::prefix address);
    /// One more address on an interface that there is: errors as above.
    result<> add_address(std::size_t interface, ip::prefix address);
    /// Called when an address has become usable, turned out to be somebody else's, or is claimed by another
    /// station while we use it. [RFC 5227]
    using address_event_handler = std::function<void(std::size_t interface, const arp::address_event&)>;
    void on_address_event(address_event_handler f) { address_event_ = std::move(f); }
    /// A route through a gateway on a connected network; ip::prefix() is the default route. Two links may
    /// have one each: answers leave by the link whose address was asked.
    result<> add_route(ip::prefix to, ip::address gateway) { return routes_.add(to, gateway); }
    /// A network that is reached on an interface without a gateway, besides those of its own addresses.
    result<> add_route(ip::prefix to, std::size_t interface) { return routes_.add_on_link(to, interface); }

    /// Opens a connection: errc::refused, reset, timed_out, host_unreachable, network_unreachable, no_ports,
    /// invalid_argument (port 0, a group), host_stopped. Cancelling it abandons the attempt (a RST only if
    /// the peer's SYN had come). `local_port` 0 picks one (RFC 6056).
    /// `first` is what is to be sent first: it is copied before connect() waits, and counts as written. Where
    /// options.fast_open is set and the server has given a cookie, it goes with the SYN, as far as it fits,
    /// and the server may have answered when connect() returns. errc::no_memory: larger than the send buffer.
    task<result<tcp::connection>> connect(ip::endpoint to, tcp::connection_options options,
                                          std::uint16_t local_port = 0, bytes first = {});
    task<result<tcp::connection>> connect(ip::endpoint to) { return connect(to, config_.tcp.connections); }

    /// Listens on one of this host's addresses, or on all if the address is unspecified; port 0 picks a free
    /// port. errc::address_unavailable, address_in_use, no_memory, host_stopped; invalid_argument for port 0
    /// of one of several shards.
    result<tcp::listener> listen(ip::endpoint at, tcp::listen_options options = {});

    /// A UDP socket at one of this host's addresses, or at all if the address is unspecified; port 0 picks
    /// one that nobody can guess. errc::address_unavailable, address_in_use, no_ports, no_memory,
    /// host_stopped, invalid_argument (a TTL of 0).
    result<udp::socket> bind_udp(ip::endpoint at, udp::socket_options options = {});

    /// Ends everything now: peers of open connections get RST, every waiter errc::host_stopped. Idempotent.
    void stop();

    reactor& on() const { return reactor_; }
    const std::string& name() const { return config_.name; }
    const ip::flow_share& share() const { return config_.share; }
    buffer_pool& pool() { return pool_; }
    tcp::stack& tcp() { return tcp_; }
    udp::stack& udp() { return udp_; }
    const ipv4::routes& routes() const { return routes_; }
    const ipv4::input::counters& ip_counters() const { return ip_input_.count(); }
    const ipv4::reassembly& reassembly() const { return reassembly_; }
    const ip_output& output() const { return output_; }
    const forwarder::counters& forwarding_counters() const { return forwarder_.count(); }
    const icmp::responder::counters& icmp_counters() const { return icmp_.count(); }
    const std::vector<std::unique_ptr<interface>>& interfaces() const { return interfaces_; }

    struct counters {
        std::uint64_t unknown_protocol = 0;     ///< answered with ICMP protocol unreachable
        std::uint64_t tcp_to_broadcast = 0;     ///< [RFC 9293 3.9.2.3 MUST-57]
        std::uint64_t errors_without_route = 0; ///< ICMP errors whose addressee cannot be reached
        /// "Fragmentation needed" about nothing that we have in flight, or that would have fitted.
        std::uint64_t path_mtu_not_believed = 0;
        std::uint64_t tcp_unreachable = 0; ///< destinations that TCP was told of: ARP does not find the way

        template <class Self, class F>
        static constexpr void visit(Self& c, F f) {
            f("unknown_protocol", c.unknown_protocol);
            f("tcp_to_broadcast", c.tcp_to_broadcast);
            f("errors_without_route", c.errors_without_route);
            f("path_mtu_not_believed", c.path_mtu_not_believed);
            f("tcp_unreachable", c.tcp_unreachable);
        }
    };
    const counters& counted() const { return counters_; }

  private:
    // interface_owner (receive.cpp)
    void on_ipv4(interface& from, frame&& packet, bool to_group) override;
    void on_unreachable(std::span<const frame> packets) override;
    void on_room() override { want_flush(); }
    void on_address(interface& on, const arp::address_event& e) override;
    // tcp::output_sink, udp::output_sink
    bool ready() override;
    std::size_t max_payload() override;
    void emit(const tcp::path& to, const tcp::outgoing_segment& s) override;
    void emit(const udp::outgoing& d) override;
    result<udp::route> route_to(const ip::address& destination) override;
    bool is_own(const ip::address& a) override { return routes_.is_own(a); }
    void want_flush() override { reactor_.at_turn_end(flush_); }

    /// A whole datagram for us, at the front of `f`.
    void deliver(const frame& f, const ipv4::datagram& d);
    void on_tcp(const frame& f, const ipv4::datagram& d);
    void hand_to_tcp(instant now);
    void on_udp(const frame& f, const ipv4::datagram& d);
    void on_icmp(const ipv4::datagram& d);
    void on_tcp_error(const icmp::received_error& e);
    void udp_error(icmp::error_kind kind, const ip::endpoint& local, const ip::endpoint& remote);
    void expire_fragments(instant now);
    void arm_reassembly();

    /// TCP's view of the way to `remote`, seen from `local`.
    tcp::path path_between(ip::address local, ip::address remote) const;
    /// Tells the sender of `about`, unless RFC 1122 or the rate forbids it.
    void send_error(const ipv4::datagram& about, const icmp::message& m);
    void send_icmp(const icmp::outgoing& message);
    void flush(instant now);

    struct reassembly_timer : timer {
        explicit reassembly_timer(host* h)
            : timer([](timer& t, instant now) {
                  static_cast<reassembly_timer&>(t).owner->expire_fragments(now);
              }),
              owner(h) {}
        host* owner;
    };
    /// A segment of ours that its link no longer takes.
    struct too_large {
        tcp::path way;
        std::array<std::byte, 8> begins; ///< as an ICMP error would quote it
    };
    void tell_too_large(instant now);

    /// A segment for one of very many connections, which comes with others of its turn.
    struct held_segment {
        tcp::path way;
        chunk bytes;
        tcp::checksum_known checksum;
        instant arrived;
        ip::ecn ecn;
        std::uint16_t piece;
    };

    struct known_way {
        tcp::path way;
        std::size_t link = 0;
        std::uint32_t routes = 0; ///< their version
    };

    template <void (host::*does)(instant)>
    struct hook : turn_hook {
        explicit hook(host* h)
            : turn_hook([](turn_hook& self, instant now) { (static_cast<hook&>(self).owner->*does)(now); }),
              owner(h) {}
        host* owner;
    };

    host_config config_;
    // What each packet asks follows, to be on few cache lines.
    reactor& reactor_;
    buffer_pool pool_;
    std::vector<std::unique_ptr<interface>> interfaces_;
    hook<&host::flush> flush_{this};
    bool offload_checksums_ = false;    ///< some link completes them; interfaces do for the others
    bool offload_segmentation_ = false; ///< the same of large segments
    bool gather_ = false;               ///< some link takes frames with a tail
    std::vector<too_large> too_large_;  ///< one for each connection, until the end of a flush
    std::vector<held_segment> held_;    ///< until as many are there as TCP expects, or no more come
    mutable known_way latest_way_;      ///< what path_between() said last
    ipv4::routes routes_;
    ipv4::input ip_input_;

    ipv4::reassembly reassembly_;
    icmp::responder icmp_;
    address_event_handler address_event_;
    std::shared_ptr<tcp::detail::connection_context> context_;
    siphash_key secret_;
    random random_;
    ip_output output_;
    tcp::stack tcp_;
    udp::stack udp_;
    forwarder forwarder_;
    hook<&host::hand_to_tcp> hand_to_tcp_{this};
    reassembly_timer reassembly_timer_{this};
    counters counters_;
};
static_assert(visits_every_counter<host::counters>());

} // namespace tapir
