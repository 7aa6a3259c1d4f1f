#include <tapir/framework/log.hpp>
#include <tapir/protocols/host/host.hpp>
#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/ipv4/header.hpp>

#include <algorithm>
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

host_config shared_out(host_config c) {
    c.tcp.share = c.udp.share = c.share;
    return c;
}

// One line when something begins and one when it ends, whatever the number of segments between.
void log_listener_event(const std::string& name, const tcp::listening_endpoint& l,
                        const tcp::listener_event& e) {
    const std::string who = name + ": " + l.local().to_string() + ": " + std::string(tcp::name(e.what));
    if (e.began)
        log::warn(who + " began: " + std::to_string(l.half_open()) + " connections half-open, " +
                  std::to_string(l.acceptable()) + " to be accepted");
    else
        log::info(who + " ended: " + std::to_string(e.count) +
                  (e.what == tcp::pressure::syn_cookies ? " sent" : " segments dropped"));
}

} // namespace

// The draws are statements of their own: the order in which arguments are evaluated differs between
// compilers, and would make their runs differ.
host::host(reactor& on, host_config config)
    : config_(shared_out(std::move(config))), reactor_(on), ip_input_(config_.forwarding),
      reassembly_(pool_, config_.reassembly), icmp_(config_.icmp),
      context_(std::make_shared<tcp::detail::connection_context>(on)),
      secret_(config_.secret ? *config_.secret : drawn_secret(on.rng())), random_(on.rng().fork()),
      output_(on, pool_, routes_, interfaces_, config_.path_mtu, secret_, config_.share, random_.fork()),
      tcp_(config_.tcp, secret_, random_, pool_, on.timers(), config_.trace),
      udp_(config_.udp, udp_random(secret_), pool_, *this), forwarder_(output_) {
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
    context_->listener_event = [name = config_.name](const tcp::listening_endpoint& l,
                                                     const tcp::listener_event& e) {
        log_listener_event(name, l, e);
    };
}

host::~host() {
    stop();
    context_->release_orphans();
}

result<std::size_t> host::add_interface(link& over, ethernet::mac_address mac, ip::prefix address) {
    if (!mac.is_station()) return errc::invalid_argument;
    const std::size_t number = interfaces_.size();
    ipv4::routes plan = routes_;
    if (auto possible = plan.add_address(address, number); !possible) return possible.error();
    interfaces_.push_back(std::make_unique<interface>(static_cast<interface_owner&>(*this), number, reactor_,
                                                      pool_, over, mac, config_.arp));
    const link_capabilities can = over.capabilities();
    offload_checksums_ = offload_checksums_ || can.checksum;
    offload_segmentation_ = offload_segmentation_ || can.segmentation;
    gather_ = gather_ || can.gather;
    if (auto added = add_address(number, address); !added) return added.error();
    return number;
}

result<> host::add_address(std::size_t interface, ip::prefix address) {
    if (interface >= interfaces_.size()) return errc::invalid_argument;
    ipv4::routes plan = routes_;
    if (auto possible = plan.add_address(address, interface); !possible) return possible;
    if (config_.arp.probe) {
        interfaces_[interface]->probe(address, random_.fork());
    } else {
        routes_ = std::move(plan);
        interfaces_[interface]->add_address(address);
    }
    return {};
}

void host::on_address(interface& on, const arp::address_event& e) {
    const std::string address = e.address.addr.to_string();
    using kind = arp::address_event::kind;
    // Probing for one address on two links at once is the only way to have it already: then it stays there.
    if (e.what == kind::usable && !routes_.add_address(e.address, on.number()))
        log::warn(config_.name + ": " + address + " is an address of another link already");
    if (e.what == kind::taken)
        log::warn(config_.name + ": " + address + " is not used: " + e.other.to_string() + " has it");
    if (e.what == kind::conflict)
        log::warn(config_.name + ": " + address + " is claimed by " + e.other.to_string() + ", too");
    if (address_event_) address_event_(on.number(), e);
}

task<result<tcp::connection>> host::connect(ip::endpoint to, tcp::connection_options options,
                                            std::uint16_t local_port, bytes first) {
    promise_base& self = co_await this_coroutine;
    // Whoever wrote the connect(), not the library's with_timeout() or race() around it.
    const promise_base* caller = self.parent();
    while (caller != nullptr && caller->internal()) caller = caller->parent();
    if (caller == nullptr) caller = &self;
    if (to.port == 0 || to.addr.is_multicast() || routes_.is_broadcast(to.addr))
        co_return errc::invalid_argument;
    if (self.stop().stop_requested()) co_return errc::cancelled;
    const auto way = output_.route(to.addr);
    if (!way) co_return errc::network_unreachable;
    auto opened =
        tcp_.connect(path_between(way->source, to.addr), to.port, local_port, options, reactor_.now(), first);
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
    hand_to_tcp(reactor_.now());
    tcp_.stop(reactor_.now());
    udp_.stop();
    flush(reactor_.now());
}

