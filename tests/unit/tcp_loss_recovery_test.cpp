// Losses, and what only looks like them: a sender and a receiver whose path does to single segments what the
// test says. Segments have 1000 bytes, the round trip takes 10 ms, the first window has ten segments.
#include <doctest/doctest.h>

#include <set>

#include "tests/support/tcp_far_end.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;

tcp::config without_sack(bool timestamps = false) {
    tcp::config c = tcp_lab::plain();
    c.use_timestamps = timestamps;
    return c;
}

/// Loses the first sendings of the segments that begin there.
auto losing(std::set<std::uint32_t> begins, int copies = 1) {
    return
        [=](const sending& s) { return s.copy <= copies && begins.contains(s.begin) ? lost() : arrives(); };
}

// --- SACK --------------------------------------------------------------------------------------------------

TEST_CASE("several holes are filled within one round trip, and nothing that the peer holds goes again") {
    far_end lab; // [RFC 6675 5] [RFC 2018 5]
    lab.fate = losing({1001, 4001, 6001});
    lab.write_segments(10);
    CHECK(lab.run_until_flushed() == 20ms);
    CHECK(lab.again() == numbers{1001, 4001, 6001});
    CHECK(lab.info().bytes_retransmitted == 3000);
    CHECK(lab.info().fast_retransmits == 1);
    CHECK(lab.counted().rto_fired == 0);
    CHECK(lab.counted().tail_probes == 0);
}

TEST_CASE("every second segment of a large window lost: one recovery, no timeout, each goes again once") {
    far_end lab; // [RFC 6675 5] [RFC 9937 6]
    lab.write_segments(250);
    lab.run(20ms); // the window has opened
    const std::uint32_t first = 1 + lab.bytes_sent();
    lab.fate = [&](const sending& s) {
        return s.copy == 1 && s.begin >= first && s.begin < first + 40'000 && (s.begin / 1000) % 2 == 0
                   ? lost()
                   : arrives();
    };
    lab.run_until_flushed();
    CHECK(lab.flushed());
    CHECK(lab.again().size() == 20);
    const numbers again = lab.again();
    CHECK(std::set<std::uint32_t>(again.begin(), again.end()).size() == 20);
    CHECK(lab.info().fast_retransmits == 1);
    CHECK(lab.counted().rto_fired == 0);
}

TEST_CASE(
    "after a timeout, too, only what the peer does not hold goes again") { // [RFC 2018 5] [RFC 8985 6.3]
    far_end lab;
    lab.fate = losing({1, 1001}, 2);
    lab.write_segments(10);
    lab.run_until_flushed();
    CHECK(lab.counted().rto_fired == 1);
    CHECK(lab.again() == numbers{1, 1001, 1, 1001});
}

