// Explicit Congestion Notification, segment by segment: who may be marked, what a mark does, and what must
// not believe it. [RFC 3168 5, 6.1] [RFC 8311 4.3]
#include <doctest/doctest.h>

#include <vector>

#include "tests/support/tcp_ecn_lab.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;

// --- who may be marked -------------------------------------------------------------------------------------

TEST_CASE("ECN: new data may be marked; ACKs, a bare FIN, RSTs and what goes again may not") {
    ecn_lab lab; // [RFC 3168 6.1.4, 6.1.5] [RFC 8311 4.3]
    lab.established();
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "question"});
    lab.wait(40ms);
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 9, .ecn = not_ect}});
    lab.write("answer");
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 9, .text = "answer", .ecn = ECT}});
    lab.wait(200ms);
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 9, .text = "answer", .ecn = not_ect}});
    lab.in({.flags = ACK, .seq = 9, .ack = 7});
    lab.e->finish(lab.now);
    CHECK(lab.out() == segs{{.flags = ACK | FIN, .seq = 7, .ack = 9, .ecn = not_ect}});
    lab.e->abort(lab.now);
    CHECK(lab.out() == segs{{.flags = RST, .seq = 8, .ecn = not_ect}});
}

TEST_CASE("ECN: probes of a shut window may not be marked, and carry no CWR") { // [RFC 3168 6.1.6]
    ecn_lab lab;
    lab.established();
    lab.write("first");
    CHECK(capable(lab.out()) == 1);
    lab.in({.flags = ACK | ECE, .seq = 1, .ack = 6, .window = 0});
    CHECK(lab.info().ecn_reductions == 1);
    lab.write("second");
    CHECK(lab.out() == segs{});
    lab.wait(250ms);
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 6, .ack = 1, .text = "s", .ecn = not_ect}});
    lab.in({.flags = ACK | ECE, .seq = 1, .ack = 7, .window = 5000});
    CHECK(lab.out() == segs{{.flags = ACK | CWR, .seq = 7, .ack = 1, .text = "econd", .ecn = ECT}});
}

TEST_CASE("ECN: of a segment that goes again and is filled up with new data nothing may be marked") {
    tcp::config c = tcp_lab::plain();
    ecn_lab lab(c);
    lab.established();
    lab.write("one");
    lab.out();
    lab.write("two"); // waits, for Nagle
    lab.wait(200ms);
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 1, .text = "onetwo", .ecn = not_ect}});
}

// --- receiving ---------------------------------------------------------------------------------------------

TEST_CASE("ECN: a mark is told at once, and in everything that we send until CWR comes") { // [RFC 3168 6.1.3]
    ecn_lab lab;
    lab.established();
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "a", .ecn = ECT});
    CHECK(lab.out() == segs{}); // waits for company
    lab.in({.flags = ACK, .seq = 2, .ack = 1, .text = "b", .ecn = CE});
    CHECK(lab.out() == segs{{.flags = ACK | ECE, .seq = 1, .ack = 3}});
    CHECK(lab.info().ecn_echoing);
    lab.in({.flags = ACK, .seq = 3, .ack = 1, .text = "c", .ecn = ECT});
    CHECK(lab.out() == segs{}); // one of them does not wait any less for it
    lab.wait(40ms);
    CHECK(lab.out() == segs{{.flags = ACK | ECE, .seq = 1, .ack = 4}});
    lab.write("data");
    CHECK(lab.out() == segs{{.flags = ACK | ECE, .seq = 1, .ack = 4, .text = "data", .ecn = ECT}});
    lab.in({.flags = ACK, .seq = 5, .ack = 5, .text = "e", .ecn = CE}); // beyond a hole
    CHECK(lab.out() == segs{{.flags = ACK | ECE, .seq = 5, .ack = 4}});
    lab.in({.flags = ACK | CWR, .seq = 4, .ack = 5, .text = "d", .ecn = ECT});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 5, .ack = 6}});
    CHECK_FALSE(lab.info().ecn_echoing);
    lab.in(
        {.flags = ACK | CWR, .seq = 6, .ack = 5, .text = "f", .ecn = CE}); // and the new window meets a queue
    CHECK(lab.out() == segs{{.flags = ACK | ECE, .seq = 5, .ack = 7}});
    lab.e->finish(lab.now);
    CHECK(lab.out() == segs{{.flags = ACK | FIN | ECE, .seq = 5, .ack = 7}});
    CHECK(lab.info().ce_received == 3);
    CHECK(lab.counted().ecn_ce_in == 3);
    CHECK(lab.counted().ecn_cwr_in == 2);
    CHECK(lab.counted().ecn_echoes_out == 6);
}

