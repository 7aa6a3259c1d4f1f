#include <tapir/protocols/host/output.hpp>
#include <tapir/protocols/ipv4/fragments.hpp>

#include <algorithm>
#include <cassert>
#include <utility>

namespace tapir {

std::optional<ipv4::hop> ip_output::route(ip::address destination, std::optional<ip::address> source) const {
    if (routes_.is_own(destination)) return std::nullopt;
    return routes_.lookup(destination, source);
}

ipv4::path_mtu::path ip_output::path_to(ip::address destination, std::optional<ip::address> source) const {
    const auto way = routes_.lookup(destination, source);
    return paths_.to(destination, way ? link_mtu(way->link) : 1500, reactor_.now());
}

result<> ip_output::send(ipv4::header h, frame payload) {
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
        if (size > on_link) return refuse(errc::too_large, count_.too_large);
    } else {
        h.identification = identification_.next(h.source, h.destination, h.protocol, random_);
        const std::size_t mtu = std::min<std::size_t>(on_link, path.may_fragment ? on_link : path.mtu);
        if (size > mtu) {
            if (mtu < ipv4::min_mtu) return refuse(errc::too_large, count_.too_large);
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
    if (packet.size() > mtu) {
        const auto v = ipv4::view::parse(packet.data());
        assert(v);
        if (v->dont_fragment() || mtu < ipv4::min_mtu) return refuse(errc::too_large, count_.too_large);
        send_pieces(ipv4::header::of(*v), v->options(), v->payload(), mtu, way);
    } else {
        links_[way.link]->send(std::move(packet), way.next_hop, reactor_.now());
    }
    ++count_.sent;
    return {};
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
