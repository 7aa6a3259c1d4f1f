// What happens only to connections that live long: sequence numbers come round to where they began, and
// clocks pass each other.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>

#include "tests/support/tcp_lab.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

/// Sends gigabytes: large segments, each acknowledged at once, none of them kept.
class bulk_lab : public tcp_lab {
  public:
    explicit bulk_lab(const tcp::config& c = plain(), duration waits = 0ms) : tcp_lab(c), round_trip(waits) {
        mtu = 65535;
        most = block_size;
        tcp::options syn;
        syn.mss = std::uint16_t{65495};
        syn.sack_permitted = c.use_sack;
        tcp::connection_options o;
        o.no_delay = true;
        establish(o, 65535, syn);
    }
    void transfer(std::uint64_t n) {
        const chunk block(pool.allocate(block_size), 0, block_size);
        bulk_ = true;
        while (n != 0) {
            const auto size = std::min<std::uint64_t>(n, block_size);
            e->write(block.slice(0, size));
            stack.flush(now, *this);
            next += static_cast<std::uint32_t>(size);
            now += round_trip;
            in({.flags = ACK, .seq = 1, .ack = next});
            n -= size;
        }
        bulk_ = false;
    }
    void emit(const tcp::path& to, const tcp::outgoing_segment& s) override {
        if (!bulk_) tcp_lab::emit(to, s);
    }
    duration round_trip;
    std::uint32_t next = 1; ///< to be sent, as counted from our SYN

  private:
    static constexpr std::size_t block_size = 60000;
    bool bulk_ = false;
};

} // namespace

TEST_CASE("four gigabytes on, a connection whose numbers are back at the ISN sends data, not its SYN") {
    // [RFC 9293 3.4]
    bulk_lab lab;
    lab.transfer((std::uint64_t{1} << 32) - 1);
    CHECK(lab.next == 0);
    CHECK(lab.out().empty());
    lab.write("hello");
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 0, .ack = 1, .text = "hello"}});
    lab.in({.flags = ACK, .seq = 1, .ack = 5});
    CHECK(lab.e->info().send_queue == 0);
}

TEST_CASE("two gigabytes after the last loss, three duplicates still mean a loss") {
    // [RFC 6582 3.2]
    bulk_lab lab;
    lab.transfer((std::uint64_t{1} << 31) + 100'000);
    for (int i = 0; i < 5; ++i) {
        lab.write("x");
        lab.out();
    }
    for (int i = 0; i < 3; ++i) lab.in({.flags = ACK, .seq = 1, .ack = lab.next});
    CHECK(lab.counted().fast_retransmits == 1);
}

TEST_CASE("two gigabytes after the first loss, a report of what came twice still makes RACK more patient") {
    // [RFC 8985 6.2, step 4]
    bulk_lab lab(with_sack(), 10ms);
    const auto two_segments = [&] {
        for (int i = 0; i < 2; ++i) {
            lab.write("x");
            lab.out();
        }
        lab.next += 2;
        lab.wait(10ms);
    };
    const auto ack = [&](std::uint32_t n, std::uint32_t begin, std::uint32_t end) {
        lab.in({.flags = ACK, .seq = 1, .ack = n, .options = lab.holding({{begin, end}})});
    };
    two_segments();
    ack(lab.next - 2, lab.next - 1, lab.next);
    lab.in({.flags = ACK, .seq = 1, .ack = lab.next});
    lab.transfer((std::uint64_t{1} << 31) + 100'000);
    ack(lab.next, lab.next - 1000, lab.next);
    two_segments();
    ack(lab.next - 2, lab.next - 1, lab.next);
    lab.wait(4ms); // a quarter of the round trip has passed
    CHECK(lab.out().empty());
    lab.wait(2ms); // and another
    CHECK(lab.out().size() == 1);
}

TEST_CASE("after 24 days of silence the peer's timestamp is taken as it comes, and echoed") {
    // [RFC 7323 5.5]
    tcp::config c = tcp_lab::plain();
    c.use_timestamps = true;
    tcp_lab lab(c);
    tcp::options o = tcp_lab::default_options();
    o.ts = tcp::timestamps{0x80000000, 0};
    lab.establish(tcp_lab::plain().connections, 65535, o);
    lab.wait(std::chrono::hours(24 * 25));
    tcp::options later;
    later.ts = tcp::timestamps{0x80000000 - 1000, lab.timestamp_of_last_segment()};
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = std::string(1000, 'x'), .options = later});
    const segs answer = lab.out();
    REQUIRE(answer.size() == 1);
    CHECK(answer[0].ack == 1001);
    CHECK(answer[0].options->ts->echo == 0x80000000 - 1000);

    later.ts->value -= 1; // from now on older is old again
    lab.in({.flags = ACK, .seq = 1001, .ack = 1, .text = "y", .options = later});
    CHECK(lab.counted().paws_rejected == 1);
}

TEST_CASE("a wrapped old segment is stopped by PAWS") { // [RFC 7323 5.1, 5.3]
    // The peer sends four gigabytes; a segment of the first kilobyte that was held up somewhere comes back
    // when its numbers are those of the next kilobyte. Only its timestamp tells the two apart.
    tcp_lab lab((tcp::config()));
    tcp::options syn = tcp_lab::default_options();
    std::uint32_t clock = 1000; // of the peer, a millisecond for each segment: 71 s for 4 GiB
    syn.ts = tcp::timestamps{clock, 0};
    lab.establish(tcp_lab::plain().connections, 65535, syn);
    const std::uint32_t ours = lab.timestamp_of_last_segment();

    constexpr std::uint32_t most = 60'000;
    const chunk block(lab.pool.allocate(most), 0, most);
    tcp::segment s;
    s.header.source_port = tcp_lab::peer_port;
    s.header.destination_port = lab.our_port;
    s.header.flags = ACK;
    s.header.ack = lab.isn() + 1;
    s.header.seq = tcp::seq(tcp_lab::peer_isn) + 1;
    s.header.window = 65535;
    std::uint64_t left = std::uint64_t{1} << 32;
    while (left != 0) {
        const auto n = static_cast<std::uint32_t>(std::min<std::uint64_t>(left, most));
        lab.now += 1ms;
        s.header.options.ts = tcp::timestamps{++clock, ours};
        s.payload = block.slice(0, n);
        s.arrived = lab.now;
        lab.stack.receive(lab.way(), s, lab.now);
        for (chunk c = lab.e->read_chunk(); !c.empty(); c = lab.e->read_chunk()) left -= c.size();
        lab.out();
        s.header.seq += n;
    }
    REQUIRE(lab.counted().bytes_in == std::uint64_t{1} << 32);
    REQUIRE(s.header.seq == tcp::seq(tcp_lab::peer_isn) + 1); // where the stream began

    tcp::options old;
    old.ts = tcp::timestamps{1001, ours};
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "of the first kilobyte", .options = old});
    CHECK(lab.e->readable() == 0);
    CHECK(lab.counted().paws_rejected == 1);
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 1}});

    tcp::options current;
    current.ts = tcp::timestamps{clock + 1, ours};
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "the next", .options = current});
    CHECK(lab.read() == "the next");
    CHECK(lab.counted().paws_rejected == 1);
}
