#include <tapir/protocols/host/interface.hpp>
#include <tapir/protocols/link/offload.hpp>

#include <utility>

namespace tapir {

interface::interface(interface_owner& owner, std::size_t number, reactor& on, buffer_pool& pool, link& over,
                     ethernet::mac_address mac, const arp::cache_config& config)
    : owner_(owner), number_(number), reactor_(on), pool_(pool), link_(over), mac_(mac), input_(mac),
      arp_(config, mac) {
    link_.attach(this);
}

void interface::add_address(ip::prefix address) {
    arp_.add_address(address);
    arp_.announce(reactor_.now());
    run_arp();
}

void interface::probe(ip::prefix address, random draws) {
    arp_.probe(address, draws, reactor_.now());
    run_arp();
}

interface::~interface() {
    link_.attach(nullptr);
}

void interface::receive(frame&& f) {
    const auto eth = input_.accept(f.data());
    if (!eth) return;
    switch (eth->type()) {
    case ethernet::ether_type::arp:
        arp_.on_packet(eth->payload(), reactor_.now());
        run_arp();
        break;
    case ethernet::ether_type::ipv4:
        f.drop_front(ethernet::header::size); // `eth` still looks at it
        owner_.on_ipv4(*this, std::move(f), eth->destination().is_multicast());
        break;
    default: ++counters_.unknown_type;
    }
}

void interface::carrier(bool up) {
    if (up) {
        arp_.announce(reactor_.now());
        run_arp();
    } else {
        ++counters_.carrier_lost;
    }
}

void interface::send(frame&& packet, ip::address next_hop, instant now) {
    if (const auto to = arp_.resolve(next_hop, now)) {
        transmit(std::move(packet), *to, ethernet::ether_type::ipv4);
        if (!arp_.transmission_pending()) return; // nothing was asked, so nothing else has changed
    } else if (arp_.is_asked_for(next_hop)) {
        wait(std::move(packet), next_hop, now);
    }
    run_arp();
}

void interface::pass_on(const frame& packet) {
    frame own(pool_.allocate(frame::default_headroom + packet.size()), frame::default_headroom);
    copy_bytes(own.push_back(packet.size()), packet.data());
    own.arrived = packet.arrived;
    transmit(std::move(own), mac_, ethernet::ether_type::ipv4);
}

// The bounds of the queues are for packets: a large segment waits as what it means.
void interface::wait(frame packet, ip::address next_hop, instant now) {
    if (packet.meta.gso_type == segmentation::none) {
        // What is forwarded lies in a buffer of the link it came from, which has only so many.
        arp_.enqueue(next_hop, packet.copy(pool_), now);
        return;
    }
    ethernet::header unknown;
    unknown.type = ethernet::ether_type::ipv4;
    unknown.emit(packet.push_front(ethernet::header::size)); // cutting begins there
    ++counters_.finished_here;
    finish(std::move(packet), pool_, [&](frame&& piece) {
        piece.drop_front(ethernet::header::size);
        arp_.enqueue(next_hop, std::move(piece), now);
    });
}

void interface::transmit(frame&& packet, ethernet::mac_address to, ethernet::ether_type type) {
    ethernet::header h;
    h.destination = to;
    h.source = mac_;
    h.type = type;
    h.emit(packet.push_front(ethernet::header::size));
    const link_capabilities can = link_.capabilities();
    if (!can.gather) packet = std::move(packet).in_one_piece(pool_);
    if ((packet.meta.gso_type == segmentation::none || can.segmentation) &&
        (packet.meta.csum != checksum_state::partial || can.checksum)) {
        link_.send(std::move(packet));
        return;
    }
    ++counters_.finished_here;
    finish(std::move(packet), pool_, [&](frame&& f) { link_.send(std::move(f)); });
}

void interface::run_arp() {
    bool sent = false;
    while (const auto t = arp_.next_transmission()) {
        frame f(pool_.allocate(frame::default_headroom + arp::packet::size), frame::default_headroom);
        t->packet.emit(f.push_back(arp::packet::size));
        transmit(std::move(f), t->destination, ethernet::ether_type::arp);
        sent = true;
    }
    while (auto r = arp_.next_release()) {
        transmit(std::move(r->packet), r->destination, ethernet::ether_type::ipv4);
        sent = true;
    }
    while (const auto f = arp_.next_failure()) owner_.on_unreachable(f->packets);
    while (const auto e = arp_.next_event()) owner_.on_address(*this, *e);
    if (sent) owner_.on_room(); // the owner's flush lets it go out
    const instant next = arp_.next_deadline();
    if (next == never) {
        reactor_.timers().cancel(arp_timer_);
    } else if (!arp_timer_.armed() || arp_timer_.deadline() != next) {
        reactor_.timers().arm(arp_timer_, next);
    }
}

void interface::flush(instant now) {
    link_.flush(now);
}

} // namespace tapir
