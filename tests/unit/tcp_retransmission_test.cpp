#include <doctest/doctest.h>

#include "tests/support/tcp_lab.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;

/// A connection with an MSS of 1000 and a congestion window of ten segments.
struct sender : tcp_lab {
    explicit sender(const tcp::config& c = plain()) : tcp_lab(c) { establish(); }
    void write_segments(std::size_t n) { REQUIRE(write(std::string(n * 1000, 'd')) == n * 1000); }
    void ack(std::uint32_t n) { in({.flags = ACK, .seq = 1, .ack = n}); }
    /// First sequence numbers of the segments sent since the last call.
    std::vector<std::uint32_t> starts() {
        std::vector<std::uint32_t> s;
        for (const seg& one : out())
            if (!one.text.empty()) s.push_back(one.seq);
        return s;
    }
};
using numbers = std::vector<std::uint32_t>;

std::vector<long> times(const segs& list) {
    std::vector<long> t;
    for (const seg& s : list) t.push_back(*s.at);
    return t;
}

TEST_CASE("a SYN goes again at 1, 3, 7, 15 ... s; after three minutes connect times out") {
    tcp_lab lab; // [RFC 9293 3.8.3 MUST-23] [RFC 6298 5.5]
    lab.connect();
    lab.wait(179s);
    CHECK(times(lab.out()) == std::vector<long>{0, 1000, 3000, 7000, 15000, 31000, 63000, 127000});
    CHECK(lab.e->state() == tcp::state::syn_sent);
    lab.wait(2s);
    CHECK(lab.e->state() == tcp::state::closed);
    CHECK(lab.e->error() == errc::timed_out);
    CHECK(lab.out() == segs{});
    CHECK(lab.wheel.armed() == 0);
}

// Found by fuzzing: it went again behind its own acknowledgement.
TEST_CASE("simultaneous open: a SYN that is acknowledged before it could go again does not go") {
    tcp_lab lab;
    lab.connect();
    REQUIRE(lab.out().size() == 1);
    lab.accepts_output = false; // both arrive in one turn
    lab.in({.flags = SYN, .options = tcp_lab::default_options()});
    lab.in({.flags = SYN | ACK, .ack = 1, .options = tcp_lab::default_options()});
    lab.accepts_output = true;
    for (const seg& s : lab.out()) CHECK_FALSE(has(s.flags, SYN));
    CHECK(lab.e->state() == tcp::state::established);
}

TEST_CASE("data that is not acknowledged goes again with doubled waits, and is given up after two minutes") {
    sender lab; // round trip 10 ms: the RTO is its minimum, 200 ms
    lab.write("hello");
    lab.wait(119s);
    const long start = 10;
    std::vector<long> expected;
    for (long t = start, rto = 200; t < 119000; t += rto, rto = std::min(2 * rto, 120000L))
        expected.push_back(t);
    const segs sent = lab.out();
    CHECK(times(sent) == expected);
    for (const seg& s : sent) CHECK(s == seg{.flags = ACK, .seq = 1, .ack = 1, .text = "hello"});
    CHECK(lab.e->info().backoff == expected.size() - 1);
    lab.wait(2s);
    CHECK(lab.e->error() == errc::timed_out);
    CHECK(lab.e->report().how == tcp::ending::timed_out);
    CHECK(lab.e->report().unacked == 5);
    CHECK(lab.out() == segs{{.flags = RST, .seq = 6}});
}

TEST_CASE("the back-off lasts until data sent once is acknowledged") { // [RFC 6298 5], Karn and Partridge
    sender lab;
    lab.write("hello");
    lab.wait(1s);
    CHECK(lab.e->info().backoff == 2);
    lab.ack(6); // of which sending?
    CHECK(lab.e->info().backoff == 2);
    CHECK(lab.e->info().rto == 800ms);
    lab.write("world");
    lab.out();
    lab.wait(10ms);
    lab.ack(11);
    CHECK(lab.e->info().backoff == 0);
    CHECK(lab.e->info().rto == 200ms);
    lab.out();
    lab.wait(10s);
    CHECK(lab.out() == segs{});
}

