// A station on a link that does as the test says and no more: it answers ARP for its addresses, sends the
// IPv4 packets it is given to one other station, and keeps what it receives.
//
//     test::station peer(wire.right(), mac, ip::address::v4(192, 0, 2, 1));
//     peer.send(packet, host_mac);
//     run(r, 1ms);
//     CHECK(peer.received.size() == 1);
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/protocols/arp/packet.hpp>
#include <tapir/protocols/ethernet/header.hpp>
#include <tapir/protocols/icmp/message.hpp>
#include <tapir/protocols/ip/address.hpp>
#include <tapir/protocols/ipv4/fragments.hpp>
#include <tapir/protocols/ipv4/header.hpp>
#include <tapir/protocols/link/link.hpp>

#include <cstdint>
#include <utility>
#include <vector>

namespace tapir::test {

using packet = std::vector<std::byte>;

/// Header and payload; the header's size is set.
inline packet datagram(ipv4::header h, bytes payload) {
    h.payload_size = payload.size();
    packet b(ipv4::header::size + payload.size());
    h.emit(b);
    copy_bytes(mutable_bytes(b).subspan(ipv4::header::size), payload);
    return b;
}

/// The datagram cut for an MTU.
inline std::vector<packet> cut(const packet& whole, std::size_t mtu) {
    const auto v = ipv4::view::parse(whole);
    std::vector<packet> all;
    ipv4::fragmenter parts(ipv4::header::of(*v), v->options(), v->payload(), mtu);
    while (const auto p = parts.next()) {
        all.emplace_back(p->size());
        p->emit(all.back());
    }
    return all;
}

inline std::vector<std::byte> numbered_bytes(std::size_t size) {
    std::vector<std::byte> b(size);
    for (std::size_t i = 0; i < size; ++i) b[i] = static_cast<std::byte>(i * 7 + i / 256);
    return b;
}

/// An echo request that may be cut.
inline packet ping(ip::address from, ip::address to, std::size_t size, std::uint8_t ttl = 64,
                   bool dont_fragment = false) {
    const auto data = numbered_bytes(size);
    const auto m = icmp::message::echo_request(1, 1, data);
    packet body(m.size());
    m.emit(body);
    ipv4::header h;
    h.identification = 4711;
    h.dont_fragment = dont_fragment;
    h.ttl = ttl;
    h.protocol = ip::protocol::icmp;
    h.source = from;
    h.destination = to;
    return datagram(h, body);
}

class station final : private frame_receiver {
  public:
    station(link& on, ethernet::mac_address mac, ip::address own) : link_(on), mac_(mac), own_{own} {
        link_.attach(this);
    }
    ~station() { link_.attach(nullptr); }
    station(const station&) = delete;
    station& operator=(const station&) = delete;

    /// It answers for this one, too: a gateway's, or one that a proxy stands for.
    void also(ip::address a) { own_.push_back(a); }

    void send(const packet& p, ethernet::mac_address to) {
        send(p, to, ethernet::ether_type::ipv4);
        link_.flush(instant());
    }

    std::vector<packet> received;          ///< IPv4 packets, without what pads the frame
    std::vector<arp::packet> arp_received; ///< all ARP packets
    bool answers_arp = true;

    /// Of the received packets those that are ICMP of this type.
    std::vector<packet> icmp_of(icmp::type t) const {
        std::vector<packet> all;
        for (const packet& p : received) {
            const auto v = ipv4::view::parse(p);
            if (v && v->protocol() == ip::protocol::icmp && v->fragment_offset() == 0 &&
                load_u8(v->payload(), 0) == static_cast<std::uint8_t>(t))
                all.push_back(p);
        }
        return all;
    }

    void send_arp(const arp::packet& p, ethernet::mac_address to) {
        packet b(arp::packet::size);
        p.emit(b);
        send(b, to, ethernet::ether_type::arp);
        link_.flush(instant());
    }

  private:
    void send(const packet& p, ethernet::mac_address to, ethernet::ether_type type) {
        frame f(pool_.allocate(frame::default_headroom + p.size()), frame::default_headroom);
        copy_bytes(f.push_back(p.size()), p);
        ethernet::header h;
        h.destination = to;
        h.source = mac_;
        h.type = type;
        h.emit(f.push_front(ethernet::header::size));
        link_.send(std::move(f));
    }
    void receive(frame&& f) override {
        const auto eth = ethernet::view::parse(f.data());
        if (!eth) return;
        if (eth->type() == ethernet::ether_type::ipv4) {
            if (const auto v = ipv4::view::parse(eth->payload()))
                received.emplace_back(v->datagram().begin(), v->datagram().end());
            return;
        }
        const auto asked = arp::view::parse(eth->payload());
        if (!asked) return;
        arp_received.push_back(arp::packet::of(*asked));
        if (!answers_arp || asked->op() != arp::operation::request) return;
        for (const ip::address& a : own_)
            if (asked->target_ip() == a && asked->sender_ip() != a)
                send_arp(arp::packet::reply_to(arp::packet::of(*asked), mac_), asked->sender_mac());
    }

    link& link_;
    ethernet::mac_address mac_;
    std::vector<ip::address> own_;
    buffer_pool pool_;
};

} // namespace tapir::test
