// Between a SYN with data and the ACK that completes its handshake a connection is open and is not: what is
// sent, lost, closed, refused or told by routers meanwhile must come out as if it had been open.
// [RFC 7413 4.2]
#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <string_view>

#include "tests/support/tcp_fast_open_lab.hpp"
#include "tests/support/tcp_lab.hpp"
#include "tests/support/tcp_world.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;

TEST_CASE("fast open: a cookie that came to a SYN sent twice is kept: the option has passed") {
    tcp_world w; // [RFC 7413 4.2.1]
    w.server_listens(80, offered());
    bool lost = false;
    w.network = [&](std::size_t, tcp_world::side from, const tcp::outgoing_segment& s) {
        const bool now = from == tcp_world::side::server && s.header.syn() && !lost;
        lost = lost || now;
        return fate{.dropped = now};
    };
    w.connect(80, wanted());
    w.run_for(3s);
    w.accept();
    w.drop_users();
    w.run_for(100ms);
    w.forget();
    w.connect(80, wanted(), 0, as_bytes("hello"));
    w.run_for(100ms);
    INFO(w.ladder_text());
    CHECK(w.ladder()[1] == "client -> server SYN seq=0 len=5");
}

TEST_CASE("fast open: a FIN before the handshake is complete leaves out nothing that its end brings") {
    tcp::config c;
    c.connections.ecn = true;
    tcp_world w(c);
    tcp::listen_options o = offered();
    o.accepted.ecn = true;
    o.accepted.keepalive_idle = 60s;
    w.server_listens(80, o);
    get_cookie(w);
    const auto opens = w.server().counted().passive_opens;
    tcp::connection_options asks = wanted();
    asks.ecn = true;
    w.connect(80, asks, 0, as_bytes("hello"));
    w.run_for(5ms);
    tcp::endpoint& s = w.accept();
    s.finish(w.now); // it has nothing to say, and reads on
    w.run_for(100ms);
    INFO(w.ladder_text());
    REQUIRE(s.state() == tcp::state::fin_wait_2);
    CHECK(w.server().counted().passive_opens == opens + 1);
    w.network = [](std::size_t, tcp_world::side, const tcp::outgoing_segment&) {
        return fate{.marked = true};
    };
    w.c().write(as_bytes("more"));
    w.run_for(100ms);
    CHECK(read(s) == "hellomore");
    CHECK(w.c().info().ecn);
    CHECK(s.info().ce_received == 1);
    CHECK(w.client().counted().ecn_echoes_in != 0); // [RFC 3168 6.1.3]
    w.network = [](std::size_t, tcp_world::side from, const tcp::outgoing_segment&) {
        return fate{.dropped = from == tcp_world::side::client};
    };
    w.run_for(1h); // whoever is silent for so long is asked, and given up
    CHECK(s.error() == make_error_code(errc::timed_out));
}

TEST_CASE("fast open: the last of an answer that went before the handshake is asked for by a tail probe") {
    tcp_world w; // [RFC 8985 7.2]
    tcp::listen_options o = offered();
    o.accepted.no_delay = true;
    w.server_listens(80, o);
    get_cookie(w);
    w.network = [](std::size_t, tcp_world::side from, const tcp::outgoing_segment& s) {
        static bool lost = false;
        const bool last = from == tcp_world::side::server && has(s.header.flags, PSH) && !lost;
        lost = lost || last;
        return fate{.dropped = last};
    };
    w.connect(80, wanted(), 0, as_bytes("hello"));
    w.run_for(5ms);
    tcp::endpoint& s = w.accept();
    s.write(as_bytes(std::string(4000, 'a')));
    w.run_for(150ms);
    INFO(w.ladder_text());
    CHECK(read(w.c()).size() == 4000);
    CHECK(w.server().counted().tail_probes == 1);
    CHECK(s.info().rto_fired == 0);
}

