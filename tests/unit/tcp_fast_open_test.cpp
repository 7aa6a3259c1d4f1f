// Data in the SYN: who may send it, what is done with it, and what happens when the network or the server
// does not like it. [RFC 7413]
#include <tapir/protocols/tcp/fast_open_cookies.hpp>

#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <vector>

#include "tests/support/tcp_fast_open_lab.hpp"
#include "tests/support/tcp_lab.hpp"
#include "tests/support/tcp_world.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;
using lines = std::vector<std::string>;
using tcp::fast_open_cookie;
using tcp::fast_open_cookies;
using verdict = fast_open_cookies::verdict;

constexpr auto server_at = ip::address::v4(192, 0, 2, 1);
constexpr auto client_at = ip::address::v4(198, 51, 100, 7);

// --- cookies -----------------------------------------------------------------------------------------------

TEST_CASE(
    "fast open: a cookie is good for its client alone, and for one or two periods") { // [RFC 7413 4.1.2]
    fast_open_cookies cookies(siphash_key{3, 4}, random(1), 1h);
    const instant start(10h);
    const fast_open_cookie made = cookies.make(server_at, client_at, start);
    CHECK(made.size == 8);
    CHECK(cookies.check(made, server_at, client_at, start) == verdict::good);
    CHECK(cookies.check(made, server_at, ip::address::v4(198, 51, 100, 8), start) == verdict::wrong);
    CHECK(cookies.check(made, ip::address::v4(192, 0, 2, 9), client_at, start) == verdict::wrong);
    fast_open_cookie other = made;
    other.octets[7] ^= std::byte{1};
    CHECK(cookies.check(other, server_at, client_at, start) == verdict::wrong);
    other = made;
    other.size = 6; // a part of it is none
    CHECK(cookies.check(other, server_at, client_at, start) == verdict::wrong);
    CHECK(cookies.check(made, server_at, client_at, start + 59min) == verdict::good);
    CHECK(cookies.check(made, server_at, client_at, start + 61min) == verdict::old);
    CHECK(cookies.check(made, server_at, client_at, start + 121min) == verdict::wrong);
}

TEST_CASE("fast open: after a rest of many periods no old cookie is good, however the clock stands") {
    fast_open_cookies cookies(siphash_key{3, 4}, random(1), 1h);
    const fast_open_cookie made = cookies.make(server_at, client_at, instant(10h));
    CHECK(cookies.check(made, server_at, client_at, instant(1000h)) == verdict::wrong);
}

// --- two ends ----------------------------------------------------------------------------------------------

TEST_CASE(
    "fast open: the first connection asks for a cookie, the next has data in its SYN and in the answer") {
    tcp_world w; // [RFC 7413 3.1, figure 1]
    w.server_listens(80, offered());
    w.connect(80, wanted(), 0, as_bytes("first"));
    w.run_for(100ms);
    CHECK(w.ladder()[1] == "client -> server SYN seq=0");
    CHECK(w.server().counted().fast_open_asked == 1);
    CHECK_FALSE(w.c().info().fast_opened);
    CHECK(read(w.accept()) == "first");
    w.drop_users();
    w.run_for(100ms);
    w.forget();

    const instant start = w.now;
    w.connect(80, wanted(), 0, as_bytes("hello"));
    w.run_for(5ms);
    tcp::endpoint& s = w.accept();
    CHECK(s.state() == tcp::state::syn_received);
    CHECK(read(s) == "hello");
    s.write(as_bytes("answer"));
    w.run_for(5ms);
    CHECK(w.now - start == 10ms); // one round trip
    CHECK(read(w.c()) == "answer");
    w.run_for(100ms);
    INFO(w.ladder_text());
    CHECK(w.ladder() == lines{
                            "client SYN_SENT",
                            "client -> server SYN seq=0 len=5",
                            "server SYN_RECEIVED",
                            "server -> client SYN|ACK seq=0 ack=6",
                            "server -> client PSH|ACK seq=1 ack=6 len=6",
                            "client ESTABLISHED",
                            "client -> server ACK seq=6 ack=7",
                            "server ESTABLISHED",
                        });
    CHECK(w.c().info().fast_opened);
    CHECK(s.info().fast_opened);
    CHECK(w.server().counted().fast_open_accepted == 1);
    CHECK(w.client().counted().fast_open_used == 1);
    CHECK(w.client().counted().fast_open_data_refused == 0);
    CHECK(w.client().counted().retransmits == 0);
}

