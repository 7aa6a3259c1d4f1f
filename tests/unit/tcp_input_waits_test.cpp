// What may wait while more input waits: acknowledgements of text that keeps coming, and
// nothing else. [RFC 5681 4.2] [RFC 9293 3.8.6.3]
#include <doctest/doctest.h>

#include <cstdint>

#include "tests/support/tcp_lab.hpp"
#include "tests/support/tcp_small_budget.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;

/// With a window of 48,000 bytes: ACKs may wait for 6000, and otherwise none tells of more than 3000.
struct flooded : tcp_lab {
    static tcp::config settings() {
        tcp::config c = plain();
        c.max_stretch_bytes = 1000;
        c.max_stretch_part = 16;
        c.max_deferred_part = 8;
        return c;
    }
    flooded() : tcp_lab(settings()) {
        tcp::connection_options o = plain().connections;
        o.receive_buffer = 48'000;
        establish(o);
    }
    void text(std::uint32_t begin, std::size_t size = 1000) {
        in({.flags = ACK, .seq = begin, .ack = 1, .text = bulk(size)});
    }
};

TEST_CASE("while input waits, an ACK waits for as long as text comes") {
    flooded lab;
    lab.text(1);
    CHECK(lab.out_while_input_waits() == segs{});
    CHECK(lab.stack.output_pending());
    lab.text(1001);
    CHECK(lab.out_while_input_waits() == segs{});
    lab.now += tcp_lab::plain().text_pause - 1us;
    CHECK(lab.out_while_input_waits() == segs{}); // others' input: each sender has its turn
    lab.text(2001);
    lab.now += tcp_lab::plain().text_pause - 1us;
    CHECK(lab.out_while_input_waits() == segs{});
    lab.now += 1us;
    CHECK(lab.out_while_input_waits() == segs{{.flags = ACK, .seq = 1, .ack = 3001}});
    CHECK_FALSE(lab.stack.output_pending());
}

TEST_CASE("while input waits, an ACK does not wait for a sender that has filled no buffer yet") {
    tcp::config c = tcp_lab::plain();
    c.first_buffer = 16'000;
    tcp_lab lab(c);
    lab.establish(tcp::connection_options{});
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = bulk(1000)});
    CHECK(lab.out_while_input_waits() == segs{{.flags = ACK, .seq = 1, .ack = 1001}});
    std::uint32_t next = 1001;
    for (int i = 0; i < 20; ++i) { // 8000 bytes a millisecond, read at once
        for (int n = 0; n < 8; ++n, next += 1000)
            lab.in({.flags = ACK, .seq = next, .ack = 1, .text = bulk(1000)});
        while (!lab.e->read_chunk().empty()) {
        }
        lab.out();
        lab.now += 1ms;
    }
    lab.in({.flags = ACK, .seq = next, .ack = 1, .text = bulk(1000)});
    CHECK(lab.out_while_input_waits() == segs{});
}

TEST_CASE("while input waits, an ACK waits also where no buffer may grow") {
    tcp::config c = tcp_lab::plain();
    c.first_buffer = c.most_buffer = 64'000;
    tcp_lab lab(c);
    lab.establish(tcp::connection_options{});
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = bulk(1000)});
    CHECK(lab.out_while_input_waits() == segs{});
}

TEST_CASE("while input waits, an ACK waits for no more than max_deferred_part") {
    flooded lab;
    for (std::uint32_t i = 0; i < 5; ++i) {
        lab.text(1 + 1000 * i);
        CHECK(lab.out_while_input_waits() == segs{});
    }
    lab.text(5001);
    CHECK(lab.out_while_input_waits() == segs{{.flags = ACK, .seq = 1, .ack = 6001}});
}

TEST_CASE("an ACK that has waited tells of max_deferred_part at once, others of max_stretch_part") {
    flooded lab;
    for (std::uint32_t i = 0; i < 3; ++i) {
        lab.text(1 + 1800 * i, 1800);
        CHECK(lab.out_while_input_waits() == segs{});
    }
    lab.text(5401, 600);
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 6001}});
    for (std::uint32_t i = 0; i < 6; ++i) lab.text(6001 + 1000 * i);
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 9001}, {.flags = ACK, .seq = 1, .ack = 12'001}});
}