TEST_CASE("fast open: a user who aborts at once makes the client's connect() end at once") {
    tcp_world w;
    w.server_listens(80, offered());
    get_cookie(w);
    w.before_flush = [&] {
        if (w.user[1]) return;
        w.user[1] = w.listener().accept();
        if (w.user[1]) w.user[1]->abort(w.now);
    };
    w.connect(80, wanted(), 0, as_bytes("hello"));
    w.run_for(100ms);
    INFO(w.ladder_text());
    CHECK(w.c().error() == make_error_code(errc::refused));
    CHECK(w.server().half_open() == 0);
}

TEST_CASE("fast open: a SYN|ACK goes again as often as that of a half-open connection, for a minute") {
    cookie_lab lab;
    lab.opened_by("one");
    lab.wait(64s);
    int sent = 0;
    for (const seg& s : lab.out()) sent += has(s.flags, SYN) ? 1 : 0;
    CHECK(sent == 1 + lab.stack.configuration().syn_ack_retries);
    CHECK(lab.e->error() == make_error_code(errc::timed_out));
}

TEST_CASE("fast open: what a router says of the answer is heeded, though the handshake is not complete") {
    cookie_lab lab; // [RFC 1191 6.3]
    lab.most = 0;
    lab.opened_by("one");
    lab.e->write(as_bytes(std::string(2000, 'a')));
    CHECK(lab.out().size() == 3);
    REQUIRE(lab.icmp(tcp::icmp_kind::packet_too_big, 1, 640));
    lab.mtu = 640;
    CHECK(lab.out() == segs{});
    lab.wait(10ms);
    lab.in({.flags = ACK, .seq = 4, .ack = 1});
    const segs again = lab.out();
    REQUIRE(again.size() == 4);
    CHECK(again[0] == seg{.flags = ACK, .seq = 1, .ack = 4, .text = std::string(600, 'a')});
    CHECK(lab.e->info().rto_fired == 0);
}

TEST_CASE("fast open: however a connection ends before its handshake is complete, its place is free") {
    tcp::config c = tcp_lab::plain();
    c.max_fast_opening = 1;
    cookie_lab lab(c);
    using way = void (*)(cookie_lab&, std::unique_ptr<tcp::endpoint>&);
    const way ways[] = {
        [](cookie_lab& l, auto& e) { e->abort(l.now); },
        [](cookie_lab&, auto& e) { e.reset(); },
        [](cookie_lab& l, auto& e) { e->close(l.now); }, // with unread data
        [](cookie_lab& l, auto& e) {                     // in FIN_WAIT_1
            (void)e->read_chunk();
            e->finish(l.now);
            l.out();
            l.in({.flags = ACK, .seq = 4, .ack = 1});
        },
        [](cookie_lab& l, auto& e) { // closed with an answer in the queue
            (void)e->read_chunk();
            e->write(as_bytes("answer"));
            e->close(l.now);
            l.wait(61s);
        },
        [](cookie_lab& l, auto&) {
            l.stack.unreachable(tcp_lab::there(), errc::host_unreachable, l.now);
            l.wait(61s); // a victim of forgery may be absent, as one that resets may be there
        },
        [](cookie_lab& l, auto&) {
            l.listening.reset();
            l.listen(80, offered());
        },
        [](cookie_lab& l, auto&) { l.wait(10min); },
    };
    for (const way end : ways) {
        CAPTURE(&end - ways);
        lab.in({.flags = SYN, .text = "one", .options = lab.with_cookie()});
        CHECK(lab.out() == segs{{.flags = SYN | ACK, .ack = 4}});
        auto user = &end - ways == 6 ? nullptr : lab.listening->accept();
        end(lab, user);
        user.reset();
        lab.out();
        lab.wait(1ms);
        CHECK(lab.stack.connections() == 0);
        lab.out();
    }
    CHECK(lab.counted().fast_open_overflow == 0);
}

