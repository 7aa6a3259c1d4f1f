#include <doctest/doctest.h>

#include "tests/support/tcp_lab.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;

// --- nobody listens ----------------------------------------------------------------------------------------

TEST_CASE("a segment for a closed port draws a RST that the sender will believe") { // [RFC 9293 3.10.7.1]
    tcp_lab lab;
    lab.in({.flags = SYN, .seq = 5, .text = "abc"});
    segs sent = lab.out();
    REQUIRE(sent.size() == 1);
    CHECK(sent[0] == seg{.flags = RST | ACK, .seq = 0, .ack = 5 + 1 + 3});
    lab.in({.flags = ACK, .seq = 5, .ack = 77});
    CHECK(lab.out() == segs{{.flags = RST, .seq = 77}});
    lab.in({.flags = RST, .seq = 5});
    lab.in({.flags = RST | ACK, .seq = 5, .ack = 5});
    CHECK(lab.out() == segs{});
    CHECK(lab.counted().no_connection == 4);
    CHECK(lab.counted().resets_out == 2);
}

TEST_CASE("segments from or to addresses that are nobody's are dropped in silence") { // [RFC 9293 MUST-57]
    tcp_lab lab;
    tcp::segment s;
    s.header.source_port = 1;
    s.header.destination_port = 80;
    s.header.flags = SYN;
    tcp::path p = lab.way();
    p.remote = ip::address::v4(224, 0, 0, 1);
    lab.stack.receive(p, s, lab.now);
    p = lab.way();
    p.local = ip::address::v4(0xffffffff);
    lab.stack.receive(p, s, lab.now);
    CHECK(lab.out() == segs{});
    CHECK(lab.counted().bad_address == 2);
}

TEST_CASE("damaged segments are counted by reason and otherwise ignored") {
    tcp_lab lab;
    lab.listen();
    buffer b = lab.pool.allocate(64);
    std::fill(b.span().begin(), b.span().end(), std::byte{0});
    lab.stack.receive(lab.way(), chunk(b, 0, 20), tcp::checksum_known::no, lab.now, lab.now);
    CHECK(lab.counted().bad_checksum == 1);
    lab.stack.receive(lab.way(), chunk(b, 0, 20), tcp::checksum_known::valid, lab.now, lab.now);
    lab.stack.receive(lab.way(), chunk(b, 0, 7), tcp::checksum_known::no, lab.now, lab.now);
    CHECK(lab.counted().bad_header == 2);
    CHECK(lab.out() == segs{});
}

// --- LISTEN ------------------------------------------------------------------------------------------------

TEST_CASE("LISTEN answers an ACK with RST, ignores a RST and a bare segment") { // [RFC 9293 3.10.7.2]
    tcp_lab lab;
    lab.listen();
    lab.in({.flags = ACK, .seq = 1, .ack = 9});
    CHECK(lab.out() == segs{{.flags = RST, .seq = 9}});
    lab.in({.flags = RST, .seq = 1});
    lab.in({.flags = FIN, .seq = 1});
    CHECK(lab.out() == segs{});
    CHECK(lab.listening->half_open() == 0);
}

TEST_CASE("the more exact listener wins, and a port is taken once") {
    tcp_lab lab;
    auto any = lab.stack.listen({{}, 80}, {}, lab.now);
    auto exact = lab.stack.listen({tcp_lab::here(), 80}, {}, lab.now);
    REQUIRE(any.has_value());
    REQUIRE(exact.has_value());
    CHECK(lab.stack.listen({tcp_lab::here(), 80}, {}, lab.now).error() == errc::address_in_use);
    lab.in({.flags = SYN});
    CHECK((*exact)->half_open() == 1);
    CHECK((*any)->half_open() == 0);
    auto picked = lab.stack.listen({tcp_lab::here(), 0}, {}, lab.now);
    REQUIRE(picked.has_value());
    CHECK((*picked)->local().port >= 49152);
}

// --- passive SYN_RECEIVED ----------------------------------------------------------------------------------

TEST_CASE("a half-open connection sends its SYN|ACK again at 1, 3, 7, 15 and 31 s and gives up at 63 s") {
    tcp_lab lab;
    lab.listen();
    lab.in({.flags = SYN});
    lab.wait(62s);
    CHECK(lab.out() == segs{{.flags = SYN | ACK, .ack = 1, .at = 0},
                            {.flags = SYN | ACK, .ack = 1, .at = 1000},
                            {.flags = SYN | ACK, .ack = 1, .at = 3000},
                            {.flags = SYN | ACK, .ack = 1, .at = 7000},
                            {.flags = SYN | ACK, .ack = 1, .at = 15000},
                            {.flags = SYN | ACK, .ack = 1, .at = 31000}});
    CHECK(lab.listening->half_open() == 1);
    lab.wait(2s);
    CHECK(lab.listening->half_open() == 0);
    CHECK(lab.listening->counted().half_open_timeouts == 1);
    CHECK(lab.out() == segs{});
    CHECK(lab.wheel.armed() == 0);
}

