// Who agrees to Explicit Congestion Notification with whom, whichever way a connection comes about.
// [RFC 3168 6.1.1]
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/support/tcp_ecn_lab.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;

TEST_CASE(
    "ECN: a SYN that asks is answered with ECE alone, by a listener that wants it") { // [RFC 3168 6.1.1]
    for (const bool wanted : {true, false}) {
        for (const auto asks : {ECE | CWR, ECE, CWR, tcp::flags::none}) {
            ecn_lab lab;
            lab.listens(wanted);
            lab.in({.flags = SYN | asks});
            const bool agreed = wanted && asks == (ECE | CWR);
            CHECK(lab.out() ==
                  segs{{.flags = agreed ? SYN | ACK | ECE : SYN | ACK, .ack = 1, .ecn = not_ect}});
            lab.in({.flags = ACK, .seq = 1, .ack = 1});
            lab.e = lab.listening->accept();
            REQUIRE(lab.e);
            CHECK(lab.info().ecn == agreed);
            CHECK(lab.counted().ecn_negotiated == (agreed ? 1 : 0));
            CHECK(lab.counted().ecn_declined == (!wanted && asks == (ECE | CWR) ? 1 : 0));
            lab.write("data");
            CHECK(capable(lab.out()) == (agreed ? 1 : 0));
        }
    }
}

TEST_CASE("ECN: who connects asks with both flags, and takes ECE alone for a yes") { // [RFC 3168 6.1.1]
    for (const bool asks : {true, false}) {
        for (const auto answer : {ECE, ECE | CWR, CWR, tcp::flags::none}) {
            ecn_lab lab;
            lab.connect(willing(asks));
            CHECK(lab.out() == segs{{.flags = asks ? SYN | ECE | CWR : SYN, .ecn = not_ect}});
            lab.in({.flags = SYN | ACK | answer, .ack = 1});
            CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 1, .ecn = not_ect}});
            const bool agreed = asks && answer == ECE;
            CHECK(lab.info().ecn == agreed);
            const auto& n = lab.counted();
            CHECK(n.ecn_negotiated == (agreed ? 1 : 0));
            // Bits of the SYN sent back by somebody who does not know them.
            CHECK(n.ecn_reflected == (asks && answer == (ECE | CWR) ? 1 : 0));
            CHECK(n.ecn_refused == (asks && answer != (ECE | CWR) && !agreed ? 1 : 0));
            lab.write("data");
            CHECK(lab.out() ==
                  segs{{.flags = ACK, .seq = 1, .ack = 1, .text = "data", .ecn = agreed ? ECT : not_ect}});
        }
    }
}

TEST_CASE("ECN: a SYN without an answer goes again without, and what then comes may not be marked") {
    tcp::config c = tcp_lab::plain(); // [RFC 3168 6.1.1, 6.1.1.1]
    for (const int tries : {1, 3, 0}) {
        c.ecn_syn_tries = static_cast<std::uint8_t>(tries);
        ecn_lab lab(c);
        lab.connect(willing());
        for (int n = 0; n < std::max(tries, 1); ++n) {
            CHECK(lab.out() == segs{{.flags = SYN | ECE | CWR}});
            lab.wait(1s * (1 << n));
        }
        CHECK(lab.out() == segs{{.flags = SYN}});
        CHECK(lab.counted().ecn_withdrawn == 1);
        const bool late = tries == 3; // the answer to a SYN that asked
        lab.in({.flags = late ? SYN | ACK | ECE : SYN | ACK, .ack = 1});
        lab.out();
        CHECK_FALSE(lab.info().ecn);
        CHECK(lab.counted().ecn_negotiated == 0);
        lab.write("data");
        CHECK(capable(lab.out()) == 0);
        lab.ack(5, ECE); // nothing of ours could be marked
        CHECK(lab.info().ecn_reductions == 0);
        // But the peer may have seen that SYN alone, and then waits for its echo.
        lab.in({.flags = ACK, .seq = 1, .ack = 5, .text = "more", .ecn = CE});
        CHECK(with_flag(lab.out(), ECE) == (late ? 1 : 0));
    }
}