TEST_CASE(
    "fast open: no more goes with the SYN than the server's MSS less options; the rest follows at once") {
    for (const std::size_t link_takes : {0u, 1460u, 64000u}) { // 0: as much as an MSS
        CAPTURE(link_takes);
        tcp_world w;
        w.most = link_takes;
        w.server_listens(80, offered());
        get_cookie(w);
        std::size_t cut_at = 0;
        w.network = [&](std::size_t, tcp_world::side, const tcp::outgoing_segment& s) {
            if (s.header.syn() && s.payload_size != 0) cut_at = s.mss;
            return fate{};
        };
        const std::string text(4000, 'x');
        w.connect(80, wanted(), 0, as_bytes(text));
        w.run_for(100ms);
        INFO(w.ladder_text());
        // 1460 less MSS, SACK-permitted and timestamps, window scale and the cookie
        CHECK(w.ladder()[1] == "client -> server SYN seq=0 len=1428");
        CHECK(cut_at >= 1428); // nobody below makes two SYNs of it
        CHECK(read(w.accept()) == text);
        CHECK(w.client().counted().retransmits == 0);
    }
}

TEST_CASE("fast open: a server that does not want it costs nothing, and is not asked for an hour") {
    tcp_world w;
    w.server_listens(80);
    std::size_t asked = 0;
    w.network = [&](std::size_t, tcp_world::side, const tcp::outgoing_segment& s) {
        if (s.header.options.fast_open) ++asked;
        return fate{};
    };
    visit(w);
    CHECK(asked == 1);
    for (int i = 0; i < 5; ++i) {
        visit(w);
        w.run_for(10min);
    }
    CHECK(asked == 1);
    w.run_for(10min);
    visit(w);
    CHECK(asked == 2);
}

TEST_CASE("fast open: a cookie that is no longer good costs the usual round trip, and is replaced") {
    tcp::config c;
    c.fast_open_cookie_period = 1h;
    tcp_world w(c);
    w.server_listens(80, offered());
    get_cookie(w);
    w.run_for(3h);
    w.connect(80, wanted(), 0, as_bytes("hello"));
    w.run_for(100ms);
    INFO(w.ladder_text());
    CHECK(w.server().counted().fast_open_wrong == 1);
    CHECK(w.client().counted().fast_open_data_refused == 1);
    CHECK(read(w.accept()) == "hello");
    CHECK(w.ladder()[3] == "server -> client SYN|ACK seq=0 ack=1");
    CHECK(w.c().info().cwnd >= 10 * w.c().info().send_mss); // no congestion
    w.drop_users();
    w.run_for(100ms);
    w.forget();
    w.connect(80, wanted(), 0, as_bytes("again"));
    w.run_for(5ms);
    CHECK(read(w.accept()) == "again");
}

TEST_CASE("fast open: who shows a cookie of the period before gets a new one with the answer") {
    tcp::config c;
    c.fast_open_cookie_period = 1h;
    tcp_world w(c);
    w.server_listens(80, offered());
    get_cookie(w);
    for (int i = 0; i < 5; ++i) {
        w.run_for(50min);
        visit(w, 80, 5ms);
    }
    CHECK(w.server().counted().fast_open_wrong == 0);
}

TEST_CASE("fast open: the data of a SYN that is lost comes with the first segment of a plain handshake") {
    tcp_world w; // [RFC 7413 4.2.1]
    w.server_listens(80, offered());
    get_cookie(w);
    bool passes = false; // a middlebox: SYNs with data do not get through
    w.network = [&](std::size_t, tcp_world::side, const tcp::outgoing_segment& s) {
        return fate{.dropped = !passes && s.header.syn() && s.payload_size != 0};
    };
    const auto connect = [&] {
        w.forget();
        visit(w, 80, 3s);
    };
    connect();
    CHECK(w.ladder()[1] == "client -> server SYN seq=0 len=5 LOST");
    CHECK(w.ladder()[2] == "client -> server SYN seq=0");
    connect(); // once may have been chance
    CHECK(w.client().counted().rto_fired == 2);
    connect(); // twice is a middlebox
    CHECK(w.client().counted().rto_fired == 2);
    w.run_for(1h);
    passes = true;
    connect(); // it asks anew
    w.forget();
    connect();
    CHECK(w.ladder()[1] == "client -> server SYN seq=0 len=5");
}

TEST_CASE("fast open: an answer whose SYN|ACK was lost goes again with it, and no round trip late") {
    tcp_world w;
    w.server_listens(80, offered());
    get_cookie(w);
    w.network = [&](std::size_t, tcp_world::side from, const tcp::outgoing_segment& s) {
        static bool lost = false;
        if (from != tcp_world::side::server || !s.header.syn() || lost) return fate{};
        lost = true;
        return fate{.dropped = true};
    };
    w.connect(80, wanted(), 0, as_bytes("hello"));
    w.run_for(5ms);
    tcp::endpoint& s = w.accept();
    CHECK(read(s) == "hello");
    s.write(as_bytes("answer"));
    w.run_for(1200ms);
    INFO(w.ladder_text());
    CHECK(read(w.c()) == "answer");
    CHECK(s.state() == tcp::state::established);
}

