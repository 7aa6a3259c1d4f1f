// The path MTU changes under a connection: routers say so (ICMP), or a cache of the host's does.
// [RFC 1191] [RFC 5927 7]
#include <doctest/doctest.h>

#include "tests/support/tcp_lab.hpp"
#include "tests/support/tcp_world.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;

/// ICMP "fragmentation needed" about the segment at `seq`.
void too_big(tcp_lab& lab, std::uint32_t seq, std::uint16_t mtu) {
    std::array<std::byte, 8> quoted{};
    store_be16(quoted, 0, lab.our_port);
    store_be16(quoted, 2, tcp_lab::peer_port);
    store_be32(quoted, 4, (lab.isn() + seq).value());
    lab.stack.icmp_error(tcp::icmp_kind::packet_too_big, tcp_lab::here(), tcp_lab::there(), quoted, mtu,
                         lab.now);
}

struct mtu_lab : tcp_lab {
    explicit mtu_lab(const tcp::config& c = tcp_lab::plain()) : tcp_lab(c) {
        most = 0;
        tcp::options o;
        o.mss = std::uint16_t{1460};
        o.sack_permitted = c.use_sack;
        establish(tcp_lab::plain().connections, 65535, o);
    }
};

TEST_CASE("the path MTU drops in mid-transfer and the transfer completes") { // [RFC 1191 6.3, 6.4]
    for (const std::uint16_t narrow : {std::uint16_t{1400}, std::uint16_t{600}}) {
        tcp_world w;
        w.most = 0;
        w.establish();
        bool dropped_yet = false;
        std::size_t seen = 0;
        std::vector<std::uint32_t> errors; // sequence numbers that the router will complain about
        w.network = [&](std::size_t, tcp_world::side from, const tcp::outgoing_segment& s) {
            fate f;
            if (from != tcp_world::side::client || ++seen < 30) return f;
            if (20 + s.size() <= narrow) return f;
            dropped_yet = true;
            errors.push_back(s.header.seq.value());
            f.dropped = true;
            return f;
        };
        const std::string text(400'000, 't');
        std::size_t written = 0;
        std::size_t received = 0;
        w.each_step = [&] {
            for (const std::uint32_t seq : std::exchange(errors, {})) {
                std::array<std::byte, 8> quoted{};
                store_be16(quoted, 0, w.c().local().port);
                store_be16(quoted, 2, 80);
                store_be32(quoted, 4, seq);
                w.client().icmp_error(tcp::icmp_kind::packet_too_big, tcp_world::client_address(),
                                      tcp_world::server_address(), quoted, narrow, w.now);
            }
            written += w.c().write(as_bytes(text).subspan(written));
            for (chunk c = w.s().read_chunk(); !c.empty(); c = w.s().read_chunk()) received += c.size();
        };
        w.c().write(as_bytes("x"));
        const instant begin = w.now;
        INFO("MTU ", narrow);
        REQUIRE(w.run_until([&] { return received == text.size() + 1; }));
        w.each_step = nullptr;
        CHECK(dropped_yet);
        CHECK(w.client().counted().rto_fired == 0); // nobody waited for a timeout
        CHECK(w.client().counted().path_mtu_lowered >= 1);
        CHECK(w.c().info().path_mtu == narrow);
        CHECK(w.now - begin < 2s);
    }
}

TEST_CASE("what was too big goes again at once, in pieces that fit") { // [RFC 1191 6.4]
    mtu_lab lab;
    lab.write(std::string(4380, 'x'));
    CHECK(lab.out().size() == 3);
    too_big(lab, 1, 1000);
    const segs again = lab.out();
    REQUIRE(again.size() == 5);
    CHECK(again[0].seq == 1);
    for (std::size_t i = 0; i < 4; ++i) CHECK(again[i].text.size() == 960);
    CHECK(lab.e->info().send_mss == 960);
    too_big(lab, 1461, 1000); // the second of the large ones: no news
    CHECK(lab.out().empty());
    CHECK(lab.counted().path_mtu_lowered == 1);
}

TEST_CASE("a message that quotes nothing in flight, or no smaller MTU, is ignored") { // [RFC 5927 4.1, 7.2]
    mtu_lab lab;
    too_big(lab, 1, 600); // nothing is in flight
    CHECK(lab.counted().icmp_ignored == 1);
    lab.write(std::string(2920, 'x'));
    lab.out();
    too_big(lab, 2921, 600); // not yet sent
    too_big(lab, 0, 600);    // acknowledged
    CHECK(lab.counted().icmp_ignored == 3);
    too_big(lab, 1, 1500);
    too_big(lab, 1, 9000);
    CHECK(lab.e->info().path_mtu == 1500);
    CHECK(lab.out().empty());
}

TEST_CASE("no message pushes the path MTU below its floor") { // [RFC 5927 7.2]
    mtu_lab lab;
    lab.write(std::string(2920, 'x'));
    lab.out();
    too_big(lab, 1, 68);
    CHECK(lab.e->info().path_mtu == 552);
    CHECK(lab.out().size() == 6);
}

TEST_CASE("the path MTU may rise again ten minutes after it was lowered, not before") { // [RFC 1191 6.3]
    mtu_lab lab;
    lab.write("x");
    lab.out();
    too_big(lab, 1, 1000);
    lab.out();
    lab.in({.flags = ACK, .seq = 1, .ack = 2}); // the path that comes with it says 1500
    CHECK(lab.e->info().path_mtu == 1000);
    lab.wait(599s);
    lab.in({.flags = ACK, .seq = 1, .ack = 2});
    CHECK(lab.e->info().path_mtu == 1000);
    lab.wait(1s);
    lab.in({.flags = ACK, .seq = 1, .ack = 2});
    CHECK(lab.e->info().path_mtu == 1500);
    CHECK(lab.counted().path_mtu_raised == 1);
    lab.write(std::string(1460, 'x'));
    const segs sent = lab.out();
    REQUIRE(sent.size() == 1);
    CHECK(sent[0].text.size() == 1460);
    too_big(lab, 2, 1000); // still narrow
    CHECK(lab.out().size() == 2);
    CHECK(lab.e->info().path_mtu == 1000);
}

TEST_CASE("a link below the floor of paths is no forgery: segments are as small as it wants") {
    mtu_lab lab;
    lab.mtu = lab.link_mtu = 300;
    lab.in({.flags = ACK, .seq = 1, .ack = 1});
    CHECK(lab.e->info().path_mtu == 300);
    CHECK(lab.e->info().send_mss == 260);
    // A path that is said to be so narrow stops at its floor, as ever.
    mtu_lab told;
    told.mtu = 300;
    told.link_mtu = 1500;
    told.in({.flags = ACK, .seq = 1, .ack = 1});
    CHECK(told.e->info().path_mtu == 552);
}

TEST_CASE("the MSS that we announce is that of our link, whatever a router said of the path") {
    // [RFC 1191 3.1] [RFC 9293 3.7.1 MUST-67]. Whoever forges ICMP must not say what others may send to us.
    tcp::options o;
    o.mss = std::uint16_t{1460};
    const auto narrow = [](tcp_lab& lab) {
        lab.mtu = 600;
        lab.link_mtu = 1500;
    };
    const auto announces = [](tcp_lab& lab) {
        const segs sent = lab.out();
        REQUIRE(sent.size() == 1);
        CHECK(sent[0].options->mss == std::uint16_t{1460});
    };
    const auto has_both = [](const tcp_lab& lab) {
        CHECK(lab.e->info().receive_mss == 1460);
        CHECK(lab.e->info().send_mss == 560);
    };
    SUBCASE("in a SYN") {
        tcp_lab lab;
        narrow(lab);
        lab.connect();
        announces(lab);
        lab.in({.flags = SYN | ACK, .ack = 1, .options = o});
        has_both(lab);
        lab.out();
        // What the peer sends is then a full segment only if it fills that.
        lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = std::string(1460, 'x')});
        CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 1461}});
        lab.in({.flags = ACK, .seq = 1461, .ack = 1, .text = std::string(1000, 'x')});
        CHECK(lab.out() == segs{});
    }
    SUBCASE("in a SYN|ACK, and in one that is sent again") {
        tcp_lab lab;
        narrow(lab);
        lab.listen();
        lab.in({.flags = SYN, .options = o});
        announces(lab);
        lab.wait(1s);
        announces(lab);
        lab.in({.flags = ACK, .seq = 1, .ack = 1});
        lab.e = lab.listening->accept();
        has_both(lab);
    }
    SUBCASE("in the SYN|ACK of a cookie") {
        tcp::config c = tcp_lab::plain();
        c.syn_cookies = tcp::syn_cookie_mode::always;
        tcp_lab lab(c);
        narrow(lab);
        lab.listen();
        lab.in({.flags = SYN, .options = o});
        announces(lab);
    }
}