TEST_CASE("ECN: marks and CWR count on data in the window alone") { // [RFC 3168 6.1.4, 6.1.5]
    ecn_lab lab;
    lab.established();
    const auto nothing = [&](const seg& s) {
        lab.in(s);
        for (const seg& answer : lab.out()) CHECK_FALSE(has(answer.flags, ECE));
        CHECK(lab.info().ce_received == 0);
    };
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "known"});
    lab.wait(50ms);
    nothing({.flags = ACK, .seq = 6, .ack = 1, .ecn = CE});                      // no data
    nothing({.flags = ACK, .seq = 1, .ack = 1, .text = "known", .ecn = CE});     // behind
    nothing({.flags = ACK, .seq = 900'000, .ack = 1, .text = "far", .ecn = CE}); // ahead
    nothing({.flags = ACK, .seq = 6, .ack = 999, .text = "x", .ecn = CE});       // acknowledges the future
    nothing({.flags = RST, .seq = 7, .ack = 1, .ecn = CE});
    lab.in({.flags = ACK, .seq = 6, .ack = 1, .text = "y", .ecn = CE});
    CHECK(with_flag(lab.out(), ECE) == 1);
    lab.in({.flags = ACK | CWR, .seq = 7, .ack = 1});
    lab.in({.flags = ACK | CWR, .seq = 1, .ack = 1, .text = "known"});
    CHECK(lab.info().ecn_echoing);
}

TEST_CASE("ECN: where it was not agreed nobody believes marks, echoes or CWR") {
    ecn_lab lab;
    lab.established(false);
    lab.write(segments(10));
    CHECK(capable(lab.out()) == 0);
    const auto cwnd = lab.info().cwnd;
    lab.in({.flags = ACK | ECE | CWR, .seq = 1, .ack = 2001, .text = "text", .ecn = CE});
    CHECK(with_flag(lab.out(), ECE | CWR) == 0);
    lab.wait(50ms);
    CHECK(with_flag(lab.out(), ECE) == 0);
    CHECK(lab.info().cwnd > cwnd);
    CHECK(lab.counted().ecn_ce_in + lab.counted().ecn_echoes_in + lab.counted().ecn_cwr_in == 0);
}

// --- sending -----------------------------------------------------------------------------------------------

TEST_CASE("ECN: an echo halves the window, once in a window of data, and nothing goes again") {
    ecn_lab lab; // [RFC 3168 6.1.2] [RFC 9438 4.6]
    lab.established();
    lab.write(segments(60));
    CHECK(lab.out().size() == 10);
    std::size_t cwr = 0;
    std::uint32_t first_cwr = 0;
    std::size_t fresh = 0;
    for (std::uint32_t n = 1; n <= 12; ++n) { // the second segment was marked, and CWR is on its way
        lab.ack(1 + n * 1000, n >= 2 ? ECE : tcp::flags::none);
        for (const seg& s : lab.out()) {
            if (has(s.flags, CWR)) {
                ++cwr;
                first_cwr = s.seq;
            }
            fresh += s.text.size() / 1000;
            CHECK(s.ecn == ECT);
        }
    }
    CHECK(lab.info().ecn_reductions == 1);
    CHECK(lab.counted().ecn_echoes_in == 11);
    CHECK(lab.info().ssthresh == 5500); // 11 segments were under way
    CHECK(lab.info().cwnd == 5500);
    CHECK(cwr == 1);
    CHECK(first_cwr == 12001); // the first new segment behind what the echo is about
    CHECK(lab.counted().retransmits == 0);
    CHECK(lab.info().in_flight == 5000);
    CHECK(fresh == 7);
}

TEST_CASE("ECN: the echo of a mark behind CWR is a new one, the echo before it is not") { // [RFC 3168 6.1.2]
    for (const bool again : {false, true}) {
        ecn_lab lab;
        lab.established();
        lab.write(segments(60));
        lab.out();
        lab.ack(1001, ECE);
        CHECK(with_flag(lab.out(), CWR) == 1);
        lab.ack(10001, ECE); // all that was sent before
        CHECK(with_flag(lab.out(), CWR) == 0);
        CHECK(lab.info().ecn_reductions == 1);
        CHECK(lab.info().cwnd == 5000);
        lab.ack(11001, again ? ECE : tcp::flags::none); // the one with CWR
        CHECK(lab.info().ecn_reductions == (again ? 2 : 1));
        CHECK(with_flag(lab.out(), CWR) == (again ? 1 : 0));
        CHECK(lab.info().ssthresh == (again ? 2500 : 5000));
    }
}

TEST_CASE("ECN: an old ACK, one that cannot be true, and one when nothing is under way reduce nothing") {
    ecn_lab lab;
    lab.established();
    lab.ack(1, ECE);
    lab.write(segments(4));
    lab.out();
    lab.ack(2001);
    lab.ack(1001, ECE);  // overtaken by the one before
    lab.ack(90001, ECE); // of the future
    lab.in({.flags = ACK | ECE, .seq = 900'000, .ack = 3001});
    CHECK(lab.info().ecn_reductions == 0);
    lab.ack(4001);
    lab.out();
    lab.ack(4001, ECE);
    CHECK(lab.info().ecn_reductions == 0);
    CHECK(lab.info().ssthresh > 1'000'000);
}

TEST_CASE("ECN: when the last ACK of a flight has an echo, the next flight is the smaller") {
    ecn_lab lab;
    lab.established();
    lab.write(segments(10));
    lab.out();
    lab.ack(10001, ECE);
    CHECK(lab.info().cwnd == 5000);
    lab.write(segments(10));
    const segs sent = lab.out();
    CHECK(sent.size() == 5);
    CHECK(with_flag(sent, CWR) == 1);
    CHECK(has(sent[0].flags, CWR));
}

TEST_CASE("ECN: what carried CWR and is lost goes again without, and the echo that stays reduces again") {
    ecn_lab lab; // [RFC 3168 6.1.5]
    lab.established();
    lab.write(segments(60));
    lab.out();
    lab.ack(1001, ECE);
    segs fresh = lab.out();
    REQUIRE(fresh.size() == 1);
    REQUIRE(has(fresh[0].flags, CWR));
    REQUIRE(fresh[0].seq == 10001);
    lab.ack(10001, ECE);
    fresh = lab.out();
    REQUIRE(fresh.size() == 4);
    CHECK(with_flag(fresh, CWR) == 0);
    lab.ack(10001, ECE); // the second of the five
    lab.ack(10001, ECE);
    lab.ack(10001, ECE);
    segs again = lab.out();
    REQUIRE(!again.empty());
    CHECK(again[0] == seg{.flags = ACK, .seq = 10001, .ack = 1, .text = segments(1), .ecn = not_ect});
    CHECK(lab.info().ecn_reductions == 1); // the loss has told of it
    CHECK(lab.info().ssthresh == 2500);
    std::size_t cwr = with_flag(again, CWR);
    lab.ack(15001, ECE);
    again = lab.out();
    cwr += with_flag(again, CWR);
    CHECK(cwr == 1);
    CHECK(lab.info().ecn_reductions == 1);
    lab.ack(lab.info().snd_nxt - lab.isn(), ECE); // more marks
    CHECK(lab.info().ecn_reductions == 2);
}

TEST_CASE("ECN: a loss while the window comes down for a mark is repaired, and does not reduce again") {
    tcp::config c = tcp_lab::plain(); // [RFC 3168 6.1.2]
    c.use_sack = true;
    ecn_lab lab(c);
    lab.established();
    lab.write(segments(60));
    lab.out();
    lab.wait(10ms);
    lab.ack(1001, ECE);
    lab.out();
    lab.in({.flags = ACK | ECE, .seq = 1, .ack = 1001, .options = lab.sack(2001, 5001)});
    const segs sent = lab.out();
    REQUIRE(!sent.empty());
    CHECK(sent[0] == seg{.flags = ACK, .seq = 1001, .ack = 1, .text = segments(1), .ecn = not_ect});
    CHECK(lab.info().in_recovery);
    CHECK(lab.info().ssthresh == 5000);
    lab.ack(lab.info().snd_nxt - lab.isn());
    CHECK_FALSE(lab.info().in_recovery);
    CHECK(lab.info().cwnd == 5000);
    CHECK(lab.info().ecn_reductions == 1);
}

TEST_CASE("ECN: an echo while the window comes down for a loss does not reduce again") { // [RFC 3168 6.1.2]
    tcp::config c = tcp_lab::plain();
    c.use_sack = true;
    ecn_lab lab(c);
    lab.established();
    lab.write(segments(60));
    lab.out();
    lab.wait(10ms);
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .options = lab.sack(1001, 4001)});
    segs sent = lab.out();
    REQUIRE(lab.info().in_recovery);
    CHECK(lab.info().ssthresh == 5000);
    lab.in({.flags = ACK | ECE, .seq = 1, .ack = 1, .options = lab.sack(1001, 6001)});
    lab.in({.flags = ACK | ECE, .seq = 1, .ack = 6001});
    for (seg& s : lab.out()) sent.push_back(s);
    CHECK(with_flag(sent, CWR) == 1); // the peer is told whatever it was for
    CHECK(lab.info().ssthresh == 5000);
    CHECK(lab.info().ecn_reductions == 0);
    CHECK(lab.info().in_recovery);
}

TEST_CASE("ECN: CWR in a packet that was too large for the path goes again, and the echo reduces no more") {
    ecn_lab lab; // [RFC 1191 6.5]
    lab.established();
    lab.write(segments(60));
    lab.out();
    lab.ack(1001, ECE);
    const segs fresh = lab.out();
    REQUIRE(fresh.size() == 1);
    REQUIRE(has(fresh[0].flags, CWR));
    lab.ack(10001, ECE);
    lab.out();
    const auto ssthresh = lab.info().ssthresh;
    std::array<std::byte, 8> quoted{};
    store_be16(quoted, 0, 80);
    store_be16(quoted, 2, tcp_lab::peer_port);
    store_be32(quoted, 4, (lab.isn() + 10001).value());
    lab.stack.icmp_error(tcp::icmp_kind::packet_too_big, tcp_lab::here(), tcp_lab::there(), quoted, 640,
                         lab.now);
    lab.mtu = 640;
    lab.out();
    std::size_t cwr = 0;
    for (std::uint32_t n = 10601; n <= 15601; n += 600) {
        lab.ack(n, ECE);
        cwr += with_flag(lab.out(), CWR);
    }
    CHECK(cwr == 1);
    CHECK(lab.info().ecn_reductions == 1);
    CHECK(lab.info().ssthresh == ssthresh);
}

TEST_CASE("ECN: after a timeout the first new data carries CWR, and what goes again does not") {
    ecn_lab lab; // [RFC 3168 6.1.2]
    lab.established();
    lab.write(segments(2));
    lab.out();
    lab.wait(250ms);
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 1, .text = segments(1), .ecn = not_ect}});
    lab.write(segments(4));
    lab.ack(2001, ECE); // of before: no second reduction
    CHECK(lab.info().ecn_reductions == 0);
    const segs sent = lab.out();
    REQUIRE(!sent.empty());
    CHECK(has(sent[0].flags, CWR));
    CHECK(with_flag(sent, CWR) == 1);
}

