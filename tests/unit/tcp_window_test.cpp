#include <doctest/doctest.h>

#include "tests/support/tcp_lab.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;

std::string bulk(std::size_t n, char c = 'b') {
    return std::string(n, c);
}

// --- what the peer's window lets us send -------------------------------------------------------------------

TEST_CASE("never more than the peer's window is in flight") {
    tcp_lab lab;
    lab.establish(tcp_lab::plain().connections, 2500);
    lab.write(bulk(6000));
    const segs sent = lab.out();
    REQUIRE(sent.size() == 2); // the third would be a small one: silly window avoidance [MUST-38]
    CHECK(sent[0].text.size() == 1000);
    CHECK(sent[1].text.size() == 1000);
    lab.in({.flags = ACK, .seq = 1, .ack = 2001, .window = 2000});
    CHECK(lab.out().size() == 2);
}

TEST_CASE("a segment that is one byte larger than the window's rest waits") {
    tcp_lab lab; // [RFC 9293 3.4]: the window ends before snd_una + snd_wnd
    lab.establish(tcp_lab::plain().connections, 2999);
    lab.write(bulk(6000));
    CHECK(lab.out().size() == 2);
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .window = 3000});
    const segs third = lab.out();
    REQUIRE(third.size() == 1);
    CHECK(third[0].seq == 2001);
    CHECK(third[0].text.size() == 1000);
}

TEST_CASE("a shut window is probed with one byte, ever more seldom, as long as the peer answers") {
    tcp_lab lab; // [RFC 9293 3.8.6.1 MUST-35, MUST-36, MUST-37, SHLD-29, SHLD-30]
    lab.establish(tcp_lab::plain().connections, 0);
    lab.write("hello");
    CHECK(lab.out() == segs{});
    std::vector<long> times;
    for (int i = 0; i < 12; ++i) {
        while (true) {
            lab.wait(100ms);
            const segs sent = lab.out();
            if (sent.empty()) continue;
            REQUIRE(sent.size() == 1);
            CHECK(sent[0] == seg{.flags = ACK, .seq = 1, .ack = 1, .text = "h"});
            times.push_back(*sent[0].at);
            break;
        }
        lab.in({.flags = ACK, .seq = 1, .ack = 1, .window = 0});
    }
    CHECK(times[0] - 10 == 200);
    CHECK(times[1] - times[0] == 400);
    CHECK(times[2] - times[1] == 800);
    CHECK(times[11] - times[10] == 60000);
    CHECK(times[11] > 240000); // far longer than give_up_after
    CHECK(lab.e->state() == tcp::state::established);
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .window = 1000});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 1, .text = "hello"}});
    lab.in({.flags = ACK, .seq = 1, .ack = 6, .window = 1000});
    CHECK(lab.e->flushed());
    lab.wait(300s);
    CHECK(lab.out() == segs{});
}

TEST_CASE("a probe whose byte is taken moves on") {
    tcp_lab lab;
    lab.establish(tcp_lab::plain().connections, 0);
    lab.write("hello");
    lab.wait(250ms);
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 1, .text = "h"}});
    lab.in({.flags = ACK, .seq = 1, .ack = 2, .window = 0});
    lab.wait(250ms);
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 2, .ack = 1, .text = "e"}});
    CHECK(lab.e->unacked() == 4);
}

TEST_CASE("probes that nobody answers end the connection") {
    tcp_lab lab;
    lab.establish(tcp_lab::plain().connections, 0);
    lab.write("hello");
    lab.wait(125s);
    CHECK(lab.e->error() == errc::timed_out);
}

TEST_CASE("a window that shrinks under data in flight is respected, then probed") { // [RFC 9293 MUST-34]
    tcp_lab lab;
    lab.establish();
    lab.write(bulk(3000));
    CHECK(lab.out().size() == 3);
    lab.in({.flags = ACK, .seq = 1, .ack = 1001, .window = 0});
    lab.wait(250ms); // the timeout finds no window: it is a probe that goes
    lab.out();
    lab.wait(500ms);
    const segs probe = lab.out();
    REQUIRE_FALSE(probe.empty());
    CHECK(probe[0].seq == 1001);
    CHECK(probe[0].text.size() == 1);
    lab.in({.flags = ACK, .seq = 1, .ack = 1001, .window = 10000});
    lab.out();
    lab.in({.flags = ACK, .seq = 1, .ack = 3001, .window = 10000});
    CHECK(lab.e->flushed());
}

