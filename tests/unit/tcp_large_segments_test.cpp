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

} // namespace
} // namespace tapir::test
