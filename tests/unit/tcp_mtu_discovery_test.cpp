// Paths that drop large segments and say nothing: what finds them, and how probes find what they carry.
// Timestamps are off: a packet is its payload and 40 bytes. The round trip takes 10 ms. [RFC 4821] [RFC 8899]
#include <doctest/doctest.h>

#include "tests/support/tcp_far_end.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;
using tcp::mtu_probing;
using tcp::mtu_state;

tcp::config searching(mtu_probing mode, bool sack = true) {
    tcp::config c = tcp_lab::plain();
    c.use_sack = sack;
    c.connections.path_mtu = mode;
    c.connections.send_buffer = 1 << 20;
    return c;
}

constexpr std::uint32_t no_reduction = 1u << 30; ///< ssthresh of who has met no congestion

struct silent_path : far_end {
    explicit silent_path(mtu_probing mode, std::uint32_t bytes = 1500, bool sack = true,
                         std::uint16_t peer_mss = 1460)
        : silent_path(searching(mode, sack), bytes, peer_mss) {}
    silent_path(const tcp::config& c, std::uint32_t bytes, std::uint16_t peer_mss = 1460)
        : far_end(c, peer_mss), carries(bytes) {
        most = 0;
        batches = true;
        fate = [this](const sending& s) {
            return s.end - s.begin + 40 > carries || dropped(s) ? lost() : arrives();
        };
    }
    std::uint32_t carries;
    std::function<bool(const sending&)> dropped = [](const sending&) { return false; };

    /// Many segments, to the end.
    duration transfer(std::size_t bytes = 400'000) {
        REQUIRE(write(std::string(bytes, 'd')) == bytes);
        return run_until_flushed(60s);
    }
    /// The first sending of more than `size` bytes; nothing: none was.
    std::optional<sending> larger_than(std::uint32_t size, std::size_t from = 0) const {
        for (std::size_t i = from; i < sent.size(); ++i)
            if (sent[i].end - sent[i].begin > size) return sent[i];
        return std::nullopt;
    }
    /// Runs until a probe is under way.
    sending until_probe(std::uint32_t larger = 984) {
        for (int i = 0; i < 1000; ++i) {
            const std::size_t before = sent.size();
            run(1ms);
            if (const auto found = larger_than(larger, before)) return *found;
        }
        FAIL("no probe");
        return {};
    }
    void too_big(std::uint32_t seq, std::uint16_t told) {
        std::array<std::byte, 8> quoted{};
        store_be16(quoted, 0, our_port);
        store_be16(quoted, 2, tcp_lab::peer_port);
        store_be32(quoted, 4, (isn() + seq).value());
        stack.icmp_error(tcp::icmp_kind::packet_too_big, here(), there(), quoted, told, now);
    }
};

// --- black holes -------------------------------------------------------------------------------------------