TEST_CASE("a FIN needs room in the window too: it is its own probe") {
    tcp_lab lab;
    lab.establish(tcp_lab::plain().connections, 0);
    lab.e->finish(lab.now);
    CHECK(lab.out() == segs{});
    lab.wait(250ms);
    CHECK(lab.out() == segs{{.flags = FIN | ACK, .seq = 1, .ack = 1}});
    lab.in({.flags = ACK, .seq = 1, .ack = 2, .window = 0});
    CHECK(lab.e->state() == tcp::state::fin_wait_2);
}

TEST_CASE("only the newest segment speaks for the window") { // SND.WL1, SND.WL2
    tcp_lab lab;
    lab.establish();
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "a", .window = 4000});
    lab.in({.flags = ACK, .seq = 2, .ack = 1, .text = "b", .window = 3000});
    CHECK(lab.e->info().send_window == 3000);
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "ab", .window = 9000}); // older
    CHECK(lab.e->info().send_window == 3000);
}

TEST_CASE("a segment that another has overtaken does not speak for the window") { // SND.WL1, SND.WL2
    tcp_lab lab;
    lab.establish();
    lab.in({.flags = ACK, .seq = 11, .ack = 1, .text = "0123456789", .window = 3000});
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "0123456789", .window = 9000}); // older, in the window
    CHECK(lab.e->readable() == 20);
    CHECK(lab.e->info().send_window == 3000);
}

TEST_CASE("a segment sent again may tell of a window that has opened since") { // SND.WL1, SND.WL2
    tcp_lab lab;
    lab.establish();
    lab.write(bulk(1000));
    lab.out();
    // The peer's first segment is lost, its second shuts the window; the first comes again, sent after our
    // data had arrived and been read.
    lab.in({.flags = ACK, .seq = 11, .ack = 1, .text = "0123456789", .window = 0});
    lab.in({.flags = ACK, .seq = 1, .ack = 1001, .text = "0123456789", .window = 5000});
    CHECK(lab.e->info().send_window == 5000);
    lab.write("hello");
    CHECK(lab.out().back() == seg{.flags = ACK, .seq = 1001, .ack = 21, .text = "hello"});
}

// --- windows that shrink -----------------------------------------------------------------------------------

