#include <tapir/protocols/tcp/reassembly.hpp>

#include <doctest/doctest.h>

#include <set>

#include "tests/support/tcp_crowd.hpp"
#include "tests/support/tcp_lab.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;

tcp::config with_timestamps() {
    tcp::config c = tcp_lab::plain();
    c.use_timestamps = true;
    return c;
}
tcp::options stamp(std::uint32_t value, std::uint32_t echo = 0) {
    tcp::options o;
    o.ts = tcp::timestamps{value, echo};
    return o;
}

// --- SYN_SENT ----------------------------------------------------------------------------------------------

TEST_CASE("SYN_SENT: an ACK of something else draws a RST, with and without SYN") { // [RFC 9293 3.10.7.3]
    tcp_lab lab;
    lab.connect();
    CHECK(lab.out() == segs{{.flags = SYN}});
    lab.in({.flags = SYN | ACK, .seq = 0, .ack = 5});
    lab.in({.flags = ACK, .seq = 0, .ack = 0});
    CHECK(lab.out() == segs{{.flags = RST, .seq = 5}, {.flags = RST, .seq = 0}});
    CHECK(lab.e->state() == tcp::state::syn_sent);
}

TEST_CASE("SYN_SENT: a RST counts only with an acceptable ACK, and means refused") {
    tcp_lab lab;
    lab.connect();
    lab.out();
    lab.in({.flags = RST, .seq = 0});
    lab.in({.flags = RST | ACK, .seq = 0, .ack = 9});
    CHECK(lab.e->state() == tcp::state::syn_sent);
    lab.in({.flags = RST | ACK, .seq = 0, .ack = 1});
    CHECK(lab.e->state() == tcp::state::closed);
    CHECK(lab.e->error() == errc::refused);
    CHECK(lab.e->report().how == tcp::ending::reset);
    CHECK(lab.out() == segs{});
    CHECK(lab.stack.connections() == 0);
}

TEST_CASE("SYN_SENT: the SYN|ACK may carry data and FIN") {
    tcp_lab lab;
    lab.connect();
    lab.out();
    lab.in({.flags = SYN | ACK | FIN, .seq = 0, .ack = 1, .text = "hi"});
    CHECK(lab.e->state() == tcp::state::close_wait);
    CHECK(lab.e->edges().size() == 3);
    CHECK(lab.read() == "hi");
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 4}});
}

TEST_CASE("SYN_SENT: a segment with neither SYN nor RST is dropped") {
    tcp_lab lab;
    lab.connect();
    lab.out();
    lab.in({.flags = ACK, .seq = 0, .ack = 1});
    CHECK(lab.out() == segs{});
    CHECK(lab.e->state() == tcp::state::syn_sent);
}

TEST_CASE("simultaneous open: a SYN draws SYN|ACK, the ACK establishes; a RST means refused") {
    tcp_lab lab;
    lab.connect();
    CHECK(lab.out() == segs{{.flags = SYN}});
    lab.in({.flags = SYN});
    CHECK(lab.e->state() == tcp::state::syn_received);
    CHECK(lab.out() == segs{{.flags = SYN | ACK, .ack = 1}});
    SUBCASE("ACK") {
        lab.in({.flags = ACK, .seq = 1, .ack = 1});
        CHECK(lab.e->state() == tcp::state::established);
    }
    SUBCASE("RST") {
        lab.in({.flags = RST, .seq = 1});
        CHECK(lab.e->state() == tcp::state::closed);
        CHECK(lab.e->error() == errc::refused);
    }
    SUBCASE("an ACK of something else") {
        lab.in({.flags = ACK, .seq = 1, .ack = 4});
        CHECK(lab.out() == segs{{.flags = RST, .seq = 4}});
        CHECK(lab.e->state() == tcp::state::syn_received);
    }
    SUBCASE("finish: SYN_RECEIVED to FIN_WAIT_1") { // [RFC 9293 3.10.4]
        lab.e->finish(lab.now);
        CHECK(lab.e->state() == tcp::state::fin_wait_1);
        CHECK(lab.out() == segs{{.flags = FIN | ACK, .seq = 1, .ack = 1}});
        lab.in({.flags = ACK, .seq = 1, .ack = 2});
        CHECK(lab.e->state() == tcp::state::fin_wait_2);
        lab.in({.flags = FIN | ACK, .seq = 1, .ack = 2});
        CHECK(lab.e->state() == tcp::state::time_wait);
    }
    SUBCASE("finish with data queued waits for ESTABLISHED") {
        lab.write("last words");
        lab.e->finish(lab.now);
        CHECK(lab.e->state() == tcp::state::syn_received);
        CHECK(lab.write("more") == 0);
        lab.in({.flags = ACK, .seq = 1, .ack = 1});
        CHECK(lab.e->state() == tcp::state::fin_wait_1);
        CHECK(lab.e->entered(tcp::state::established));
        CHECK(lab.out() == segs{{.flags = FIN | ACK, .seq = 1, .ack = 1, .text = "last words"}});
    }
    SUBCASE("silence") {
        lab.wait(2s);
        CHECK(lab.out() == segs{{.flags = SYN | ACK, .ack = 1, .at = 1000}});
    }
}

