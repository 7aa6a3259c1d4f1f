#include <doctest/doctest.h>

#include <array>

#include "tests/support/tcp_lab.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;

TEST_CASE("finish: the FIN follows all data; later writes are refused; reading goes on") {
    tcp_lab lab;
    lab.establish();
    lab.write("bye");
    lab.e->finish(lab.now);
    CHECK(lab.e->state() == tcp::state::fin_wait_1);
    CHECK(lab.e->writable() == 0);
    CHECK(lab.write("more") == 0);
    CHECK(lab.e->write_error() == errc::finished);
    CHECK(lab.out() == segs{{.flags = FIN | ACK, .seq = 1, .ack = 1, .text = "bye"}});
    lab.e->finish(lab.now); // again: nothing
    CHECK(lab.out() == segs{});
    lab.in({.flags = ACK, .seq = 1, .ack = 5, .text = "answer"});
    CHECK(lab.e->state() == tcp::state::fin_wait_2);
    CHECK(lab.read() == "answer");
    lab.in({.flags = ACK, .seq = 7, .ack = 5, .text = "more"});
    CHECK(lab.read() == "more");
    CHECK_FALSE(lab.e->ended());
    lab.wait(3600s); // half-closed is no illness
    CHECK(lab.e->state() == tcp::state::fin_wait_2);
}

TEST_CASE("finish in SYN_SENT gives the attempt up") { // [RFC 9293 3.10.4]
    tcp_lab lab;
    lab.connect();
    lab.out();
    lab.e->finish(lab.now);
    CHECK(lab.e->state() == tcp::state::closed);
    CHECK(lab.e->error() == errc::aborted);
    CHECK(lab.out() == segs{});
    lab.in({.flags = SYN | ACK, .ack = 1}); // too late
    CHECK(lab.out() == segs{{.flags = RST, .seq = 1}});
}

TEST_CASE("close with unread data resets, and says how much was lost") { // [RFC 2525 2.17] [RFC 9293 SHLD-3]
    tcp_lab lab;
    lab.establish();
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "unread"});
    lab.write("unsent");
    lab.e->close(lab.now);
    CHECK(lab.e->state() == tcp::state::closed);
    CHECK(lab.out() == segs{{.flags = RST, .seq = 1}});
    CHECK(lab.e->report().how == tcp::ending::unread_data);
    CHECK(lab.e->report().unread == 6);
    CHECK(lab.e->report().unsent == 6);
    CHECK(lab.e->report().unacked == 0);
}

TEST_CASE("data that comes after close resets") {
    tcp_lab lab;
    lab.establish();
    lab.write("sent");
    lab.out();
    lab.e->close(lab.now);
    CHECK(lab.e->state() == tcp::state::fin_wait_1);
    CHECK(lab.out() == segs{{.flags = FIN | ACK, .seq = 5, .ack = 1}});
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "too late"});
    CHECK(lab.e->state() == tcp::state::closed);
    CHECK(lab.e->report().how == tcp::ending::data_after_close);
    CHECK(lab.e->report().unread == 8);
    CHECK(lab.e->report().unacked == 4);
    CHECK(lab.out() == segs{{.flags = RST, .seq = 6}});
}

TEST_CASE("bytes that are read after the connection has ended are not reported as unread") {
    tcp_lab lab;
    lab.establish();
    lab.e->finish(lab.now);
    lab.out();
    lab.in({.flags = ACK, .seq = 1, .ack = 2});
    lab.in({.flags = FIN | ACK, .seq = 1, .ack = 2, .text = "the last"});
    CHECK(lab.e->state() == tcp::state::time_wait);
    CHECK(lab.e->report().unread == 8);
    std::array<std::byte, 5> some{};
    CHECK(lab.e->read(some) == 5);
    CHECK(lab.e->report().unread == 3);
    CHECK(lab.e->read(some) == 3);
    lab.e->close(lab.now);
    CHECK(lab.e->report().how == tcp::ending::orderly);
    CHECK(lab.e->report().unread == 0);
}

TEST_CASE("close ends in TIME_WAIT with an orderly report") {
    tcp_lab lab;
    lab.establish();
    lab.e->close(lab.now);
    lab.out();
    lab.in({.flags = FIN | ACK, .seq = 1, .ack = 2});
    CHECK(lab.e->state() == tcp::state::time_wait);
    CHECK(lab.e->ended());
    CHECK(lab.e->report().how == tcp::ending::orderly);
    CHECK(lab.e->report().unacked == 0);
    CHECK_FALSE(lab.e->error());
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 2, .ack = 2}});
}

TEST_CASE("close becomes an abort at its deadline, or after close_timeout") {
    tcp_lab lab;
    tcp::connection_options o;
    o.close_timeout = 7s;
    lab.establish(o);
    SUBCASE("deadline of the call") {
        lab.e->close(lab.now, lab.now + 3s);
    }
    SUBCASE("timeout of the configuration") {
        lab.e->close(lab.now);
    }
    lab.out();
    lab.in({.flags = ACK, .seq = 1, .ack = 2});
    CHECK(lab.e->state() == tcp::state::fin_wait_2);
    lab.wait(2900ms);
    CHECK(lab.e->state() == tcp::state::fin_wait_2);
    lab.wait(4200ms);
    CHECK(lab.e->state() == tcp::state::closed);
    CHECK(lab.e->report().how == tcp::ending::close_timeout);
    CHECK(lab.out() == segs{{.flags = RST, .seq = 2}});
}