TEST_CASE("ECN: what a mark has taken no undo gives back") { // [RFC 3168 6.1.2] [RFC 4015 3]
    enum class when : std::uint8_t { never, before, during };
    for (const when echo : {when::never, when::before, when::during}) {
        tcp::config c = tcp_lab::plain();
        c.use_timestamps = true;
        ecn_lab lab(c);
        lab.established();
        lab.write(segments(60));
        lab.out();
        const std::uint32_t first = lab.timestamp_of_last_segment();
        lab.wait(10ms);
        const auto duplicate = [&](bool with) {
            lab.in({.flags = with ? ACK | ECE : ACK, .seq = 1, .ack = 1, .options = lab.echo(first)});
            lab.out();
        };
        duplicate(echo == when::before);
        duplicate(false);
        duplicate(false);
        REQUIRE(lab.info().fast_retransmits == 1);
        CHECK(lab.info().ssthresh == 5000);
        duplicate(echo == when::during);
        // The first sending had been late only.
        lab.in({.flags = ACK, .seq = 1, .ack = 10001, .options = lab.echo(first)});
        CHECK(lab.info().recoveries_undone == 1);
        CHECK(lab.info().ecn_reductions == (echo == when::before ? 1 : 0));
        if (echo == when::never)
            CHECK(lab.info().cwnd >= 10000);
        else
            CHECK(lab.info().cwnd <= 6000);
    }
}