TEST_CASE("while input waits, no ACK waits for longer than twice delayed_ack") { // [RFC 9293 3.8.6.3 MUST-40]
    flooded lab;
    const instant began = lab.now;
    segs sent;
    for (std::uint32_t n = 0; n < 200 && sent == segs{}; ++n) {
        lab.text(1 + 10 * n, 10);
        sent = lab.out_while_input_waits();
        lab.now += 1ms;
        lab.wheel.advance(lab.now);
    }
    CHECK(sent.size() == 1);
    CHECK(lab.now - began <= 2 * tcp_lab::plain().delayed_ack + 2ms);
    CHECK(lab.counted().acks_deferred == 1);
}

TEST_CASE("an ACK that has waited goes when no more input waits, asked for or not") {
    int asked = 0; // outlives the lab, whose end asks too
    flooded lab;
    lab.text(1);
    CHECK(lab.out_while_input_waits() == segs{});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 1001}});

    lab.stack.on_want_flush([](void* n) { ++*static_cast<int*>(n); }, &asked);
    lab.text(1001);
    CHECK(asked == 1);
    CHECK(lab.out_while_input_waits() == segs{});
    CHECK(asked == 2); // a flush that leaves something behind wants another
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 2001}});
    CHECK(asked == 2);
}

TEST_CASE("while input waits, what somebody waits for goes at once") {
    flooded lab;
    SUBCASE("data, and the ACK with it") {
        lab.text(1);
        lab.write("answer");
        CHECK(lab.out_while_input_waits() == segs{{.flags = ACK, .seq = 1, .ack = 1001, .text = "answer"}});
    }
    SUBCASE("our FIN") {
        lab.text(1);
        lab.e->finish(lab.now);
        CHECK(lab.out_while_input_waits() == segs{{.flags = ACK | FIN, .seq = 1, .ack = 1001}});
    }
    SUBCASE("the ACK of a FIN") {
        lab.in({.flags = ACK | FIN, .seq = 1, .ack = 1, .text = bulk(1000)});
        CHECK(lab.out_while_input_waits() == segs{{.flags = ACK, .seq = 1, .ack = 1002}});
    }
    SUBCASE("duplicate ACKs: a hole is to be filled") {
        lab.text(1001);
        CHECK(lab.out_while_input_waits() == segs{{.flags = ACK, .seq = 1, .ack = 1}});
        lab.text(2001);
        CHECK(lab.out_while_input_waits() == segs{{.flags = ACK, .seq = 1, .ack = 1}});
    }
    SUBCASE("the ACK of a part of a hole that is filled") {
        lab.text(2001);
        lab.out();
        lab.text(1);
        CHECK(lab.out_while_input_waits() == segs{{.flags = ACK, .seq = 1, .ack = 1001}});
    }
    SUBCASE("the ACK of a hole that is filled") {
        lab.text(1001);
        lab.out();
        lab.text(1);
        CHECK(lab.out_while_input_waits() == segs{{.flags = ACK, .seq = 1, .ack = 2001}});
    }
    SUBCASE("what came twice in part: an ACK was lost") {
        lab.text(1);
        lab.out();
        lab.text(501);
        CHECK(lab.out_while_input_waits() == segs{{.flags = ACK, .seq = 1, .ack = 1501}});
    }
    SUBCASE("a window that opens") {
        for (std::uint32_t i = 0; i < 5; ++i) lab.text(1 + 1000 * i);
        lab.out();
        lab.text(5001, 40'000);
        lab.out();
        CHECK(lab.e->readable() == 45'000);
        lab.text(45'001);
        while (!lab.e->read_chunk().empty()) {
        }
        CHECK(lab.out_while_input_waits() == segs{{.flags = ACK, .seq = 1, .ack = 46'001}});
    }
}

TEST_CASE("a connection that ends while its ACK waits is sent nothing more") {
    flooded lab;
    lab.text(1);
    CHECK(lab.out_while_input_waits() == segs{});
    lab.in({.flags = RST, .seq = 1001});
    CHECK(lab.out() == segs{});
    CHECK_FALSE(lab.stack.output_pending());
}

} // namespace
} // namespace tapir::test