TEST_CASE("a repeated SYN draws the same SYN|ACK") {
    tcp_lab lab;
    lab.listen();
    lab.in({.flags = SYN});
    lab.in({.flags = SYN});
    CHECK(lab.out() == segs{{.flags = SYN | ACK, .ack = 1}, {.flags = SYN | ACK, .ack = 1}});
    CHECK(lab.listening->half_open() == 1);
}

TEST_CASE("RST at the right place returns SYN_RECEIVED to LISTEN; elsewhere it is challenged") {
    tcp_lab lab;
    lab.listen();
    lab.in({.flags = SYN});
    lab.out();
    lab.in({.flags = RST, .seq = 2}); // [RFC 5961 3.2]
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 1}});
    lab.in({.flags = RST, .seq = 70000});
    CHECK(lab.out() == segs{});
    CHECK(lab.listening->half_open() == 1);
    lab.in({.flags = RST, .seq = 1});
    CHECK(lab.listening->half_open() == 0);
    CHECK(lab.listening->counted().half_open_resets == 1);
    CHECK(lab.listening->state() == tcp::state::listen);
    lab.in({.flags = ACK, .seq = 1, .ack = 1});
    CHECK(lab.out() == segs{{.flags = RST, .seq = 1}});
}

TEST_CASE("another SYN in the window returns SYN_RECEIVED to LISTEN") { // [RFC 9293 3.10.7.4, fourth]
    tcp_lab lab;
    lab.listen();
    lab.in({.flags = SYN});
    lab.in({.flags = SYN, .seq = 10});
    CHECK(lab.listening->half_open() == 0);
}

TEST_CASE("an ACK of something else draws a RST and leaves SYN_RECEIVED alone") {
    tcp_lab lab;
    lab.listen();
    lab.in({.flags = SYN});
    lab.out();
    lab.in({.flags = ACK, .seq = 1, .ack = 2});
    CHECK(lab.out() == segs{{.flags = RST, .seq = 2}});
    lab.in({.flags = ACK, .seq = 70000, .ack = 1, .text = "x"}); // outside of the window
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 1}});
    lab.in({.flags = ACK, .seq = 70000, .ack = 1}); // and empty: answers would be answered
    CHECK(lab.out() == segs{});
    lab.in({.flags = ACK, .seq = 1, .ack = 1});
    CHECK(lab.listening->acceptable() == 1);
}

TEST_CASE("the final ACK may carry data and FIN: what is accepted stands in CLOSE_WAIT already") {
    tcp_lab lab;
    lab.listen();
    lab.in({.flags = SYN});
    lab.out();
    lab.in({.flags = ACK | FIN, .seq = 1, .ack = 1, .text = "all"});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 5}});
    lab.e = lab.listening->accept();
    REQUIRE(lab.e != nullptr);
    CHECK(lab.e->state() == tcp::state::close_wait);
    CHECK(lab.e->entered(tcp::state::established));
    CHECK(lab.e->edges().size() == 3);
    CHECK(lab.read() == "all");
    CHECK(lab.e->at_end());
}

TEST_CASE("data and FIN that come with the SYN are not acknowledged, and not lost when they come again") {
    tcp_lab lab;
    lab.listen();
    lab.in({.flags = SYN | FIN, .text = "early"});
    CHECK(lab.out() == segs{{.flags = SYN | ACK, .ack = 1}});
    lab.in({.flags = ACK | FIN, .seq = 1, .ack = 1, .text = "early"});
    lab.e = lab.listening->accept();
    REQUIRE(lab.e != nullptr);
    CHECK(lab.read() == "early");
    CHECK(lab.e->at_end());
}

// --- bounds ------------------------------------------------------------------------------------------------

tcp::segment from_port(std::uint16_t port, tcp::flags f, std::uint32_t seq, tcp::seq ack = {}) {
    tcp::segment s;
    s.header.source_port = port;
    s.header.destination_port = 80;
    s.header.seq = tcp::seq(seq);
    s.header.ack = ack;
    s.header.flags = f;
    s.header.window = 65535;
    return s;
}

tcp::config without_cookies() {
    tcp::config c = tcp_lab::plain();
    c.syn_cookies = tcp::syn_cookie_mode::off;
    return c;
}

TEST_CASE("without cookies a full SYN queue drops and counts SYNs; a place that frees is used") {
    tcp_lab lab(without_cookies());
    tcp::listen_options o;
    o.half_open_max = 3;
    lab.listen(80, o);
    for (std::uint16_t port = 1; port <= 5; ++port)
        lab.stack.receive(lab.way(), from_port(port, SYN, 0), lab.now);
    CHECK(lab.listening->half_open() == 3);
    CHECK(lab.listening->counted().half_open_overflow == 2);
    CHECK(lab.counted().half_open_overflow == 2);
    lab.stack.receive(lab.way(), from_port(2, RST, 1), lab.now);
    lab.stack.receive(lab.way(), from_port(5, SYN, 0), lab.now);
    CHECK(lab.listening->half_open() == 3);
    CHECK(lab.stack.half_open() == 3);
}