TEST_CASE("a retransmitted segment gives no round-trip sample without timestamps") { // [RFC 6298 3], Karn
    sender lab;
    const duration before = lab.e->info().srtt;
    CHECK(before == 10ms);
    lab.write("hello");
    lab.wait(300ms);
    lab.ack(6);
    CHECK(lab.e->info().srtt == before);
    lab.write("hello");
    lab.out();
    lab.wait(50ms);
    lab.ack(11);
    CHECK(lab.e->info().srtt == 15ms); // 7/8 * 10 + 1/8 * 50
}

TEST_CASE("with timestamps a retransmitted segment gives one, from the echo") { // [RFC 7323 4.1]
    tcp::config c = tcp_lab::plain();
    c.use_timestamps = true;
    tcp_lab lab(c);
    tcp::options o;
    o.ts = tcp::timestamps{1, 0};
    lab.establish(tcp_lab::plain().connections, 65535, o);
    lab.write("hello");
    lab.wait(200ms);
    REQUIRE(lab.out().size() == 2);
    o.ts = tcp::timestamps{2, lab.timestamp_of_last_segment()}; // answers the second sending
    lab.wait(90ms);
    lab.in({.flags = ACK, .seq = 1, .ack = 6, .options = o});
    CHECK(lab.e->info().srtt == 20ms); // 7/8 * 10 + 1/8 * 90
}

// Found by a soak: each lost ACK made a round trip of the timeout before it, and the timeouts grew to
// minutes.
TEST_CASE("an echo of before the retransmission gives no sample when the ACK may be of either") {
    tcp::config c = tcp_lab::plain();
    c.use_timestamps = true;
    tcp_lab lab(c);
    tcp::options o;
    o.ts = tcp::timestamps{1, 0};
    lab.establish(tcp_lab::plain().connections, 65535, o);
    lab.write("hello");
    lab.out();
    const std::uint32_t first = lab.timestamp_of_last_segment();
    lab.wait(200ms); // it came, but its ACK was lost
    REQUIRE(lab.out().size() == 1);
    o.ts = tcp::timestamps{2, first};

    SUBCASE("a round trip after the retransmission: it may be the answer to that") {
        lab.wait(10ms);
        lab.in({.flags = ACK, .seq = 1, .ack = 6, .options = o});
        CHECK(lab.e->info().srtt == 10ms);
        CHECK(lab.e->info().backoff == 1); // until data sent once is acknowledged [RFC 6298 5]
    }
    SUBCASE("sooner: the first was late") {
        lab.wait(9ms);
        lab.in({.flags = ACK, .seq = 1, .ack = 6, .options = o});
        CHECK(lab.e->info().srtt > 30ms);
        CHECK(lab.e->info().backoff == 0);
    }
}

TEST_CASE("the first window is ten segments, slow start doubles it") { // [RFC 6928] [RFC 5681 3.1]
    sender lab;
    lab.write_segments(60);
    CHECK(lab.starts().size() == 10);
    lab.ack(1 + 5000); // one ACK is taken for eight segments at most [RFC 9406 4.2]
    lab.ack(1 + 10000);
    CHECK(lab.starts().size() == 20);
    CHECK(lab.e->info().cwnd == 20000);
}

TEST_CASE("a lost SYN leaves one segment for the first window, and three seconds for the RTO") {
    tcp_lab lab; // [RFC 5681 3.1] [RFC 6298 5.7]
    lab.connect();
    lab.wait(1s);
    REQUIRE(lab.out().size() == 2);
    lab.in({.flags = SYN | ACK, .ack = 1, .options = tcp_lab::default_options()});
    CHECK(lab.e->info().cwnd == 1000);
    CHECK(lab.e->info().rto == 3s);
}

TEST_CASE("three duplicate ACKs: the lost segment goes at once, before any timeout") { // [RFC 5681 3.2]
    sender lab;
    lab.write_segments(10);
    lab.out();
    lab.ack(1);
    lab.ack(1);
    CHECK(lab.starts() == numbers{});
    lab.ack(1);
    CHECK(lab.starts() == numbers{1});
    CHECK(lab.e->info().in_recovery);
    CHECK(lab.e->info().ssthresh == 5000);
    CHECK(lab.e->info().cwnd == 7000); // six are thought to be under way, and one goes again [RFC 9937 6.2]
    lab.ack(1 + 10000);
    CHECK_FALSE(lab.e->info().in_recovery);
    CHECK(lab.e->info().cwnd <= 5000);
    CHECK(lab.e->info().fast_retransmits == 1);
    CHECK(lab.counted().rto_fired == 0);
}

