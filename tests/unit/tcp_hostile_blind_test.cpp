// Attackers off the path: they know the two addresses and ports of an honest connection, and must guess its
// numbers. What a number of guesses does, and what each costs the victim. A window is at most 256 KiB here,
// so that 16,384 guesses find it once; 65,536, evenly spread, find it four times. [RFC 5961] [RFC 5927] [RFC
// 7323 5] and CVE-2016-5696
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <string>

#include "tests/support/siege.hpp"
#include "tests/support/tcp_lab.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;

constexpr std::uint32_t sweep = 65'536;  ///< guesses that cover all sequence numbers
constexpr std::uint32_t stride = 65'536; ///< between two of them
constexpr std::uint32_t guesses_per_ms = 20;

/// An honest client that stays: it sends a line every now and then, and each must come back.
class steady {
  public:
    static constexpr std::uint16_t port = 33'000;

    explicit steady(siege& s, const tcp::connection_options& o = {}) : at_(s) {
        tcp::path p = s.path_to_victim(siege::honest_address());
        std::swap(p.local, p.remote);
        e = std::move(*s.honest.connect(p, siege::port, port, o, s.now));
        s.run_for(20ms);
        REQUIRE(e->state() == tcp::state::established);
        REQUIRE(speaks_still());
    }
    /// A line goes out; 20 ms later it must have come back.
    bool speaks_still() {
        const std::string line = "line " + std::to_string(++lines_) + "\n";
        e->write(as_bytes(line));
        at_.run_for(20ms);
        return read(*e) == line && !e->error();
    }
    tcp::endpoint& server() { return *at_.session_of(siege::honest_address(), port); }

    /// As if the client had sent it; the attacker knows the ports.
    tcp::header forged(tcp::flags f, tcp::seq seq, tcp::seq ack = {}) const {
        tcp::header h;
        h.source_port = port;
        h.destination_port = siege::port;
        h.flags = f;
        h.seq = seq;
        if (tcp::has(f, ACK)) h.ack = ack;
        h.window = 1000;
        return h;
    }
    /// What is true at this moment; only some tests let an attacker know parts of it.
    tcp::seq next() const { return at_.last_to_honest(port).ack; } ///< the victim's rcv_nxt
    tcp::seq acked() const { return at_.last_to_victim(port).ack; }

    std::unique_ptr<tcp::endpoint> e;

  private:
    siege& at_;
    unsigned lines_ = 0;
};

/// Calls guess(i) `sweep` times, 20 in each millisecond, while other honest clients come and go unharmed.
template <class F>
void spread(siege& s, F guess) {
    const std::size_t visits = s.visits;
    for (std::uint32_t i = 0; i < sweep; ++i) {
        guess(i);
        if (i % guesses_per_ms == guesses_per_ms - 1) s.run_for(1ms);
    }
    CHECK(s.visits - visits >= 10);
    CHECK(s.failures == 0);
}
constexpr std::uint64_t seconds_of_a_sweep = sweep / guesses_per_ms / 1000 + 2; ///< begun ones