TEST_CASE("what a cache has learnt from others about the path holds for this connection too") {
    mtu_lab lab;
    lab.mtu = 1200;
    lab.in({.flags = ACK, .seq = 1, .ack = 1});
    CHECK(lab.e->info().path_mtu == 1200);
    lab.write(std::string(1160, 'x'));
    const segs sent = lab.out();
    REQUIRE(sent.size() == 1);
    CHECK(sent[0].text.size() == 1160);
}

TEST_CASE("what was too large goes again at once, though a cache of paths told of it first") {
    mtu_lab lab; // [RFC 1191 6.4]
    lab.write(std::string(4380, 'x'));
    CHECK(lab.out().size() == 3);
    lab.mtu = 1000; // as another connection has found out
    lab.link_mtu = 1500;
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "x"});
    CHECK(lab.e->info().path_mtu == 1000);
    const segs answer = lab.out();
    REQUIRE(answer.size() <= 1);
    too_big(lab, 1, 1000);
    const segs again = lab.out();
    REQUIRE(again.size() == 5);
    CHECK(again[0].seq == 1);
    CHECK(again[0].text.size() == 960);
    too_big(lab, 1461, 1000); // no news
    CHECK(lab.out().empty());
    lab.in({.flags = ACK, .seq = 2, .ack = 4381});
    lab.write(std::string(960, 'x'));
    CHECK(lab.out().size() == 1);
    too_big(lab, 4381, 1000); // it fits: somebody else says that
    CHECK(lab.out().empty());
    CHECK(lab.e->info().rto_fired == 0);
}