TEST_CASE("fast open: of a SYN's data goes again what the SYN|ACK does not acknowledge, and at once") {
    for (const std::uint32_t taken : {0u, 2u, 5u}) {
        CAPTURE(taken);
        client_lab lab;
        lab.wait(10ms);
        lab.in({.flags = SYN | ACK, .ack = 1 + taken, .options = tcp_lab::default_options()});
        CHECK(lab.out() ==
              segs{{.flags = ACK, .seq = 1 + taken, .ack = 1, .text = std::string("hello").substr(taken)}});
        CHECK(lab.e->info().fast_opened == (taken != 0));
        CHECK(lab.counted().fast_open_data_refused == (taken == 0 ? 1 : 0));
        lab.in({.flags = ACK, .seq = 1, .ack = 6});
        CHECK(lab.e->info().send_queue == 0);
        CHECK(lab.e->info().rto_fired == 0);
    }
}

TEST_CASE("fast open: data that a shut window keeps out after the handshake is probed for") {
    client_lab lab;
    lab.wait(10ms);
    lab.in({.flags = SYN | ACK, .ack = 1, .window = 0, .options = tcp_lab::default_options()});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 6, .ack = 1}});
    lab.wait(500ms);
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 1, .text = "h"}});
    lab.in({.flags = ACK, .seq = 1, .ack = 2, .window = 1000});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 2, .ack = 1, .text = "ello"}});
}

TEST_CASE("fast open: both open at once, and the data of the SYN follows the handshake") {
    client_lab lab;
    lab.in({.flags = SYN, .text = "theirs", .options = tcp_lab::default_options()});
    CHECK(lab.out() == segs{{.flags = SYN | ACK, .ack = 1}});
    lab.in({.flags = SYN | ACK, .ack = 1, .options = tcp_lab::default_options()});
    CHECK(lab.e->state() == tcp::state::established);
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 1, .text = "hello"}});
}

TEST_CASE("fast open: a user who closes while both open at once has the data of the SYN go first") {
    client_lab lab;
    lab.in({.flags = SYN, .options = tcp_lab::default_options()});
    lab.e->finish(lab.now);
    CHECK(lab.out() == segs{{.flags = SYN | ACK, .ack = 1}});
    lab.in({.flags = SYN | ACK, .ack = 1, .options = tcp_lab::default_options()});
    CHECK(lab.out() == segs{{.flags = FIN | ACK, .seq = 1, .ack = 1, .text = "hello"}});
}

TEST_CASE("fast open: a SYN that comes twice before it is answered is no loss") {
    tcp_world w;
    w.server_listens(80, offered());
    get_cookie(w);
    w.network = [](std::size_t, tcp_world::side, const tcp::outgoing_segment& s) {
        return fate{.copies = s.header.syn() && !s.header.has_ack() ? 2u : 1u};
    };
    w.connect(80, wanted(), 0, as_bytes("hello"));
    w.run_for(5ms);
    tcp::endpoint& s = w.accept();
    s.write(as_bytes(std::string(10000, 'a')));
    w.run_for(100ms);
    INFO(w.ladder_text());
    CHECK(read(w.c()).size() == 10000);
    CHECK(w.server().counted().retransmits == 0);
    CHECK(s.info().cwnd >= 10 * s.info().send_mss);
}

TEST_CASE("fast open: an answer from before ECN was agreed proves nothing of packets that may be marked") {
    tcp::listen_options o = offered();
    o.accepted.ecn = true;
    cookie_lab lab(tcp_lab::plain(), o);
    lab.opened_by("one", ECE | CWR);
    lab.write(std::string(2000, 'a'));
    const segs before = lab.out();
    REQUIRE(before.size() == 3);
    CHECK(before[1].ecn == ip::ecn::not_ect);
    lab.wait(10ms);
    lab.in({.flags = ACK, .seq = 4, .ack = 1});
    for (std::uint32_t at : {2001u, 3001u}) { // a path that swallows what may be marked
        lab.write(std::string(1000, 'b'));
        const segs first = lab.out();
        REQUIRE(first.size() == 1);
        CHECK(first[0].ecn == ip::ecn::ect0);
        lab.in({.flags = ACK, .seq = 4, .ack = at});
        lab.wait(1s);
        const segs again = lab.out();
        REQUIRE_FALSE(again.empty());
        CHECK(again[0].ecn == ip::ecn::not_ect);
        lab.in({.flags = ACK, .seq = 4, .ack = at + 1000});
    }
    CHECK(lab.counted().ecn_black_holes == 1);
}

