// From the links up: what arrives is for us, or on its way through, or a fragment of either; then the
// protocol number decides.
#include <tapir/protocols/host/host.hpp>
#include <tapir/protocols/host/steering.hpp>
#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/ipv4/header.hpp>

#include <algorithm>
#include <array>
#include <cassert>
#include <utility>
#include <variant>
#include <vector>

namespace tapir {

namespace {

tcp::icmp_kind kind_for_tcp(icmp::error_kind kind) {
    switch (kind) {
    case icmp::error_kind::network_unreachable: return tcp::icmp_kind::network_unreachable;
    case icmp::error_kind::host_unreachable: return tcp::icmp_kind::host_unreachable;
    case icmp::error_kind::protocol_unreachable:
    case icmp::error_kind::port_unreachable: return tcp::icmp_kind::port_unreachable;
    case icmp::error_kind::fragmentation_needed: return tcp::icmp_kind::packet_too_big;
    case icmp::error_kind::source_route_failed: return tcp::icmp_kind::host_unreachable;
    default: return tcp::icmp_kind::time_exceeded;
    }
}

} // namespace

void host::on_ipv4(interface& from, frame&& packet, bool to_group) {
    const auto accepted = ip_input_.accept(packet.data(), to_group, routes_, from.number());
    if (!accepted) return;
    if (accepted->transit) {
        if (const auto error = forwarder_.forward(std::move(packet), *accepted))
            send_error(*accepted, *error);
        else
            want_flush();
        return;
    }
    if (!accepted->packet.is_fragment()) return deliver(packet, *accepted);

    auto whole = reassembly_.accept(accepted->packet, reactor_.now());
    arm_reassembly();
    if (!whole) return;
    frame f(std::move(whole->storage), 0, whole->size);
    f.arrived = packet.arrived;
    const auto v = ipv4::view::parse(f.data());
    assert(v);
    const steered where = steer_packet(f.data(), config_.share);
    if (where.to == steered::kind::one && where.host != config_.share.number()) return from.pass_on(f);
    deliver(f, {.packet = *v, .broadcast = accepted->broadcast});
}

void host::deliver(const frame& f, const ipv4::datagram& d) {
    switch (d.packet.protocol()) {
    case ip::protocol::tcp: on_tcp(f, d); break;
    case ip::protocol::udp: on_udp(f, d); break;
    case ip::protocol::icmp: on_icmp(d); break;
    default:
        ++counters_.unknown_protocol;
        send_error(d, icmp::message::destination_unreachable(icmp::unreachable_code::protocol, {}));
    }
}

void host::on_tcp(const frame& f, const ipv4::datagram& d) {
    if (d.broadcast) {
        ++counters_.tcp_to_broadcast;
        return;
    }
    const auto known =
        f.meta.csum != checksum_state::none ? tcp::checksum_known::valid : tcp::checksum_known::no;
    const std::uint16_t piece = f.meta.gso_type != segmentation::none ? f.meta.gso_size : std::uint16_t{0};
    const tcp::path way = path_between(d.packet.destination(), d.packet.source());
    chunk segment = f.share(d.packet.header_size(), d.packet.payload().size());
    if (held_.empty() && (!tcp_.worth_expecting() || reactor_.input_ends())) {
        tcp_.receive(way, segment, known, f.arrived, reactor_.now(), d.packet.ecn(), piece);
        return;
    }
    held_.push_back({way, std::move(segment), known, f.arrived, d.packet.ecn(), piece});
    if (held_.size() == tcp::stack::most_expected)
        hand_to_tcp(reactor_.now());
    else
        reactor_.at_input_end(hand_to_tcp_);
}

void host::hand_to_tcp(instant now) {
    struct leave { // also by an exception: there may be no memory
        std::vector<held_segment>& all;
        ~leave() { all.clear(); }
    } guard{held_};
    std::array<tcp::flow_key, tcp::stack::most_expected> flows;
    std::size_t count = 0;
    for (const held_segment& s : held_) {
        const bytes header = s.bytes.data();
        if (header.size() < tcp::header_size) continue; // no segment
        const tcp::flow_key flow(s.way.local, load_be16(header, 2), s.way.remote, load_be16(header, 0));
        if (count == 0 || flow != flows[count - 1]) flows[count++] = flow;
    }
    if (count > 1) tcp_.expect(std::span(flows).first(count));
    for (const held_segment& s : held_)
        tcp_.receive(s.way, s.bytes, s.checksum, s.arrived, now, s.ecn, s.piece);
}

void host::on_icmp(const ipv4::datagram& d) {
    const auto outcome = icmp_.on_datagram(d);
    if (const auto* answer = std::get_if<icmp::outgoing>(&outcome)) {
        send_icmp(*answer);
    } else if (const auto* e = std::get_if<icmp::received_error>(&outcome)) {
        if (e->protocol == ip::protocol::tcp) on_tcp_error(*e);
        if (e->protocol == ip::protocol::udp) udp_error(e->kind, e->local, e->remote);
    }
}

// Whether the error is about something that we sent only the transport can tell [RFC 5927 4]: what it does
// not believe does not touch the path either.
void host::on_tcp_error(const icmp::received_error& e) {
    std::uint16_t mtu = 0;
    if (e.kind == icmp::error_kind::fragmentation_needed) {
        const auto estimate = ipv4::path_mtu::estimate(e.next_hop_mtu, e.total_length);
        if (!estimate) {
            ++counters_.path_mtu_not_believed;
            return;
        }
        mtu = *estimate;
    }
    std::array<std::byte, 8> quoted{};
    store_be16(quoted, 0, e.local.port);
    store_be16(quoted, 2, e.remote.port);
    store_be32(quoted, 4, e.sequence);
    const bool believed =
        tcp_.icmp_error(kind_for_tcp(e.kind), e.local.addr, e.remote.addr, quoted, mtu, reactor_.now());
    if (mtu == 0) return;
    if (believed)
        output_.paths().learn(e.remote.addr, mtu, reactor_.now());
    else
        ++counters_.path_mtu_not_believed;
}

void host::on_unreachable(std::span<const frame> packets) {
    // TCP walks all its connections for each destination: once for all that has waited, not for each packet.
    std::vector<ip::address> told; // behind a gateway there may be several, max_queued_frames at most
    for (const frame& one : packets) {
        const bytes packet = one.data();
        const auto v = ipv4::view::parse(packet);
        if (!v) continue;                   // what we queued ourselves
        if (!routes_.is_own(v->source())) { // [RFC 1812 5.2.7.1]
            send_error({.packet = *v, .transit = true},
                       icmp::message::destination_unreachable(icmp::unreachable_code::host, {}));
        } else if (v->protocol() == ip::protocol::tcp) {
            if (std::ranges::find(told, v->destination()) != told.end()) continue;
            told.push_back(v->destination());
            ++counters_.tcp_unreachable;
            tcp_.unreachable(v->destination(), errc::host_unreachable, reactor_.now());
        } else if (const auto about = icmp::parse_quoted(packet);
                   about && about->protocol == ip::protocol::udp) {
            udp_error(icmp::error_kind::host_unreachable, about->source, about->destination);
        }
    }
}

void host::expire_fragments(instant now) {
    while (const auto old = reassembly_.expire(now)) {
        const auto first = ipv4::view::parse(old->first_fragment.data());
        if (!first) continue; // it never came [RFC 792]
        const bool broadcast = routes_.is_broadcast(first->destination());
        send_error({.packet = *first, .broadcast = broadcast},
                   icmp::message::time_exceeded(icmp::time_exceeded_code::reassembly, {}));
    }
    arm_reassembly();
}

void host::arm_reassembly() {
    const instant next = reassembly_.next_deadline();
    if (next == never)
        reactor_.timers().cancel(reassembly_timer_);
    else if (!reassembly_timer_.armed() || reassembly_timer_.deadline() != next)
        reactor_.timers().arm(reassembly_timer_, next);
}

} // namespace tapir
