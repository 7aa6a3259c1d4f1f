// Whole hosts over routers that mark, and over paths that do not know ECN. [RFC 3168]

#include <doctest/doctest.h>

#include <cstdint>

#include "tests/simulation/topology.hpp"
#include "tests/simulation/upload.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

host_config willing(bool ecn = true) {
    host_config c;
    c.tcp.connections.ecn = ecn;
    return c;
}

struct marked_upload : upload { ///< to a server that is willing
    marked_upload(topology& in, std::uint64_t bytes) : upload(in, bytes) { options.accepted.ecn = true; }
};

} // namespace

TEST_CASE("ecn: over a queue that marks nothing is lost, and the link stays busy") {
    // 1 MB/s, 20 ms: a bandwidth-delay product of 20 KB, marks from 20 KB on, room for 200 KB. Without ECN
    // the same queue drops. The router behind passes the marks on.
    const auto with = [](bool ecn, tcp::congestion_algorithm algorithm) {
        topology t{seed_run(1)};
        host_config sender = willing(ecn);
        sender.tcp.connections.congestion = algorithm;
        t.host("client", sender);
        t.link(to_right(rate(1'000'000), tail_drop_queue(ecn ? 200'000 : 40'000), marking_above(20'000)),
               delay(5ms));
        t.router("r");
        t.link(delay(5ms));
        t.host("server");
        marked_upload x(t, 10'000'000);
        x.run();
        CHECK(x.sender.ecn == ecn);
        CHECK(x.receiver.ecn == ecn);
        CHECK(x.took < 12s); // 10.46 s with headers
        if (ecn) {
            CHECK(x.faults(fault_kind::tail_drop, 0) == 0);
            CHECK(x.faults(fault_kind::mark, 0) > 0);
            CHECK(x.receiver.ce_received == x.faults(fault_kind::mark, 0));
            CHECK(x.sent().retransmits == 0);
            CHECK(x.sent().rto_fired + x.sent().tail_probes == 0);
            CHECK(x.sent().ecn_reductions >= 3);
            CHECK(x.sent().ecn_reductions <= x.received().ecn_ce_in);
            CHECK(x.received().ecn_cwr_in == x.sent().ecn_cwr_out);
            CHECK(x.sender.srtt < 45ms); // 10 ms of path, 20 ms of queue that is not marked yet, and some
        } else {
            CHECK(x.faults(fault_kind::mark, 0) == 0);
            CHECK(x.faults(fault_kind::tail_drop, 0) > 0);
            CHECK(x.sent().retransmits > 0);
        }
    };
    for (const auto a : {tcp::congestion_algorithm::cubic, tcp::congestion_algorithm::new_reno})
        for (const bool ecn : {true, false}) with(ecn, a);
}

TEST_CASE("ecn: a path that bleaches the field is one without marks") {
    topology t{seed_run(2)};
    t.host("client", willing());
    t.link(to_right(ecn_is(ecn_path::bleaches)), delay(5ms));
    t.router("r");
    t.link(to_right(rate(1'000'000), tail_drop_queue(40'000), marking_above(10'000)), delay(5ms));
    t.host("server");
    marked_upload x(t, 3'000'000);
    x.run();
    CHECK(x.sender.ecn); // nobody has told
    CHECK(x.faults(fault_kind::mark, 1) == 0);
    CHECK(x.receiver.ce_received == 0);
    CHECK(x.sent().ecn_reductions == 0);
    CHECK(x.sent().retransmits > 0);
    CHECK(x.took < 5s);
}

TEST_CASE("ecn: a box that swallows SYNs with ECN costs a second, and ECN") { // [RFC 3168 6.1.1.1]
    for (const bool swallows : {false, true}) {
        topology t{seed_run(3)};
        t.host("client", willing());
        t.link(delay(10ms), ecn_is(swallows ? ecn_path::swallows_setup : ecn_path::keeps));
        t.host("server");
        marked_upload x(t, 100'000);
        x.run();
        CHECK(x.sender.ecn == !swallows);
        CHECK(x.receiver.ecn == !swallows);
        CHECK(x.faults(fault_kind::swallowed, 0) == (swallows ? 1 : 0));
        CHECK(x.sent().ecn_withdrawn == (swallows ? 1 : 0));
        CHECK(x.connecting + x.took > (swallows ? 1s : 0s));
        CHECK(x.connecting + x.took < (swallows ? 1500ms : 500ms));
    }
}

TEST_CASE("ecn: a path that swallows what could be marked delays data for a moment, and does not stop it") {
    for (const bool sack : {true, false}) {
        topology t{seed_run(4)};
        host_config client = willing();
        client.tcp.use_sack = sack;
        t.host("client", client);
        t.link(delay(10ms), ecn_is(ecn_path::swallows_ect));
        t.host("server");
        marked_upload x(t, 1'000'000);
        x.run();
        CHECK(x.sent().ecn_negotiated == 1);
        CHECK(x.sent().ecn_black_holes == 1);
        CHECK_FALSE(x.sender.ecn);
        CHECK(x.took < 3s);
    }
}

TEST_CASE("ecn: a network that marks everything slows down, and stops nobody") { // [RFC 3168 6.1.2]
    topology t{seed_run(5)};
    t.host("client", willing());
    t.link(delay(10ms), marking_above(0));
    t.host("server");
    marked_upload x(t, 100'000);
    x.run();
    CHECK(x.sender.cwnd >= x.sender.send_mss);
    CHECK(x.sent().retransmits == 0);
    CHECK(x.sent().ecn_reductions > 20);
    CHECK(x.took > 5s);
    CHECK(x.took < 40s); // a segment each time a timeout would come
}

TEST_CASE("ecn: a mark on one fragment is a mark on the segment") { // [RFC 3168 5.3]
    topology t{seed_run(6)};
    t.host("client", willing());
    t.link(mtu(540), delay(2ms)); // so narrow that segments may be cut
    t.router("r");
    t.link(mtu(300), delay(2ms));
    t.router("r2");
    t.link(mtu(540), delay(2ms));
    t.host("server");
    t.start();
    std::size_t seen = 0;
    const auto first_fragment = [&](bytes f) { // of every tenth
        return f.size() > 34 && load_be16(f, 12) == 0x0800 && (load_be16(f, 20) & 0x2000) != 0 &&
               ++seen % 10 == 0;
    };
    t.link_at(1).path().when(direction::out, first_fragment, fault_kind::mark, 5);
    marked_upload x(t, 50'000);
    x.run();
    CHECK(x.faults(fault_kind::mark, 1) == 5);
    CHECK(x.receiver.ce_received == 5);
    CHECK(x.sent().ecn_reductions >= 1);
    CHECK(x.sent().retransmits == 0);
}