TEST_CASE("ECN: an undone timeout leaves the reduction for a mark that was under way") {
    tcp::config c = tcp_lab::plain();
    c.use_timestamps = true;
    ecn_lab lab(c);
    lab.established();
    lab.write(segments(60));
    lab.out();
    const std::uint32_t first = lab.timestamp_of_last_segment();
    lab.wait(10ms);
    lab.in({.flags = ACK | ECE, .seq = 1, .ack = 1001, .options = lab.echo(first)});
    lab.out();
    CHECK(lab.info().ssthresh == 5000);
    lab.wait(300ms);
    REQUIRE(lab.info().in_loss);
    CHECK(lab.info().ssthresh == 5000); // once in a window of data
    lab.in({.flags = ACK | ECE, .seq = 1, .ack = 8001, .options = lab.echo(first)});
    CHECK(lab.info().recoveries_undone == 1);
    CHECK(lab.info().cwnd >= 5000);
    CHECK(lab.info().cwnd <= 6000);
    CHECK(lab.info().ecn_reductions == 1);
}

TEST_CASE("ECN: CWR that was due and went out during a timeout that is undone stays where it went") {
    ecn_lab lab; // F-RTO: new data goes in place of the old [RFC 5682 2.1]
    lab.established();
    lab.write(segments(10));
    lab.out();
    lab.wait(10ms);
    lab.ack(1001, ECE); // nothing new is there to carry CWR
    CHECK(with_flag(lab.out(), CWR) == 0);
    lab.wait(300ms);
    REQUIRE(lab.info().in_loss);
    lab.out();
    lab.write(segments(20));
    lab.ack(2001, ECE);
    const segs fresh = lab.out();
    REQUIRE(with_flag(fresh, CWR) == 1);
    REQUIRE(fresh[0].seq == 10001);
    lab.ack(5001, ECE); // what had been sent once: the timeout was for nothing
    CHECK(lab.info().recoveries_undone == 1);
    lab.ack(10001, ECE);
    CHECK(lab.info().ecn_reductions == 1);
    CHECK(lab.info().cwnd == 5000);
    lab.ack(11001, ECE);
    CHECK(lab.info().ecn_reductions == 2);
}

