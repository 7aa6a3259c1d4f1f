// Peers with a connection of their own who know every number and keep no rule: what each can make the victim
// send, keep and do, as a count, and that an honest client beside them notices nothing.
// [RFC 5681 3.2] [RFC 3465] [RFC 9293 3.8.6] [RFC 7323]
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "tests/support/siege.hpp"
#include "tests/support/tcp_lab.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;

constexpr auto URG = tcp::flags::urg;

/// A server that always has more to say.
void writes_without_end(tcp::endpoint& e) {
    static const std::string block(8192, 's');
    while (e.writable() > 0 && e.write(as_bytes(block)) != 0) {
    }
}

std::vector<raw_peer> connected(siege& s, std::uint32_t count, std::uint16_t window = 65535,
                                std::uint16_t mss = 1460) {
    std::vector<raw_peer> peers;
    for (std::uint32_t i = 1; i <= count; ++i) {
        peers.emplace_back(s, i);
        peers.back().window = window;
        peers.back().syn_options.mss = mss;
        REQUIRE(peers.back().open());
        REQUIRE(peers.back().their_end() != nullptr);
    }
    return peers;
}

/// What the send buffer of one connection may really cost: its bytes, and the rest of a chunk at either end.
std::size_t send_memory(const siege& s) {
    return s.victim.configuration().first_buffer +
           2 * 64 * 1024; // who acknowledges nothing gets no larger one
}

/// The attackers are gone, and nothing of them is left.
void nothing_remains(siege& s) {
    s.visiting = false;
    s.run_for(2 * s.victim.configuration().msl + 1s);
    CHECK(s.victim.connections() == 0);
    CHECK(s.victim.half_open() == 0);
    CHECK(s.victim.time_waits() == 0);
    CHECK(s.victim_bytes() == 0);
    s.visiting = true;
}

// --- acknowledgements --------------------------------------------------------------------------------------

TEST_CASE("ACKs never sent: one window, its retransmissions, then the end at R2") { // [RFC 9293 3.8.3]
    siege s;
    s.treatment = writes_without_end;
    constexpr std::size_t attackers = 50;
    auto peers = connected(s, attackers);
    s.answers = 0;
    s.run_for(10s);
    CHECK(s.most_victim_bytes <= attackers * send_memory(s));
    s.pause = 5s;
    s.run_for(s.victim.configuration().connections.give_up_after);
    // Ten segments of the first window, then one at 0.2, 0.4 ... 102.4 s, then RST.
    CHECK(s.answers <= attackers * (10 + 10 + 1));
    CHECK(s.counted().timeouts == attackers);
    CHECK(s.sessions() <= 1); // the honest one's
    CHECK(s.honest_clients_go_on(2));
    nothing_remains(s);
}

TEST_CASE("optimistic ACKs: what was never sent is not acknowledged, cwnd stays") { // [RFC 5961 5.2]
    siege s;
    s.treatment = writes_without_end;
    auto peers = connected(s, 1);
    raw_peer& peer = peers.front();
    peer.take();
    const tcp::info before = peer.their_end()->info();
    const tcp::seq sent_to = peer.expects;
    s.answers = 0;
    for (std::uint32_t i = 1; i <= 10'000; ++i) {
        peer.send_at(peer.next, sent_to + i * 100, ACK);
        if (i % 100 == 0) s.run_for(10ms);
    }
    const tcp::info after = peer.their_end()->info();
    CHECK(after.cwnd <= before.cwnd);
    CHECK(after.bytes_acked == 0);
    CHECK(after.snd_nxt == before.snd_nxt);
    // A challenge ACK for ten of them a second, in begun seconds, and two timeouts' retransmissions.
    CHECK(s.answers <= 2u * s.victim.configuration().challenge_acks_per_second + 3);
    CHECK(s.honest_clients_go_on(3));
}

