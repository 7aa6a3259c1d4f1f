// Two hosts and a cable of any length, in virtual time, for tests with very many connections or frames:
// unlike a `world` it writes nothing down. Ours is the server. The stations stay known (as a router between
// would stay), so that silence of a peer is all there is. Whoever else is on the cable speaks through
// `inject()`.
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/sim_backend.hpp>
#include <tapir/protocols/ethernet/header.hpp>
#include <tapir/protocols/host/host.hpp>
#include <tapir/protocols/ipv4/header.hpp>
#include <tapir/protocols/link/impair.hpp>
#include <tapir/protocols/link/wire.hpp>

#include <cstdint>
#include <utility>

namespace tapir::test {

struct street {
    explicit street(const host_config& ours = host_config(), const host_config& honest = host_config())
        : on(make_sim_backend()), cable(on, cable_config()), path(on, cable.left(), impair_config()),
          theirs(on, patient("theirs", honest)), server(on, patient("ours", ours)) {
        (void)theirs.add_interface(path, their_mac(), ip::prefix(at_client(0).addr, 24));
        (void)server.add_interface(cable.right(), our_mac(), ip::prefix(at_server(0).addr, 24));
    }
    static wire_config cable_config() {
        wire_config c;
        c.latency = 10ms;
        c.queue = 100'000;
        return c;
    }
    static host_config patient(const char* name, host_config h) {
        h.name = name;
        h.arp.reachable_time = h.arp.idle_lifetime = std::chrono::hours(24);
        return h;
    }
    static ethernet::mac_address their_mac() { return {2, 0, 0, 0, 0, 1}; }
    static ethernet::mac_address our_mac() { return {2, 0, 0, 0, 0, 2}; }
    static ip::endpoint at_server(std::uint16_t port) { return {ip::address::v4(192, 0, 2, 2), port}; }
    static ip::endpoint at_client(std::uint16_t port) { return {ip::address::v4(192, 0, 2, 1), port}; }

    /// From now on nothing passes in this direction: `out` is from them to us.
    void cut(direction d) { path.outage(d, on.now(), never); }

    /// A packet to us, whatever its header says, from a third station.
    void inject(const ipv4::header& h, bytes payload) {
        frame f(frames.allocate(frame::default_headroom + payload.size()), frame::default_headroom);
        copy_bytes(f.push_back(payload.size()), payload);
        ipv4::header ip = h;
        ip.payload_size = payload.size();
        ip.emit(f.push_front(ipv4::header::size));
        ethernet::header e;
        e.destination = our_mac();
        e.source = ethernet::mac_address(2, 0, 0, 0, 0, 3);
        e.emit(f.push_front(ethernet::header::size));
        cable.left().send(std::move(f));
    }

    reactor on;
    wire cable;
    impair path;
    buffer_pool frames; ///< of inject()
    host theirs;
    host server;
};

} // namespace tapir::test