TEST_CASE("what is lost three times goes in small segments, and a search finds what the path carries") {
    for (const bool sack : {true, false}) {
        CAPTURE(sack);
        silent_path lab(mtu_probing::black_hole, 1400, sack);
        CHECK(lab.info().send_mss == 1460);
        CHECK(lab.transfer(800'000) < 3s);
        CHECK(lab.flushed());
        CHECK(lab.counted().black_holes_found == 1);
        CHECK(lab.counted().rto_fired == 3);
        CHECK(lab.info().path_mtu == 1400);
        CHECK(lab.info().mtu_ceiling < 1408);
    }
}

TEST_CASE("two timeouts are an outage, no black hole") {
    silent_path lab(mtu_probing::black_hole);
    lab.dropped = [](const sending& s) { return s.at < 500; };
    lab.transfer();
    CHECK(lab.counted().rto_fired == 2);
    CHECK(lab.counted().black_holes_found == 0);
    CHECK(lab.info().send_mss == 1460);
    CHECK(lab.info().mtu_search == mtu_state::disabled);
    CHECK_FALSE(lab.larger_than(1460));
}

TEST_CASE("an outage that is taken for a black hole costs one probe") {
    silent_path lab(mtu_probing::black_hole);
    lab.dropped = [](const sending& s) { return s.at < 2000; };
    lab.transfer();
    CHECK(lab.counted().black_holes_found == 1);
    CHECK(lab.counted().mtu_probes_sent == 1);
    CHECK(lab.counted().mtu_probes_acked == 1);
    CHECK(lab.info().send_mss == 1460);
}

TEST_CASE("small segments that are lost say nothing of sizes") {
    silent_path lab(mtu_probing::black_hole, 500);
    lab.write(std::string(900, 'd'));
    lab.run(20s);
    CHECK(lab.counted().rto_fired > 5);
    CHECK(lab.info().send_mss >= 984);
    CHECK(lab.counted().black_holes_found <= 1); // from 1500 it may have gone to where 900 bytes fit
}

TEST_CASE("the mode off stays at what the link and routers say") {
    silent_path lab(mtu_probing::off, 1400);
    lab.write(std::string(20'000, 'd'));
    lab.run(20s);
    CHECK(lab.counted().rto_fired > 5);
    CHECK_FALSE(lab.flushed());
    CHECK(lab.info().path_mtu == 1500);
    CHECK(lab.info().mtu_search == mtu_state::disabled);
    CHECK(lab.counted().mtu_probes_sent == 0);
}

TEST_CASE("where not even the base size arrives the least does") { // [RFC 8899 5.2, error]
    silent_path lab(mtu_probing::black_hole, 600);
    CHECK(lab.transfer() < 30s);
    CHECK(lab.flushed());
    CHECK(lab.counted().black_holes_found == 2);
    CHECK(lab.info().path_mtu > 600 - 8);
    CHECK(lab.info().path_mtu <= 600);
}

TEST_CASE("while small segments keep arriving, a retransmission that is lost counts as much as a timeout") {
    tcp::config c = searching(mtu_probing::black_hole);
    c.connections.no_delay = true;
    silent_path lab(c, 1400);
    lab.write(std::string(3 * 1460, 'd'));
    for (int i = 0; i < 400 && lab.counted().black_holes_found == 0; ++i) {
        lab.write("small");
        lab.run(3ms);
    }
    CHECK(lab.counted().black_holes_found == 1);
    CHECK(lab.counted().rto_fired == 2);
    CHECK(lab.clock() < 700);
    lab.run_until_flushed();
    CHECK(lab.flushed());
}

TEST_CASE("a peer with small segments is asked for no larger ones") {
    for (const mtu_probing mode : {mtu_probing::black_hole, mtu_probing::always}) {
        silent_path lab(mode, 1500, true, 500);
        lab.transfer(50'000);
        CHECK(lab.info().send_mss == 500);
        CHECK(lab.counted().mtu_probes_sent == 0);
        lab.carries = 0;
        lab.write(std::string(5'000, 'd'));
        lab.run(20s);
        CHECK(lab.counted().black_holes_found == 0);
        CHECK(lab.info().send_mss == 500);
        CHECK_FALSE(lab.larger_than(500));
    }
}

// --- probes ------------------------------------------------------------------------------------------------

TEST_CASE("always: it begins with small segments, and one probe makes them as large as the link") {
    silent_path lab(mtu_probing::always);
    CHECK(lab.info().send_mss == 984);
    CHECK(lab.info().mtu_search == mtu_state::base);
    lab.transfer();
    const auto probe = lab.larger_than(984);
    REQUIRE(probe);
    CHECK(probe->end - probe->begin == 1460);
    CHECK(probe->at >= 10); // not before something has arrived
    CHECK(lab.counted().mtu_probes_sent == 1);
    CHECK(lab.counted().mtu_probes_acked == 1);
    CHECK(lab.info().send_mss == 1460);
    CHECK(lab.info().mtu_search == mtu_state::complete);
    CHECK(lab.again().empty());
    CHECK(lab.counted().rto_fired == 0);
    for (const sending& s : lab.sent) {
        if (s.at <= probe->at && s.begin != probe->begin) CHECK(s.end - s.begin <= 984);
        CHECK(s.end - s.begin <= 1460);
    }
}

TEST_CASE("a lost probe is no congestion, and goes again in segments of the old size") { // [RFC 4821 7.6.2]
    for (const bool sack : {true, false}) {
        CAPTURE(sack);
        silent_path lab(mtu_probing::always, 1400, sack);
        lab.transfer(800'000);
        CHECK(lab.flushed());
        CHECK(lab.info().path_mtu == 1400);
        CHECK(lab.counted().mtu_probes_lost >= 9);
        CHECK(lab.info().ssthresh == no_reduction);
        CHECK(lab.info().fast_retransmits == 0);
        CHECK(lab.counted().rto_fired == 0);
        CHECK(lab.counted().black_holes_found == 0);
        std::uint32_t largest = 984; // of what has arrived
        for (const sending& s : lab.sent) {
            if (s.copy > 1) CHECK(s.end - s.begin <= largest);
            if (s.end - s.begin <= 1360) largest = std::max(largest, s.end - s.begin);
        }
    }
}

TEST_CASE("a probe lost with others says nothing, and is congestion") { // [RFC 4821 7.6.4]
    silent_path lab(mtu_probing::always);
    std::uint32_t begin = 0;
    lab.dropped = [&](const sending& s) {
        if (begin == 0 && s.end - s.begin > 984) begin = s.begin;
        return begin != 0 && s.copy == 1 && s.begin >= begin && s.begin < begin + 1460 + 984;
    };
    lab.transfer(800'000);
    CHECK(begin != 0);
    CHECK(lab.info().fast_retransmits == 1);
    CHECK(lab.info().ssthresh < no_reduction);
    CHECK(lab.counted().mtu_probes_lost <= 1); // found first, before its neighbour was
    CHECK(lab.counted().mtu_probes_sent == 2);
    CHECK(lab.info().path_mtu == 1500);
}

TEST_CASE("a timeout of what stands before a probe says nothing of the probe") { // [RFC 4821 7.6.3]
    for (const bool oldest : {false, true}) {
        CAPTURE(oldest);
        silent_path lab(mtu_probing::always);
        int acks = 0;
        lab.ack_lost = [&](long at) { return at >= 10 ? at < 150 : ++acks > 7 && !oldest; };
        lab.dropped = [](const sending& s) { return s.at >= 10 && s.at < 150; };
        lab.write(std::string(60'000, 'd'));
        const sending probe = lab.until_probe();
        CHECK(probe.begin == 9841); // the first window has ten segments
        CHECK(lab.info().snd_una == lab.isn() + (oldest ? 9841 : 6889));
        lab.run_until_flushed();
        CHECK(lab.flushed());
        CHECK(lab.counted().rto_fired == 1);
        CHECK(lab.counted().mtu_probes_lost == (oldest ? 1 : 0));
        CHECK(lab.counted().black_holes_found == 0);
    }
}

TEST_CASE("no probe without data that follows it, nor into a small window, nor while anything is amiss") {
    // [RFC 4821 7.4]
    SUBCASE("too little data") {
        silent_path lab(mtu_probing::always);
        for (int i = 0; i < 20; ++i) {
            lab.write(std::string(1460 + 4 * 984 - 1, 'd'));
            lab.run(20ms);
        }
        CHECK(lab.counted().mtu_probes_sent == 0);
        lab.write(std::string(1460 + 4 * 984, 'd'));
        lab.run(20ms);
        CHECK(lab.counted().mtu_probes_sent == 1);
    }
    SUBCASE("a small window") {
        silent_path lab(mtu_probing::always);
        lab.window = 5000;
        lab.transfer(5000);
        lab.transfer(100'000);
        CHECK(lab.counted().mtu_probes_sent == 0);
        lab.window = 65535;
        lab.transfer(10'000);
        lab.transfer(100'000);
        CHECK(lab.counted().mtu_probes_sent == 1);
    }
    SUBCASE("a loss") {
        silent_path lab(mtu_probing::always);
        lab.dropped = [](const sending& s) { return s.begin == 1 && s.copy <= 3; };
        lab.write(std::string(100'000, 'd'));
        while (lab.rcv_nxt == 1) {
            lab.run(1ms);
            REQUIRE(lab.clock() < 1000);
            CHECK(lab.counted().mtu_probes_sent == 0);
        }
    }
}

TEST_CASE("a probe that the window no longer holds after a rest does not hold up what it does hold") {
    tcp::config c = searching(mtu_probing::always);
    c.base_path_mtu = 180; // ten segments are less than one probe
    silent_path lab(c, 1400);
    lab.transfer(7'000);
    CHECK(lab.info().mtu_search == mtu_state::searching);
    CHECK(lab.info().cwnd > 1460 + 4 * 140);
    lab.wait(10s);
    CHECK(lab.transfer(60'000) < 1s);
    CHECK(lab.flushed());
}

TEST_CASE("larger sizes are tried again ten minutes after a search has ended") { // [RFC 8899 5.1.1]
    silent_path lab(mtu_probing::always, 1400);
    lab.transfer(800'000);
    lab.transfer(800'000);
    REQUIRE(lab.info().mtu_search == mtu_state::complete);
    const std::uint64_t probes = lab.counted().mtu_probes_sent;
    lab.carries = 1500;
    lab.wait(590s);
    lab.transfer(100'000);
    CHECK(lab.counted().mtu_probes_sent == probes);
    lab.wait(20s);
    lab.transfer(100'000);
    CHECK(lab.counted().mtu_probes_sent == probes + 1);
    CHECK(lab.info().path_mtu == 1500);
}

TEST_CASE("a path that becomes a black hole again is found again") {
    silent_path lab(mtu_probing::always);
    lab.transfer();
    CHECK(lab.info().path_mtu == 1500);
    lab.carries = 1200;
    CHECK(lab.transfer(800'000) < 5s);
    CHECK(lab.counted().black_holes_found == 1);
    CHECK(lab.info().path_mtu > 1200 - 8);
    CHECK(lab.info().path_mtu <= 1200);
}

// --- with what routers say ---------------------------------------------------------------------------------

TEST_CASE(
    "a router that refuses a probe ends the wait for it; what it says is tried next") { // [RFC 8899 4.6.2]
    silent_path lab(mtu_probing::always, 1300);
    lab.write(std::string(100'000, 'd'));
    const sending probe = lab.until_probe();
    lab.run(1ms);
    lab.too_big(probe.begin, 1300);
    lab.run(1ms);
    CHECK(lab.when(probe.begin, 2) == probe.at + 1); // at once
    CHECK(lab.info().path_mtu == 1024);
    CHECK(lab.info().mtu_ceiling == 1300);
    const sending next = lab.until_probe();
    CHECK(next.end - next.begin == 1260);
    lab.run_until_flushed();
    CHECK(lab.info().path_mtu == 1300);
    CHECK(lab.info().ssthresh == no_reduction);
    CHECK(lab.counted().mtu_probes_sent == 2);
}

TEST_CASE("a probe under way that is too large by what a cache of paths learns is lost as a probe") {
    for (const bool told : {true, false}) { // [RFC 4821 7.6.2]
        CAPTURE(told);
        silent_path lab(mtu_probing::always, 1300);
        lab.write(std::string(100'000, 'd'));
        const sending probe = lab.until_probe();
        lab.run(1ms);
        lab.link_mtu = 1500;
        lab.mtu = 1300; // learnt from another connection
        lab.in({.flags = ACK, .seq = 1, .ack = lab.rcv_nxt});
        CHECK(lab.info().mtu_ceiling == 1300);
        if (told) lab.too_big(probe.begin, 1300);
        lab.run_until_flushed();
        CHECK(lab.flushed());
        CHECK(lab.info().ssthresh == no_reduction);
        CHECK(lab.info().fast_retransmits == 0);
        CHECK(lab.counted().mtu_probes_lost == 1);
        CHECK(lab.info().mtu_ceiling == 1300);
        CHECK(lab.info().path_mtu == 1300);
        if (told) CHECK(lab.when(probe.begin, 2) <= probe.at + 1);
    }
}

TEST_CASE("a router that carries less than what arrived so far lowers the ceiling too") { // [RFC 1191 6.3]
    silent_path lab(mtu_probing::always);
    lab.write(std::string(100'000, 'd'));
    const sending probe = lab.until_probe();
    lab.carries = 700;
    lab.too_big(probe.end, 700);
    lab.run_until_flushed();
    CHECK(lab.flushed());
    CHECK(lab.info().path_mtu == 700);
    CHECK(lab.info().mtu_ceiling == 700);
    CHECK(lab.counted().rto_fired == 0);
}

TEST_CASE("no probe is larger than what a cache of paths says") {
    silent_path lab(mtu_probing::always);
    lab.link_mtu = 1500;
    lab.mtu = 1200; // learnt from another connection
    lab.transfer(800'000);
    CHECK_FALSE(lab.larger_than(1160));
    CHECK(lab.info().path_mtu == 1200);
    CHECK(lab.counted().mtu_probes_lost == 0);
}

} // namespace
} // namespace tapir::test
