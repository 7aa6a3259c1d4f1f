// When data may leave: proportional rate reduction in recovery, pacing always. [RFC 9937] [RFC 9002 7.7]
#include <tapir/protocols/tcp/congestion/pacing.hpp>
#include <tapir/protocols/tcp/congestion/prr.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <string>

namespace tapir::test {
namespace {
using namespace std::chrono_literals;
using tcp::pacer;
using tcp::pacing_limits;
using tcp::prr;

constexpr std::uint32_t mss = 1000;

/// The examples of RFC 9937, section 8: 20 segments in flight, ssthresh 10, limited transmit. Segments are
/// numbered; each that arrives draws an ACK. Rows are cwnd and inflight after each ACK, before what it lets
/// out, and that: "N" new, "R" again, "." nothing.
struct example {
    explicit example(std::uint32_t lost_segments) : lost(lost_segments) {}

    std::uint32_t lost;             ///< the first so many of the 20
    std::uint32_t ssthresh = 10;    ///< segments
    std::uint32_t inflight = 20;    ///< segments
    std::uint32_t outstanding = 20; ///< segments
    std::uint32_t sacked = 0;       ///< segments
    std::uint32_t cwnd = 20;        ///< segments
    std::uint32_t to_resend = 0;
    bool recovering = false;
    prr p;
    std::string c, i, s;

