// Addresses of a host that somebody else on the link has, or wants.
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/sim_backend.hpp>
#include <tapir/protocols/host/host.hpp>
#include <tapir/protocols/link/wire.hpp>

#include <doctest/doctest.h>

#include <vector>

#include "tests/support/link_end.hpp"
#include "tests/support/station.hpp"

using namespace tapir;
using arp::address_event;
using tapir::test::pass_time;
using tapir::test::ping;
using tapir::test::station;

namespace {

const ip::address peer_ip = ip::address::v4(192, 0, 2, 1);
const ip::prefix wanted(ip::address::v4(192, 0, 2, 2), 24);
const ethernet::mac_address our_mac(2, 0, 0, 0, 0, 2);
const ethernet::mac_address peer_mac(2, 0, 0, 0, 0, 1);

struct probing_host {
    explicit probing_host(bool probe)
        : cable(r), us(r, configured(probe)), peer(cable.right(), peer_mac, peer_ip) {
        us.on_address_event([this](std::size_t, const address_event& e) { events.push_back(e); });
    }
    static host_config configured(bool probe) {
        host_config c;
        c.arp.probe = probe;
        return c;
    }
    bool answers() {
        peer.received.clear();
        peer.send(ping(peer_ip, wanted.addr, 10), our_mac);
        r.run(pass_time(10ms));
        return peer.icmp_of(icmp::type::echo_reply).size() == 1;
    }

    reactor r{make_sim_backend()};
    wire cable;
    host us;
    station peer;
    std::vector<address_event> events;
};

} // namespace

TEST_CASE("ip: an address that is probed for is used when nobody has it, and not before") { // [RFC 5227]
    probing_host w(true);
    REQUIRE(w.us.add_interface(w.cable.left(), our_mac, wanted));
    CHECK(!w.answers());
    CHECK(w.us.listen(ip::endpoint(wanted.addr, 80)).error() == errc::address_unavailable);
    w.r.run(pass_time(10s));
    CHECK(w.events == std::vector{address_event{.what = address_event::kind::usable, .address = wanted}});
    CHECK(w.answers());
    CHECK(w.us.listen(ip::endpoint(wanted.addr, 80)));
}

TEST_CASE("ip: an address that another station answers for is left to it, and told") {
    probing_host w(true);
    w.peer.also(wanted.addr);
    REQUIRE(w.us.add_interface(w.cable.left(), our_mac, wanted));
    w.r.run(pass_time(20s));
    CHECK(w.events == std::vector{address_event{
                          .what = address_event::kind::taken, .address = wanted, .other = peer_mac}});
    CHECK(!w.answers());
    CHECK(w.us.routes().addresses().empty());
}

TEST_CASE("ip: an address in use that another station claims is defended, and told") {
    probing_host w(false);
    REQUIRE(w.us.add_interface(w.cable.left(), our_mac, wanted));
    CHECK(w.answers());
    w.r.run(pass_time(3s));
    w.peer.arp_received.clear();
    w.peer.send_arp(arp::packet::announcement(peer_mac, wanted.addr), ethernet::mac_address::broadcast());
    w.r.run(pass_time(1s));
    CHECK(w.events == std::vector{address_event{
                          .what = address_event::kind::conflict, .address = wanted, .other = peer_mac}});
    CHECK(w.peer.arp_received == std::vector{arp::packet::announcement(our_mac, wanted.addr)});
    CHECK(w.answers());
}