TEST_CASE("the bound over all listeners holds as well") {
    tcp::config c = without_cookies();
    c.max_half_open = 2;
    tcp_lab lab(c);
    lab.listen();
    for (std::uint16_t port = 1; port <= 5; ++port)
        lab.stack.receive(lab.way(), from_port(port, SYN, 0), lab.now);
    CHECK(lab.stack.half_open() == 2);
    CHECK(lab.counted().half_open_overflow == 3);
}

TEST_CASE("a final ACK that meets a full accept queue is dropped, and the handshake completes later") {
    tcp_lab lab;
    tcp::listen_options o;
    o.backlog = 0;
    lab.listen(80, o);
    lab.in({.flags = SYN});
    lab.out();
    lab.in({.flags = ACK, .seq = 1, .ack = 1});
    CHECK(lab.out() == segs{});
    CHECK(lab.listening->counted().accept_overflow == 1);
    CHECK(lab.listening->half_open() == 1);

    tcp_lab roomy;
    tcp::listen_options one;
    one.backlog = 1;
    roomy.listen(80, one);
    roomy.stack.receive(roomy.way(), from_port(7, SYN, 0), roomy.now);
    const auto other_isn = [&] {
        tcp::seq isn;
        roomy.stack.for_each_half_open(
            [&](const tcp::flow_key&, const tcp::half_open_entry& e) { isn = e.iss; });
        return isn;
    }();
    roomy.stack.receive(roomy.way(), from_port(7, ACK, 1, other_isn + 1), roomy.now);
    CHECK(roomy.listening->acceptable() == 1);
    roomy.stack.flush(roomy.now, roomy);
    roomy.out();
    roomy.in({.flags = SYN});
    roomy.out();
    roomy.in({.flags = ACK, .seq = 1, .ack = 1});
    CHECK(roomy.listening->counted().accept_overflow == 1);
    auto first = roomy.listening->accept();
    roomy.wait(1s); // our SYN|ACK goes again, and so does the peer's ACK
    CHECK(roomy.out() == segs{{.flags = SYN | ACK, .ack = 1}});
    roomy.in({.flags = ACK, .seq = 1, .ack = 1});
    CHECK(roomy.listening->acceptable() == 1);
}

// Found by a soak: the client believed in a SYN|ACK whose half-open entry was gone, and its data drew a RST.
TEST_CASE("when the client turns out to be unreachable, the SYN|ACK that waits for the link goes too") {
    tcp_lab lab;
    lab.listen();
    lab.accepts_output = false;
    lab.in({.flags = SYN, .options = tcp_lab::default_options()});
    lab.stack.unreachable(lab.way().remote, errc::host_unreachable, lab.now);
    lab.accepts_output = true;
    CHECK(lab.out() == segs{});
    CHECK(lab.counted().replies_dropped == 1);
    lab.in({.flags = SYN, .options = tcp_lab::default_options()}); // it is there after all
    CHECK(lab.out().size() == 1);
}

TEST_CASE("closing a listener forgets half-open connections and resets those not accepted") {
    tcp_lab lab;
    lab.listen();
    lab.stack.receive(lab.way(), from_port(7, SYN, 0), lab.now);
    lab.in({.flags = SYN});
    lab.out();
    lab.in({.flags = ACK, .seq = 1, .ack = 1});
    CHECK(lab.listening->acceptable() == 1);
    lab.listening->close(lab.now);
    CHECK(lab.out() == segs{{.flags = RST, .seq = 1}});
    CHECK(lab.stack.half_open() == 0);
    CHECK(lab.stack.connections() == 0);
    CHECK(lab.listening->state() == tcp::state::closed);
    CHECK(lab.listening->error() == errc::closed);
    CHECK(lab.listening->accept() == nullptr);
    CHECK(lab.stack.listen({tcp_lab::here(), 80}, {}, lab.now).has_value());
}

struct bell final : tcp::listener_observer {
    int rung = 0;
    void changed(tcp::listening_endpoint&) override { ++rung; }
};

TEST_CASE("a listener's observer hears of each connection and of the end") {
    tcp_lab lab;
    lab.listen();
    bell b;
    lab.listening->set_observer(&b);
    lab.in({.flags = SYN});
    CHECK(b.rung == 0);
    lab.out();
    lab.in({.flags = ACK, .seq = 1, .ack = 1});
    CHECK(b.rung == 1);
    lab.stack.stop(lab.now);
    CHECK(b.rung == 2);
    CHECK(lab.listening->error() == errc::host_stopped);
}

TEST_CASE("a SYN|ACK that a repeated SYN drew a second time gives no round-trip sample") {
    // [RFC 6298 3], Karn: nobody can tell which of the two the ACK answers
    tcp_lab lab;
    lab.listen();
    lab.in({.flags = SYN});
    lab.out();
    lab.wait(500ms);
    lab.in({.flags = SYN});
    CHECK(lab.out() == segs{{.flags = SYN | ACK, .ack = 1}});
    lab.wait(10ms);
    lab.in({.flags = ACK, .seq = 1, .ack = 1});
    lab.e = lab.listening->accept();
    REQUIRE(lab.e != nullptr);
    CHECK(lab.e->info().srtt == duration{0});
}

} // namespace
} // namespace tapir::test