TEST_CASE("divided ACKs: an ACK for every byte opens cwnd no further than one for all of them") {
    siege s; // [RFC 3465 2.1] [RFC 5681 3.1]
    s.treatment = writes_without_end;
    auto peers = connected(s, 2);
    raw_peer& honest_receiver = peers[0];
    raw_peer& divider = peers[1];
    honest_receiver.take();
    divider.take();
    for (int round = 0; round < 2; ++round) {
        honest_receiver.send(ACK);
        s.flush();
        const tcp::seq all = divider.expects;
        const std::uint32_t bytes = peers[1].their_end()->info().in_flight;
        for (std::uint32_t i = bytes; i-- > 0;) {
            divider.send_at(divider.next, all - i, ACK);
            s.flush();
        }
        CHECK(divider.their_end()->info().bytes_acked == honest_receiver.their_end()->info().bytes_acked);
        CHECK(divider.their_end()->info().cwnd <= honest_receiver.their_end()->info().cwnd);
        CHECK(divider.their_end()->info().segments_out <=
              honest_receiver.their_end()->info().segments_out + 1);
        honest_receiver.take();
        divider.take();
        s.run_for(1ms);
    }
    CHECK(s.honest_clients_go_on(3));
}

TEST_CASE("duplicate ACKs made up: recovery inflates cwnd by what was in flight, not by what is claimed") {
    // [RFC 5681 3.2, step 4]: "limit the number of times cwnd is artificially inflated during loss recovery
    // to the number of outstanding segments"
    siege s;
    s.treatment = writes_without_end;
    raw_peer peer(s, 1);
    peer.syn_options.window_scale = std::uint8_t{7}; // its window is no limit
    REQUIRE(peer.open());
    s.run_for(1ms);
    const tcp::seq una = peer.expects;
    const std::uint32_t flight = peer.their_end()->info().in_flight;
    REQUIRE(flight == 10 * 1460);
    for (int i = 0; i < 10'000; ++i) peer.send_at(peer.next, una, ACK);
    s.flush();
    const tcp::info now = peer.their_end()->info();
    REQUIRE(now.in_recovery);
    CHECK(now.cwnd <= now.ssthresh + flight + 3 * 1460);
    CHECK(now.in_flight <= now.cwnd);
    CHECK(s.honest_clients_go_on(3));
}

// --- windows -----------------------------------------------------------------------------------------------

TEST_CASE("zero window for ever: a probe a minute, the send buffer and no more; an owner can end it") {
    // A peer that answers is alive, so that the connection lives as long as somebody here owns it.
    siege s; // [RFC 9293 3.8.6.1 MUST-35, MUST-37]
    s.treatment = [](tcp::endpoint& e) {
        if (!e.write_error()) writes_without_end(e);
    };
    constexpr std::size_t attackers = 20;
    auto peers = connected(s, attackers, 0);
    s.heard.clear();
    s.pause = 60s;
    s.answers = 0;
    const auto answer_probes_for = [&](duration d) {
        const instant end = s.now + d;
        while (s.now < end) {
            s.run_for(1s);
            for (raw_peer& p : peers)
                if (std::ranges::any_of(s.heard, [&](const auto& h) { return h.to == p.address(); }))
                    p.send(ACK);
            s.heard.clear();
        }
    };
    constexpr std::size_t minutes = 60;
    answer_probes_for(std::chrono::minutes(minutes));
    CHECK(s.answers <= attackers * (minutes + 10)); // doubled from 200 ms to a minute: ten on the way
    CHECK(s.answers >= attackers * minutes / 2);
    CHECK(s.most_victim_bytes <= attackers * send_memory(s));
    for (raw_peer& p : peers) CHECK(p.their_end() != nullptr);

    for (raw_peer& p : peers) p.their_end()->close(s.now);
    answer_probes_for(s.victim.configuration().connections.close_timeout + 1s);
    CHECK(s.sessions() <= 1);
    CHECK(s.honest_clients_go_on(1));
    nothing_remains(s);
}

TEST_CASE("zero window for ever: a connection that nobody owns any more ends, although the peer answers") {
    // What split() leaves behind when both halves are dropped after finish(): data, a FIN, and no one to
    // wait.
    tcp_lab lab;
    lab.establish(tcp_lab::plain().connections, 1000);
    lab.write(std::string(5000, 'x'));
    lab.e->finish(lab.now);
    lab.e->stop_reading(lab.now);
    lab.out();
    lab.in({.flags = ACK, .seq = 1, .ack = 1001, .window = 0});
    const instant last_progress = lab.now;
    std::size_t probes = 0;
    while (lab.e->state() != tcp::state::closed && lab.now < last_progress + 1h) {
        lab.wait(100ms);
        for (const seg& s : lab.out()) {
            if (s.text.empty()) continue;
            ++probes;
            lab.in({.flags = ACK, .seq = 1, .ack = 1001, .window = 0});
        }
    }
    CHECK(probes >= 5);
    CHECK(lab.e->error() == errc::timed_out);
    // The first probe's wait, then R2.
    const tcp::config& c = lab.stack.configuration();
    CHECK(lab.now <= last_progress + c.persist_max + c.connections.give_up_after);
    CHECK(lab.stack.connections() == 0);
}

TEST_CASE("one-byte windows: one segment for each ACK, or for each persist time, never more") {
    siege s; // [RFC 9293 3.8.6.2.1 MUST-38]
    s.treatment = writes_without_end;
    // A peer that never had more than one byte of room gets a byte for each of its ACKs.
    raw_peer small(s, 1);
    small.window = 1;
    REQUIRE(small.open());
    s.answers = 0;
    std::size_t acks = 0;
    for (int i = 0; i < 2000; ++i) {
        s.run_for(1ms);
        small.take();
        small.send(ACK);
        ++acks;
    }
    CHECK(s.answers <= acks + 1);
    // One that had a large window and shrinks it to a byte gets one after each persist time at most.
    raw_peer shrinks(s, 2);
    REQUIRE(shrinks.open());
    shrinks.take();
    shrinks.window = 1;
    shrinks.send(ACK);
    s.flush();
    s.answers = 0;
    constexpr std::int64_t seconds = 20;
    for (int i = 0; i < seconds * 1000; ++i) {
        s.run_for(1ms);
        if (!shrinks.take().empty()) shrinks.send(ACK);
        s.heard.clear();
    }
    const auto for_small = 12u; // its probes: nobody answers them any more
    CHECK(s.answers <=
          static_cast<std::size_t>(seconds * 1s / s.victim.configuration().persist_min) + for_small);
    CHECK(s.most_victim_bytes <= 3 * send_memory(s));
    CHECK(s.honest_clients_go_on(3));
}

TEST_CASE("shrinking windows: no new byte beyond the edge as it was said last") { // [RFC 9293 3.8.6 MUST-34]
    siege s;
    s.treatment = writes_without_end;
    auto peers = connected(s, 1, 20'000);
    raw_peer& peer = peers.front();
    random draw(3);
    tcp::seq highest = peer.expects + 20'000;
    std::size_t acks = 0;
    s.answers = 0;
    for (int i = 0; i < 5000; ++i) {
        const tcp::seq before = highest;
        s.run_for(1ms);
        const tcp::seq edge = peer.expects + peer.window; // as the last ACK said it
        for (const heard_segment& h : peer.take()) {
            const tcp::seq end = h.header.seq + static_cast<std::uint32_t>(h.text.size());
            if (i > 0 && end > before)
                CHECK(end <= edge + (peer.window == 0 ? 1u : 0u)); // a probe is one byte
            highest = later(highest, end);
        }
        peer.window = static_cast<std::uint16_t>(draw.below(4) == 0 ? 0 : draw.below(20'000));
        peer.send(ACK);
        ++acks;
    }
    CHECK(s.answers <= acks * (20'000 / 1460 + 1));
    CHECK(s.honest_clients_go_on(3));
}

TEST_CASE("tiny MSS: a peer that announces one byte gets segments of min_mss, no flood of headers") {
    siege s; // CVE-2019-11479
    s.treatment = writes_without_end;
    for (const std::uint16_t announced : {std::uint16_t{0}, std::uint16_t{1}, std::uint16_t{48}}) {
        raw_peer peer(s, 10u + announced);
        peer.syn_options.mss = announced;
        REQUIRE(peer.open());
        const std::size_t floor = s.victim.configuration().min_mss;
        std::size_t segments = 0;
        std::size_t bytes_in_all = 0;
        while (bytes_in_all < 100'000) {
            s.run_for(1ms);
            for (const heard_segment& h : peer.take()) {
                if (h.text.empty()) continue;
                ++segments;
                bytes_in_all += h.text.size();
            }
            peer.send(ACK);
        }
        CHECK(segments <= bytes_in_all / floor + 5);
        CHECK(peer.their_end()->info().send_mss == floor);
    }
    CHECK(s.honest_clients_go_on(3));
}

// --- what arrives ------------------------------------------------------------------------------------------

TEST_CASE("thousands of bytes out of order, with holes: 256 ranges, and a small buffer for each") {
    siege s;
    s.treatment = [](tcp::endpoint&) {};
    constexpr std::size_t attackers = 20;
    auto peers = connected(s, attackers);
    const tcp::config& c = s.victim.configuration();
    s.answers = 0;
    std::size_t sent = 0;
    for (std::uint32_t i = 1; i <= 5000; ++i) {
        for (raw_peer& p : peers) p.send_at(p.next + 2 * i, p.expects, ACK, "x");
        sent += attackers;
        if (i % 50 == 0) s.run_for(1ms);
    }
    CHECK(s.answers <= sent); // each out-of-order segment earns one ACK [RFC 5681 4.2]
    for (raw_peer& p : peers) {
        CHECK(p.their_end()->info().out_of_order <= c.max_out_of_order_ranges);
        CHECK(p.their_end()->info().out_of_order_ranges == c.max_out_of_order_ranges);
    }
    constexpr std::size_t smallest_buffer = 256;
    CHECK(s.most_victim_bytes <= attackers * c.max_out_of_order_ranges * smallest_buffer + 64 * 1024);
    CHECK(s.counted().reassembly_full == sent - attackers * c.max_out_of_order_ranges);

    // All in one batch draw no more than a bounded number of answers.
    s.answers = 0;
    for (std::uint32_t i = 5001; i <= 10'000; ++i)
        peers[0].send_at(peers[0].next + 2 * i, peers[0].expects, ACK, "x");
    s.flush();
    CHECK(s.answers <= c.max_acks_owed);
    CHECK(s.honest_clients_go_on(3));

    // The holes are filled after all: every byte that was kept is delivered.
    raw_peer& last = peers.back();
    last.send_at(last.next, last.expects, ACK, std::string(2 * 256, 'y'));
    s.flush();
    CHECK(last.their_end()->readable() == 2 * 256 + 1); // the last range was there
    for (raw_peer& p : peers) p.send(RST);
    for (raw_peer& p : peers) p.send_at(p.next + 2 * 256 + 1, p.expects, RST);
    s.flush();
    nothing_remains(s);
}

TEST_CASE("overlapping retransmissions with other content: of every byte the first received wins") {
    // All pairs of pieces of a stream of five bytes, held beyond a hole or delivered already, and then all of
    // it a third time, with a third content.
    siege s;
    s.treatment = [](tcp::endpoint&) {};
    constexpr std::uint32_t length = 5;
    std::uint32_t number = 0;
    for (std::uint32_t b1 = 0; b1 < length; ++b1)
        for (std::uint32_t e1 = b1 + 1; e1 <= length; ++e1)
            for (std::uint32_t b2 = 0; b2 < length; ++b2)
                for (std::uint32_t e2 = b2 + 1; e2 <= length; ++e2) {
                    raw_peer peer(s, ++number);
                    REQUIRE(peer.open());
                    std::string expected(length, 'C');
                    for (std::uint32_t i = b2; i < e2; ++i) expected[i] = 'B';
                    for (std::uint32_t i = b1; i < e1; ++i) expected[i] = 'A';
                    peer.send_at(peer.next + b1, peer.expects, ACK, std::string(e1 - b1, 'A'));
                    peer.send_at(peer.next + b2, peer.expects, ACK, std::string(e2 - b2, 'B'));
                    peer.send_at(peer.next, peer.expects, ACK, std::string(length, 'C'));
                    CHECK(read(*peer.their_end()) == expected);
                    s.flush();
                }
    CHECK(number == 225);
    CHECK(s.honest_clients_go_on(3));
}

TEST_CASE("urgent pointers everywhere: every byte is delivered, in line, and nothing else happens") {
    siege s; // [RFC 9293 3.8.5 SHLD-13, MUST-30, MUST-31] [RFC 6093 5]
    raw_peer peer(s, 1);
    REQUIRE(peer.open());
    random draw(9);
    std::string sent;
    std::string echoed;
    s.answers = 0;
    std::size_t segments = 0;
    for (int i = 0; i < 2000; ++i) {
        const std::string text(1 + draw.below(20), static_cast<char>('a' + i % 26));
        const auto pointer = static_cast<std::uint16_t>(draw.next_u32() & 0xffff);
        peer.send(draw.below(4) == 0 ? ACK : ACK | URG, text, i % 7 == 0 ? std::uint16_t{0} : pointer);
        peer.next += static_cast<std::uint32_t>(text.size());
        sent += text;
        ++segments;
        s.run_for(1ms);
        for (const heard_segment& h : peer.take()) echoed += h.text;
        peer.send(ACK | URG, "", pointer); // pointing at data that never comes
        ++segments;
    }
    s.run_for(100ms);
    for (const heard_segment& h : peer.take()) echoed += h.text;
    CHECK(echoed == sent);
    CHECK(s.answers <= segments + 1);
    CHECK(s.honest_clients_go_on(3));
}

/// Up to 40 bytes that may look like options, in a header of the right length for them.
std::string with_soup(random& draw, const raw_peer& from, tcp::seq seq, tcp::seq ack, tcp::flags f,
                      std::string_view text) {
    const std::size_t options = 4 * draw.below(11);
    std::string bytes_(20 + options, '\0');
    const mutable_bytes room = std::as_writable_bytes(std::span(bytes_));
    store_be16(room, 0, from.port());
    store_be16(room, 2, siege::port);
    store_be32(room, 4, seq.value());
    store_be32(room, 8, ack.value());
    store_u8(room, 12, static_cast<std::uint8_t>((20 + options) / 4 << 4));
    store_u8(room, 13, static_cast<std::uint8_t>(f));
    store_be16(room, 14, 60'000);
    for (std::size_t i = 20; i < bytes_.size(); ++i) {
        // Kinds and lengths that mean something, three times out of four.
        constexpr std::array<std::uint8_t, 12> likely{0, 1, 2, 3, 4, 5, 8, 10, 18, 253, 2, 4};
        const std::uint32_t what = draw.below(16);
        store_u8(room, i, what < likely.size() ? likely[what] : static_cast<std::uint8_t>(draw.below(256)));
    }
    return bytes_ + std::string(text);
}

TEST_CASE("option soup: every byte of a stream arrives, whatever the options of its segments") {
    siege s; // [RFC 9293 3.1 MUST-5, MUST-6, MUST-7]
    raw_peer peer(s, 1);
    REQUIRE(peer.open());
    random draw(21);
    std::string sent;
    std::string echoed;
    s.answers = 0;
    constexpr std::size_t segments = 20'000;
    for (std::size_t i = 0; i < segments; ++i) {
        const std::string text(1, static_cast<char>('a' + i % 26));
        s.inject_raw(peer.address(), with_soup(draw, peer, peer.next, peer.expects, ACK, text));
        peer.next += 1;
        sent += text;
        if (i % 10 != 9) continue;
        s.run_for(1ms);
        for (const heard_segment& h : peer.take()) echoed += h.text;
    }
    s.run_for(100ms);
    for (const heard_segment& h : peer.take()) echoed += h.text;
    CHECK(echoed == sent);
    CHECK(s.counted().malformed_options > segments / 4);
    CHECK(s.answers <= segments);

    // In SYNs it makes half-open entries of ordinary size, as many as there is room for, one answer each.
    s.answers = 0;
    for (std::uint32_t i = 0; i < 500; ++i) {
        const raw_peer stranger(s, 100 + i);
        s.inject_raw(stranger.address(), with_soup(draw, stranger, tcp::seq(i), {}, SYN, ""));
        s.flush();
    }
    CHECK(s.answers == 500);
    CHECK(s.victim.half_open() == 500);
    CHECK(s.honest_clients_go_on(3));
}

} // namespace
} // namespace tapir::test
