#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tests/support/tcp_read.hpp"
#include "tests/support/tcp_world.hpp"

namespace tapir::test {
namespace {
using lines = std::vector<std::string>;
using namespace std::chrono_literals;

TEST_CASE("three-way handshake: SYN_SENT, SYN_RECEIVED, ESTABLISHED, with J+1 and K+1") {
    tcp_world w;
    w.server_listens(80);
    w.connect(80);
    CHECK(w.c().state() == tcp::state::syn_sent);
    w.run_for(100ms);
    INFO(w.ladder_text());
    CHECK(w.ladder() == lines{
                            "client SYN_SENT",
                            "client -> server SYN seq=0",
                            "server SYN_RECEIVED",
                            "server -> client SYN|ACK seq=0 ack=1",
                            "client ESTABLISHED",
                            "client -> server ACK seq=1 ack=1",
                            "server ESTABLISHED",
                        });
    w.accept();
    CHECK(w.s().state() == tcp::state::established);
    REQUIRE(w.s().edges().size() == 2);
    CHECK(w.s().edges()[0].from == tcp::state::listen);
    CHECK(w.s().edges()[0].to == tcp::state::syn_received);
    CHECK(w.s().edges()[0].cause == tcp::event::rcv_syn);
    CHECK(w.s().edges()[1].cause == tcp::event::our_syn_acked);
    CHECK(w.c().edges()[1].when - w.c().edges()[0].when == 10ms);
}

TEST_CASE("four-way close, the client first") {
    tcp_world w;
    w.establish();
    w.c().finish(w.now);
    w.run_for(20ms);
    w.s().finish(w.now);
    w.run_for(90s);
    INFO(w.ladder_text());
    CHECK(w.ladder() == lines{
                            "client FIN_WAIT_1",
                            "client -> server FIN|ACK seq=1 ack=1",
                            "server CLOSE_WAIT",
                            "server -> client ACK seq=1 ack=2",
                            "client FIN_WAIT_2",
                            "server LAST_ACK",
                            "server -> client FIN|ACK seq=1 ack=2",
                            "client TIME_WAIT",
                            "client -> server ACK seq=2 ack=2",
                            "server CLOSED",
                            "client CLOSED",
                        });
    CHECK(w.c().report().how == tcp::ending::orderly);
    CHECK(w.s().report().how == tcp::ending::orderly);
    CHECK_FALSE(w.c().error());
}

TEST_CASE("four-way close, the server first") {
    tcp_world w;
    w.establish();
    w.s().finish(w.now);
    w.run_for(20ms);
    CHECK(w.c().at_end());
    w.c().finish(w.now);
    w.run_for(90s);
    INFO(w.ladder_text());
    CHECK(w.ladder() == lines{
                            "server FIN_WAIT_1",
                            "server -> client FIN|ACK seq=1 ack=1",
                            "client CLOSE_WAIT",
                            "client -> server ACK seq=1 ack=2",
                            "server FIN_WAIT_2",
                            "client LAST_ACK",
                            "client -> server FIN|ACK seq=1 ack=2",
                            "server TIME_WAIT",
                            "server -> client ACK seq=2 ack=2",
                            "client CLOSED",
                            "server CLOSED",
                        });
}

TEST_CASE("simultaneous close: both pass through CLOSING to TIME_WAIT") {
    tcp_world w;
    w.establish();
    w.c().finish(w.now);
    w.s().finish(w.now);
    w.run_for(90s);
    INFO(w.ladder_text());
    CHECK(w.ladder() == lines{
                            "client FIN_WAIT_1",
                            "server FIN_WAIT_1",
                            "client -> server FIN|ACK seq=1 ack=1",
                            "server -> client FIN|ACK seq=1 ack=1",
                            "server CLOSING",
                            "client CLOSING",
                            "client -> server ACK seq=2 ack=2",
                            "server -> client ACK seq=2 ack=2",
                            "server TIME_WAIT",
                            "client TIME_WAIT",
                            "client CLOSED",
                            "server CLOSED",
                        });
}

TEST_CASE("FIN and ACK together: FIN_WAIT_1 straight to TIME_WAIT") {
    tcp_world w;
    w.establish();
    w.c().finish(w.now);
    // The server closes in the same turn in which the FIN arrives, so its FIN carries the ACK.
    w.each_step = [&] {
        if (w.s().state() == tcp::state::close_wait) w.s().finish(w.now);
    };
    w.network = [&](std::size_t, tcp_world::side from, const tcp::outgoing_segment& s) {
        // A bare ACK of the server is too late by construction: lose it.
        return fate{from == tcp_world::side::server && !s.header.fin(), 1, 0ms};
    };
    w.run_for(90s);
    INFO(w.ladder_text());
    CHECK(w.states() == lines{
                            "client FIN_WAIT_1",
                            "server CLOSE_WAIT",
                            "server LAST_ACK",
                            "client TIME_WAIT",
                            "server CLOSED",
                            "client CLOSED",
                        });
    CHECK(w.edges().contains(
        {tcp::state::fin_wait_1, tcp::event::peer_fin_and_our_fin_acked, tcp::state::time_wait}));
}

TEST_CASE("data sent in CLOSE_WAIT arrives") {
    tcp_world w;
    w.establish();
    CHECK(w.c().write(as_bytes("request")) == 7);
    w.c().finish(w.now);
    w.run_for(50ms);
    CHECK(w.s().state() == tcp::state::close_wait);
    CHECK(read(w.s()) == "request");
    CHECK(w.s().at_end());
    CHECK(w.s().write(as_bytes("answer")) == 6);
    w.run_for(100ms);
    CHECK(w.c().state() == tcp::state::fin_wait_2);
    CHECK(read(w.c()) == "answer");
    CHECK_FALSE(w.c().at_end());
    w.s().finish(w.now);
    w.run_for(90s);
    INFO(w.ladder_text());
    CHECK(w.c().at_end());
    CHECK(w.c().state() == tcp::state::closed);
    CHECK(w.s().state() == tcp::state::closed);
}

TEST_CASE("simultaneous open: both pass through SYN_RECEIVED to ESTABLISHED") {
    tcp_world w;
    w.user[0] = std::move(*w.client().connect(w.path_from(tcp_world::side::client), 2000, 1000, {}, w.now));
    w.user[1] = std::move(*w.server().connect(w.path_from(tcp_world::side::server), 1000, 2000, {}, w.now));
    w.run_for(100ms);
    INFO(w.ladder_text());
    CHECK(w.ladder() == lines{
                            "client SYN_SENT",
                            "server SYN_SENT",
                            "client -> server SYN seq=0",
                            "server -> client SYN seq=0",
                            "server SYN_RECEIVED",
                            "client SYN_RECEIVED",
                            "client -> server SYN|ACK seq=0 ack=1",
                            "server -> client SYN|ACK seq=0 ack=1",
                            "server ESTABLISHED",
                            "client ESTABLISHED",
                        });
    CHECK(w.c().write(as_bytes("hello")) == 5);
    w.run_for(100ms);
    CHECK(read(w.s()) == "hello");
}

TEST_CASE("simultaneous open: who closes at once takes the peer's SYN|ACK for an answer, too") {
    tcp_world w; // [RFC 9293 3.10.4, figure 8]
    w.user[0] = std::move(*w.client().connect(w.path_from(tcp_world::side::client), 2000, 1000, {}, w.now));
    w.user[1] = std::move(*w.server().connect(w.path_from(tcp_world::side::server), 1000, 2000, {}, w.now));
    REQUIRE(w.run_until([&] { return w.c().state() == tcp::state::syn_received; }, 1s));
    w.c().finish(w.now);
    CHECK(w.c().state() == tcp::state::fin_wait_1);
    w.run_for(200ms);
    INFO(w.ladder_text());
    CHECK(w.c().state() == tcp::state::fin_wait_2);
    CHECK(w.s().state() == tcp::state::close_wait);
    CHECK(w.client().counted().retransmits <= 1); // the SYN, with ACK this time
    CHECK(w.client().counted().rto_fired == 0);
    CHECK(w.client().counted().out_of_window == 0);
}

TEST_CASE("the longest life has seven edges: simultaneous open, then simultaneous close") {
    tcp_world w;
    w.user[0] = std::move(*w.client().connect(w.path_from(tcp_world::side::client), 2000, 1000, {}, w.now));
    w.user[1] = std::move(*w.server().connect(w.path_from(tcp_world::side::server), 1000, 2000, {}, w.now));
    w.run_for(100ms);
    w.c().finish(w.now);
    w.s().finish(w.now);
    w.run_for(90s);
    CHECK(w.c().edges().size() == tcp::path_of_states::longest);
    CHECK(w.s().edges().size() == tcp::path_of_states::longest);
    CHECK(w.c().state() == tcp::state::closed);
}

} // namespace
} // namespace tapir::test