    void note(const std::string& sent) {
        c += std::to_string(cwnd) + " ";
        i += std::to_string(inflight) + " ";
        s += sent + " ";
    }
    /// A SACK of one more segment.
    void sack() {
        ++sacked;
        --inflight;
        if (sacked < 3) { // limited transmit [RFC 3042]
            note("N");
            ++inflight;
            ++outstanding;
            return;
        }
        if (!recovering) {
            recovering = true;
            inflight -= lost; // three segments above each of them were delivered
            to_resend = lost;
            p.begin(prr::recover_fs(outstanding * mss, sacked * mss, mss, 0), ssthresh * mss);
        }
        respond(1, false);
    }
    /// A cumulative ACK of one segment that was sent again.
    void partial(bool safe = true) {
        --inflight;
        respond(1, safe);
    }
    void respond(std::uint32_t delivered, bool safe) {
        const std::uint32_t bytes = p.on_ack(cwnd * mss, delivered * mss, inflight * mss, safe, mss);
        cwnd = bytes / mss;
        const std::uint32_t before = inflight;
        std::string sent;
        while (inflight < cwnd) {
            if (to_resend != 0) {
                --to_resend;
                sent += "R";
            } else {
                ++outstanding;
                sent += "N";
            }
            ++inflight;
            p.on_sent(mss);
        }
        const std::uint32_t after = inflight;
        inflight = before;
        note(sent.empty() ? "." : sent);
        inflight = after;
    }
};

} // namespace

TEST_CASE("prr: the RFC's first example, one segment lost of 20") { // [RFC 9937 8]
    example e(1);
    for (int ack = 1; ack <= 18; ++ack) e.sack();
    CHECK(e.c == "20 20 19 18 18 17 17 16 16 15 15 14 14 13 13 12 12 11 ");
    CHECK(e.i == "19 19 18 18 17 17 16 16 15 15 14 14 13 13 12 12 11 11 ");
    CHECK(e.s == "N N R . N . N . N . N . N . N . N . ");
    // From here on the RFC's table and its algorithm differ. At ACK 19 ssthresh is in flight; the table goes
    // on with the share of what was delivered (11, N), the algorithm allows no more than ssthresh (10,
    // nothing), and one more with the next ACK instead. We do as the algorithm says; both have sent the same
    // in the end.
    e.c = e.i = e.s = "";
    for (int ack = 19; ack <= 21; ++ack) e.sack();
    CHECK(e.c == "10 10 10 ");
    CHECK(e.i == "10 9 9 ");
    CHECK(e.s == ". N N ");
}

TEST_CASE(
    "prr: of a burst of 15 lost segments each ACK sends one again, and then two for each that arrives") {
    // [RFC 9937 8], the second example's scenario: 15 segments lost of 20. Packets are conserved (CRB) as
    // long as there is no sign that retransmissions arrive; with it (SSRB) recovery takes fewer round trips.
    example e(15);
    for (int ack = 0; ack < 7; ++ack) e.sack(); // 15 to 19, and two of limited transmit
    CHECK(e.c == "20 20 5 5 5 5 5 ");
    CHECK(e.i == "19 19 4 4 4 4 4 ");
    CHECK(e.s == "N N R R R R R ");
    e.c = e.i = e.s = "";
    for (int ack = 0; ack < 5; ++ack) e.partial(); // the five retransmissions
    CHECK(e.c == "6 7 8 9 10 ");
    CHECK(e.i == "4 5 6 7 8 ");
    CHECK(e.s == "RR RR RR RR RR ");
    e.c = e.i = e.s = "";
    for (int ack = 0; ack < 3; ++ack) e.partial(); // ssthresh is reached
    CHECK(e.c == "10 10 10 ");
    CHECK(e.i == "9 9 9 ");
    CHECK(e.s == "N N N ");
}

TEST_CASE("prr: an ACK that finds further losses lets out no more than it delivered") { // [RFC 9937 6.2, CRB]
    prr p;
    p.begin(20 * mss, 10 * mss);
    CHECK(p.on_ack(20 * mss, mss, 4 * mss, false, mss) == 5 * mss);
    p.on_sent(mss);
    CHECK(p.on_ack(5 * mss, mss, 3 * mss, false, mss) == 4 * mss);
    p.on_sent(mss);
    CHECK(p.on_ack(4 * mss, mss, 3 * mss, true, mss) == 5 * mss); // and one more when it is safe
}

TEST_CASE("prr: what was held back it makes up for, but never beyond ssthresh") { // [RFC 9937 6.2]
    prr p;
    p.begin(20 * mss, 10 * mss);
    p.on_ack(20 * mss, mss, 5 * mss, false, mss);
    p.on_sent(mss);
    // The application had nothing to send while four segments were delivered.
    CHECK(p.on_ack(6 * mss, 4 * mss, 2 * mss, false, mss) == 6 * mss);
    CHECK(p.on_ack(6 * mss, 5 * mss, 9 * mss, true, mss) == 10 * mss);
    CHECK(p.on_ack(6 * mss, 5 * mss, 10 * mss, true, mss) == 10 * mss);
}

TEST_CASE("prr: an ACK that delivers nothing changes nothing") { // [RFC 9937 6.2]
    prr p;
    p.begin(20 * mss, 10 * mss);
    CHECK(p.on_ack(17 * mss, 0, 3 * mss, true, mss) == 17 * mss);
}

TEST_CASE("prr: the first retransmission does not wait for its share") { // [RFC 9937 6.2]
    prr p;
    p.begin(1000 * mss, 0);
    CHECK(p.on_ack(20 * mss, mss, 18 * mss, false, mss) == 19 * mss);
    p.on_sent(mss);
    CHECK(p.on_ack(19 * mss, mss, 18 * mss, false, mss) == 18 * mss);
}

TEST_CASE("prr: of what may be delivered, that which the peer held before is no part") { // [RFC 9937 6.1]
    CHECK(prr::recover_fs(22 * mss, 3 * mss, mss, 0) == 20 * mss);
    CHECK(prr::recover_fs(20 * mss, 0, 0, 2 * mss) == 22 * mss); // the ACK that began it counts
    CHECK(prr::recover_fs(mss, 3 * mss, 0, 0) == 0);             // nonsense does no harm
}

TEST_CASE("prr: in flight meets ssthresh at the end of the round, for any ratio") { // [RFC 9937 5]
    for (const std::uint32_t percent : {50u, 70u, 85u}) {
        for (const std::uint32_t segments : {4u, 11u, 100u, 999u}) {
            const std::uint32_t ssthresh = segments * mss * percent / 100;
            prr p;
            p.begin(segments * mss, ssthresh);
            std::uint32_t inflight = (segments - 1) * mss; // one is lost
            std::uint32_t cwnd = segments * mss;
            for (std::uint32_t acks = 1; acks < segments; ++acks) {
                inflight -= mss;
                cwnd = p.on_ack(cwnd, mss, inflight, false, mss);
                REQUIRE(cwnd <= std::max(inflight + mss, ssthresh));
                while (cwnd >= inflight + mss) {
                    inflight += mss;
                    p.on_sent(mss);
                }
            }
            CHECK(inflight <= ssthresh);
            CHECK(inflight + 2 * mss > ssthresh);
        }
    }
}

TEST_CASE("prr: a recovery of terabytes does not overflow") {
    prr p;
    p.begin(1u << 30, 7u << 27);
    std::uint32_t cwnd = 1u << 30;
    for (int i = 0; i < 100'000; ++i) {
        cwnd = p.on_ack(cwnd, 1u << 29, 1u << 30, false, mss);
        REQUIRE(cwnd >= 1u << 30);
        p.on_sent(cwnd - (1u << 30));
    }
    // 7/8 of what is delivered goes out, in whole segments.
    CHECK(cwnd > (1u << 30) + (7u << 26) - mss);
    CHECK(cwnd < (1u << 30) + (7u << 26) + mss);
}

// --- pacing ---

namespace {

/// Sends as much as it may until `until`, woken when it asks to be, `late`; returns how much, and counts
/// wake-ups.
struct paced_sender {
    pacer p;
    pacing_limits l;
    instant now{1s};
    std::uint64_t sent = 0;
    std::uint32_t wake_ups = 0;
    std::uint32_t largest_burst = 0;