TEST_CASE("a tail probe that was too large is no repaired loss") { // [RFC 1191 6.5] [RFC 8985 7.4]
    tcp::config c = tcp_lab::plain();
    c.use_sack = true;
    mtu_lab lab(c);
    lab.write(std::string(2920, 'x'));
    CHECK(lab.out().size() == 2);
    lab.wait(60ms);
    CHECK(lab.counted().tail_probes == 1);
    lab.out();
    too_big(lab, 1461, 1400);
    CHECK(lab.out().size() == 3);
    lab.in({.flags = ACK, .seq = 1, .ack = 2921});
    const auto cwnd = lab.e->info().cwnd;
    lab.write(std::string(1360, 'x'));
    CHECK(lab.out().size() == 1);
    lab.in({.flags = ACK, .seq = 1, .ack = 4281});
    CHECK(lab.counted().tail_losses == 0);
    CHECK(lab.e->info().cwnd >= cwnd);
}

TEST_CASE("losses of before a router told of the path say nothing of the smaller segments") {
    mtu_lab lab; // [RFC 4821 7.7]
    lab.write(std::string(4380, 'x'));
    lab.wait(700ms);
    CHECK(lab.e->info().rto_fired == 2);
    too_big(lab, 1, 1400);
    lab.wait(1s); // these get lost for another reason
    CHECK(lab.e->info().rto_fired == 3);
    CHECK(lab.counted().black_holes_found == 0);
    CHECK(lab.e->info().path_mtu == 1400);
}

/// Its first SYN to a server that it knows a cookie of has data.
struct syn_with_data : tcp_lab {
    syn_with_data() {
        most = 0;
        tcp::connection_options o;
        o.fast_open = true;
        connect(o);
        out();
        tcp::options gives = with_mss();
        gives.fast_open.emplace();
        gives.fast_open->size = 8;
        in({.flags = SYN | ACK, .ack = 1, .options = gives});
        e->abort(now);
        out();
        e = std::move(*stack.connect(way(), peer_port, ++our_port, o, now, as_bytes(std::string(2000, 'd'))));
        const segs first = out();
        REQUIRE(first.size() == 1);
        size = static_cast<std::uint32_t>(first[0].text.size());
        REQUIRE(size > 1400);
    }
    static tcp::options with_mss() {
        tcp::options o;
        o.mss = std::uint16_t{1460};
        return o;
    }
    std::uint32_t size = 0;
};

TEST_CASE("a SYN whose data made it too large goes again at once, without") {
    syn_with_data lab; // [RFC 1191 6.4] [RFC 7413 4.2.1]
    too_big(lab, 0, 1400);
    CHECK(lab.out() == segs{{.flags = SYN}});
    too_big(lab, 0, 1300); // once
    CHECK(lab.out() == segs{});
    lab.wait(10ms);
    lab.in({.flags = SYN | ACK, .ack = 1, .options = syn_with_data::with_mss()});
    const segs data = lab.out();
    REQUIRE(data.size() >= 2); // it was no congestion: the window is the usual one
    std::size_t total = 0;
    for (const seg& s : data) {
        CHECK(s.text.size() <= 1260);
        total += s.text.size();
    }
    CHECK(total == 2000);
    CHECK(lab.e->info().rto_fired == 0);
}

TEST_CASE("what a router says of a SYN with data that has gone again without changes the size alone") {
    syn_with_data lab;
    lab.wait(1s);
    CHECK(lab.out() == segs{{.flags = SYN}});
    too_big(lab, 0, 1400);
    CHECK(lab.out() == segs{});
    CHECK(lab.e->info().path_mtu == 1400);
}

} // namespace
} // namespace tapir::test