TEST_CASE("ECN: a client that repeats its SYN without the flags does not get it") { // [RFC 3168 6.1.1]
    ecn_lab lab;
    lab.listens();
    lab.in({.flags = SYN | ECE | CWR});
    CHECK(lab.out() == segs{{.flags = SYN | ACK | ECE, .ack = 1}});
    lab.in({.flags = SYN | ECE | CWR});
    CHECK(lab.out() == segs{{.flags = SYN | ACK | ECE, .ack = 1}});
    lab.in({.flags = SYN});
    CHECK(lab.out() == segs{{.flags = SYN | ACK, .ack = 1}});
    lab.in({.flags = SYN | ECE | CWR}); // overtaken
    CHECK(lab.out() == segs{{.flags = SYN | ACK, .ack = 1}});
    lab.in({.flags = ACK, .seq = 1, .ack = 1});
    lab.e = lab.listening->accept();
    CHECK_FALSE(lab.info().ecn);
}

TEST_CASE("ECN: the SYN|ACK that goes again says the same") {
    ecn_lab lab;
    lab.listens();
    lab.in({.flags = SYN | ECE | CWR});
    lab.out();
    lab.wait(1s);
    CHECK(lab.out() == segs{{.flags = SYN | ACK | ECE, .ack = 1, .ecn = not_ect}});
}

TEST_CASE("ECN: simultaneous open") { // [RFC 3168 6.1.1] [RFC 9293 figure 8]
    for (const bool peer_asks : {true, false}) {
        for (const auto second : {ECE, tcp::flags::none}) {
            ecn_lab lab;
            lab.connect(willing());
            CHECK(lab.out() == segs{{.flags = SYN | ECE | CWR}});
            lab.in({.flags = peer_asks ? SYN | ECE | CWR : SYN});
            CHECK(lab.out() == segs{{.flags = peer_asks ? SYN | ACK | ECE : SYN | ACK, .ack = 1}});
            lab.in({.flags = SYN | ACK | second, .ack = 1});
            lab.out();
            REQUIRE(lab.e->state() == tcp::state::established);
            CHECK(lab.info().ecn == (peer_asks && second == ECE));
            CHECK(lab.counted().ecn_refused == (peer_asks && second == ECE ? 0 : 1));
            CHECK(lab.info().ecn_reductions == 0); // that was no echo
        }
    }
}

TEST_CASE("ECN: a cookie remembers it, given room in a timestamp") {
    for (const bool timestamps : {true, false}) {
        for (const bool asks : {true, false}) {
            tcp::config c;
            c.syn_cookies = tcp::syn_cookie_mode::always;
            ecn_lab lab(c);
            lab.listens();
            tcp::options o = tcp_lab::default_options();
            if (timestamps) o.ts = tcp::timestamps{7, 0};
            lab.in({.flags = asks ? SYN | ECE | CWR : SYN, .options = o});
            const bool agreed = asks && timestamps;
            CHECK(lab.out() == segs{{.flags = agreed ? SYN | ACK | ECE : SYN | ACK, .ack = 1}});
            tcp::options back;
            if (timestamps) back.ts = tcp::timestamps{8, lab.timestamp_of_last_segment()};
            // What flags the ACK has says nothing.
            lab.in({.flags = ACK | ECE | CWR, .seq = 1, .ack = 1, .options = back});
            lab.e = lab.listening->accept();
            REQUIRE(lab.e);
            CHECK(lab.info().from_cookie);
            CHECK(lab.info().ecn == agreed);
        }
    }
}

TEST_CASE("ECN: who reuses a TIME_WAIT is asked anew") {
    for (const bool again : {true, false}) {
        ecn_lab lab;
        lab.established(!again);
        lab.e->finish(lab.now);
        lab.out();
        lab.in({.flags = ACK | FIN, .seq = 1, .ack = 2});
        lab.out();
        REQUIRE(lab.e->state() == tcp::state::time_wait);
        lab.in({.flags = again ? SYN | ECE | CWR : SYN, .seq = 1000});
        const auto answer = lab.out();
        REQUIRE(answer.size() == 1);
        CHECK(answer[0].flags == (again ? SYN | ACK | ECE : SYN | ACK));
        lab.in({.flags = ACK, .seq = 1001, .ack = 1});
        const auto next = lab.listening->accept();
        REQUIRE(next);
        CHECK(next->info().ecn == again);
    }
}

} // namespace
} // namespace tapir::test
