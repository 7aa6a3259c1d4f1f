// What an impaired path does to packets that use ECN: marks, bleached fields, boxes that swallow.
#include <tapir/framework/sim_backend.hpp>
#include <tapir/protocols/ethernet/header.hpp>
#include <tapir/protocols/ipv4/header.hpp>
#include <tapir/protocols/link/ecn_field.hpp>
#include <tapir/protocols/link/impair.hpp>
#include <tapir/protocols/link/wire.hpp>
#include <tapir/protocols/tcp/header.hpp>

#include <doctest/doctest.h>

#include <array>
#include <vector>

#include "tests/support/link_end.hpp"

using namespace tapir;
using test::numbered_frame;
using test::pass_time;
using test::recording_receiver;

namespace {

constexpr auto header_bytes = ethernet::header::size + ipv4::header::size;

/// A TCP segment of `size` payload bytes.
frame packet(buffer_pool& pool, ip::ecn ecn, tcp::flags flags = tcp::flags::ack, std::size_t size = 966,
             std::uint8_t dscp = 0x2e, std::uint16_t fragment_offset = 0) {
    tcp::header t;
    t.source_port = 1;
    t.destination_port = 2;
    t.flags = flags;
    const std::size_t transport = t.size() + size;
    frame f(pool.allocate(header_bytes + transport), 0);
    const mutable_bytes all = f.push_back(header_bytes + transport);
    ethernet::header eth;
    eth.type = ethernet::ether_type::ipv4;
    eth.emit(all);
    ipv4::header ip;
    ip.type_of_service = static_cast<std::uint8_t>((unsigned{dscp} << 2) | static_cast<unsigned>(ecn));
    ip.source = ip::address::v4(192, 0, 2, 1);
    ip.destination = ip::address::v4(192, 0, 2, 2);
    ip.dont_fragment = fragment_offset == 0;
    ip.fragment_offset = fragment_offset;
    ip.payload_size = transport;
    ip.emit(all.subspan(ethernet::header::size));
    const std::vector<bytes> nothing;
    tcp::emit(all.subspan(header_bytes, t.size()), t, 0, nothing);
    for (std::byte& b : all.subspan(header_bytes + t.size())) b = std::byte{7};
    return f;
}

/// Of a header whose checksum is right.
ip::ecn field_of(const frame& f) {
    const auto v = ipv4::view::parse(bytes(f.data()).subspan(ethernet::header::size));
    REQUIRE(v);
    CHECK(v->dscp() == 0x2e);
    CHECK(ecn_field(f.data()) == static_cast<unsigned>(v->ecn()));
    return v->ecn();
}

struct path {
    explicit path(const impairment& out) : r(make_sim_backend()), impaired(r, w.left(), {.out = out}) {
        impaired.attach(&near);
        w.right().attach(&far);
    }
    void settle() { r.run(pass_time(1s)); }
    std::vector<ip::ecn> arrived() const {
        std::vector<ip::ecn> all;
        for (const frame& f : far.frames) all.push_back(field_of(f));
        return all;
    }

    reactor r;
    wire w{r, {}};
    impair impaired;
    recording_receiver near, far;
    buffer_pool pool;
};

using ecn = ip::ecn;
using fields = std::vector<ecn>;

} // namespace

