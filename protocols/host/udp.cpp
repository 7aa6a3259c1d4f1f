// The host's side of UDP: sockets, the way of a datagram through IPv4, and what ICMP says about it.
#include <tapir/protocols/host/host.hpp>
#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/ipv4/header.hpp>
#include <tapir/protocols/udp/header.hpp>

#include <utility>

namespace tapir {

namespace {

/// What an ICMP error means to whoever sent the datagram. [RFC 1122 4.1.3.3]
errc meaning(icmp::error_kind kind) {
    switch (kind) {
    case icmp::error_kind::port_unreachable:
    case icmp::error_kind::protocol_unreachable: return errc::refused;
    case icmp::error_kind::network_unreachable: return errc::network_unreachable;
    default: return errc::host_unreachable;
    }
}

} // namespace

result<udp::socket> host::bind_udp(ip::endpoint at, udp::socket_options options) {
    if (!at.addr.is_unspecified() && !routes_.is_own(at.addr)) return errc::address_unavailable;
    auto bound = udp_.bind(at, options);
    if (!bound) return bound.error();
    return udp::socket(std::move(*bound));
}

void host::on_udp(const frame& f, const ipv4::datagram& d) {
    udp::arrival a;
    a.source = d.packet.source();
    a.destination = d.packet.destination();
    a.to_group = d.broadcast || d.packet.destination().is_multicast();
    a.checksum_verified = f.meta.csum != checksum_state::none;
    a.arrived = f.arrived;
    const auto outcome = udp_.receive(a, f.share(d.packet.header_size(), d.packet.payload().size()));
    if (outcome != udp::outcome::no_port) return;
    send_error(d, icmp::message::destination_unreachable(icmp::unreachable_code::port, {}));
}

void host::udp_error(icmp::error_kind kind, const ip::endpoint& local, const ip::endpoint& remote) {
    // Too large for the path: what follows is cut smaller below, and nobody above has to know.
    if (kind != icmp::error_kind::fragmentation_needed) udp_.icmp_error(meaning(kind), local, remote);
}

result<udp::route> host::route_to(const ip::address& destination) {
    const auto hop = output_.route(destination);
    if (!hop) return errc::network_unreachable;
    udp::route way;
    way.source = hop->source;
    way.max_payload = udp::header::max_payload; // cut into fragments over the MTU
    way.broadcast = routes_.is_broadcast(destination);
    return way;
}

void host::emit(const udp::outgoing& d) {
    frame f(pool_.allocate(frame::default_headroom + d.payload.size()), frame::default_headroom);
    copy_bytes(f.push_back(d.payload.size()), d.payload);
    d.header.emit(f.push_front(udp::header::size),
                  ip::pseudo_header_sum(d.source, d.destination, ip::protocol::udp), d.payload);
    ipv4::header ip;
    ip.type_of_service = d.type_of_service;
    ip.ttl = d.ttl;
    ip.protocol = ip::protocol::udp;
    ip.source = d.source;
    ip.destination = d.destination;
    ip.dont_fragment = false;
    (void)output_.send(ip, std::move(f)); // counted
}

} // namespace tapir