TEST_CASE("the loss of the very first data segment is found by duplicates as well") {
    sender lab;
    lab.write_segments(4);
    lab.out();
    for (int i = 0; i < 3; ++i) lab.ack(1);
    CHECK(lab.starts() == numbers{1});
}

TEST_CASE("a partial ACK in recovery sends the next hole at once") { // [RFC 6582 3.2, step 5]
    sender lab;
    lab.write_segments(10);
    lab.out();
    for (int i = 0; i < 5; ++i) lab.ack(1);
    CHECK(lab.starts() == numbers{1});
    lab.ack(4001);
    CHECK(lab.starts() == numbers{4001});
    CHECK(lab.e->info().in_recovery);
    lab.ack(7001);
    CHECK(lab.starts() == numbers{7001});
    lab.ack(10001);
    CHECK_FALSE(lab.e->info().in_recovery);
    CHECK(lab.counted().rto_fired == 0);
}

TEST_CASE("further duplicates in recovery let new segments out") { // [RFC 6582 3.2, steps 3 and 4]
    sender lab;
    lab.write_segments(30);
    CHECK(lab.starts().size() == 10);
    for (int i = 0; i < 3; ++i) lab.ack(1);
    // the lost one; two more had gone out by limited transmit
    CHECK(lab.starts() == numbers{1});
    for (int i = 0; i < 6; ++i) lab.ack(1);
    CHECK_FALSE(lab.starts().empty());
}

TEST_CASE("limited transmit: the first two duplicates let one new segment out each") { // [RFC 3042]
    sender lab;
    lab.write_segments(30);
    lab.out();
    lab.ack(1);
    CHECK(lab.starts() == numbers{10001});
    lab.ack(1);
    CHECK(lab.starts() == numbers{11001});
}

TEST_CASE("ACKs with data, with a changed window, or with nothing in flight are no duplicates") {
    sender lab; // [RFC 5681 2]
    for (int i = 0; i < 4; ++i) lab.ack(1);
    lab.write_segments(5);
    lab.out();
    for (std::uint32_t i = 0; i < 4; ++i) lab.in({.flags = ACK, .seq = 1 + i, .ack = 1, .text = "x"});
    for (std::uint16_t i = 0; i < 4; ++i)
        lab.in({.flags = ACK, .seq = 5, .ack = 1, .window = static_cast<std::uint16_t>(60000 + i)});
    CHECK(lab.e->info().fast_retransmits == 0);
    CHECK(lab.e->info().duplicate_acks == 0);
}

TEST_CASE("after a timeout everything in flight goes again in slow start, skipping what is acknowledged") {
    sender lab;
    lab.write_segments(10);
    lab.out();
    lab.wait(200ms);
    CHECK(lab.starts() == numbers{1});
    CHECK(lab.e->info().cwnd == 1000);
    CHECK(lab.e->info().ssthresh == 5000);
    lab.ack(6001); // the peer had all but the first: the rest follows
    CHECK(lab.starts() == numbers{6001, 7001});
    CHECK(lab.e->info().cwnd == 2000); // one segment for one ACK, however much it covers [RFC 3465 2.3]
    lab.ack(10001);
    CHECK(lab.e->flushed());
}

TEST_CASE("duplicates caused by what a timeout sent again start no fast retransmit") {
    sender lab; // [RFC 6582 3.2, step 2]
    lab.write_segments(10);
    lab.out();
    lab.wait(200ms);
    lab.out();
    for (int i = 0; i < 5; ++i) lab.ack(1);
    CHECK(lab.e->info().fast_retransmits == 0);
}

