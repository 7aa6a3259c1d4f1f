// A link that takes 64 KiB at a time: what goes out is timed, repaired and paced as if it were packets, and
// what comes in counts as the packets that it was. [RFC 5681 4.2] [RFC 9293 3.7.4, 3.8.6.3]
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/tcp_lab.hpp"
#include "tests/support/tcp_small_budget.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;

constexpr std::size_t large = 65'536 - 144;

tcp::connection_options paced() {
    tcp::connection_options o = tcp_lab::plain().connections;
    o.paced = true;
    return o;
}

// --- going out ---------------------------------------------------------------------------------------------

TEST_CASE("large segments: a FIN that goes again stays behind the text, though pacing lets out a part") {
    tcp_lab lab;
    lab.most = large;
    lab.establish(paced());
    lab.write(bulk(1000));
    lab.out();
    lab.wait(10ms);
    lab.in({.flags = ACK, .seq = 1, .ack = 1001}); // from now on it is paced
    lab.write(bulk(16 * 536));                     // whole segments of the smaller size that follows
    lab.e->finish(lab.now);
    CHECK(lab.out() == segs{{.flags = ACK | FIN, .seq = 1001, .ack = 1, .text = bulk(16 * 536)}});
    REQUIRE(lab.icmp(tcp::icmp_kind::packet_too_big, 1001, 576));
    segs again = lab.out();
    CHECK(again.size() == 1); // not all at once
    lab.wait(50ms);
    for (seg& s : lab.out()) again.push_back(std::move(s));
    std::uint32_t next = 1001;
    for (const seg& s : again) {
        CAPTURE(to_string(s));
        CHECK(s.seq == next);
        next += static_cast<std::uint32_t>(s.text.size());
        CHECK(has(s.flags, FIN) == (next == 1001 + 16 * 536));
    }
    CHECK(next == 1001 + 16 * 536);
}

TEST_CASE("large segments: each ACK for a part of one is a sample of the round trip") { // [RFC 6298 2]
    tcp_lab lab;
    lab.most = large;
    lab.establish();
    lab.write(bulk(10'000));
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 1, .text = bulk(10'000)}});
    lab.wait(18ms);
    lab.in({.flags = ACK, .seq = 1, .ack = 4001});
    CHECK(lab.e->info().srtt == 11ms); // 7/8 of 10, 1/8 of 18
    lab.wait(1ms);
    lab.in({.flags = ACK, .seq = 1, .ack = 10'001});
    CHECK(lab.e->info().srtt == 12ms); // 7/8 of 11, 1/8 of 19
}

TEST_CASE("large segments: what SACK says is missing goes again, and no more") { // [RFC 8985 6.2]
    tcp_lab lab(with_sack());
    lab.most = large;
    lab.establish(tcp_lab::plain().connections, 65535, permitting_sack());
    lab.write(bulk(10'000));
    CHECK(lab.out().size() == 1);
    lab.wait(10ms);
    lab.in({.flags = ACK, .seq = 1, .ack = 2001, .options = lab.holding({{3001, 6001}, {7001, 10'001}})});
    segs again = lab.out();
    lab.wait(5ms);
    for (seg& s : lab.out()) again.push_back(std::move(s));
    CHECK(again == segs{{.flags = ACK, .seq = 2001, .ack = 1, .text = bulk(1000)},
                        {.flags = ACK, .seq = 6001, .ack = 1, .text = bulk(1000)}});
    lab.in({.flags = ACK, .seq = 1, .ack = 10'001});
    CHECK(lab.e->flushed());
    CHECK(lab.counted().retransmits == 2);
}

/// Bytes sent after each millisecond, to a peer that acknowledges all that has come, 10 ms later.
std::vector<std::uint32_t> sent_by_time(std::size_t most) {
    tcp_lab lab;
    lab.most = most;
    tcp::connection_options o = paced();
    o.send_buffer = 1'000'000;
    lab.establish(o);
    lab.write(bulk(400'000));
    std::vector<std::uint32_t> sent;
    std::deque<std::uint32_t> under_way(10, 1u);
    std::uint32_t end = 1;
    std::uint32_t acked = 1;
    for (int ms = 0; ms < 60; ++ms) {
        for (const seg& s : lab.out()) {
            CHECK(s.text.size() <= most);
            end = std::max(end, s.seq + static_cast<std::uint32_t>(s.text.size()));
        }
        sent.push_back(end);
        under_way.push_back(end);
        const std::uint32_t ack = under_way.front();
        under_way.pop_front();
        lab.wait(1ms);
        if (ack != acked) lab.in({.flags = ACK, .seq = 1, .ack = ack});
        acked = ack;
    }
    return sent;
}

TEST_CASE("large segments: what is paced leaves when packets would") { // [RFC 9002 7.7]
    CHECK(sent_by_time(large) == sent_by_time(1000));
}

// --- coming in ---------------------------------------------------------------------------------------------

TEST_CASE("large segments: a full one is as large as its packets, and draws its ACK when it comes alone") {
    tcp_lab lab; // [RFC 9293 3.8.6.3 SHLD-19]: with timestamps a full packet has 1448 bytes
    lab.establish();
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = bulk(4344), .piece = 1448});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 4345}});
    lab.in({.flags = ACK, .seq = 4345, .ack = 1, .text = bulk(1448)});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 5793}});
    lab.in({.flags = ACK, .seq = 5793, .ack = 1, .text = bulk(1447)}); // waits for company
    CHECK(lab.out() == segs{});
    lab.in({.flags = ACK, .seq = 7240, .ack = 1, .text = bulk(1449)});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 8689}});
}

TEST_CASE("large segments: one ACK for each, and for no more than max_stretch_bytes") {
    tcp::config c = tcp_lab::plain();
    c.max_stretch_bytes = 10'000;
    tcp_lab lab(c);
    lab.establish();
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = bulk(10'000), .piece = 1000});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 10'001}});
    lab.in({.flags = ACK, .seq = 10'001, .ack = 1, .text = bulk(25'000), .piece = 1000});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 20'001},
                            {.flags = ACK, .seq = 1, .ack = 30'001},
                            {.flags = ACK, .seq = 1, .ack = 35'001}});
    lab.wait(100ms);
    CHECK(lab.out() == segs{});
}

TEST_CASE("large segments: beyond a hole, a sender without SACK gets a duplicate ACK for each packet") {
    tcp_lab lab; // [RFC 5681 3.2, 4.2]
    lab.establish();
    lab.in({.flags = ACK, .seq = 1001, .ack = 1, .text = bulk(2500), .piece = 1000});
    CHECK(lab.out() == segs(3, {.flags = ACK, .seq = 1, .ack = 1}));
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = bulk(1000)});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 3501}});
}