// --- RST ---------------------------------------------------------------------------------------------------

TEST_CASE("a RST exactly at rcv_nxt resets; data already acknowledged stays readable, then the error") {
    tcp_lab lab;
    lab.establish();
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "kept"});
    lab.in({.flags = RST, .seq = 5});
    CHECK(lab.e->state() == tcp::state::closed);
    CHECK(lab.e->error() == errc::reset);
    CHECK(lab.e->report().how == tcp::ending::reset);
    CHECK_FALSE(lab.e->at_end());
    CHECK(lab.read() == "kept");
    CHECK(lab.write("x") == 0);
    CHECK(lab.e->write_error() == errc::reset);
    CHECK(lab.out() == segs{});
}

TEST_CASE("a RST elsewhere in the window draws a challenge ACK") { // [RFC 5961 3.2]
    tcp_lab lab;
    lab.establish();
    lab.in({.flags = RST, .seq = 2});
    lab.in({.flags = RST, .seq = 60000});
    CHECK(lab.e->state() == tcp::state::established);
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 1}, {.flags = ACK, .seq = 1, .ack = 1}});
    CHECK(lab.counted().blind_reset == 2);
}

TEST_CASE("a RST outside of the window is ignored") {
    tcp_lab lab;
    lab.establish();
    lab.in({.flags = RST, .seq = 300000});
    lab.in({.flags = RST, .seq = 0});
    CHECK(lab.e->state() == tcp::state::established);
    CHECK(lab.out() == segs{});
}

// --- SYN ---------------------------------------------------------------------------------------------------

TEST_CASE("a duplicate SYN in ESTABLISHED draws a challenge ACK, wherever it stands") { // [RFC 5961 4]
    tcp_lab lab;
    lab.establish();
    lab.in({.flags = SYN, .seq = 0});
    lab.in({.flags = SYN, .seq = 10});
    lab.in({.flags = SYN, .seq = 900000});
    CHECK(lab.e->state() == tcp::state::established);
    CHECK(lab.out() == segs(3, {.flags = ACK, .seq = 1, .ack = 1}));
}

TEST_CASE("challenge ACKs of one connection are limited to ten a second") { // [RFC 5961 7]
    tcp_lab lab;
    lab.establish();
    for (int i = 0; i < 25; ++i) lab.in({.flags = SYN, .seq = 10});
    CHECK(lab.out().size() == 10);
    CHECK(lab.counted().challenge_acks_suppressed == 15);
    lab.wait(1s);
    lab.in({.flags = SYN, .seq = 10});
    CHECK(lab.out().size() == 1);
}

// --- ACK ---------------------------------------------------------------------------------------------------

