// Peers that are odd, or hostile, at the sender of data: what they say is worth no more memory, and opens no
// larger window, than what honest ones say. And windows that shut over data that was lost.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/tcp_far_end.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;

/// Ten segments are under way, and the test says what comes back.
struct scripted : far_end {
    explicit scripted(const tcp::config& c = with_sack(), std::size_t segments = 10) : far_end(c) {
        write_segments(segments);
        first = out();
    }
    void ack(std::uint32_t n, const blocks& told = {}, std::uint16_t offered = 65535) {
        in({.flags = ACK, .seq = 1, .ack = n, .window = offered, .options = holding(told)});
    }
    numbers starts() {
        numbers s;
        for (const seg& one : out())
            if (!one.text.empty()) s.push_back(one.seq);
        return s;
    }
    segs first;
};

TEST_CASE("a peer that drops what it held gets everything again, after a timeout") { // [RFC 2018 8]
    scripted lab;
    lab.wait(10ms);
    lab.ack(1, {{2001, 10'001}});
    CHECK(lab.starts() == numbers{1, 1001});
    lab.wait(10ms);
    lab.ack(2001); // it held what follows, or said so
    CHECK(lab.info().sacked == 8000);
    lab.starts();
    lab.wait(200ms);
    CHECK(lab.counted().sack_reneged == 1);
    CHECK(lab.info().sacked == 0);
    numbers all = lab.starts();
    for (std::uint32_t at = 3001; at <= 10'001; at += 1000) {
        lab.wait(10ms);
        lab.ack(at);
        for (const std::uint32_t s : lab.starts()) all.push_back(s);
    }
    CHECK(all == numbers{2001, 3001, 4001, 5001, 6001, 7001, 8001, 9001});
    CHECK(lab.flushed());
}

TEST_CASE("a timeout sends nothing again that the peer holds") { // [RFC 2018 5] [RFC 6675 5.1]
    scripted lab;
    lab.wait(10ms);
    lab.ack(1, {{5001, 10'001}});
    CHECK(lab.starts() == numbers{1, 1001, 2001, 3001, 4001});
    lab.wait(5s); // all of these are lost
    CHECK(lab.info().rto_fired != 0);
    CHECK(lab.info().sacked == 5000);
    for (const std::uint32_t s : lab.starts()) CHECK(s < 5001);
    for (std::uint32_t at = 1001; at <= 4001; at += 1000) {
        lab.ack(at, {{5001, 10'001}});
        for (const std::uint32_t s : lab.starts()) CHECK(s < 5001);
        lab.wait(10ms);
    }
    lab.ack(10'001);
    CHECK(lab.flushed());
    CHECK(lab.counted().sack_reneged == 0);
}

TEST_CASE("a peer that drops all that is under way, its window full, gets it again: more was queued") {
    scripted lab; // probes for the window would ask in vain: it is open, but for what was dropped
    lab.write_segments(1);
    lab.wait(10ms);
    lab.ack(1, {{2001, 10'001}}, 10'000);
    CHECK(lab.starts() == numbers{1, 1001});
    lab.wait(10ms);
    lab.ack(2001, {}, 8000);
    CHECK(lab.starts().empty());
    lab.wait(300ms);
    CHECK(lab.counted().sack_reneged == 1);
    CHECK(lab.counted().window_probes == 0);
    numbers all = lab.starts();
    for (std::uint32_t at = 3001; at <= 11'001; at += 1000) {
        lab.wait(10ms);
        lab.ack(at, {}, 8000);
        for (const std::uint32_t s : lab.starts()) all.push_back(s);
    }
    CHECK(all == numbers{2001, 3001, 4001, 5001, 6001, 7001, 8001, 9001, 10'001});
    CHECK(lab.flushed());
}

TEST_CASE("hostile: SACK of what was never sent tells nothing") { // [RFC 2018 8]
    scripted lab;
    const tcp::info before = lab.info();
    for (std::uint32_t i = 0; i < 1000; ++i)
        lab.ack(1, {{10'001 + i, 20'001 + i}, {5001, 10'002}, {9001, 9001}, {2001, 1001}});
    CHECK(lab.counted().sack_invalid == 4000);
    CHECK(lab.info().cwnd == before.cwnd);
    CHECK(lab.info().sacked == 0);
    CHECK(lab.info().in_flight == before.in_flight);
    CHECK(lab.info().fast_retransmits == 0);
    CHECK(lab.starts().empty());
}

TEST_CASE("hostile: reports of what went only once undo nothing and open nothing") { // [RFC 3708 3, 4]
    scripted lab(with_sack(), 30);
    lab.wait(10ms);
    lab.ack(10'001);
    lab.out();
    const tcp::info before = lab.info();
    for (int i = 0; i < 1000; ++i) lab.ack(10'001, {{1, 1001}});
    CHECK(lab.counted().sack_duplicates == 1000);
    CHECK(lab.info().cwnd == before.cwnd);
    CHECK(lab.info().ssthresh == before.ssthresh);
    CHECK(lab.info().recoveries_undone == 0);
    CHECK(lab.starts().empty());
    // And a loss after that is one.
    lab.wait(10ms);
    lab.ack(10'001, {{12'001, 16'001}});
    CHECK(lab.info().in_recovery);
    for (int i = 0; i < 1000; ++i) lab.ack(10'001, {{1, 1001}, {12'001, 16'001}});
    CHECK(lab.info().in_recovery);
    CHECK(lab.info().recoveries_undone == 0);
}

TEST_CASE("hostile: SACK of every second byte costs no more than max_sack_ranges") {
    tcp::config c = with_sack();
    c.max_sack_ranges = 100;
    scripted lab(c, 60);
    lab.wait(10ms);
    lab.ack(5'001); // one ACK is taken for eight segments at most [RFC 9406 4.2]
    lab.ack(10'001);
    REQUIRE(lab.starts().size() == 20);
    for (std::uint32_t at = 12'002; at + 8 < 30'000; at += 8)
        lab.ack(10'001, {{at, at + 1}, {at + 2, at + 3}, {at + 4, at + 5}, {at + 6, at + 7}});
    CHECK(lab.info().sacked == 100);
    CHECK(lab.counted().sack_ignored == lab.counted().sack_blocks_in - 100);
    CHECK(lab.counted().sack_ignored > 8000);
    lab.ack(30'001);
    CHECK(lab.info().sacked == 0);
    CHECK(lab.info().lost == 0);
}

TEST_CASE("hostile: a flood of duplicate ACKs opens no window, and lets out no more than it names") {
    // [RFC 5681 3.2] [RFC 9937 6]: each stands for one segment, and no more of them than are under way
    for (const bool sack : {false, true}) {
        CAPTURE(sack);
        scripted lab(sack ? with_sack() : tcp_lab::plain(), 60);
        lab.wait(10ms);
        std::size_t went = 0;
        std::uint32_t most = 0;
        for (int i = 0; i < 2000; ++i) {
            lab.ack(1);
            went += lab.starts().size();
            most = std::max(most, lab.info().cwnd);
        }
        CHECK(went <= (sack ? 0 : 57));
        CHECK(most <= 10'000);
        CHECK(lab.info().in_flight <= 10'000);
    }
}

TEST_CASE(
    "hostile: ACKs of single bytes open the window by bytes, and send nothing small") { // [RFC 3465 2.1]
    scripted lab(with_sack(), 60);
    lab.wait(10ms);
    for (std::uint32_t n = 2; n <= 2001; ++n) lab.ack(n);
    CHECK(lab.info().cwnd <= 12'000);
    for (const seg& s : lab.out()) CHECK(s.text.size() == 1000);
}

TEST_CASE("hostile: an ACK of what was never sent opens nothing") { // [RFC 5961 5]
    scripted lab(with_sack(), 60);
    lab.wait(10ms);
    for (std::uint32_t n = 0; n < 50; ++n) lab.ack(10'002 + n);
    CHECK(lab.info().cwnd == 10'000);
    CHECK(lab.info().in_flight == 10'000);
    CHECK(lab.counted().bad_ack == 50);
    // Acknowledged before it can have arrived: no more than cwnd doubled for each window.
    lab.ack(10'001);
    CHECK(lab.info().cwnd <= 20'000);
}

// --- windows -----------------------------------------------------------------------------------------------

TEST_CASE("a probe of a shut window is no loss, in recovery either") { // [RFC 9293 3.8.6.1]
    scripted lab(with_sack(), 30);
    lab.wait(10ms);
    lab.ack(1, {{1001, 5001}});
    CHECK(lab.info().in_recovery);
    CHECK(lab.info().fast_retransmits == 1);
    lab.starts();
    const std::uint32_t ssthresh = lab.info().ssthresh;
    lab.wait(10ms);
    lab.ack(10'001, {}, 0); // leaves recovery only if nothing newer was sent in it
    const std::uint32_t at = 10'001;
    const std::uint32_t sent_to = lab.info().snd_nxt - lab.isn();
    if (sent_to > at) lab.ack(sent_to, {}, 0);
    lab.out();
    std::size_t probes = 0;
    for (int i = 0; i < 5; ++i) {
        lab.wait(1s);
        for (const seg& s : lab.out()) {
            probes += s.text.size() == 1;
            lab.ack(sent_to, {}, 0);
        }
    }
    CHECK(probes >= 2);
    CHECK(lab.info().ssthresh == ssthresh);
    CHECK(lab.info().rto_fired == 0);
    CHECK(lab.info().fast_retransmits == 1);
    lab.ack(sent_to);
    for (std::uint32_t n = sent_to; !lab.flushed() && n < 40'000;) {
        for (const seg& s : lab.out()) n = std::max(n, s.seq + static_cast<std::uint32_t>(s.text.size()));
        lab.wait(10ms);
        lab.ack(n);
    }
    CHECK(lab.flushed());
    CHECK(lab.info().rto_fired == 0);
}

TEST_CASE("a window that shuts over lost data is probed with it, and recovery goes on when it opens") {
    scripted lab(with_sack(), 10); // [RFC 9293 3.8.6 MUST-34]
    lab.wait(10ms);
    lab.ack(1, {{1001, 10'001}}, 0);
    CHECK(lab.starts().empty()); // nothing fits
    CHECK(lab.info().lost == 1000);
    const std::uint32_t ssthresh = lab.info().ssthresh;
    lab.wait(3s);
    segs probes = lab.out();
    REQUIRE_FALSE(probes.empty());
    for (const seg& s : probes) {
        CHECK(s.seq == 1);
        CHECK(s.text.size() == 1);
    }
    lab.ack(1, {{1001, 10'001}}, 400); // shrunk: takes less than was sent
    lab.wait(10ms);
    std::size_t largest = 0;
    for (const seg& s : lab.out()) {
        CHECK(s.seq + s.text.size() <= 401);
        largest = std::max(largest, s.text.size());
    }
    CHECK(largest == 400);
    lab.ack(401, {{1001, 10'001}}, 65535);
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 401, .ack = 1, .text = std::string(600, 'd')}});
    lab.ack(10'001);
    CHECK(lab.flushed());
    CHECK(lab.info().ssthresh == ssthresh);
    CHECK(lab.info().rto_fired == 0);
}

} // namespace
} // namespace tapir::test