TEST_CASE(
    "a window pulled back over data in flight lets nothing new out") { // [RFC 9293 3.8.6 MUST-34, SHLD-15]
    tcp_lab lab;
    lab.establish(tcp_lab::plain().connections, 8000);
    lab.write(bulk(10'000));
    CHECK(lab.out().size() == 8);
    lab.in({.flags = ACK, .seq = 1, .ack = 1001, .window = 2000}); // the right edge goes from 8001 to 3001
    CHECK(lab.out().empty());
    CHECK(lab.e->info().send_window == 2000);
    CHECK(lab.e->info().in_flight == 7000);
    lab.in({.flags = ACK, .seq = 1, .ack = 7001, .window = 2000});
    const segs next = lab.out(); // one is in flight, one more fits
    REQUIRE(next.size() == 1);
    CHECK(next[0].seq == 8001);
}

TEST_CASE("within a window pulled back data goes again; beyond it, it does not time the connection out") {
    tcp_lab lab; // [RFC 9293 3.8.6 SHLD-16, SHLD-17]
    lab.establish(tcp_lab::plain().connections, 8000);
    lab.write(bulk(8000));
    CHECK(lab.out().size() == 8);
    // It takes 500 bytes at a time from now on, late, and never what lies beyond.
    std::uint32_t have = 1;
    for (int i = 0; i < 16; ++i) {
        lab.in({.flags = ACK, .seq = 1, .ack = have, .window = 500});
        lab.wait(40s);
        const segs sent = lab.out();
        REQUIRE_FALSE(sent.empty());
        for (const seg& s : sent) {
            CHECK(s.seq == have);
            CHECK(s.text.size() <= 500);
        }
        have += 500;
    }
    CHECK(lab.e->state() == tcp::state::established);
    lab.in({.flags = ACK, .seq = 1, .ack = have, .window = 500});
    CHECK(lab.e->flushed());
}

TEST_CASE(
    "a window pulled back to nothing is probed, and the probe is old data") { // [RFC 9293 3.8.6 MUST-35]
    tcp_lab lab;
    lab.establish(tcp_lab::plain().connections, 4000);
    lab.write(bulk(4000));
    CHECK(lab.out().size() == 4);
    lab.in({.flags = ACK, .seq = 1, .ack = 2001, .window = 0});
    int probes = 0;
    for (int i = 0; i < 1200; ++i) { // five minutes, beyond R2
        lab.wait(250ms);
        for (const seg& s : lab.out()) {
            CHECK(s.seq == 2001);
            CHECK(s.text.size() == 1);
            ++probes;
            lab.in({.flags = ACK, .seq = 1, .ack = 2001, .window = 0});
        }
    }
    CHECK(probes >= 8);
    CHECK(lab.e->state() == tcp::state::established);
    lab.in({.flags = ACK, .seq = 1, .ack = 2001, .window = 4000});
    const segs rest = lab.out();
    REQUIRE_FALSE(rest.empty());
    CHECK(rest[0].seq == 2001);
    CHECK(rest[0].text.size() == 1000);
}

TEST_CASE("after a window was shut for long the restart is a slow one") { // [RFC 5681 4.1]
    tcp_lab lab;
    lab.establish();
    std::uint32_t acked = 1;
    for (int round = 0; round < 4; ++round) { // cwnd grows well beyond ten segments
        lab.write(bulk(60'000));
        for (segs sent = lab.out(); !sent.empty(); sent = lab.out()) {
            acked = sent.back().seq + static_cast<std::uint32_t>(sent.back().text.size());
            lab.in({.flags = ACK, .seq = 1, .ack = acked, .window = 65535});
        }
    }
    CHECK(lab.e->info().cwnd > 30'000);
    lab.in({.flags = ACK, .seq = 1, .ack = acked, .window = 0});
    lab.write(bulk(60'000));
    for (int i = 0; i < 240; ++i) {
        lab.wait(250ms);
        if (!lab.out().empty()) lab.in({.flags = ACK, .seq = 1, .ack = acked, .window = 0});
    }
    while (lab.out().empty()) lab.wait(1ms); // a probe, and its answer opens the window
    lab.in({.flags = ACK, .seq = 1, .ack = acked, .window = 65535});
    CHECK(lab.out().size() == 10);
}

// --- Nagle -------------------------------------------------------------------------------------------------

TEST_CASE("Nagle: with small data in flight more small data waits and is sent together") {
    tcp_lab lab; // [RFC 9293 3.7.4 SHLD-7]
    lab.establish();
    lab.write("a");
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 1, .text = "a"}});
    lab.write("b");
    lab.write("c");
    CHECK(lab.out() == segs{});
    lab.in({.flags = ACK, .seq = 1, .ack = 2});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 2, .ack = 1, .text = "bc"}});
}

TEST_CASE("Nagle holds the small end of a large write, full segments go") {
    tcp_lab lab;
    lab.establish();
    lab.write(bulk(2500));
    const segs sent = lab.out();
    REQUIRE(sent.size() == 2);
    lab.in({.flags = ACK, .seq = 1, .ack = 2001});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 2001, .ack = 1, .text = bulk(500)}});
}

TEST_CASE("no_delay and finish let small segments go") { // [MUST-17]
    tcp_lab lab;
    lab.establish();
    lab.write("a");
    lab.out();
    lab.write("b");
    CHECK(lab.out() == segs{});
    SUBCASE("no_delay, set late") {
        lab.e->set_no_delay(true);
        CHECK(lab.out() == segs{{.flags = ACK, .seq = 2, .ack = 1, .text = "b"}});
        lab.write("c");
        CHECK(lab.out() == segs{{.flags = ACK, .seq = 3, .ack = 1, .text = "c"}});
    }
    SUBCASE("finish: nothing will join it") {
        lab.e->finish(lab.now);
        CHECK(lab.out() == segs{{.flags = FIN | ACK, .seq = 2, .ack = 1, .text = "b"}});
    }
}

TEST_CASE("the last byte written is pushed") { // [RFC 9293 3.9.1.2 MUST-61]
    tcp_lab lab;
    lab.establish();
    lab.write(bulk(2000));
    const segs sent = lab.out();
    REQUIRE(sent.size() == 2);
    CHECK_FALSE(has(sent[0].flags, PSH));
    CHECK(has(sent[1].flags, PSH));
}

// --- acknowledgements --------------------------------------------------------------------------------------