TEST_CASE("challenge ACKs of all connections are limited, by a number that nobody can know") { // [RFC 5961 7]
    // CVE-2016-5696: what is left of a known limit tells of others' connections.
    tcp::config c = tcp_lab::plain();
    c.challenge_acks_total_per_second = 100;
    const auto per_second = [&c](std::uint64_t seed) {
        tcp_crowd crowd(c, {}, seed);
        std::vector<std::unique_ptr<tcp::endpoint>> all;
        for (std::uint16_t port = 5001; port <= 5030; ++port) all.push_back(crowd.establish(port));
        std::vector<std::uint64_t> counts;
        std::uint64_t before = 0;
        for (int second = 0; second < 12; ++second) {
            for (int i = 0; i < 10; ++i) // as many as each connection would answer
                for (std::uint16_t port = 5001; port <= 5030; ++port)
                    crowd.in(port, {.flags = RST, .seq = 500});
            counts.push_back(crowd.counted().challenge_acks - before);
            before = crowd.counted().challenge_acks;
            crowd.wait(1s);
        }
        CHECK(crowd.counted().challenge_acks + crowd.counted().challenge_acks_total_suppressed == 12 * 300);
        CHECK(crowd.counted().challenge_acks_suppressed == 0);
        return counts;
    };
    const auto counts = per_second(1);
    for (const std::uint64_t n : counts) {
        CHECK(n >= 50);
        CHECK(n < 150);
    }
    std::set<std::uint64_t> different(counts.begin(), counts.end());
    CHECK(different.size() >= 8);
    CHECK(per_second(1) == counts); // from the seed, and
    CHECK(per_second(2) != counts); // from nothing else
}

TEST_CASE("challenge ACKs are there from the clock's first second on") {
    tcp_lab lab(tcp_lab::plain(), instant(0s));
    lab.establish();
    REQUIRE(lab.now < instant(1s));
    lab.in({.flags = SYN, .seq = 10});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 1}});
    CHECK(lab.counted().challenge_acks_total_suppressed == 0);
}

/// A lab whose stack has one challenge ACK a second.
struct one_challenge : tcp_lab {
    explicit one_challenge(const tcp::connection_options& o = {}) : tcp_lab(one_a_second()) { establish(o); }
    void use_up() {
        const std::uint64_t suppressed = counted().challenge_acks_total_suppressed;
        in({.flags = SYN, .seq = 500});
        CHECK(out().size() == 1);
        in({.flags = SYN, .seq = 500});
        CHECK(out() == segs{});
        CHECK(counted().challenge_acks_total_suppressed == suppressed + 1);
    }
    static tcp::config one_a_second() {
        tcp::config c = plain();
        c.challenge_acks_total_per_second = 1;
        return c;
    }
};

TEST_CASE("keepalives and window probes are answered when all challenge ACKs are used up") {
    // [RFC 9293 3.8.4, 3.8.6.1]. Else whoever uses up the limit of all ends other people's connections.
    const segs answer{{.flags = ACK, .seq = 1, .ack = 1}};
    one_challenge lab;
    lab.use_up();
    lab.in({.flags = ACK, .seq = 0, .ack = 1}); // empty, one below what we expect: as most stacks ask
    CHECK(lab.out() == answer);
    lab.in({.flags = ACK, .seq = 0, .ack = 1, .text = "g"}); // with a byte of garbage: as the oldest do
    CHECK(lab.out() == answer);

    tcp::connection_options small;
    small.receive_buffer = 10;
    one_challenge full(small);
    full.in({.flags = ACK, .seq = 1, .ack = 1, .text = "0123456789"});
    full.wait(1s);
    CHECK(full.out().size() == 1);
    full.use_up();
    const segs shut{{.flags = ACK, .seq = 1, .ack = 11, .window = std::uint16_t{0}}};
    full.in({.flags = ACK, .seq = 11, .ack = 1, .text = "x"}); // a probe with the next byte
    CHECK(full.out() == shut);
    full.in({.flags = ACK, .seq = 10, .ack = 1}); // one without
    CHECK(full.out() == shut);
}