TEST_CASE("what a timeout has fired for goes at once, however much else is in flight") { // [RFC 6298 5.4]
    tcp::config c = with_sack();
    c.tail_loss_probe = false;
    far_end lab(c);
    // One after the other they arrive and let new data out, which is still under way when the timer fires.
    lab.fate = [](const sending& s) {
        if (s.begin == 1) return s.copy <= 2 ? lost() : arrives();
        return held_back(s.begin < 10'001 ? s.begin / 1000 * 18ms : 300ms);
    };
    lab.write_segments(30);
    lab.run(400ms);
    const std::int64_t fired = lab.when(1, 2) + 200; // the second sending has its own time [RFC 6675 6]
    CHECK(lab.counted().rto_fired == 1);
    CHECK(lab.when(1, 3) == fired);
}

// --- RACK --------------------------------------------------------------------------------------------------

TEST_CASE(
    "RACK: one later segment is enough, once the time for reordering is over") { // [RFC 8985 6.2, step 5]
    far_end lab;
    lab.fate = losing({1});
    lab.write_segments(2);
    lab.run(50ms);
    CHECK(lab.flushed());
    CHECK(lab.when(1, 2) == 12); // a round trip of 10 ms and a quarter
    CHECK(lab.counted().rto_fired == 0);
    CHECK(lab.counted().tail_probes == 0);
    CHECK(lab.info().fast_retransmits == 1);
}

TEST_CASE("RACK: three segments beyond a hole, and it is lost at once") { // [RFC 8985 6.2, step 4]
    far_end lab;
    lab.fate = losing({1});
    lab.write_segments(4);
    lab.run(50ms);
    CHECK(lab.when(1, 2) == 10);
}

TEST_CASE("RACK: what is overtaken by two segments within the time for reordering does not go again") {
    for (const bool timestamps : {false, true}) { // [RFC 8985 3.1]
        far_end lab(with_sack(timestamps));
        lab.fate = [](const sending& s) { return s.begin == 1001 ? overtaken_by(2) : arrives(); };
        lab.write_segments(8);
        lab.run(100ms);
        CHECK(lab.again().empty());
        CHECK(lab.info().reordering_seen);
        CHECK(lab.info().cwnd > 10000); // no congestion
    }
}

TEST_CASE("RACK: reordering by three or more segments makes nothing go again once it was learnt from") {
    for (const bool timestamps : {false, true}) { // [RFC 8985 6.2, steps 3 and 4]
        CAPTURE(timestamps);
        far_end lab(with_sack(timestamps));
        lab.fate = [](const sending& s) { return s.begin % 12'000 == 1 ? overtaken_by(4) : arrives(); };
        lab.write_segments(10);
        lab.run(100ms);
        CHECK(lab.again().size() <= 1);
        const auto first = lab.again().size();
        const std::uint32_t cwnd = lab.info().cwnd;
        CHECK(cwnd >= 10000); // undone
        for (int i = 0; i < 10; ++i) {
            lab.write_segments(24);
            lab.run(60ms);
        }
        CHECK(lab.flushed());
        CHECK(lab.again().size() == first);
        CHECK(lab.info().cwnd >= cwnd);
        CHECK(lab.info().ssthresh >= cwnd);
    }
}

TEST_CASE("RACK: a retransmission that is lost is found without a timeout") { // [RFC 8985 3.1]
    for (const bool timestamps : {false, true}) {
        CAPTURE(timestamps);
        far_end lab(with_sack(timestamps));
        lab.fate = losing({1001}, 2);
        lab.write_segments(40);
        lab.run_until_flushed();
        CHECK(lab.counted().rto_fired == 0);
        CHECK(lab.again() == numbers{1001, 1001});
        CHECK(lab.when(1001, 3) - lab.when(1001, 2) <= 15); // a round trip later
    }
}

TEST_CASE("RACK: an echoed timestamp tells that it was the first sending that arrived") {
    // A segment is late, goes again, and arrives. Taken for the arrival of the retransmission, what went out
    // between the two would be lost as well. [RFC 8985 6.2, step 2]
    far_end lab(with_sack(true));
    lab.fate = [](const sending& s) {
        if (s.begin == 1) return s.copy == 1 ? held_back(11ms) : held_back(50ms);
        if (s.begin == 1001) return s.copy == 1 ? lost() : held_back(50ms); // still missing then
        return s.begin == 5001 ? held_back(8ms) : arrives();
    };
    lab.write_segments(5);
    lab.run(5ms);
    lab.write_segments(1);
    lab.run(17ms); // the late one has been acknowledged, the one in between not yet
    CHECK(lab.info().recoveries_undone == 1);
    CHECK(lab.info().lost == 0);
    lab.run(100ms);
    CHECK(lab.flushed());
    CHECK(lab.when(5001) == 5);
    CHECK(lab.when(1, 2) == 10);
    CHECK(lab.again() == numbers{1, 1001});
    CHECK(lab.info().recoveries_undone == 1);
}

// --- limited transmit --------------------------------------------------------------------------------------

TEST_CASE("limited transmit: each of the first two segments beyond a hole lets a new one out") { // [RFC 3042]
    for (const bool sack : {true, false}) {
        CAPTURE(sack);
        far_end lab(sack ? with_sack() : without_sack());
        lab.fate = [](const sending& s) {
            return s.begin == 1 || (s.begin > 2001 && s.begin < 10'001) ? lost() : arrives();
        };
        lab.write_segments(30);
        lab.run(11ms);
        CHECK(lab.bytes_sent() == 12'000);
        CHECK(lab.when(10'001) == 10);
        CHECK(lab.when(11'001) == 10);
        CHECK(lab.again().empty());
        CHECK(lab.info().cwnd == 10'000);
    }
}

// --- tail loss probe ---------------------------------------------------------------------------------------

TEST_CASE("a lost tail costs two round trips until it is asked for, not a timeout") { // [RFC 8985 7.2, 7.3]
    far_end lab;
    SUBCASE("of one segment") {
        lab.fate = losing({9001});
    }
    SUBCASE("of three") {
        lab.fate = losing({7001, 8001, 9001});
    }
    SUBCASE("of all") {
        lab.fate = losing({1, 1001, 2001, 3001, 4001, 5001, 6001, 7001, 8001, 9001});
    }
    lab.write_segments(10);
    lab.run_until_flushed();
    CHECK(lab.counted().tail_probes == 1);
    CHECK(lab.counted().rto_fired == 0);
    CHECK(lab.clock() <= 80);
}

TEST_CASE("new data is the better probe") { // [RFC 8985 7.3]
    far_end lab;
    lab.fate = [](const sending& s) { return s.copy == 1 && s.begin < 10'001 ? lost() : arrives(); };
    lab.write_segments(12); // cwnd takes ten
    lab.run(25ms);
    CHECK(lab.when(10'001) == 20);
    CHECK(lab.again().empty());
    lab.run_until_flushed();
    CHECK(lab.counted().rto_fired == 0);
}

TEST_CASE("a probe that repaired a loss reduces the window, once") { // [RFC 8985 7.4.2]
    far_end lab;
    lab.fate = losing({9001});
    lab.write_segments(10);
    lab.run(200ms);
    const std::uint32_t grown = lab.info().cwnd;
    CHECK(lab.counted().tail_probes == 1);
    lab.write_segments(2);
    lab.run(15ms);
    CHECK(lab.counted().tail_losses == 1);
    CHECK(lab.info().ssthresh < grown);
    const std::uint32_t reduced = lab.info().ssthresh;
    lab.run(200ms);
    CHECK(lab.flushed());
    CHECK(lab.info().ssthresh == reduced);
    CHECK(lab.counted().rto_fired == 0);
}

TEST_CASE("a probe for nothing changes nothing: the peer reports that it came twice") { // [RFC 8985 7.4.2]
    far_end lab;
    lab.ack_lost = [](long at) { return at < 10; }; // all were received, and all ACKs are lost
    lab.write_segments(10);
    lab.run(100ms);
    CHECK(lab.counted().tail_probes == 1);
    CHECK(lab.counted().sack_duplicates == 1);
    const std::uint32_t grown = lab.info().cwnd;
    CHECK(grown > 10'000);
    lab.write_segments(2);
    lab.run(50ms);
    CHECK(lab.flushed());
    CHECK(lab.counted().tail_losses == 0);
    CHECK(lab.info().cwnd >= grown);
    CHECK(lab.info().ssthresh > grown);
}

TEST_CASE("the probe for a lone segment waits for the ACK that a peer may delay") { // [RFC 8985 7.2]
    tcp::config c = with_sack();
    c.min_rto = 1s;
    far_end lab(c);
    lab.fate = losing({1});
    lab.write("hello");
    lab.run(100ms);
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "and you?"}); // tells nothing of it
    lab.run(150ms);
    CHECK(lab.when(1, 2) == 220); // twice the round trip, and 200 ms
}

TEST_CASE("no probe in recovery, nor while something is known to be missing") { // [RFC 8985 7.2]
    far_end lab;
    lab.fate = [](const sending& s) {
        return s.copy > 1 || s.begin == 1 || s.begin > 5000 ? lost() : arrives();
    };
    lab.write_segments(10);
    lab.run(150ms);
    CHECK(lab.info().in_recovery);
    CHECK(lab.counted().tail_probes == 0);
    CHECK(lab.again() == numbers{1});
}

TEST_CASE("a probe that waits for the link is none any more when the ACK has come meanwhile") {
    far_end lab;
    lab.write_segments(3);
    lab.out();
    lab.accepts_output = false;
    lab.wait(25ms); // the probe is due
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .options = lab.holding({{2001, 3001}})});
    lab.accepts_output = true;
    for (const seg& s : lab.out()) CHECK(s.seq != 2001); // which the peer holds
}

// --- proportional rate reduction ---------------------------------------------------------------------------

TEST_CASE("PRR: in recovery no more goes out than its share of what arrived, and cwnd ends at ssthresh") {
    far_end lab; // [RFC 9937 6]
    lab.write_segments(120);
    lab.run(21ms); // forty are under way
    const std::uint32_t hole = 1 + lab.bytes_sent();
    REQUIRE(lab.info().in_flight >= 20'000);
    SUBCASE("one of many lost") {
        lab.fate = losing({hole});
    }
    SUBCASE("most lost") {
        lab.fate = [=](const sending& s) {
            return s.copy == 1 && s.begin >= hole && s.begin < hole + 30'000 ? lost() : arrives();
        };
    }
    // Delivered since recovery began is what is no longer outstanding, or held beyond a hole.
    bool began = false;
    std::uint32_t sent_before = 0;
    std::uint32_t delivered_before = 0;
    std::uint32_t ssthresh = 0;
    std::uint32_t flight = 0;
    const auto delivered = [&] { return lab.info().snd_una - lab.isn() + lab.info().sacked; };
    std::uint32_t known = delivered();
    std::uint32_t out = lab.bytes_sent();
    lab.run(200ms, [&] {
        const tcp::info i = lab.info();
        if (i.in_recovery && !began) {
            began = true;
            sent_before = out;
            delivered_before = known;
            ssthresh = i.ssthresh;
            flight = out - (known - 1);
        }
        if (i.in_recovery) {
            const std::uint64_t told = delivered() - delivered_before;
            const std::uint64_t went = lab.bytes_sent() - sent_before;
            // Its share; or, when less than ssthresh is in flight, what arrived and a segment for each ACK.
            const std::uint64_t share = (told * ssthresh + flight - 1) / flight + 1000;
            const bool below = i.in_flight <= ssthresh;
            CHECK(went <= (below ? 2 * told + 1000 : share));
            if (below) CHECK(i.in_flight <= ssthresh);
        }
        if (began && !i.in_recovery && ssthresh != 0) {
            CHECK(i.cwnd == ssthresh);
            ssthresh = 0;
        }
        known = delivered();
        out = lab.bytes_sent();
    });
    CHECK(began);
    CHECK(ssthresh == 0); // it has ended
    CHECK(lab.flushed());
    CHECK(lab.counted().rto_fired == 0);
}

// --- undo --------------------------------------------------------------------------------------------------

TEST_CASE("a fast retransmit that reordering has caused is undone") {
    far_end lab(with_sack());
    SUBCASE("the peer echoes the timestamp of the first sending") { // [RFC 3522] [RFC 4015]
        far_end stamped(with_sack(true));
        stamped.fate = [](const sending& s) {
            return s.begin == 1 && s.copy == 1 ? held_back(3ms) : arrives();
        };
        stamped.write_segments(10);
        stamped.run(12ms);
        CHECK(stamped.info().in_recovery);
        CHECK(stamped.again() == numbers{1});
        stamped.run(2ms); // before the ACK of the second sending
        CHECK(stamped.info().recoveries_undone == 1);
        CHECK_FALSE(stamped.info().in_recovery);
        CHECK(stamped.info().cwnd >= 10'000);
        CHECK(stamped.info().ssthresh == 1u << 30);
        stamped.run(100ms);
        CHECK(stamped.info().recoveries_undone == 1);
    }
    SUBCASE("the peer reports that it came twice") { // [RFC 2883 4] [RFC 3708 3]
        lab.fate = [](const sending& s) { return s.begin == 1 && s.copy == 1 ? held_back(3ms) : arrives(); };
        lab.write_segments(10);
        lab.run(14ms);
        CHECK(lab.info().ssthresh == 5000);
        CHECK(lab.info().recoveries_undone == 0);
        lab.run(10ms);
        CHECK(lab.info().recoveries_undone == 1);
        CHECK(lab.info().cwnd >= 10'000);
        CHECK(lab.info().ssthresh == 1u << 30);
    }
}

TEST_CASE("a timeout that a delay has caused is undone, and what was late does not go again") {
    tcp::config c;
    SUBCASE("by timestamps, with SACK") {
        c = with_sack(true);
    } // [RFC 3522] [RFC 4015]
    SUBCASE("by timestamps, without SACK") {
        c = without_sack(true);
    }
    SUBCASE("by what is acknowledged then, with SACK") {
        c = with_sack();
    } // [RFC 5682 3.1]
    SUBCASE("by what is acknowledged then, without SACK") {
        c = without_sack();
    } // [RFC 5682 2.1]
    c.tail_loss_probe = false;
    far_end lab(c);
    // For 300 ms the path holds everything back.
    lab.fate = [](const sending& s) { return held_back(std::max(300ms - s.at * 1ms, 0ms)); };
    lab.write_segments(40);
    lab.run(300ms);
    CHECK(lab.info().in_loss);
    CHECK(lab.info().cwnd == 1000);
    CHECK(lab.again() == numbers{1});
    lab.run(20ms);
    CHECK(lab.info().recoveries_undone == 1);
    CHECK_FALSE(lab.info().in_loss);
    CHECK(lab.info().cwnd >= 10'000);
    CHECK(lab.info().ssthresh == 1u << 30);
    lab.run_until_flushed();
    CHECK(lab.flushed());
    CHECK(lab.again() == numbers{1});
    CHECK(lab.info().rto_fired == 1);
    CHECK(lab.info().recoveries_undone == 1);
}

TEST_CASE("a loss is not undone") { // [RFC 3522 3.2] [RFC 5682 2.1]
    struct loss {
        fate_of (*fate)(const sending&);
        bool silent; ///< only a timeout finds it
    };
    const loss of_two = {[](const sending& s) {
                             return s.copy == 1 && (s.begin == 1 || s.begin == 3001) ? lost() : arrives();
                         },
                         false};
    const loss of_nine = {[](const sending& s) { return s.at < 100 && s.begin < 9001 ? lost() : arrives(); },
                          true};
    const loss of_all = {[](const sending& s) { return s.at < 100 ? lost() : arrives(); }, true};
    for (tcp::config c : {with_sack(true), without_sack(true), with_sack(), without_sack()})
        for (const loss& l : {of_two, of_nine, of_all}) {
            CAPTURE(c.use_sack);
            CAPTURE(c.use_timestamps);
            CAPTURE(l.silent);
            c.tail_loss_probe = false;
            far_end lab(c);
            lab.fate = l.fate;
            lab.write_segments(20);
            lab.run_until_flushed();
            CHECK(lab.flushed());
            CHECK((lab.info().rto_fired != 0) == l.silent);
            CHECK(lab.info().recoveries_undone == 0);
            CHECK(lab.info().ssthresh < 10'000);
        }
}

TEST_CASE("of two that went again one was late and one was lost: not undone") { // [RFC 3708 3]
    far_end lab;
    lab.fate = [](const sending& s) {
        if (s.copy > 1) return arrives();
        return s.begin == 1 ? lost() : s.begin == 2001 ? held_back(3ms) : arrives();
    };
    lab.write_segments(10);
    lab.run_until_flushed();
    lab.run(50ms);
    CHECK(lab.again() == numbers{1, 2001});
    CHECK(lab.counted().sack_duplicates == 1);
    CHECK(lab.info().recoveries_undone == 0);
    CHECK(lab.info().ssthresh == 5000);
}

TEST_CASE(
    "without SACK: partial ACKs fill hole after hole, each a round trip after the other") { // [RFC 6582]
    far_end lab(without_sack());
    lab.fate = losing({1001, 3001, 5001});
    lab.write_segments(10);
    CHECK(lab.run_until_flushed() == 40ms);
    CHECK(lab.again() == numbers{1001, 3001, 5001});
    CHECK(lab.info().fast_retransmits == 1);
    CHECK(lab.counted().rto_fired == 0);
}

TEST_CASE("what was lost when it went again is not forgotten by an undo: it waits for no timeout") {
    // Three segments seem lost; one of them is only late, and when it proves so two have been lost twice, are
    // known to be, and the link has not yet let them out.
    far_end lab(with_sack(true));
    lab.fate = [](const sending& s) {
        if (s.begin == 1) return s.copy == 1 ? held_back(11ms) : held_back(50ms);
        return (s.begin == 3001 || s.begin == 5001) && s.copy <= 2 ? lost() : arrives();
    };
    lab.write_segments(11);
    lab.run(25ms, [&] { lab.accepts_output = lab.clock() < 19 || lab.clock() > 21; });
    lab.run_until_flushed();
    CHECK(lab.info().recoveries_undone == 1);
    CHECK(lab.info().rto_fired == 0);
    CHECK(lab.clock() <= 35);
}

} // namespace
} // namespace tapir::test