TEST_CASE("fast open: before our SYN is acknowledged nothing counts that does not acknowledge it") {
    cookie_lab lab; // [RFC 9293 3.10.7.4, fifth]; the user has closed already
    lab.opened_by("one");
    lab.e->finish(lab.now);
    CHECK(lab.out() == segs{{.flags = SYN | ACK, .ack = 4}, {.flags = FIN | ACK, .seq = 1, .ack = 4}});
    lab.in({.flags = ACK, .seq = 4, .ack = 0, .text = "forged"});
    CHECK(lab.out() == segs{{.flags = RST}});
    CHECK(read(*lab.e) == "one");
    lab.in({.flags = ACK, .seq = 4, .ack = 1, .text = "more"});
    CHECK(read(*lab.e) == "more");
}

TEST_CASE("fast open: ten segments answer the SYN at once: it takes nothing of the window") {
    cookie_lab lab; // [RFC 6928 2] [RFC 7413 4.2.2]
    lab.opened_by("one");
    lab.write(std::string(12'000, 'a'));
    CHECK(lab.out().size() == 1 + 10);
}

TEST_CASE("fast open: a victim whom a router speaks for makes no more room than one that resets") {
    tcp::config c = tcp_lab::plain();
    c.max_fast_opening = 1;
    cookie_lab lab(c); // [RFC 7413 5.1]
    lab.in({.flags = SYN, .text = "one", .options = lab.with_cookie()});
    CHECK(lab.out() == segs{{.flags = SYN | ACK, .ack = 4}});
    REQUIRE(lab.icmp(tcp::icmp_kind::host_unreachable, 0));
    CHECK(lab.stack.connections() == 0);
    lab.wait(59s);
    lab.in({.flags = SYN, .text = "two", .options = lab.with_cookie()});
    CHECK(lab.out() == segs{{.flags = SYN | ACK, .ack = 1}});
    lab.in({.flags = RST, .seq = 1});
    lab.wait(2s);
    lab.in({.flags = SYN, .text = "three", .options = lab.with_cookie()});
    CHECK(lab.out() == segs{{.flags = SYN | ACK, .ack = 6}});
}

TEST_CASE("fast open: who goes on from TIME_WAIT has to wait with data, and is told that it is done here") {
    cookie_lab lab; // [RFC 6191 2]
    lab.opened_by("one");
    (void)lab.e->read_chunk();
    lab.e->finish(lab.now);
    lab.out();
    lab.in({.flags = ACK | FIN, .seq = 4, .ack = 2});
    lab.out();
    REQUIRE(lab.e->state() == tcp::state::time_wait);
    lab.in({.flags = SYN, .seq = 1000, .text = "two", .options = lab.with_cookie()});
    const segs answer = lab.out();
    REQUIRE(answer.size() == 1);
    CHECK(answer[0].flags == (SYN | ACK));
    CHECK(answer[0].ack == 1001);
    CHECK(answer[0].options->fast_open == lab.cookie);
}

TEST_CASE("fast open: no tail probe goes out for a SYN|ACK; the timeout sends it again") { // [RFC 8985 7.2]
    tcp::listen_options o = offered();
    o.accepted.initial_rto = 3s;
    cookie_lab lab(with_sack(), o);
    lab.in({.flags = SYN, .text = "one", .options = lab.with_cookie(permitting_sack())});
    lab.e = lab.listening->accept();
    REQUIRE(lab.e);
    lab.e->finish(lab.now);
    CHECK(lab.out().size() == 2);
    lab.wait(3s);
    CHECK(lab.out() == segs{{.flags = SYN | ACK, .ack = 4}});
    CHECK(lab.counted().tail_probes == 0);
}

} // namespace
} // namespace tapir::test