TEST_CASE("fast open: a repeated SYN draws the SYN|ACK again, and its data is not taken twice") {
    tcp_world w;
    w.server_listens(80, offered());
    get_cookie(w);
    w.network = [](std::size_t, tcp_world::side, const tcp::outgoing_segment& s) {
        return fate{.copies = s.header.syn() && !s.header.has_ack() ? 3u : 1u};
    };
    w.connect(80, wanted(), 0, as_bytes("hello"));
    w.run_for(100ms);
    INFO(w.ladder_text());
    tcp::endpoint& s = w.accept();
    CHECK(read(s) == "hello");
    CHECK(w.server().connections() == 1);
    CHECK(s.state() == tcp::state::established);
}

TEST_CASE("fast open: a server may close before the handshake is complete") {
    for (const bool answers : {false, true}) {
        CAPTURE(answers);
        tcp_world w;
        w.server_listens(80, offered());
        get_cookie(w);
        w.connect(80, wanted(), 0, as_bytes("hello"));
        w.run_for(5ms);
        tcp::endpoint& s = w.accept();
        CHECK(read(s) == "hello");
        if (answers) s.write(as_bytes("bye"));
        s.finish(w.now);
        w.run_for(20ms);
        INFO(w.ladder_text());
        CHECK(read(w.c()) == (answers ? "bye" : ""));
        CHECK(w.c().at_end());
        w.c().finish(w.now);
        w.run_for(20ms);
        CHECK(s.state() == tcp::state::time_wait);
    }
}

TEST_CASE("fast open: a FIN_WAIT_1 whose SYN|ACK was lost sends it again, to a SYN as to a timeout") {
    tcp_world w;
    w.server_listens(80, offered());
    get_cookie(w);
    std::size_t lost = 0;
    w.network = [&](std::size_t, tcp_world::side from, const tcp::outgoing_segment& s) {
        return fate{.dropped = from == tcp_world::side::server && s.header.syn() && lost++ == 0};
    };
    w.connect(80, wanted(), 0, as_bytes("hello"));
    w.run_for(5ms);
    tcp::endpoint& s = w.accept();
    s.finish(w.now);
    w.run_for(5s);
    INFO(w.ladder_text());
    CHECK(w.c().at_end());
    CHECK(s.state() == tcp::state::fin_wait_2);
}

TEST_CASE("fast open: a RST before the handshake is complete is a reset to the server's user, at once") {
    tcp_world w;
    w.server_listens(80, offered());
    get_cookie(w);
    w.connect(80, wanted(), 0, as_bytes("hello"));
    w.run_for(5ms);
    tcp::endpoint& s = w.accept();
    w.user[0].reset(); // in SYN_SENT the client forgets, and answers the SYN|ACK by RST
    w.run_for(10ms);
    INFO(w.ladder_text());
    CHECK(s.error() == make_error_code(errc::reset));
    CHECK(read(s) == "hello");
}

TEST_CASE("fast open: data for a queue that is too small opens nothing and says so") {
    tcp_world w;
    tcp::connection_options o = wanted();
    o.send_buffer = 1000;
    const std::string much(2000, 'x');
    const auto opened =
        w.client().connect(w.path_from(tcp_world::side::client), 80, 0, o, w.now, as_bytes(much));
    REQUIRE_FALSE(opened);
    CHECK(opened.error() == make_error_code(errc::no_memory));
    w.run_for(1s);
    CHECK(w.client().connections() == 0);
    CHECK(w.segments_sent() == 0);
}

TEST_CASE("fast open: data of connect() without it follows the handshake") {
    tcp_world w;
    w.server_listens(80);
    w.connect(80, {}, 0, as_bytes("hello"));
    w.run_for(100ms);
    CHECK(w.ladder()[1] == "client -> server SYN seq=0");
    CHECK(read(w.accept()) == "hello");
}

// --- hostile peers -----------------------------------------------------------------------------------------

TEST_CASE("fast open: a SYN with a cookie of somebody else, or an invented one, opens nothing at once") {
    cookie_lab lab;
    tcp::options o = lab.with_cookie();
    o.fast_open->octets[0] ^= std::byte{1};
    lab.in({.flags = SYN, .text = "boo", .options = o});
    const segs answer = lab.out();
    CHECK(answer == segs{{.flags = SYN | ACK, .ack = 1}}); // no data taken
    CHECK(answer[0].options->fast_open == lab.cookie);     // the right one, for the next time
    CHECK(lab.stack.connections() == 0);
    CHECK(lab.counted().fast_open_wrong == 1);
}