TEST_CASE("a small segment alone is acknowledged after 40 ms, a full one at once") {
    tcp_lab lab; // [RFC 9293 3.8.6.3 MUST-40]
    lab.establish();
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "ab"});
    CHECK(lab.out() == segs{});
    lab.wait(39ms);
    CHECK(lab.out() == segs{});
    lab.wait(2ms);
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 3}});
    lab.in({.flags = ACK, .seq = 3, .ack = 1, .text = bulk(1000)});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 1003}});
}

TEST_CASE("an answer carries the acknowledgement") {
    tcp_lab lab;
    lab.establish();
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "ping"});
    lab.write("pong");
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 5, .text = "pong"}});
    lab.wait(100ms);
    CHECK(lab.out() == segs{});
}

TEST_CASE("one batch of in-order segments draws one ACK, but none for more than max_stretch_bytes") {
    tcp::config c = tcp_lab::plain();
    c.max_stretch_bytes = 4000;
    c.max_stretch_part = 20; // of 65535 bytes, a window without scale
    tcp_lab lab(c);
    lab.establish();
    for (std::uint32_t i = 0; i < 3; ++i)
        lab.in({.flags = ACK, .seq = 1 + 1000 * i, .ack = 1, .text = bulk(1000)});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 3001}});
    for (std::uint32_t i = 3; i < 13; ++i)
        lab.in({.flags = ACK, .seq = 1 + 1000 * i, .ack = 1, .text = bulk(1000)});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 7001},
                            {.flags = ACK, .seq = 1, .ack = 11001},
                            {.flags = ACK, .seq = 1, .ack = 13001}});
}

TEST_CASE("one batch of in-order segments draws one ACK for a part of a large buffer") {
    tcp::config c = tcp_lab::plain();
    c.max_stretch_bytes = 1000;
    tcp_lab lab(c);
    tcp::connection_options o = c.connections;
    o.receive_buffer = 24'000; // an 8th: 3000
    lab.establish(o);
    for (std::uint32_t i = 0; i < 8; ++i)
        lab.in({.flags = ACK, .seq = 1 + 1000 * i, .ack = 1, .text = bulk(1000)});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 3001},
                            {.flags = ACK, .seq = 1, .ack = 6001},
                            {.flags = ACK, .seq = 1, .ack = 8001}});
}

TEST_CASE("progress and duplicates in one batch: one ACK for the progress, one for each duplicate") {
    tcp_lab lab;
    lab.establish();
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = bulk(1000)});
    for (std::uint32_t i = 2; i < 6; ++i)
        lab.in({.flags = ACK, .seq = 1 + 1000 * i, .ack = 1, .text = bulk(1000)});
    CHECK(lab.out() == segs(5, {.flags = ACK, .seq = 1, .ack = 1001}));
}

TEST_CASE("acknowledgements owed in one batch have a bound") {
    tcp::config c = tcp_lab::plain();
    c.max_acks_owed = 5;
    tcp_lab lab(c);
    lab.establish();
    for (std::uint32_t i = 2; i < 20; ++i) lab.in({.flags = ACK, .seq = 100 * i, .ack = 1, .text = "x"});
    CHECK(lab.out().size() == 5);
    CHECK(lab.counted().acks_suppressed == 13);
}

// --- our own window ----------------------------------------------------------------------------------------

TEST_CASE("the window shrinks by what is unread, never pulls back its right edge, opens when read") {
    tcp_lab lab; // [RFC 9293 3.8.6 SHLD-14]
    tcp::connection_options o;
    o.receive_buffer = 8000;
    lab.establish(o);
    for (std::uint32_t i = 0; i < 8; ++i) {
        lab.in({.flags = ACK, .seq = 1 + 1000 * i, .ack = 1, .text = bulk(1000)});
        const auto left = static_cast<std::uint16_t>(8000 - 1000 * (i + 1));
        CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 1001 + 1000 * i, .window = left}});
    }
    SUBCASE("a probe into the shut window is acknowledged and dropped") {
        lab.in({.flags = ACK, .seq = 8001, .ack = 1, .text = "p"});
        CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 8001, .window = std::uint16_t{0}}});
        CHECK(lab.e->readable() == 8000);
    }
    SUBCASE("an ACK and a RST get through a shut window") { // [RFC 9293 3.10.7.4 MUST-66]
        lab.write("x");
        lab.out();
        lab.in({.flags = ACK, .seq = 8001, .ack = 2});
        CHECK(lab.e->flushed());
        lab.in({.flags = RST, .seq = 8001});
        CHECK(lab.e->error() == errc::reset);
    }
    SUBCASE("the ACK of a segment whose text does not fit counts") {
        lab.write("x");
        lab.out();
        lab.in({.flags = ACK, .seq = 8001, .ack = 2, .text = "no room"});
        CHECK(lab.e->flushed());
    }
    SUBCASE("a bare FIN needs no room") {
        lab.in({.flags = FIN | ACK, .seq = 8001, .ack = 1});
        CHECK(lab.e->state() == tcp::state::close_wait);
    }
    SUBCASE("reading a little says nothing, reading much sends an update") { // [MUST-39]
        std::array<std::byte, 4000> some;
        lab.e->read(std::span(some).first(500));
        CHECK(lab.out() == segs{});
        lab.e->read(std::span(some).first(3500));
        CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 8001, .window = std::uint16_t{4000}}});
        CHECK(lab.out() == segs{});
    }
}