// Down to the link.

bool host::ready() {
    // With several links, one that is full must not stop the others: what goes there is lost, as in any full
    // queue, and sent again.
    return std::ranges::any_of(interfaces_, [](const auto& i) { return i->ready(); });
}

std::size_t host::max_payload() {
    // As much as fits into 64 KiB with all headers. With links of both kinds, interfaces cut for those that
    // cannot.
    constexpr std::size_t most = 65'536 - frame::default_headroom;
    return offload_segmentation_ ? most : 0;
}

void host::emit(const tcp::path& to, const tcp::outgoing_segment& s) {
    const std::size_t header = s.header.size();
    // A copy of a segment or a few is cheaper than another piece of a vectored write.
    constexpr std::size_t worth_sharing = 8192;
    const bool shares = gather_ && s.payload_size >= worth_sharing && s.payload.size() <= frame::most_parts;
    frame f(pool_.allocate(frame::default_headroom + (shares ? 0 : s.payload_size)), frame::default_headroom);
    if (shares)
        for (const chunk& piece : s.payload) f.share_back(piece);
    else
        for (const bytes piece : s.payload) copy_bytes(f.push_back(piece.size()), piece);
    tcp::emit(f.push_front(header), s.header, to.pseudo_header_sum, s.payload,
              offload_checksums_ ? tcp::checksum_mode::partial : tcp::checksum_mode::full);
    if (offload_checksums_) {
        constexpr std::uint16_t below = ethernet::header::size + ipv4::header::size;
        f.meta.csum = checksum_state::partial;
        f.meta.csum_start = below;
        f.meta.csum_offset = 16;
        if (s.payload_size > s.mss) {
            f.meta.gso_type = segmentation::tcp4;
            f.meta.gso_size = s.mss;
            f.meta.hdr_len = static_cast<std::uint16_t>(below + header);
        }
    }
    ipv4::header ip;
    ip.type_of_service = static_cast<std::uint8_t>(s.ecn);
    ip.protocol = ip::protocol::tcp;
    ip.source = to.local;
    ip.destination = to.remote;
    const auto sent = output_.send(ip, std::move(f)); // counted; TCP finds out of a loss as of any other
    if (sent || sent.error() != errc::too_large) return;
    too_large t{to, {}};
    store_be16(t.begins, 0, s.header.source_port);
    store_be16(t.begins, 2, s.header.destination_port);
    store_be32(t.begins, 4, s.header.seq.value());
    // The segments of one connection come one after the other, and the first tells enough.
    if (too_large_.empty() || too_large_.back().way.remote != to.remote ||
        !std::ranges::equal(std::span(too_large_.back().begins).first(4), std::span(t.begins).first(4)))
        too_large_.push_back(t);
}

// The MTU of a link has shrunk under its connections. To them it is what a router would say.
void host::tell_too_large(instant now) {
    const auto all = std::exchange(too_large_, {});
    for (const too_large& t : all)
        tcp_.icmp_error(tcp::icmp_kind::packet_too_big, t.way.local, t.way.remote, t.begins,
                        output_.path_to(t.way.remote, t.way.local).mtu, now);
}

// Most segments come from where the one before came from. Once a router has told of any path, each is looked
// up: what it told is valid for a time only.
tcp::path host::path_between(ip::address local, ip::address remote) const {
    known_way& k = latest_way_;
    if (k.way.remote == remote && k.way.local == local && k.routes == routes_.version() &&
        output_.paths().destinations() == 0 && output_.link_mtu(k.link) == k.way.link_mtu)
        return k.way;
    const auto way = output_.path_to(remote, local);
    tcp::path p(local, remote, ip::pseudo_header_sum(local, remote, ip::protocol::tcp), way.mtu);
    p.link_mtu = way.link_mtu;
    if (const auto hop = routes_.lookup(remote, local)) k = {p, hop->link, routes_.version()};
    return p;
}

void host::send_error(const ipv4::datagram& about, const icmp::message& m) {
    const ip::address to = about.packet.source();
    std::optional<ip::address> own;
    if (!routes_.is_own(about.packet.destination())) {
        const auto way = output_.route(to);
        if (!way) {
            ++counters_.errors_without_route;
            return;
        }
        own = way->source;
    }
    if (const auto e = icmp_.error(about, m, reactor_.now(), own)) send_icmp(*e);
}

void host::send_icmp(const icmp::outgoing& message) {
    const std::size_t size = message.message.size();
    frame f(pool_.allocate(frame::default_headroom + size), frame::default_headroom);
    message.message.emit(f.push_back(size));
    (void)output_.send(message.header, std::move(f)); // counted
    want_flush();
}

void host::flush(instant now) {
    if (!interfaces_.empty()) {
        tcp_.flush(now, *this, reactor_.input_waits());
        if (!too_large_.empty()) tell_too_large(now);
        udp_.flush();
    }
    for (const auto& i : interfaces_) i->flush(now);
}

} // namespace tapir