TEST_CASE("blind RST: 65,536 guesses over all sequence numbers reset nothing") { // [RFC 5961 3.2]
    siege s;
    steady honest(s);
    s.run_for(1s);
    const std::size_t quiet = s.to_honest(steady::port);
    const tcp::seq start = honest.next() + 1; // no guess is exact: that one in 2^32 is the last check below
    spread(s, [&](std::uint32_t i) {
        s.inject(siege::honest_address(), honest.forged(RST, start + i * stride));
    });
    // Four to five stood in the window, and drew one challenge ACK each; the others nothing at all.
    CHECK(s.counted().challenge_acks >= 4);
    CHECK(s.counted().challenge_acks <= 5);
    CHECK(s.to_honest(steady::port) - quiet == s.counted().challenge_acks);
    CHECK(s.counted().resets_in == 0);
    CHECK(honest.speaks_still());
    CHECK(s.honest_clients_go_on(3));

    // Whoever knows the window but not the number pays for ten answers a second, and gets nothing either.
    const std::uint64_t challenges = s.counted().challenge_acks;
    for (std::uint32_t i = 1; i <= 20'000; ++i)
        s.inject(siege::honest_address(), honest.forged(RST, honest.next() + i));
    CHECK(s.counted().challenge_acks - challenges <= s.victim.configuration().challenge_acks_per_second);
    CHECK(honest.speaks_still());

    // And into the other end of it.
    tcp::header to_client = honest.forged(RST, honest.acked() + 1);
    std::swap(to_client.source_port, to_client.destination_port);
    for (std::uint32_t i = 0; i < sweep; ++i) {
        to_client.seq = honest.acked() + 1 + i * stride;
        s.inject_into_honest(siege::victim_address(), to_client);
    }
    CHECK(honest.speaks_still());

    // The attack is real: the exact number does reset.
    s.inject(siege::honest_address(), honest.forged(RST, honest.next()));
    CHECK(s.counted().resets_in == 1);
    CHECK(s.honest_clients_go_on(3));
}

TEST_CASE("blind SYN: 65,536 guesses over all sequence numbers open, reset and change nothing") {
    siege s; // [RFC 5961 4.2]
    steady honest(s);
    s.run_for(1s);
    const std::size_t quiet = s.to_honest(steady::port);
    spread(s, [&](std::uint32_t i) {
        tcp::header syn = honest.forged(SYN, honest.next() + i * stride);
        syn.options.ts = s.last_to_victim(steady::port).options.ts; // more than he knows: PAWS lets it pass
        s.inject(siege::honest_address(), syn);
    });
    // Every SYN draws the truth, but ten times a second at most.
    const std::uint64_t bound = seconds_of_a_sweep * s.victim.configuration().challenge_acks_per_second;
    CHECK(s.to_honest(steady::port) - quiet <= bound);
    CHECK(s.counted().challenge_acks_suppressed >= sweep - bound - 1);
    CHECK(s.victim.half_open() == 0);
    CHECK(honest.server().state() == tcp::state::established);
    CHECK(honest.speaks_still());
    CHECK(s.honest_clients_go_on(3));
}

TEST_CASE("blind data and FIN: 65,536 guesses insert no byte, end nothing and keep no memory") {
    siege s; // [RFC 5961 5.2] [RFC 7323 3.2]
    steady honest(s);
    s.run_for(1s);
    random guess(11);
    const std::size_t quiet = s.to_honest(steady::port);

    // Without timestamps, on a connection that has them: not even an answer.
    spread(s, [&](std::uint32_t i) {
        const tcp::seq ack(guess.next_u32());
        s.inject(siege::honest_address(), honest.forged(ACK | PSH, honest.next() + i * stride, ack), "evil");
    });
    CHECK(s.to_honest(steady::port) == quiet);
    CHECK(s.counted().missing_timestamp == sweep);

    // With timestamps that must be guessed too. What stands outside of the window draws one ACK each, as any
    // old duplicate must [RFC 9293 3.10.7.4, first]: as many answers as guesses, never more.
    std::uint32_t fins = 0;
    spread(s, [&](std::uint32_t i) {
        const tcp::seq ack(guess.next_u32());
        tcp::header h = honest.forged(i % 2 == 0 ? ACK | PSH : ACK | FIN, honest.next() + i * stride, ack);
        h.options.ts = tcp::timestamps{guess.next_u32(), 0};
        fins += i % 2;
        s.inject(siege::honest_address(), h, "evil");
    });
    CHECK(fins == sweep / 2);
    CHECK(s.to_honest(steady::port) - quiet <= sweep);
    CHECK(honest.server().info().out_of_order == 0);
    CHECK_FALSE(honest.server().peer_finished());
    s.run_for(1s);
    CHECK(honest.speaks_still());
    CHECK(s.honest_clients_go_on(3));
    s.visiting = false;
    s.run_for(1s);
    CHECK(s.victim_bytes() == 0);
}

TEST_CASE("forged data in the window, its ACK guessed: one guess in 16,384 is believed, none is delivered") {
    // The attacker has found the window (above: 16,384 guesses), and needs the ACK field as well: only what
    // lies within a window of what was sent is believed. [RFC 5961 5.2]
    tcp::config c;
    c.use_timestamps = false;
    siege s(c);
    steady honest(s);
    s.run_for(1s);
    const tcp::seq in_window = honest.next() + 50'000;
    const std::uint32_t sent = honest.acked() - tcp::seq(0);
    std::uint32_t held = 0;
    spread(s, [&](std::uint32_t i) {
        s.inject(siege::honest_address(), honest.forged(ACK, in_window, tcp::seq(sent + 1 + i * stride)),
                 "x");
        held = std::max(held, honest.server().info().out_of_order);
    });
    // Four windows of acknowledgements old enough were in the sweep. What they brought waits behind a hole
    // that only the true sender fills: one byte, one buffer.
    CHECK(held <= 1);
    CHECK(s.counted().bad_ack >= sweep - 5);
    CHECK(s.counted().challenge_acks <=
          seconds_of_a_sweep * s.victim.configuration().challenge_acks_per_second);
    CHECK(honest.speaks_still());
    CHECK(s.honest_clients_go_on(3));
}

TEST_CASE("PAWS poison: a forged timestamp from the future does not shut the honest client out") {
    // [RFC 7323 4.3 (2), 5.3 R1]: TS.Recent follows only a segment that begins at or before the last ACK
    // sent, stands in the window and acknowledges what was sent. Everything else the attacker may even know.
    siege s;
    steady honest(s);
    s.run_for(1s);
    const std::uint32_t true_clock = s.last_to_victim(steady::port).options.ts->value;
    tcp::header h = honest.forged(ACK, honest.next(), honest.acked());
    h.options.ts = tcp::timestamps{true_clock + 0x7000'0000, 0};
    // All numbers right but the place: somewhere in the window, ahead.
    for (std::uint32_t i = 1; i <= 1000; ++i) {
        h.seq = honest.next() + 100 * i;
        s.inject(siege::honest_address(), h);
    }
    // The place right, the ACK not: ahead of what was sent, or far behind.
    h.seq = honest.next();
    for (std::uint32_t i = 1; i <= 1000; ++i) {
        h.ack = honest.acked() + i * 2'000'000;
        s.inject(siege::honest_address(), h);
    }
    // In the past, and outside of the window.
    h.ack = honest.acked();
    for (std::uint32_t i = 1; i <= 1000; ++i) {
        h.seq = honest.next() - 1000 * i;
        s.inject(siege::honest_address(), h, "x");
    }
    s.run_for(2s);
    CHECK(s.counted().paws_rejected == 0);
    CHECK(honest.speaks_still());
    CHECK(s.counted().paws_rejected == 0);
    CHECK(s.honest_clients_go_on(3));

    // The attack is real: with all three numbers right it does shut him out.
    h = honest.forged(ACK, honest.next(), honest.acked());
    h.options.ts = tcp::timestamps{s.last_to_victim(steady::port).options.ts->value + 0x7000'0000, 0};
    s.inject(siege::honest_address(), h);
    CHECK_FALSE(honest.speaks_still());
    CHECK(s.counted().paws_rejected > 0);
    CHECK(s.honest_clients_go_on(3));
}

/// How many challenge ACKs the attacker draws on `connections` of his own within a second in which he also
/// sends forged segments for the honest client's, that hit its window or do not.
std::size_t challenges_drawn(bool hits, std::uint32_t connections) {
    siege s;
    steady honest(s);
    std::vector<raw_peer> own;
    for (std::uint32_t i = 0; i < connections; ++i) {
        own.emplace_back(s, i + 1);
        REQUIRE(own.back().open());
    }
    s.run_for(1s);
    s.run_for(instant(std::chrono::ceil<std::chrono::seconds>(s.now.time_since_epoch())) - s.now + 1ms);
    const std::uint32_t ahead = hits ? 1000 : 0x8000'0000;
    for (std::uint32_t i = 0; i < 100; ++i)
        s.inject(siege::honest_address(), honest.forged(RST, honest.next() + ahead + i));
    s.flush();
    s.heard.clear();
    for (raw_peer& mine : own)
        for (std::uint32_t i = 1; i <= 50; ++i) mine.send_at(mine.next + i, {}, RST);
    s.flush();
    CHECK(honest.speaks_still());
    return s.heard.size();
}

TEST_CASE("challenge ACKs are no side channel: one's own do not tell of another's") { // CVE-2016-5696
    const std::size_t one = challenges_drawn(true, 1);
    CHECK(one == challenges_drawn(false, 1));
    CHECK(one == tcp::config().challenge_acks_per_second);
    CHECK(challenges_drawn(true, 40) == challenges_drawn(false, 40));
}

TEST_CASE("an attacker who uses up all challenge ACKs does not silence us towards honest keepalives") {
    tcp::config c;
    c.challenge_acks_total_per_second = 20; // 10 to 29
    siege s(c);
    tcp::connection_options o;
    o.keepalive_idle = 5s;
    o.keepalive_interval = 1s;
    o.keepalive_probes = 3;
    steady honest(s, o);
    std::vector<raw_peer> own;
    for (std::uint32_t i = 0; i < 4; ++i) {
        own.emplace_back(s, i + 1);
        REQUIRE(own.back().open());
    }
    for (int i = 0; i < 60'000; i += 10) { // a minute, and no part of a second in which any is left
        for (raw_peer& mine : own) mine.send_at(mine.next + 1, {}, RST);
        s.run_for(10ms);
    }
    CHECK(s.counted().challenge_acks_total_suppressed > 60 * 10);
    CHECK(s.honest.counted().keepalive_probes >= 8);
    CHECK(honest.e->state() == tcp::state::established);
    CHECK(honest.speaks_still());
    CHECK(s.honest_clients_go_on(3));
}

TEST_CASE("forged ICMP: a flood with guessed numbers is counted and ignored, a lucky one only remembered") {
    siege s; // [RFC 5927 4.1, 5.2]
    steady honest(s);
    random guess(5);
    std::array<std::byte, 8> quoted{};
    store_be16(quoted, 0, siege::port);
    store_be16(quoted, 2, steady::port);
    const std::array kinds = {tcp::icmp_kind::port_unreachable, tcp::icmp_kind::host_unreachable,
                              tcp::icmp_kind::network_unreachable, tcp::icmp_kind::time_exceeded,
                              tcp::icmp_kind::packet_too_big};
    s.run_for(1s);
    const std::size_t quiet = s.to_honest(steady::port);
    spread(s, [&](std::uint32_t i) {
        store_be32(quoted, 4, guess.next_u32());
        s.victim.icmp_error(kinds[i % kinds.size()], siege::victim_address(), siege::honest_address(), quoted,
                            68, s.now);
    });
    CHECK(s.counted().icmp_ignored == sweep);
    CHECK(s.to_honest(steady::port) == quiet); // not one segment in answer
    CHECK_FALSE(honest.server().soft_error());

    // A number that is in flight: the data is sent again when the path is said to be narrower, nothing ends.
    honest.server().write(as_bytes(std::string(50'000, 'y')));
    s.flush();
    const std::uint16_t mss_before = honest.server().info().send_mss;
    store_be32(quoted, 4, s.last_to_honest(steady::port).seq.value());
    for (const tcp::icmp_kind k : kinds)
        s.victim.icmp_error(k, siege::victim_address(), siege::honest_address(), quoted, 68, s.now);
    CHECK(honest.server().state() == tcp::state::established);
    CHECK(honest.server().soft_error());
    const std::uint16_t floor = s.victim.configuration().min_path_mtu;
    CHECK(honest.server().info().send_mss == floor - 40 - 12); // headers, and the timestamps of each segment
    CHECK(honest.server().info().send_mss < mss_before);
    s.run_for(1s);
    CHECK(honest.e->readable() == 50'000);
    CHECK(s.honest_clients_go_on(3));
}

// --- storms ------------------------------------------------------------------------------------------------

/// Segments between the victim and the honest client that stays, both ways.
std::size_t exchanged_in_a_minute(siege& s) {
    const std::size_t before = s.to_honest(steady::port) + s.to_victim(steady::port);
    s.run_for(60s);
    return s.to_honest(steady::port) + s.to_victim(steady::port) - before;
}

TEST_CASE("ACK storm: two ends whom an attacker has set at odds exchange ten ACKs a second at most") {
    // The attacker is on the path for one moment, and gives the victim bytes that the client never sent: from
    // then on each finds the other's ACKs impossible, and says so. [RFC 5961 7]
    siege s;
    steady honest(s);
    s.run_for(1s);
    tcp::header h = honest.forged(ACK | PSH, honest.next(), honest.acked());
    h.options.ts = s.last_to_victim(steady::port).options.ts;
    s.inject(siege::honest_address(), h, "bytes that nobody sent");
    // Both ends' challenges, and the retransmissions of the echo, which the client takes for impossible too.
    const std::size_t exchanged = exchanged_in_a_minute(s);
    CHECK(exchanged <= 2u * s.victim.configuration().challenge_acks_per_second * 61 + 20);
    CHECK(exchanged > 2);
    CHECK(s.honest_clients_go_on(3));
}

TEST_CASE("ACK storm: the ACKs of two ends at odds by one byte are no keepalives to each other") {
    // Each stands one below what the other expects, as a keepalive does; but acknowledges what was not sent.
    tcp::config c;
    c.challenge_acks_total_per_second = 1;
    siege s(c);
    steady honest(s);
    s.run_for(1s);
    tcp::header up = honest.forged(ACK | PSH, honest.next(), honest.acked());
    tcp::header down = up;
    up.options.ts = s.last_to_victim(steady::port).options.ts;
    std::swap(down.source_port, down.destination_port);
    std::swap(down.seq, down.ack);
    down.options.ts = s.last_to_honest(steady::port).options.ts;
    s.inject(siege::honest_address(), up, "x");
    s.inject_into_honest(siege::victim_address(), down, "xx"); // the server echoes its one
    const std::size_t exchanged = exchanged_in_a_minute(s);
    // The echo is sent again eight times. Each time the client acknowledges it, which draws a challenge of
    // the victim, which draws one of the client: there it stops, where keepalives would go to and fro ten
    // times.
    CHECK(exchanged <= 8 * 6);
    CHECK(exchanged > 2);
    CHECK(s.honest_clients_go_on(3));
}

TEST_CASE("ACK storm: two forged SYNs do not set two listeners against each other") {
    // A SYN to each of two servers in the other's name, from its listening port: two half-open entries that
    // agree on nothing. Whatever each answers, the other must not answer for ever.
    siege s;
    auto other = s.honest.listen({siege::honest_address(), siege::port}, {}, s.now);
    REQUIRE(other);
    tcp::header syn;
    syn.source_port = syn.destination_port = siege::port;
    syn.flags = SYN;
    syn.seq = tcp::seq(12'345);
    s.inject(siege::honest_address(), syn);
    s.inject_into_honest(siege::victim_address(), syn);
    s.run_for(2min);
    // Each sends its SYN|ACK six times within the minute; each of these draws one ACK.
    CHECK(s.to_honest(siege::port) <= 12);
    CHECK(s.to_victim(siege::port) <= 12);
    CHECK(s.victim.half_open() == 0);
    CHECK(s.honest.half_open() == 0);
    CHECK(s.honest_clients_go_on(3));
}

TEST_CASE("ACK storm: two TIME_WAITs at odds do not answer each other's empty segments") {
    tcp_lab lab;
    lab.establish();
    lab.e->finish(lab.now);
    lab.out();
    lab.in({.flags = FIN | ACK, .seq = 1, .ack = 2});
    REQUIRE(lab.e->state() == tcp::state::time_wait);
    lab.out();
    for (const std::uint32_t elsewhere : {0u, 1u, 2u, 3u, 100u, 0x8000'0000u})
        lab.in({.flags = ACK, .seq = elsewhere, .ack = 77});
    CHECK(lab.out() == segs{});
    // What occupies sequence space is answered as ever: a FIN that comes again, old data.
    lab.in({.flags = FIN | ACK, .seq = 1, .ack = 2});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 2, .ack = 2}});
}

TEST_CASE("a forged segment does not keep a connection alive whose peer has vanished") {
    // Only what stands in the window and acknowledges what was sent shows that the peer still lives; else
    // anybody who knows the ports could keep the dead in memory. [RFC 9293 3.8.4]
    tcp_lab lab;
    tcp::connection_options o;
    o.keepalive_idle = 60s;
    o.keepalive_interval = 10s;
    o.keepalive_probes = 3;
    lab.establish(o);
    for (int i = 0; i < 95 && lab.e->state() == tcp::state::established; ++i) {
        lab.wait(1s);
        lab.in({.flags = ACK, .seq = 0x4000'0000, .ack = 1, .text = "x"}); // outside of the window
        lab.in({.flags = RST, .seq = 500});                                // in it, not at its edge
        lab.in({.flags = SYN, .seq = 500});
        lab.in({.flags = ACK, .seq = 1, .ack = 5000}); // acknowledges what was never sent
    }
    CHECK(lab.e->state() == tcp::state::closed);
    CHECK(lab.e->error() == errc::timed_out);
}

} // namespace
} // namespace tapir::test
