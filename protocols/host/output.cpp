#include <tapir/protocols/host/output.hpp>
#include <tapir/protocols/ipv4/fragments.hpp>
#include <tapir/protocols/link/offload.hpp>

#include <algorithm>
#include <cassert>
#include <utility>

namespace tapir {

namespace {

/// Pieces have no checksum to complete. `missing`: bytes of the frame that are not in front of `packet`.
void complete(frame& packet, std::size_t missing) {
    if (packet.meta.csum != checksum_state::partial || packet.meta.gso_type != segmentation::none) return;
    offload here = packet.meta;
    here.csum_start = static_cast<std::uint16_t>(here.csum_start - missing);
    complete_checksum(packet.mutable_data(), here);
    packet.meta = {};
}

} // namespace

std::optional<ipv4::hop> ip_output::route(ip::address destination, std::optional<ip::address> source) const {
    if (routes_.is_own(destination)) return std::nullopt;
    return routes_.lookup(destination, source);
}

ipv4::path_mtu::path ip_output::path_to(ip::address destination, std::optional<ip::address> source) const {
    const auto& way = routes_.lookup(destination, source);
    return paths_.to(destination, way ? link_mtu(way->link) : 1500, reactor_.now());
}

result<> ip_output::send(ipv4::header h, frame&& payload) {
    const auto way = route(h.destination, h.source);
    if (!way) return refuse(errc::network_unreachable, count_.no_route);
    h.payload_size = payload.size();
    const std::size_t size = ipv4::header::size + payload.size();
    if (size > ipv4::header::max_total_length) return refuse(errc::too_large, count_.too_large);
    const std::size_t on_link = link_mtu(way->link);
    const auto path = paths_.to(h.destination, on_link, reactor_.now());
    if (h.dont_fragment && path.may_fragment) h.dont_fragment = false;
    if (h.dont_fragment) {
        h.identification = 0; // [RFC 6864 4.1]
        // What a router said of the path is the transport's to heed: it may know that this no longer holds.
        if (largest_packet(payload.meta, size) > on_link) return refuse(errc::too_large, count_.too_large);
    } else if (payload.meta.gso_type !=
               segmentation::none) { // each packet needs an identification of its own
        h.emit(payload.push_front(ipv4::header::size));
        send_segments(std::move(payload), true, *way);
        ++count_.sent;
        return {};
    } else {
        h.identification = identification_.next(h.source, h.destination, h.protocol, random_);
        const std::size_t mtu = std::min<std::size_t>(on_link, path.may_fragment ? on_link : path.mtu);
        if (size > mtu) {
            if (mtu < ipv4::min_mtu) return refuse(errc::too_large, count_.too_large);
            payload = std::move(payload).in_one_piece(pool_);
            complete(payload, ethernet::header::size + ipv4::header::size);
            send_pieces(h, {}, payload.data(), mtu, *way);
            ++count_.sent;
            return {};
        }
    }
    h.emit(payload.push_front(ipv4::header::size));
    links_[way->link]->send(std::move(payload), way->next_hop, reactor_.now());
    ++count_.sent;
    return {};
}

result<> ip_output::send_packet(frame packet, const ipv4::hop& way) {
    const std::size_t mtu = link_mtu(way.link);
    if (largest_packet(packet.meta, packet.size()) > mtu) {
        complete(packet, ethernet::header::size);
        const auto v = ipv4::view::parse(packet.data());
        assert(v);
        if (v->dont_fragment() || mtu < ipv4::min_mtu) return refuse(errc::too_large, count_.too_large);
        if (packet.meta.gso_type != segmentation::none)
            send_segments(std::move(packet), false, way);
        else
            send_pieces(ipv4::header::of(*v), v->options(), v->payload(), mtu, way);
    } else {
        links_[way.link]->send(std::move(packet), way.next_hop, reactor_.now());
    }
    ++count_.sent;
    return {};
}

void ip_output::send_segments(frame packet, bool identify, const ipv4::hop& way) {
    packet = std::move(packet).in_one_piece(pool_);
    (void)packet.push_front(ethernet::header::size); // cutting begins there; nothing in it matters yet
    store_be16(packet.mutable_data(), 12, static_cast<std::uint16_t>(ethernet::ether_type::ipv4));
    segment_cutter segments(packet, pool_);
    const std::size_t mtu = link_mtu(way.link);
    while (auto one = segments.next()) {
        one->drop_front(ethernet::header::size);
        const auto v = ipv4::view::parse(one->data());
        assert(v);
        ipv4::header h = ipv4::header::of(*v);
        if (identify) {
            h.identification = identification_.next(h.source, h.destination, h.protocol, random_);
            h.emit(one->mutable_data().first(ipv4::header::size));
        }
        if (one->size() > mtu)
            send_pieces(h, v->options(), v->payload(), mtu, way);
        else
            links_[way.link]->send(std::move(*one), way.next_hop, reactor_.now());
    }
}

void ip_output::send_pieces(const ipv4::header& whole, bytes options, bytes payload, std::size_t mtu,
                            const ipv4::hop& way) {
    ipv4::fragmenter parts(whole, options, payload, mtu);
    ++count_.fragmented;
    while (const auto p = parts.next()) {
        ++count_.fragments_created;
        frame f(pool_.allocate(frame::default_headroom + p->size()), frame::default_headroom);
        p->emit(f.push_back(p->size()));
        links_[way.link]->send(std::move(f), way.next_hop, reactor_.now());
    }
}

} // namespace tapir