TEST_CASE("fast open: a listener that does not offer it neither gives cookies nor takes data") {
    tcp_lab lab;
    lab.listen(80);
    tcp::options ask = tcp_lab::default_options();
    ask.fast_open.emplace();
    lab.in({.flags = SYN, .text = "boo", .options = ask});
    const segs answer = lab.out();
    CHECK(answer == segs{{.flags = SYN | ACK, .ack = 1}});
    CHECK_FALSE(answer[0].options->fast_open);
}

TEST_CASE("fast open: handshakes that are not complete are bounded, and one that was reset counts a minute") {
    tcp::config c = tcp_lab::plain();
    c.max_fast_opening = 1;
    cookie_lab lab(c); // [RFC 7413 5.1]
    lab.in({.flags = SYN, .text = "one", .options = lab.with_cookie()});
    CHECK(lab.out() == segs{{.flags = SYN | ACK, .ack = 4}});
    auto first = lab.listening->accept();
    REQUIRE(first);
    lab.in({.flags = RST, .seq = 4}); // of the victim, that never sent a SYN
    CHECK(first->error() == make_error_code(errc::reset));
    CHECK(read(*first) == "one");
    lab.wait(59s);
    lab.in({.flags = SYN, .text = "two", .options = lab.with_cookie()});
    CHECK(lab.out() == segs{{.flags = SYN | ACK, .ack = 1}});
    CHECK(lab.counted().fast_open_overflow == 1);
    lab.in({.flags = RST, .seq = 1});
    lab.wait(2s);
    lab.in({.flags = SYN, .text = "three", .options = lab.with_cookie()});
    CHECK(lab.out() == segs{{.flags = SYN | ACK, .ack = 6}});
    lab.in({.flags = ACK, .seq = 6, .ack = 1}); // complete: there is room
    auto third = lab.listening->accept();
    REQUIRE(third);
    CHECK(third->state() == tcp::state::established);
}

TEST_CASE("fast open: one whose handshake never completes is given up, and its place is free") {
    tcp::config c = tcp_lab::plain();
    c.max_fast_opening = 1;
    cookie_lab lab(c);
    lab.in({.flags = SYN, .text = "one", .options = lab.with_cookie()});
    auto first = lab.listening->accept();
    REQUIRE(first);
    lab.wait(10min);
    CHECK(first->error() == make_error_code(errc::timed_out));
    CHECK(lab.stack.connections() == 0);
    lab.out();
    lab.in({.flags = SYN, .text = "two", .options = lab.with_cookie()});
    CHECK(lab.out() == segs{{.flags = SYN | ACK, .ack = 4}});
}

TEST_CASE("fast open: with a full accept queue data waits for the usual handshake") {
    tcp::listen_options o = offered();
    o.backlog = 0;
    cookie_lab lab(tcp_lab::plain(), o);
    lab.in({.flags = SYN, .text = "one", .options = lab.with_cookie()});
    CHECK(lab.out() == segs{{.flags = SYN | ACK, .ack = 1}});
    CHECK(lab.counted().fast_open_overflow == 1);
}

TEST_CASE("fast open: cookies of impossible lengths are no cookies, and counted") { // [RFC 7413 4.1.1]
    for (const std::size_t length : {1u, 2u, 3u, 5u, 15u, 17u, 18u}) {
        CAPTURE(length);
        std::vector<std::byte> raw(20 + 20);
        store_be16(raw, 0, 5000);
        store_be16(raw, 2, 80);
        store_u8(raw, 12, 0xa0);
        store_u8(raw, 13, 2);
        store_u8(raw, 20, 34);
        store_u8(raw, 21, static_cast<std::uint8_t>(2 + length));
        const auto parsed = tcp::parse(raw);
        REQUIRE(parsed);
        CHECK_FALSE(parsed->header.options.fast_open);
        CHECK(parsed->header.options.malformed);
    }
}

TEST_CASE("fast open: the longest cookie fits beside all other options of a SYN, and comes back the same") {
    tcp::header h;
    h.source_port = 1;
    h.destination_port = 2;
    h.flags = SYN;
    h.options.mss = std::uint16_t{1460};
    h.options.window_scale = std::uint8_t{7};
    h.options.sack_permitted = true;
    h.options.ts = tcp::timestamps{1, 2};
    h.options.fast_open.emplace();
    h.options.fast_open->size = 16;
    for (std::size_t i = 0; i < 16; ++i) h.options.fast_open->octets[i] = std::byte(i + 1);
    CHECK(h.size() == tcp::max_header_size);
    std::vector<std::byte> raw(h.size());
    tcp::emit(raw, h, 0, std::span<const bytes>());
    const auto parsed = tcp::parse(raw);
    REQUIRE(parsed);
    CHECK(parsed->header == h);
}

} // namespace
} // namespace tapir::test