TEST_CASE("what looks like a keepalive is answered ten times a second, and only if its ACK can be true") {
    one_challenge lab;
    lab.use_up();
    for (int i = 0; i < 25; ++i) lab.in({.flags = ACK, .seq = 0, .ack = 1});
    CHECK(lab.out().size() == 9); // and one before
    CHECK(lab.counted().challenge_acks_suppressed == 16);
    lab.wait(1s);
    lab.use_up();
    lab.in({.flags = ACK, .seq = 0, .ack = 2});              // acknowledges what was never sent
    lab.in({.flags = ACK, .seq = 0, .ack = 0x8000'0000});    // or so long ago that it cannot be meant
    lab.in({.flags = ACK | SYN, .seq = 0, .ack = 1});        // a challenge as any other
    lab.in({.flags = ACK, .seq = 0xffff'ffff, .ack = 1});    // two below
    lab.in({.flags = tcp::flags::none, .seq = 0, .ack = 1}); // no ACK at all
    CHECK(lab.out() == segs{});
}

TEST_CASE("an ACK of what was never sent, or far in the past, draws an ACK and is not believed") {
    tcp_lab lab; // [RFC 9293 3.10.7.4, fifth] [RFC 5961 5]
    lab.establish();
    lab.write("abc");
    lab.out();
    lab.in({.flags = ACK, .seq = 1, .ack = 5});
    lab.in({.flags = ACK, .seq = 1, .ack = 1u - 70000u});
    CHECK(lab.e->unacked() == 3);
    CHECK(lab.out() == segs(2, {.flags = ACK, .seq = 4, .ack = 1}));
    CHECK(lab.counted().bad_ack == 2);
    lab.in({.flags = ACK, .seq = 1, .ack = 4});
    CHECK(lab.e->unacked() == 0);
    CHECK(lab.e->flushed());
}

TEST_CASE("an older ACK with new data is a delayed duplicate: its data counts, its ACK and window do not") {
    tcp_lab lab;
    lab.establish();
    lab.write("abc");
    lab.out();
    lab.in({.flags = ACK, .seq = 1, .ack = 4, .window = 5000});
    lab.in({.flags = ACK, .seq = 1, .ack = 3, .text = "new", .window = 1000});
    CHECK(lab.read() == "new");
    CHECK(lab.e->info().send_window == 5000);
}

TEST_CASE("a segment without ACK is dropped once synchronized") {
    tcp_lab lab;
    lab.establish();
    lab.in({.flags = tcp::flags::none, .seq = 1, .text = "abc"});
    CHECK(lab.e->readable() == 0);
    CHECK(lab.out() == segs{});
}

// --- text and FIN ------------------------------------------------------------------------------------------

TEST_CASE("what lies outside of the window is acknowledged and dropped") { // [RFC 9293 3.10.7.4, first]
    tcp_lab lab;
    lab.establish();
    lab.in({.flags = ACK, .seq = 1 + 65536, .ack = 1, .text = "late"});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 1}});
    lab.in({.flags = ACK, .seq = 0, .ack = 1}); // a keep-alive probe [RFC 9293 3.8.4]
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 1}});
    CHECK(lab.counted().out_of_window == 2);
    CHECK(lab.e->readable() == 0);
}

TEST_CASE("a repeated segment is acknowledged again, a partly new one gives what is new") {
    tcp_lab lab;
    lab.establish();
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "abcd"});
    lab.wait(50ms);
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 5}});
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "abcd"});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 5}});
    lab.in({.flags = ACK, .seq = 3, .ack = 1, .text = "cdEF"});
    lab.wait(50ms);
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 7}});
    CHECK(lab.read() == "abcdEF");
}

TEST_CASE("text beyond the window is cut at its edge") {
    tcp_lab lab;
    tcp::connection_options o;
    o.receive_buffer = 2000;
    lab.establish(o);
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = std::string(1500, 'a')});
    lab.in({.flags = ACK | FIN, .seq = 1501, .ack = 1, .text = std::string(600, 'b')});
    CHECK(lab.e->readable() == 2000);
    CHECK(lab.e->state() == tcp::state::established); // the FIN was cut off with the rest
    CHECK(lab.out().back() == seg{.flags = ACK, .seq = 1, .ack = 2001, .window = std::uint16_t{0}});
}