TEST_CASE("abort sends a RST and drops everything") { // [RFC 9293 3.10.5]
    tcp_lab lab;
    lab.establish();
    lab.write("abc");
    lab.out();
    lab.write("def");
    lab.e->abort(lab.now);
    CHECK(lab.out() == segs{{.flags = RST, .seq = 4}});
    CHECK(lab.e->error() == errc::aborted);
    CHECK(lab.e->report().unacked == 3);
    CHECK(lab.e->report().unsent == 3);
    CHECK(lab.e->unacked() == 6);
    CHECK_FALSE(lab.e->flushed());
    CHECK(lab.stack.connections() == 0);
    lab.e->abort(lab.now);
    lab.e->finish(lab.now);
    lab.e->close(lab.now);
    CHECK(lab.out() == segs{});
}

TEST_CASE("dropping the endpoint of an open connection aborts it") {
    tcp_lab lab;
    lab.establish();
    lab.e.reset();
    CHECK(lab.out() == segs{{.flags = RST, .seq = 1}});
    CHECK(lab.stack.connections() == 0);
}

TEST_CASE("stop_reading drops what is unread and answers further data with RST; writing goes on until then") {
    tcp_lab lab;
    lab.establish();
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "nobody"});
    lab.e->stop_reading(lab.now);
    CHECK(lab.e->readable() == 0);
    CHECK(lab.write("still") == 5);
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 7, .text = "still"}});
    lab.in({.flags = ACK, .seq = 7, .ack = 6, .text = "more"});
    CHECK(lab.e->state() == tcp::state::closed);
    CHECK(lab.e->report().how == tcp::ending::data_after_close);
    CHECK(lab.e->report().unread == 10);
    CHECK(lab.out() == segs{{.flags = RST, .seq = 6}});
}

TEST_CASE("RST ends each of the closing states") {
    tcp_lab lab;
    lab.establish();
    SUBCASE("FIN_WAIT_1") {
        lab.e->finish(lab.now);
        lab.out();
    }
    SUBCASE("CLOSING") {
        lab.e->finish(lab.now);
        lab.out();
        lab.in({.flags = FIN | ACK, .seq = 1, .ack = 1});
        REQUIRE(lab.e->state() == tcp::state::closing);
    }
    SUBCASE("CLOSE_WAIT") {
        lab.in({.flags = FIN | ACK, .seq = 1, .ack = 1});
    }
    SUBCASE("LAST_ACK") {
        lab.in({.flags = FIN | ACK, .seq = 1, .ack = 1});
        lab.e->finish(lab.now);
        lab.out();
        REQUIRE(lab.e->state() == tcp::state::last_ack);
    }
    const std::uint32_t next = lab.e->peer_finished() ? 2 : 1;
    lab.in({.flags = RST, .seq = next});
    CHECK(lab.e->state() == tcp::state::closed);
    CHECK(lab.e->report().how == tcp::ending::reset);
    CHECK(lab.e->error() == errc::reset);
    CHECK(lab.stack.connections() == 0);
}

TEST_CASE("after the peer's FIN, a RST does not take away the end of stream") {
    tcp_lab lab;
    lab.establish();
    lab.in({.flags = FIN | ACK, .seq = 1, .ack = 1, .text = "all"});
    lab.in({.flags = RST, .seq = 5});
    CHECK(lab.read() == "all");
    CHECK(lab.e->at_end());
    CHECK(lab.e->write_error() == errc::reset);
}

TEST_CASE("in CLOSE_WAIT the peer's repeated FIN is acknowledged again") {
    tcp_lab lab;
    lab.establish();
    lab.in({.flags = FIN | ACK, .seq = 1, .ack = 1});
    lab.out();
    lab.in({.flags = FIN | ACK, .seq = 1, .ack = 1});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 2}});
}

TEST_CASE("keep-alive: off unless asked for; probes after idleness; nine unanswered end it") {
    tcp_lab lab; // [RFC 9293 3.8.4 MUST-24 - MUST-29]
    tcp::connection_options o;
    SUBCASE("off") {
        lab.establish(o);
        lab.wait(24h);
        CHECK(lab.out() == segs{});
    }
    SUBCASE("answered") {
        o.keepalive_idle = 2h;
        lab.establish(o);
        lab.wait(7199s);
        CHECK(lab.out() == segs{});
        lab.wait(2s);
        CHECK(lab.out() == segs{{.flags = ACK, .seq = 0, .ack = 1}});
        lab.in({.flags = ACK, .seq = 1, .ack = 1});
        lab.wait(7000s);
        CHECK(lab.out() == segs{});
        CHECK(lab.e->state() == tcp::state::established);
    }
    SUBCASE("unanswered") {
        o.keepalive_idle = 2h;
        lab.establish(o);
        lab.wait(7200s + 9 * 75s - 10s);
        CHECK(lab.out().size() == 9);
        CHECK(lab.e->state() == tcp::state::established);
        lab.wait(20s);
        CHECK(lab.e->error() == errc::timed_out);
        CHECK(lab.out() == segs{{.flags = RST, .seq = 1}});
    }
}

} // namespace
} // namespace tapir::test