TEST_CASE("data read at once keeps the window open") {
    tcp_lab lab;
    lab.establish();
    for (std::uint32_t i = 0; i < 200; ++i) {
        lab.in({.flags = ACK, .seq = 1 + 1000 * i, .ack = 1, .text = bulk(1000)});
        CHECK(lab.read().size() == 1000);
        const segs sent = lab.out();
        REQUIRE(sent.size() == 1);
        CHECK(*sent[0].window >= 65535 - 1460);
    }
}

// --- window scale ------------------------------------------------------------------------------------------

TEST_CASE("window scale: offered, used both ways, never in a SYN") { // [RFC 7323 2.2]
    tcp::config c = tcp_lab::plain();
    c.use_window_scale = true;
    tcp_lab lab(c);
    tcp::connection_options o;
    o.receive_buffer = 1 << 20;
    lab.connect(o);
    const segs syn = lab.out();
    REQUIRE(syn.size() == 1);
    CHECK(syn[0].options->window_scale == std::uint8_t{5}); // 65535 << 5 is the first over 1 MiB
    CHECK(syn[0].window == std::uint16_t{65535});
    tcp::options answer = tcp_lab::default_options();
    answer.window_scale = std::uint8_t{200}; // means 14 [RFC 7323 2.3]
    lab.in({.flags = SYN | ACK, .ack = 1, .window = 1000, .options = answer});
    CHECK(lab.e->info().send_window == 1000);
    CHECK(lab.e->info().send_scale == 14);
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 1, .window = std::uint16_t{(1 << 20) >> 5}}});
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .window = 1000});
    CHECK(lab.e->info().send_window == 1000u << 14);
}

TEST_CASE("a peer without window scale gets none, and unscaled windows") {
    tcp::config c = tcp_lab::plain();
    c.use_window_scale = true;
    tcp_lab lab(c);
    lab.listen();
    lab.in({.flags = SYN});
    const segs answer = lab.out();
    REQUIRE(answer.size() == 1);
    CHECK_FALSE(answer[0].options->window_scale.has_value());
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = bulk(1000)});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 1001, .window = std::uint16_t{65535}}});
}

// --- MSS ---------------------------------------------------------------------------------------------------

TEST_CASE("the MSS: the peer's, ours, the default, and a floor") { // [RFC 9293 3.7.1 MUST-15, MUST-16]
    const auto mss_with = [](std::optional<std::uint16_t> announced) {
        tcp_lab lab;
        tcp::options o;
        o.mss = announced;
        lab.establish(tcp_lab::plain().connections, 65535, o);
        return lab.e->info().send_mss;
    };
    CHECK(mss_with(std::uint16_t{1200}) == 1200);
    CHECK(mss_with(std::uint16_t{9000}) == 1460);
    CHECK(mss_with(std::nullopt) == 536);
    CHECK(mss_with(std::uint16_t{1}) == 88);
    CHECK(mss_with(std::uint16_t{0}) == 88);
}

TEST_CASE("we announce what fits the path, and timestamps take their place from each segment") {
    tcp::config c = tcp_lab::plain();
    c.use_timestamps = true;
    tcp_lab lab(c);
    lab.mtu = 1400;
    tcp::options o;
    o.mss = std::uint16_t{1460};
    o.ts = tcp::timestamps{1, 0};
    lab.listen();
    lab.in({.flags = SYN, .options = o});
    const segs answer = lab.out();
    REQUIRE(answer.size() == 1);
    CHECK(answer[0].options->mss == std::uint16_t{1360});
    o.mss.reset();
    o.ts->echo = answer[0].options->ts->value;
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .options = o});
    lab.e = lab.listening->accept();
    CHECK(lab.e->info().send_mss == 1360 - 12);
}