TEST_CASE("segments in any order are delivered in order; each out-of-order one draws its own ACK") {
    tcp_lab lab; // [RFC 5681 4.2]
    lab.establish();
    lab.in({.flags = ACK, .seq = 7, .ack = 1, .text = "ghi"});
    lab.in({.flags = ACK, .seq = 4, .ack = 1, .text = "def"});
    CHECK(lab.out() == segs(2, {.flags = ACK, .seq = 1, .ack = 1}));
    CHECK(lab.e->readable() == 0);
    CHECK(lab.e->info().out_of_order == 6);
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "abc"});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 10}}); // the hole is filled: at once
    CHECK(lab.read() == "abcdefghi");
}

TEST_CASE("where segments overlap, the bytes received first win") {
    tcp_lab lab;
    lab.establish();
    lab.in({.flags = ACK, .seq = 4, .ack = 1, .text = "DEF"});
    lab.in({.flags = ACK, .seq = 2, .ack = 1, .text = "bxxxxxg"});
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "ayyyyyyyh"});
    CHECK(lab.read() == "abxDEFxgh");
}

TEST_CASE("a FIN ahead of a hole waits for the hole") {
    tcp_lab lab;
    lab.establish();
    lab.in({.flags = ACK | FIN, .seq = 4, .ack = 1, .text = "def"});
    CHECK(lab.e->state() == tcp::state::established);
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "abc"});
    CHECK(lab.e->state() == tcp::state::close_wait);
    CHECK(lab.out().back() == seg{.flags = ACK, .seq = 1, .ack = 8});
    CHECK(lab.e->peer_finished());
    CHECK_FALSE(lab.e->at_end());
    CHECK(lab.read() == "abcdef");
    CHECK(lab.e->at_end());
}

TEST_CASE("text behind the peer's FIN is not delivered") {
    tcp_lab lab;
    lab.establish();
    lab.in({.flags = ACK | FIN, .seq = 4, .ack = 1, .text = "def"});
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "abcdefGH"});
    CHECK(lab.e->readable() == 0);
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "abc"});
    lab.in({.flags = ACK, .seq = 8, .ack = 1, .text = "more"});
    CHECK(lab.read() == "abcdef");
    CHECK(lab.out().back() == seg{.flags = ACK, .seq = 1, .ack = 8});
}

TEST_CASE("out-of-order ranges are bounded") {
    tcp::config c = tcp_lab::plain();
    c.max_out_of_order_ranges = 4;
    tcp_lab lab(c);
    lab.establish();
    for (std::uint32_t i = 0; i < 10; ++i) lab.in({.flags = ACK, .seq = 10 + 2 * i, .ack = 1, .text = "x"});
    CHECK(lab.e->info().out_of_order == 4);
    CHECK(lab.counted().reassembly_full == 6);
}

TEST_CASE("single bytes pin single bytes, not a frame each") {
    tcp_lab lab;
    lab.establish();
    const std::size_t before = lab.pool.live_bytes();
    for (std::uint32_t i = 0; i < 3000; ++i)
        lab.in({.flags = ACK, .seq = 1 + i, .ack = 1, .text = "x"}); // each in a buffer of 256 bytes
    CHECK(lab.e->readable() == 3000);
    CHECK(lab.pool.live_bytes() - before <= 3000 + 4096 + 4096);
    CHECK(lab.e->info().receive_memory <= 3000 + 4096);
}

// --- timestamps --------------------------------------------------------------------------------------------