TEST_CASE("the timeout of the first data lowers ssthresh, though the SYN had timed out before it") {
    tcp_lab lab; // [RFC 5681 3.1 (4)]
    lab.connect(tcp_lab::plain().connections);
    lab.wait(1500ms);
    CHECK(lab.out().size() == 2);
    lab.in({.flags = SYN | ACK, .ack = 1, .options = tcp_lab::default_options()});
    lab.write(std::string(3000, 'a'));
    CHECK(lab.out().size() == 1);
    lab.wait(3500ms);
    CHECK(lab.e->info().rto_fired == 2);
    CHECK(lab.e->info().ssthresh == 2000);
}

TEST_CASE("a second timeout of the same data leaves ssthresh alone") { // [RFC 5681 3.1 (4)]
    sender lab;
    lab.write_segments(10);
    lab.out();
    lab.wait(700ms);
    CHECK(lab.e->info().rto_fired == 2);
    CHECK(lab.e->info().ssthresh == 5000);
}

TEST_CASE("in congestion avoidance one window of ACKs adds one segment") { // [RFC 5681 3.1]
    sender lab;
    lab.write_segments(100);
    lab.out();
    for (int i = 0; i < 3; ++i) lab.ack(1);
    lab.out();
    std::uint32_t at = 10001; // all that was sent
    lab.ack(at);
    CHECK(lab.e->info().ssthresh == 5000);
    const auto one_more = [&] {
        lab.out();
        at += 1000;
        lab.ack(at);
        return lab.e->info().cwnd;
    };
    while (lab.e->info().cwnd < 5000) one_more(); // slow start again, from below
    for (std::uint32_t cwnd = 5000; cwnd < 8000; cwnd += 1000) {
        for (std::uint32_t acked = 1000; acked < cwnd; acked += 1000) CHECK(one_more() == cwnd);
        CHECK(one_more() == cwnd + 1000);
    }
}

TEST_CASE("after idleness the window starts anew") { // [RFC 5681 4.1]
    sender lab;
    lab.write_segments(30);
    lab.out();
    for (std::uint32_t at = 5001; at <= 30001; at += 5000) {
        lab.ack(at);
        lab.out();
    }
    CHECK(lab.e->info().cwnd >= 20000);
    lab.wait(5s);
    lab.write_segments(30);
    CHECK(lab.starts().size() == 10);
}

TEST_CASE("a lost FIN goes again, alone or with the last data") {
    sender lab;
    lab.write("bye");
    lab.e->finish(lab.now);
    CHECK(lab.out() == segs{{.flags = FIN | ACK, .seq = 1, .ack = 1, .text = "bye"}});
    lab.wait(200ms);
    CHECK(lab.out() == segs{{.flags = FIN | ACK, .seq = 1, .ack = 1, .text = "bye"}});
    lab.ack(4);
    CHECK(lab.e->state() == tcp::state::fin_wait_1);
    CHECK(lab.e->unacked() == 0);
    CHECK_FALSE(lab.e->fin_acked());
    lab.wait(450ms); // backed off: the ACK may have been for either sending
    CHECK(lab.out() == segs{{.flags = FIN | ACK, .seq = 4, .ack = 1}});
    lab.ack(5);
    CHECK(lab.e->state() == tcp::state::fin_wait_2);
    CHECK(lab.e->fin_acked());
}

TEST_CASE("a router that cannot carry a packet lowers the MSS, and what was lost goes again, smaller") {
    sender lab; // [RFC 1191 6.3] [RFC 5927 7]
    lab.write_segments(3);
    REQUIRE(lab.starts().size() == 3);
    const auto too_big = [&](std::uint32_t seq, std::uint16_t mtu) {
        lab.icmp(tcp::icmp_kind::packet_too_big, seq, mtu);
    };
    lab.write("x");
    too_big(4000, 600); // was never sent
    CHECK(lab.counted().icmp_ignored == 1);
    too_big(1, 600);
    CHECK(lab.e->info().send_mss == 560);
    CHECK(lab.e->info().cwnd == 10000); // no congestion
    lab.most = 560;
    CHECK(lab.starts() == numbers{1, 561, 1121, 1681, 2241, 2801});
    too_big(1, 100); // nobody has links that small [RFC 5927 7.2]
    CHECK(lab.e->info().send_mss == 512);
}

} // namespace
} // namespace tapir::test