// --- hostile -----------------------------------------------------------------------------------------------

TEST_CASE("ECN: a flood of echoes leaves one segment for each timeout's time, and never less") {
    ecn_lab lab; // [RFC 3168 6.1.2]
    lab.established();
    lab.write(segments(60));
    std::size_t windows = 0;
    std::vector<long> times;
    for (int ms = 0; ms < 3000; ++ms) {
        const segs sent = lab.out();
        if (!sent.empty()) ++windows;
        for (const seg& s : sent) {
            const auto end = s.seq + static_cast<std::uint32_t>(s.text.size());
            times.push_back(*s.at);
            lab.in({.flags = ACK | ECE, .seq = 1, .ack = end});
            for (int i = 0; i < 5; ++i) lab.in({.flags = ACK | ECE, .seq = 1, .ack = end});
        }
        CHECK(lab.info().cwnd >= 1000);
        lab.wait(1ms);
    }
    CHECK(lab.info().cwnd == 1000);
    CHECK(lab.info().ecn_reductions <= windows);
    CHECK(lab.counted().retransmits == 0);
    REQUIRE(times.size() > 12);
    const long gap = times[times.size() - 1] - times[times.size() - 2];
    CHECK(gap >= 200);
    CHECK(gap <= 300);
}

// Jumbo segments that shrink: what is a single one for the hold is enough to be paced.
TEST_CASE("ECN: a pace for what goes again does not end the wait of an echo at one segment") {
    tcp::config c = tcp_lab::plain(); // [RFC 3168 6.1.2]
    c.connections.paced = true;
    ecn_lab lab(c);
    lab.mtu = 9000;
    lab.most = 0;
    tcp::connection_options o = willing();
    o.paced = o.no_delay = true;
    tcp::listen_options l;
    l.accepted = o;
    lab.listen(80, l);
    tcp::options syn;
    syn.mss = std::uint16_t{8960};
    lab.in({.flags = SYN | ECE | CWR, .options = syn});
    lab.out();
    lab.wait(10ms);
    lab.ack(1);
    lab.e = lab.listening->accept();
    lab.write("a");
    lab.out();
    lab.wait(10ms);
    lab.ack(2, ECE);
    CHECK(lab.info().cwnd == 8960);
    lab.write("b");
    lab.out();
    lab.write(std::string(8000, 'c'));
    lab.out();
    REQUIRE(lab.info().in_flight == 8001);
    lab.wait(10ms);
    lab.ack(3, ECE); // of the segment with CWR
    const long held = lab.ms();
    lab.write(std::string(5000, 'd'));
    for (const auto narrower : std::array<std::uint16_t, 6>{8500, 8000, 7000, 5000, 4000, 552}) {
        std::array<std::byte, 8> quoted{};
        store_be16(quoted, 0, 80);
        store_be16(quoted, 2, tcp_lab::peer_port);
        store_be32(quoted, 4, (lab.isn() + 3).value());
        lab.stack.icmp_error(tcp::icmp_kind::packet_too_big, tcp_lab::here(), tcp_lab::there(), quoted,
                             narrower, lab.now);
        lab.mtu = narrower;
        lab.out();
    }
    CHECK(lab.info().limited_by == tcp::send_limit::pacing);
    CHECK(lab.info().lost != 0);
    lab.wait(10ms);
    const std::uint32_t went = lab.info().snd_nxt - lab.isn();
    lab.ack(went);
    lab.wait(300ms);
    long first = -1;
    for (const seg& s : lab.out())
        if (s.seq >= went && first < 0) first = *s.at;
    CHECK(first >= held + 200);
}

TEST_CASE("ECN: as many echoes as a peer can divide a window into reduce it once") {
    ecn_lab lab;
    lab.established();
    lab.write(segments(60));
    lab.out();
    for (std::uint32_t n = 2; n <= 10001; ++n) lab.ack(n, ECE);
    CHECK(lab.info().ecn_reductions == 1);
    CHECK(lab.info().cwnd == 5000);
}

TEST_CASE("ECN: a flood of marks draws an echo in each ACK, and no more ACKs than data") {
    ecn_lab lab;
    lab.established();
    std::size_t answers = 0;
    for (std::uint32_t n = 0; n < 1000; ++n) {
        lab.in({.flags = ACK, .seq = 1 + n, .ack = 1, .text = "x", .ecn = CE});
        for (const seg& s : lab.out()) {
            CHECK(has(s.flags, ECE));
            ++answers;
        }
    }
    CHECK(answers <= 1000);
    CHECK(lab.info().ce_received == 1000);
}

} // namespace
} // namespace tapir::test