TEST_CASE("timestamps: offered, echoed, required") { // [RFC 7323 3.2]
    tcp_lab lab(with_timestamps());
    tcp::options syn = stamp(1000);
    syn.mss = std::uint16_t{1000};
    lab.establish({}, 65535, syn);
    CHECK(lab.e->info().timestamps);
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "abc", .options = stamp(1010)});
    lab.wait(50ms);
    const segs sent = lab.out();
    REQUIRE(sent.size() == 1);
    CHECK(sent[0].options->ts->echo == 1010);
    lab.in({.flags = ACK, .seq = 4, .ack = 1, .text = "def"});
    CHECK(lab.counted().missing_timestamp == 1);
    CHECK(lab.read() == "abc");
}

TEST_CASE("PAWS: an old duplicate by its timestamp draws an ACK and is dropped") { // [RFC 7323 5.3 R1]
    tcp_lab lab(with_timestamps());
    lab.establish({}, 65535, stamp(0xffffffff)); // the comparison is modular
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "abc", .options = stamp(5)});
    lab.wait(50ms);
    lab.out();
    lab.in({.flags = ACK, .seq = 4, .ack = 1, .text = "OLD", .options = stamp(0xfffffff0)});
    CHECK(lab.counted().paws_rejected == 1);
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 4}});
    CHECK(lab.read() == "abc");
    lab.in({.flags = RST, .seq = 4, .options = stamp(0xfffffff0)}); // a RST needs none
    CHECK(lab.e->error() == errc::reset);
}

TEST_CASE("the echoed timestamp is that of the earliest segment not yet acknowledged") { // [RFC 7323 4.3]
    tcp_lab lab(with_timestamps());
    lab.establish({}, 65535, stamp(100));
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "a", .options = stamp(110)});
    lab.in({.flags = ACK, .seq = 2, .ack = 1, .text = "b", .options = stamp(120)});
    lab.wait(50ms);
    CHECK(lab.out().back().options->ts->echo == 110);
}

TEST_CASE("segments that adjoin are one range, however many they are") {
    tcp::config c = tcp_lab::plain();
    c.max_out_of_order_ranges = 1;
    tcp_lab lab(c);
    lab.establish();
    std::string expected(1, 'a');
    for (std::uint32_t i = 0; i < 100; ++i) {
        const std::string byte(1, static_cast<char>('b' + i % 20));
        lab.in({.flags = ACK, .seq = 2 + i, .ack = 1, .text = byte});
        expected += byte;
    }
    lab.in({.flags = ACK, .seq = 200, .ack = 1, .text = "z"}); // a second range
    CHECK(lab.counted().reassembly_full == 1);
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "a"});
    CHECK(lab.read() == expected);
}

TEST_CASE("crumbs ahead of a hole are kept in few pieces, from whichever side they come") {
    buffer_pool pool;
    tcp::reassembly held;
    const auto put = [&](std::uint32_t at) {
        const std::byte value{static_cast<unsigned char>(at * 7)};
        return held.insert(tcp::seq(at), chunk(pool.copy_of(bytes(&value, 1)), 0, 1), pool);
    };
    constexpr std::uint32_t size = 9000;
    for (std::uint32_t i = 0; i < size / 3; ++i) CHECK(put(2 * (size / 3) + i)); // upwards
    for (std::uint32_t i = size / 3; i > 0; --i) CHECK(put(size / 3 + i - 1));   // downwards
    for (std::uint32_t i = 1; i < size / 3; i += 2) CHECK(put(i));               // into gaps
    CHECK(held.ranges() == size / 6);
    for (std::uint32_t i = 0; i < size / 3; i += 2) CHECK(put(i));
    CHECK_FALSE(put(size / 2));
    CHECK(held.ranges() == 1);
    CHECK(held.pieces() <= 2 * size / 2048 + 1);
    CHECK(held.size() == size);
    std::uint32_t next = 0;
    for (chunk c = held.take(tcp::seq(0)); !c.empty(); c = held.take(tcp::seq(next)))
        for (const std::byte b : c.data()) CHECK(b == std::byte{static_cast<unsigned char>(next++ * 7)});
    CHECK(next == size);
    CHECK(held.ranges() == 0);
}

} // namespace
} // namespace tapir::test