TEST_CASE("the smallest MSS leaves room for data beside timestamps and SACK blocks") { // [RFC 9293 3.7.1]
    tcp::config c = tcp_lab::plain();
    c.use_timestamps = true;
    c.use_sack = true;
    tcp_lab lab(c);
    lab.most = 0;
    tcp::options o;
    o.mss = std::uint16_t{1};
    o.ts = tcp::timestamps{1, 0};
    o.sack_permitted = true;
    lab.establish(tcp_lab::plain().connections, 65535, o);
    tcp::options ts;
    ts.ts = o.ts;
    lab.in({.flags = ACK, .seq = 101, .ack = 1, .text = "ahead", .options = ts});
    lab.out();
    lab.write(bulk(200));
    const segs sent = lab.out();
    REQUIRE(sent.size() == 2); // the rest waits for company
    for (const seg& s : sent) {
        CHECK(s.text.size() == 76);
        CHECK(s.options->size() + s.text.size() <= 88);
    }
}

TEST_CASE("a peer that fills a full buffer with crumbs gains nothing from the rounding of the window") {
    // [RFC 7323 2.4]: each offer in units of 8 bytes must not promise a little more than the last.
    tcp::config c = tcp_lab::plain();
    c.use_window_scale = true;
    tcp_lab lab(c);
    tcp::options syn = tcp_lab::default_options();
    syn.window_scale = std::uint8_t{0};
    tcp::connection_options o;
    o.receive_buffer = 256 * 1024;
    lab.establish(o, 65535, syn);
    std::uint32_t next = 1;
    const auto push = [&](std::size_t n) {
        lab.in({.flags = ACK, .seq = next, .ack = 1, .text = std::string(n, 'x')});
        lab.wait(50ms);
        next = 1 + static_cast<std::uint32_t>(lab.e->readable());
    };
    for (int i = 0; i < 5; ++i) push(52'000);
    for (int i = 0; i < 1000; ++i) push(7);
    CHECK(lab.e->readable() == o.receive_buffer);
}

TEST_CASE("without window scaling nothing is accepted beyond the 65535 bytes that could be offered") {
    // [RFC 9293 3.10.7.4, first]
    tcp_lab lab;
    tcp::connection_options o;
    o.receive_buffer = 256 * 1024;
    lab.establish(o);
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = std::string(1000, 'x')});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 1001, .window = 65535}});
    lab.in({.flags = ACK, .seq = 1001 + 65535, .ack = 1, .text = "z"});
    CHECK(lab.counted().out_of_window == 1);
}

TEST_CASE("an old ACK that arrives late does not speak for the window") {
    // [RFC 9293 3.10.7.4, fifth]: only where SND.UNA =< SEG.ACK
    tcp_lab lab;
    lab.establish();
    lab.write(std::string(100, 'x'));
    lab.out();
    // The peer's first segment is lost; its second, sent before our data had come, is overtaken by the first
    // sent again.
    lab.in({.flags = ACK, .seq = 1, .ack = 101, .text = "0123456789", .window = 5000});
    lab.in({.flags = ACK, .seq = 11, .ack = 1, .text = "0123456789", .window = 0});
    lab.write("hello");
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 101, .ack = 21, .text = "hello"}});
}

TEST_CASE("a probe that finds the window open again skips nothing that a timeout has taken back") {
    // [RFC 9293 3.8.6.1]
    tcp_lab lab;
    lab.establish();
    lab.write(std::string(5000, 'x'));
    CHECK(lab.out().size() == 5);
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .window = 0});
    lab.wait(250ms); // the retransmission timeout; now the window is to be probed
    CHECK(lab.out().empty());
    lab.accepts_output = false;
    lab.wait(1s);
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .window = 65535});
    lab.accepts_output = true;
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 1, .text = std::string(1000, 'x')}});
    lab.in({.flags = ACK, .seq = 1, .ack = 1001});
    const segs next = lab.out();
    REQUIRE_FALSE(next.empty());
    CHECK(next[0].seq == 1001);
}

} // namespace
} // namespace tapir::test