TEST_CASE("large segments: beyond a hole, SACK says it all at once") { // [RFC 2018 4]
    tcp_lab lab(with_sack());
    lab.establish(tcp_lab::plain().connections, 65535, permitting_sack());
    lab.in({.flags = ACK, .seq = 1001, .ack = 1, .text = bulk(2500), .piece = 1000});
    const segs answer = lab.out();
    REQUIRE(answer.size() == 1);
    REQUIRE(answer[0].options->sack_count == 1);
    CHECK(answer[0].options->sack[0].end - answer[0].options->sack[0].begin == 2500);
}

TEST_CASE("large segments: what stands behind the window is not taken, what stands before it came twice") {
    tcp_lab lab(with_sack()); // [RFC 9293 3.10.7.4, first] [RFC 2883 4]
    tcp::connection_options o = tcp_lab::plain().connections;
    o.receive_buffer = 8000;
    lab.establish(o, 65535, permitting_sack());
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = bulk(3000), .piece = 1000});
    CHECK(lab.out().size() == 1);
    lab.in({.flags = ACK, .seq = 1001, .ack = 1, .text = bulk(4000), .piece = 1000});
    const segs answer = lab.out();
    REQUIRE(answer.size() == 1);
    CHECK(answer[0].ack == 5001);
    REQUIRE(answer[0].options->sack_count == 1);
    CHECK(answer[0].options->sack[0].begin == tcp::seq(tcp_lab::peer_isn) + 1001);
    CHECK(answer[0].options->sack[0].end == tcp::seq(tcp_lab::peer_isn) + 3001);
    lab.in({.flags = ACK, .seq = 5001, .ack = 1, .text = bulk(10'000), .piece = 1000});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 8001, .window = std::uint16_t{0}}});
    CHECK(lab.e->readable() == 8000);
}

TEST_CASE("max_stretch_part of 0 is that of 1: the whole buffer") {
    tcp::config c = tcp_lab::plain();
    c.max_stretch_bytes = 1000;
    c.max_stretch_part = 0;
    tcp_lab lab(c);
    lab.establish();
    for (std::uint32_t i = 0; i < 3; ++i)
        lab.in({.flags = ACK, .seq = 1 + 1000 * i, .ack = 1, .text = bulk(1000)});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 3001}});
}

} // namespace
} // namespace tapir::test
