// What tcp_exhaustive_test.cpp has found, one bug a test: segments that no honest peer sends, or seldom.

#include <doctest/doctest.h>

#include "tests/support/tcp_lab.hpp"

namespace tapir::test {
namespace {

tcp::connection_options window_of(std::uint32_t bytes) {
    tcp::connection_options o;
    o.receive_buffer = bytes;
    return o;
}

TEST_CASE("a segment that is out of order and cut at the window's edge draws one ACK, not two") {
    tcp_lab lab; // [RFC 5681 4.2]: two would count as two duplicates
    lab.establish(window_of(100));
    lab.in({.flags = ACK, .seq = 91, .ack = 1, .text = std::string(20, 'x')});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 1}});
    CHECK(lab.e->info().out_of_order == 10);
}

TEST_CASE("a repeated segment that goes on behind the peer's FIN draws one ACK, not two") {
    tcp_lab lab;
    lab.establish();
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "abc"});
    lab.in({.flags = ACK | FIN, .seq = 7, .ack = 1, .text = "ghi"});
    lab.out();
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "abcdefghijkl"});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 4}});
}

TEST_CASE("simultaneous open: a RST that also says SYN|ACK, at the peer's SYN, is outside of the window") {
    tcp_lab lab; // [RFC 9293 3.10.7.4, first] [RFC 5961 3.2]
    lab.connect();
    lab.in({.flags = SYN});
    lab.out();
    lab.in({.flags = SYN | ACK | RST, .seq = 0, .ack = 1});
    CHECK(lab.e->state() == tcp::state::syn_received);
    CHECK(lab.out() == segs{});
    CHECK(lab.counted().out_of_window == 1);
}

TEST_CASE("the segment that ends the handshake sets the send window, even if it begins before the SYN") {
    tcp_lab lab; // [RFC 9293 3.10.7.4, fifth]: there is no older window that could overtake it
    lab.listen();
    lab.in({.flags = SYN, .window = std::uint16_t{9}});
    lab.out();
    lab.in({.flags = ACK, .seq = 0u - 2u, .ack = 1, .text = "...a", .window = std::uint16_t{500}});
    lab.e = lab.listening->accept();
    REQUIRE(lab.e != nullptr);
    CHECK(lab.read() == "a");
    CHECK(lab.e->info().send_window == 500);
}

TEST_CASE("a FIN in front of text that is held already is a lie: the connection can still end in order") {
    tcp_lab lab;
    lab.establish();
    lab.in({.flags = ACK, .seq = 4, .ack = 1, .text = "def"});
    lab.in({.flags = ACK | FIN, .seq = 1, .ack = 1, .text = "abc"}); // would end where "def" stands
    CHECK(lab.e->state() == tcp::state::established);
    CHECK(lab.read() == "abcdef");
    lab.in({.flags = ACK, .seq = 7, .ack = 1, .text = "ghi"});
    CHECK(lab.read() == "ghi");
    lab.in({.flags = ACK | FIN, .seq = 10, .ack = 1});
    CHECK(lab.e->state() == tcp::state::close_wait);
}

TEST_CASE("a FIN that contradicts an earlier one is acknowledged, like everything that has a length") {
    tcp_lab lab; // [RFC 9293 3.10.7.4, eighth]
    lab.establish();
    lab.in({.flags = ACK | FIN, .seq = 4, .ack = 1, .text = "def"});
    lab.out();
    lab.in({.flags = ACK | FIN, .seq = 1, .ack = 1});
    CHECK(lab.e->state() == tcp::state::established);
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 1}});
}

TEST_CASE("TIME_WAIT starts anew for the peer's FIN only, not for what merely has the bit") {
    tcp_lab lab; // [RFC 9293 3.10.7.4, fifth]: "a retransmission of the remote FIN"
    lab.establish();
    lab.e->finish(lab.now);
    lab.out();
    lab.in({.flags = ACK | FIN, .seq = 1, .ack = 2});
    REQUIRE(lab.e->state() == tcp::state::time_wait);
    lab.out();
    const duration left = 2 * lab.stack.configuration().msl;
    lab.wait(left - 1s);
    lab.in({.flags = FIN, .seq = 1});
    lab.in({.flags = SYN | ACK | FIN, .seq = 0, .ack = 2});
    CHECK(lab.out() == segs(2, {.flags = ACK, .seq = 2, .ack = 2}));
    lab.wait(1s);
    CHECK(lab.e->state() == tcp::state::closed);
}

} // namespace
} // namespace tapir::test