TEST_CASE("impair: a queue above its threshold marks what may be marked, and mends the header") {
    // Five frames of 1020 bytes find 0, 1, 2 ... in front of them. [RFC 3168 5]
    path p({.rate = 1'000'000, .queue = 100'000, .mark_above = 2100});
    for (const ecn e : {ecn::ect0, ecn::ect0, ecn::ect0, ecn::not_ect, ecn::ect1, ecn::ce})
        p.impaired.send(packet(p.pool, e));
    p.settle();
    CHECK(p.arrived() == fields{ecn::ect0, ecn::ect0, ecn::ce, ecn::not_ect, ecn::ce, ecn::ce});
    CHECK(p.impaired.faults()[fault_kind::mark] == 3);
    CHECK(p.impaired.faults()[fault_kind::tail_drop] == 0);
    p.impaired.send(packet(p.pool, ecn::ect0)); // the queue has drained
    p.settle();
    CHECK(p.arrived().back() == ecn::ect0);
}

TEST_CASE("impair: a threshold of zero marks everything that may be, without a rate as well") {
    path p({.mark_above = 0});
    for (const ecn e : {ecn::ect0, ecn::not_ect, ecn::ect1}) p.impaired.send(packet(p.pool, e));
    p.impaired.send(numbered_frame(p.pool, 1)); // no IPv4: as it was
    p.settle();
    const frame last = p.far.frames.back();
    const frame expected = numbered_frame(p.pool, 1);
    CHECK(std::ranges::equal(last.data(), expected.data()));
    p.far.frames.pop_back();
    CHECK(p.arrived() == fields{ecn::ce, ecn::not_ect, ecn::ce});
}

TEST_CASE("impair: a scripted mark is one fault, is replayed, and leaves alone what may not be marked") {
    path p({});
    p.impaired.inject(fault(1, direction::out, fault_kind::mark));
    p.impaired.inject(fault(2, direction::out, fault_kind::mark));
    for (const ecn e : {ecn::ect0, ecn::ect0, ecn::not_ect}) p.impaired.send(packet(p.pool, e));
    p.settle();
    CHECK(p.arrived() == fields{ecn::ect0, ecn::ce, ecn::not_ect});
    const fault_schedule told = {fault(1, direction::out, fault_kind::mark)};
    CHECK(p.impaired.schedule() == told);
    path again({});
    again.impaired.replay(told);
    for (int i = 0; i < 3; ++i) again.impaired.send(packet(again.pool, ecn::ect0));
    again.settle();
    CHECK(again.arrived() == fields{ecn::ect0, ecn::ce, ecn::ect0});
}

TEST_CASE("impair: the sender's shared buffer is never the one that is marked") {
    path p({.mark_above = 0});
    const frame original = packet(p.pool, ecn::ect0);
    frame sent = original;
    p.impaired.send(std::move(sent));
    p.settle();
    CHECK(field_of(original) == ecn::ect0);
    CHECK(p.arrived() == fields{ecn::ce});
}

TEST_CASE("impair: paths that do not know ECN") {
    using tcp::flags;
    path bleaches({.ecn = ecn_path::bleaches});
    path setup({.ecn = ecn_path::swallows_setup});
    path capable({.ecn = ecn_path::swallows_ect});
    for (path* p : {&bleaches, &setup, &capable}) {
        p->impaired.send(packet(p->pool, ecn::not_ect, flags::syn | tcp::ecn_setup, 0));
        p->impaired.send(packet(p->pool, ecn::not_ect, flags::syn, 0));
        p->impaired.send(packet(p->pool, ecn::not_ect, flags::syn | flags::ack | flags::ece, 0));
        p->impaired.send(packet(p->pool, ecn::ect0, flags::ack | tcp::ecn_setup));
        p->impaired.send(packet(p->pool, ecn::ce));
        p->impaired.send(packet(p->pool, ecn::not_ect, flags::syn | tcp::ecn_setup, 4, 0x2e, 80));
        p->settle();
    }
    CHECK(bleaches.arrived() == fields(6, ecn::not_ect));
    CHECK(bleaches.impaired.faults()[fault_kind::swallowed] == 0);
    CHECK(setup.arrived() == fields{ecn::not_ect, ecn::not_ect, ecn::ect0, ecn::ce, ecn::not_ect});
    CHECK(setup.impaired.faults()[fault_kind::swallowed] == 1);
    CHECK(capable.arrived() == fields(4, ecn::not_ect));
    CHECK(capable.impaired.faults()[fault_kind::swallowed] == 2);
}

TEST_CASE("impair: what a box has bleached no router marks") {
    path p({.ecn = ecn_path::bleaches});
    p.impaired.inject(fault(0, direction::out, fault_kind::mark));
    p.impaired.send(packet(p.pool, ecn::ect0));
    p.settle();
    CHECK(p.arrived() == fields{ecn::not_ect});
    CHECK(p.impaired.faults()[fault_kind::mark] == 0);
}

TEST_CASE("impair: the checksum of a header is mended whatever stands beside the field") { // [RFC 1624 3]
    buffer_pool pool;
    for (unsigned dscp = 0; dscp < 64; ++dscp) {
        for (unsigned from = 0; from < 4; ++from) {
            for (unsigned to = 0; to < 4; ++to) {
                frame f = packet(pool, static_cast<ecn>(from), tcp::flags::ack, from * 300,
                                 static_cast<std::uint8_t>(dscp));
                set_ecn_field(f.mutable_data(), to);
                const auto v = ipv4::view::parse(bytes(f.data()).subspan(ethernet::header::size));
                REQUIRE(v);
                CHECK(v->ecn() == static_cast<ecn>(to));
                CHECK(v->dscp() == dscp);
            }
        }
    }
    std::array<std::byte, 20> runt{};
    set_ecn_field(runt, 3);
    CHECK(ecn_field(runt) == 0);
    CHECK_FALSE(asks_for_ecn(runt));
}