    void run(duration for_so_long, duration late = 0ns) {
        const instant until = now + for_so_long;
        while (now < until) {
            std::uint32_t burst = 0;
            while (p.allowance(now, mss) != 0) {
                p.on_sent(now, mss);
                burst += mss;
            }
            sent += burst;
            largest_burst = std::max(largest_burst, burst);
            const instant next = p.release(now, mss);
            REQUIRE(next > now);
            now = next + late;
            ++wake_ups;
        }
    }
};

} // namespace

TEST_CASE("pacing: the rate is cwnd for each round trip, twice that in slow start, a quarter more else") {
    pacer p;
    const pacing_limits l;
    CHECK(p.rate() == 0);
    p.update(100'000, 100ms, true, mss, l);
    CHECK(p.rate() == 2'000'000);
    p.update(100'000, 100ms, false, mss, l);
    CHECK(p.rate() == 1'250'000);
    p.update(1u << 30, 1us, true, mss, l); // the largest window, the shortest path
    CHECK(p.rate() == 2'147'483'648'000'000);
    p.update(mss, 1h, false, mss, l);
    CHECK(p.rate() == 1);
}

TEST_CASE("pacing: before a round trip is known nothing is held back") {
    pacer p;
    const pacing_limits l;
    p.update(100'000, 0ns, true, mss, l);
    p.on_sent(instant{1s}, 100'000);
    CHECK(p.allowance(instant{1s}, mss) > 1'000'000);
    CHECK(p.release(instant{1s}, mss) == instant{1s});
}

TEST_CASE("pacing: a quantum is what a millisecond takes, and two segments at least") {
    pacer p;
    const pacing_limits l;
    p.update(10 * mss, 100ms, false, mss, l); // 125 kB/s
    CHECK(p.quantum() == 2 * mss);
    p.update(1000 * mss, 10ms, false, mss, l); // 125 MB/s
    CHECK(p.quantum() == 125 * mss);
}

TEST_CASE("pacing: keeps the rate at any speed, with a timer for each quantum and not for each segment") {
    for (const std::uint32_t cwnd : {10 * mss, 100 * mss, 5000 * mss}) {
        for (const duration late : {duration(0ns), duration(65us), duration(900us)}) {
            paced_sender s;
            s.p.update(cwnd, 10ms, false, mss, s.l);
            s.run(1s, late);
            const double expected = double(s.p.rate());
            CHECK(double(s.sent) < expected * 1.01 + 4 * double(s.p.quantum()));
            CHECK(double(s.sent) > expected * 0.97);
            CHECK(s.wake_ups <= 1100); // a quantum is rounded down to segments
            CHECK(s.largest_burst <= 2 * s.p.quantum() + mss);
        }
    }
}

TEST_CASE("pacing: idleness earns no more than one quantum") {
    paced_sender s;
    s.p.update(100 * mss, 10ms, false, mss, s.l); // 12.5 MB/s: 12.5 kB in a quantum
    s.run(100ms);
    s.now += 1min;
    s.largest_burst = 0;
    s.run(1ms);
    CHECK(s.largest_burst <= 25 * mss);
    CHECK(s.largest_burst >= 24 * mss);
}

TEST_CASE("pacing: a segment larger than a quantum goes out, and is waited for") {
    pacer p;
    const pacing_limits l;
    p.update(10 * mss, 100ms, false, mss, l); // 125 kB/s
    const instant t0{1s};
    CHECK(p.allowance(t0, mss) != 0);
    p.on_sent(t0, 64 * mss);
    CHECK(p.allowance(t0, mss) == 0);
    // 64 kB take 512 ms, of which a quantum before was saved and one is not waited for.
    const instant next = p.release(t0, mss);
    CHECK(next == t0 + 512ms - 16ms);
    CHECK(p.allowance(next, mss) == 2 * mss);
    CHECK(p.allowance(next - 8ms, mss) == mss);
    CHECK(p.allowance(next - 9ms, mss) == 0); // no part of a segment
}

// Found by the soak (bulk, seed 40045148): discovery of a larger path MTU, and no ACK for minutes after it.
TEST_CASE("pacing: segments that outgrow the quantum never ask for a timer that has passed") {
    paced_sender s;
    s.p.update(10 * mss, 100ms, false, mss, s.l); // 125 kB/s, 2000 bytes in a quantum
    constexpr std::uint32_t grown = 5 * mss;
    std::uint64_t sent = 0;
    const instant end = s.now + 10s;
    while (s.now < end) {
        if (s.p.allowance(s.now, grown) != 0) {
            s.p.on_sent(s.now, grown);
            sent += grown;
        } else {
            const instant next = s.p.release(s.now, grown);
            REQUIRE(next > s.now);
            s.now = next;
        }
    }
    CHECK(sent >= 1'250'000);
    CHECK(sent <= 1'250'000 + 2 * grown);
}

TEST_CASE("pacing: a rate that changes holds for what is sent from then on") {
    pacer p;
    const pacing_limits l;
    p.update(100 * mss, 100ms, false, mss, l); // 1.25 MB/s
    const instant t0{1s};
    while (p.allowance(t0, mss) != 0) p.on_sent(t0, mss);
    const instant slow = p.release(t0, mss);
    CHECK(slow > t0);
    CHECK(slow <= t0 + 2ms);
    p.update(10 * mss, 100ms, false, mss, l);
    CHECK(p.release(t0, mss) <= slow);
    p.on_sent(slow, 2 * mss);
    CHECK(p.release(slow, mss) == slow + 16ms);
}

} // namespace tapir::test
