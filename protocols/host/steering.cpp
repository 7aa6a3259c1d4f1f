#include <tapir/protocols/arp/packet.hpp>
#include <tapir/protocols/ethernet/header.hpp>
#include <tapir/protocols/host/steering.hpp>
#include <tapir/protocols/icmp/message.hpp>
#include <tapir/protocols/ipv4/header.hpp>

namespace tapir {

namespace {

constexpr steered here{};

steered to(std::uint32_t host) {
    return {steered::kind::one, host};
}

steered steer_icmp(bytes message, const ip::flow_share& share) {
    constexpr std::size_t header = 8;
    if (message.size() < header) return here;
    switch (static_cast<icmp::type>(load_u8(message, 0))) {
    case icmp::type::destination_unreachable:
    case icmp::type::time_exceeded:
    case icmp::type::parameter_problem: break;
    default: return here;
    }
    // What we sent comes back: its source is ours.
    const auto q = icmp::parse_quoted(message.subspan(header));
    if (q && q->protocol == ip::protocol::tcp) return to(share.owner(q->source, q->destination));
    if (q && q->protocol == ip::protocol::udp) return to(share.owner(q->source.port));
    return here;
}

// Who is asked answers, once; what an answer or an announcement says all want to know.
steered steer_arp(bytes packet) {
    const auto v = arp::view::parse(packet);
    const bool asks = !v || (v->op() == arp::operation::request && v->sender_ip() != v->target_ip());
    return asks ? here : steered{steered::kind::all, 0};
}

} // namespace

steered steer_packet(bytes packet, const ip::flow_share& share) {
    const auto v = ipv4::view::parse_quoted(packet); // no checksum: whoever gets it looks
    if (!v) return here;
    if (v->is_fragment()) return to(0);
    const bytes payload = v->payload();
    constexpr std::size_t ports = 4;
    switch (v->protocol()) {
    case ip::protocol::tcp:
        if (payload.size() < ports) return here;
        return to(share.owner(ip::endpoint(v->destination(), load_be16(payload, 2)),
                              ip::endpoint(v->source(), load_be16(payload, 0))));
    case ip::protocol::udp: return payload.size() < ports ? here : to(share.owner(load_be16(payload, 2)));
    case ip::protocol::icmp: return steer_icmp(payload, share);
    default: return here;
    }
}

steered steer(bytes frame, const ip::flow_share& share) {
    const auto eth = ethernet::view::parse(frame);
    if (!eth) return here;
    switch (eth->type()) {
    case ethernet::ether_type::ipv4: return steer_packet(eth->payload(), share);
    case ethernet::ether_type::arp: return steer_arp(eth->payload());
    default: return here;
    }
}

} // namespace tapir
