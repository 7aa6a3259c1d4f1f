#include <tapir/framework/log.hpp>
#include <tapir/protocols/host/host.hpp>
#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/ipv4/header.hpp>

#include <algorithm>
#include <array>
#include <utility>

namespace tapir {

namespace {

siphash_key drawn_secret(random& from) {
    siphash_key key;
    key.k0 = from.next();
    key.k1 = from.next();
    return key;
}

/// A stream of its own, which tells nothing of the one that TCP draws from.
random udp_random(const siphash_key& secret) {
    return random(siphash(secret, as_bytes("udp")));
}

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

// The draws are statements of their own: the order in which arguments are evaluated differs between
// compilers, and would make their runs differ.
host::host(reactor& on, host_config config)
    : reactor_(on), config_(std::move(config)), icmp_(config_.icmp),
      context_(std::make_shared<tcp::detail::connection_context>(on)),
      secret_(config_.secret ? *config_.secret : drawn_secret(on.rng())), random_(on.rng().fork()),
      tcp_(config_.tcp, secret_, random_, pool_, on.timers(), config_.trace),
      udp_(config_.udp, udp_random(secret_), pool_, *this) {
    tcp_.on_want_flush([](void* self) { static_cast<host*>(self)->want_flush(); }, this);
    context_->dropped_open = [name = config_.name](const tcp::endpoint& e) {
        const tcp::owner& o = e.owned_by();
        const auto place = [](const std::source_location& at) {
            return std::string(at.file_name()) + ":" + std::to_string(at.line());
        };
        log::warn(name + ": connection " + e.local().to_string() + " to " + e.remote().to_string() + " in " +
                  std::string(tcp::name(e.state())) + " was dropped without close(): aborted; opened at " +
                  place(o.opened_at) + ", last used at " + place(o.last_call_at) + " by task " +
                  std::to_string(o.task));
    };
}

host::~host() {
    stop();
    context_->release_orphans();
}

result<> host::add_interface(link& over, ethernet::mac_address mac, ip::prefix address) {
    if (!mac.is_station()) return errc::invalid_argument;
    if (auto added = routes_.add_address(address); !added) return added;
    interfaces_.push_back(std::make_unique<interface>(static_cast<interface_owner&>(*this), reactor_, pool_,
                                                      over, mac, config_.arp, address));
    return {};
}

task<result<tcp::connection>> host::connect(ip::endpoint to, tcp::connection_options options,
                                            std::uint16_t local_port) {
    promise_base& self = co_await this_coroutine;
    // Whoever wrote the connect(), not the library's with_timeout() or race() around it.
    const promise_base* caller = self.parent();
    while (caller != nullptr && caller->internal()) caller = caller->parent();
    if (caller == nullptr) caller = &self;
    if (to.port == 0 || to.addr.is_multicast() || routes_.is_broadcast(to.addr))
        co_return errc::invalid_argument;
    if (self.stop().stop_requested()) co_return errc::cancelled;
    const auto hop = routes_.lookup(to.addr);
    // A host's own addresses have no link behind them: there is no loopback interface.
    interface* out = hop && !routes_.is_own(to.addr) ? interface_towards(hop->next_hop) : nullptr;
    if (out == nullptr) co_return errc::network_unreachable;
    const tcp::path path(hop->source, to.addr, ip::pseudo_header_sum(hop->source, to.addr, ip::protocol::tcp),
                         static_cast<std::uint16_t>(std::min<std::size_t>(out->mtu(), 65535)));
    auto opened = tcp_.connect(path, to.port, local_port, options, reactor_.now());
    if (!opened) co_return opened.error();
    (*opened)->set_owner(tcp::owner(caller->id(), caller->at(), reactor_.now()));
    tcp::connection c(context_, std::move(*opened));
    const auto established = co_await c.until(tcp::state::established);
    if (established) co_return c;
    const std::error_code why = c.error() ? c.error() : established.error();
    c.abort();
    co_return why;
}

result<tcp::listener> host::listen(ip::endpoint at, tcp::listen_options options) {
    if (!at.addr.is_unspecified() && !routes_.is_own(at.addr)) return errc::address_unavailable;
    auto listening = tcp_.listen(at, options, reactor_.now());
    if (!listening) return listening.error();
    return tcp::listener(context_, std::move(*listening));
}

void host::stop() {
    if (tcp_.stopped()) return;
    tcp_.stop(reactor_.now());
    udp_.stop();
    flush(reactor_.now());
}

// From the link up.

void host::on_ipv4(interface&, const frame& f, bytes packet, bool to_group) {
    const auto accepted = ip_input_.accept(packet, to_group, routes_);
    if (!accepted) return;
    switch (accepted->packet.protocol()) {
    case ip::protocol::tcp: on_tcp(f, *accepted); break;
    case ip::protocol::udp: on_udp(f, *accepted); break;
    case ip::protocol::icmp: on_icmp(*accepted); break;
    default:
        ++counters_.unknown_protocol;
        if (const auto e = icmp_.unreachable(*accepted, icmp::unreachable_code::protocol, reactor_.now()))
            send_icmp(*e);
    }
}

void host::on_tcp(const frame& f, const ipv4::datagram& d) {
    if (d.broadcast || d.packet.destination().is_multicast()) {
        ++counters_.tcp_to_broadcast;
        return;
    }
    const ip::address local = d.packet.destination();
    const ip::address remote = d.packet.source();
    const auto hop = routes_.lookup(remote);
    const interface* back = hop ? interface_towards(hop->next_hop) : nullptr;
    const std::size_t mtu = back == nullptr ? 1500 : back->mtu();
    const tcp::path path(local, remote, ip::pseudo_header_sum(local, remote, ip::protocol::tcp),
                         static_cast<std::uint16_t>(std::min<std::size_t>(mtu, 65535)));
    const bool known = f.meta.csum != checksum_state::none;
    tcp_.receive(path, f.share(d.packet.header_size(), d.packet.payload().size()),
                 known ? tcp::checksum_known::valid : tcp::checksum_known::no, f.arrived, reactor_.now());
}

void host::on_icmp(const ipv4::datagram& d) {
    const auto outcome = icmp_.on_datagram(d);
    if (const auto* answer = std::get_if<icmp::outgoing>(&outcome)) {
        send_icmp(*answer);
        return;
    }
    const auto* e = std::get_if<icmp::received_error>(&outcome);
    if (e == nullptr) return;
    if (e->protocol == ip::protocol::udp) udp_error(e->kind, e->local, e->remote);
    if (e->protocol == ip::protocol::tcp) {
        std::array<std::byte, 8> quoted{};
        store_be16(quoted, 0, e->local.port);
        store_be16(quoted, 2, e->remote.port);
        store_be32(quoted, 4, e->sequence);
        tcp_.icmp_error(kind_for_tcp(e->kind), e->local.addr, e->remote.addr, quoted, e->next_hop_mtu,
                        reactor_.now());
    }
}

void host::on_unreachable(bytes packet) {
    const auto ours = ipv4::view::parse(packet);
    if (ours && ours->protocol() == ip::protocol::tcp)
        tcp_.unreachable(ours->destination(), errc::host_unreachable, reactor_.now());
    if (const auto about = icmp::parse_quoted(packet); about && about->protocol == ip::protocol::udp)
        udp_error(icmp::error_kind::host_unreachable, about->source, about->destination);
}

// Down to the link.

bool host::ready() {
    return std::ranges::all_of(interfaces_, [](const auto& i) { return i->ready(); });
}

std::size_t host::max_payload() {
    return 0; // nothing below cuts segments
}

void host::emit(const tcp::path& to, const tcp::outgoing_segment& s) {
    const std::size_t header = s.header.size();
    frame f(pool_.allocate(frame::default_headroom + s.payload_size), frame::default_headroom);
    for (const bytes piece : s.payload) copy_bytes(f.push_back(piece.size()), piece);
    tcp::emit(f.push_front(header), s.header, to.pseudo_header_sum, s.payload);
    ipv4::header ip;
    ip.protocol = ip::protocol::tcp;
    ip.source = to.local;
    ip.destination = to.remote;
    ip.payload_size = header + s.payload_size;
    ip.emit(f.push_front(ipv4::header::size));
    send_packet(std::move(f), to.remote);
}

void host::send_icmp(const icmp::outgoing& message) {
    frame f(pool_.allocate(frame::default_headroom + message.size()), frame::default_headroom);
    message.emit(f.push_back(message.size()));
    send_packet(std::move(f), message.header.destination);
    want_flush();
}

void host::send_packet(frame f, ip::address destination) {
    const auto hop = routes_.lookup(destination);
    interface* out = hop ? interface_towards(hop->next_hop) : nullptr;
    if (out == nullptr) {
        ++counters_.no_route;
        return;
    }
    out->send(std::move(f), hop->next_hop, reactor_.now());
}

interface* host::interface_towards(ip::address next_hop) const {
    for (const auto& i : interfaces_)
        if (i->address().contains(next_hop)) return i.get();
    return interfaces_.empty() ? nullptr : interfaces_.front().get(); // broadcast to all of the first link
}

void host::flush(instant now) {
    if (!interfaces_.empty()) {
        tcp_.flush(now, *this);
        udp_.flush();
    }
    for (const auto& i : interfaces_) i->flush(now);
}

} // namespace tapir
