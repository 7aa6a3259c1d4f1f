// What a listener does when its queues are full: cookies, fewer retries, limited answers, and events.
#include <doctest/doctest.h>

#include "tests/support/tcp_lab.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;
using tcp::pressure;

tcp::config with_cookies(tcp::syn_cookie_mode mode = tcp::syn_cookie_mode::always) {
    tcp::config c; // with timestamps and window scale
    c.syn_cookies = mode;
    return c;
}

tcp::options full_options(std::uint32_t clock = 500) {
    tcp::options o;
    o.mss = std::uint16_t{1400};
    o.window_scale = std::uint8_t{7};
    o.sack_permitted = true;
    o.ts = tcp::timestamps{clock, 0};
    return o;
}

/// A lab whose peer answers SYN|ACKs as one with timestamps does.
struct flooded : tcp_lab {
    explicit flooded(const tcp::config& c, const tcp::listen_options& o = {}) : tcp_lab(c) { listen(80, o); }

    tcp::options echo(std::uint32_t clock = 501) const {
        tcp::options o;
        o.ts = tcp::timestamps{clock, timestamp_of_last_segment()};
        return o;
    }
    /// SYNs from ports 1, 2, ...: as from so many clients.
    void flood(unsigned count, std::uint16_t first = 1) {
        for (unsigned i = 0; i < count; ++i)
            stack.receive(way(), a_segment(static_cast<std::uint16_t>(first + i), SYN), now);
        drain();
    }
    tcp::segment a_segment(std::uint16_t port, tcp::flags f, std::uint32_t seq = 0, tcp::seq ack = {}) const {
        tcp::segment s;
        s.header.source_port = port;
        s.header.destination_port = our_port;
        s.header.seq = tcp::seq(seq);
        s.header.ack = ack;
        s.header.flags = f;
        s.header.window = 65535;
        s.arrived = now;
        return s;
    }
    void drain() { out(); }
    /// A connection of the lab's peer, closed from here.
    void time_wait() {
        in({.flags = SYN});
        out();
        in({.flags = ACK, .seq = 1, .ack = 1});
        e = listening->accept();
        REQUIRE(e != nullptr);
        e->finish(now);
        out();
        in({.flags = FIN | ACK, .seq = 1, .ack = 2});
        REQUIRE(e->state() == tcp::state::time_wait);
        out();
    }
    const tcp::listener_events& events() const { return listening->events(); }
};

tcp::listen_options queues(std::uint32_t half_open, std::uint32_t backlog = 1024) {
    tcp::listen_options o;
    o.half_open_max = half_open;
    o.backlog = backlog;
    return o;
}

// --- the handshake by cookie -------------------------------------------------------------------------------

TEST_CASE("a cookie costs no state, and its ACK opens the connection by the usual path") { // [RFC 4987 3.6]
    flooded lab(with_cookies());
    lab.in({.flags = SYN, .window = 60000, .options = full_options()});
    const segs sent = lab.out();
    REQUIRE(sent.size() == 1);
    CHECK(sent[0] == seg{.flags = SYN | ACK, .ack = 1});
    CHECK(sent[0].options->mss == 1460);
    CHECK(sent[0].options->window_scale == 8); // for 16 MB
    CHECK(sent[0].options->ts->echo == 500);
    CHECK(sent[0].options->sack_permitted);
    CHECK(lab.stack.half_open() == 0);
    CHECK(lab.listening->half_open() == 0);
    CHECK(lab.stack.connections() == 0);
    CHECK(lab.stack.table_bytes() <= 8 * 1024); // the one reply that waited for the link

    lab.wait(10ms);
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .window = 500, .options = lab.echo()});
    REQUIRE(lab.listening->acceptable() == 1);
    lab.e = lab.listening->accept();
    REQUIRE(lab.e->edges().size() == 2);
    CHECK(lab.e->edges()[0].from == tcp::state::listen);
    CHECK(lab.e->edges()[0].to == tcp::state::syn_received);
    CHECK(lab.e->edges()[0].cause == tcp::event::rcv_syn);
    CHECK(lab.e->edges()[1].to == tcp::state::established);
    const tcp::info i = lab.e->info();
    CHECK(i.from_cookie);
    CHECK(i.timestamps);
    CHECK(i.window_scaling);
    CHECK(i.send_scale == 7);
    CHECK(i.send_window == 500u << 7);
    CHECK(i.sack_permitted);
    CHECK(i.send_mss == 1380 - 12); // 1400, rounded down to a value of the table
    CHECK(i.srtt == duration{0});   // nobody remembers when the SYN|ACK went
    CHECK(i.cwnd == 10u * i.send_mss);
    CHECK(lab.counted().syn_cookies_sent == 1);
    CHECK(lab.counted().syn_cookies_accepted == 1);
    CHECK(lab.counted().passive_opens == 1);
    CHECK(lab.listening->counted().syn_cookies_accepted == 1);
    CHECK(lab.listening->counted().established == 1);

    lab.write("hello");
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 1, .text = "hello"}});
    lab.wait(10ms);
    lab.in({.flags = ACK, .seq = 1, .ack = 6, .text = "hi", .options = lab.echo(520)});
    CHECK(lab.read() == "hi");
    CHECK(lab.e->info().srtt == 10ms); // that of the data
}

TEST_CASE("a connection with a half-open entry does not say that it came by cookie") {
    flooded lab(with_cookies(tcp::syn_cookie_mode::when_full));
    lab.in({.flags = SYN, .options = full_options()});
    lab.out();
    CHECK(lab.listening->half_open() == 1);
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .options = lab.echo()});
    lab.e = lab.listening->accept();
    REQUIRE(lab.e != nullptr);
    CHECK_FALSE(lab.e->info().from_cookie);
    CHECK(lab.counted().syn_cookies_sent == 0);
}

TEST_CASE("our timestamps go on from the one that carries the options, and never seem older") {
    flooded lab(with_cookies());
    for (int ms = 0; ms < 40; ++ms) {
        lab.in({.flags = SYN, .options = full_options()});
        lab.out();
        const std::uint32_t stamp = lab.timestamp_of_last_segment();
        lab.in({.flags = ACK, .seq = 1, .ack = 1, .options = lab.echo()});
        lab.e = lab.listening->accept();
        REQUIRE(lab.e != nullptr);
        lab.write("x");
        lab.out();
        CHECK(static_cast<std::int32_t>(lab.timestamp_of_last_segment() - stamp) >= 0);
        lab.e->abort(lab.now);
        lab.out();
        lab.wait(1ms);
    }
}

TEST_CASE("without timestamps a cookie keeps the MSS only, and nothing else is offered in its SYN|ACK") {
    const auto accepted = [](flooded& lab) {
        const segs sent = lab.out();
        REQUIRE(sent.size() == 1);
        CHECK(sent[0].options->mss == 1460);
        CHECK_FALSE(sent[0].options->window_scale.has_value());
        CHECK_FALSE(sent[0].options->sack_permitted);
        CHECK_FALSE(sent[0].options->ts.has_value());
        lab.in({.flags = ACK, .seq = 1, .ack = 1, .window = 500});
        lab.e = lab.listening->accept();
        REQUIRE(lab.e != nullptr);
        const tcp::info i = lab.e->info();
        CHECK_FALSE(i.timestamps);
        CHECK_FALSE(i.window_scaling);
        CHECK_FALSE(i.sack_permitted);
        CHECK(i.send_window == 500);
        CHECK(i.send_mss == 1380);
    };
    tcp::options o = full_options();
    o.ts.reset();
    flooded client_has_none(with_cookies());
    client_has_none.in({.flags = SYN, .options = o});
    accepted(client_has_none);

    tcp::config c = with_cookies();
    c.use_timestamps = false;
    flooded we_have_none(c);
    we_have_none.in({.flags = SYN, .options = full_options()});
    accepted(we_have_none);
}

TEST_CASE("the ACK of a cookie may carry data, and comes with it again when it was lost") {
    flooded lab(with_cookies());
    lab.in({.flags = SYN, .options = full_options()});
    lab.out();
    lab.in({.flags = ACK | FIN, .seq = 1, .ack = 1, .text = "GET /", .options = lab.echo()});
    lab.e = lab.listening->accept();
    REQUIRE(lab.e != nullptr);
    CHECK(lab.e->state() == tcp::state::close_wait);
    CHECK(lab.read() == "GET /");
}

TEST_CASE("a segment that overtakes the ACK of its cookie draws no RST") {
    flooded lab(with_cookies());
    lab.in({.flags = SYN, .options = full_options()});
    lab.out();
    lab.in({.flags = ACK, .seq = 6, .ack = 1, .text = "world", .options = lab.echo()});
    CHECK(lab.out() == segs{});
    CHECK(lab.counted().bad_ack == 1);
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "hello", .options = lab.echo()});
    lab.e = lab.listening->accept();
    REQUIRE(lab.e != nullptr);
    CHECK(lab.read() == "hello");
}

TEST_CASE("a cookie that comes back in a SYN|ACK opens nothing") {
    flooded lab(with_cookies());
    lab.in({.flags = SYN});
    lab.out();
    lab.in({.flags = SYN | ACK, .seq = 1, .ack = 1});
    CHECK(lab.out() == segs{{.flags = RST, .seq = 1}});
    CHECK(lab.listening->acceptable() == 0);
}

TEST_CASE("a cookie for another 4-tuple, too old, or invented opens nothing and draws a RST") {
    flooded lab(with_cookies());
    lab.in({.flags = SYN});
    lab.out();
    const tcp::seq cookie = lab.isn();
    const auto arrives = [&](std::uint16_t port, tcp::seq ack) {
        lab.stack.receive(lab.way(), lab.a_segment(port, ACK, tcp_lab::peer_isn + 1, ack), lab.now);
    };
    const auto refused = [&](std::uint64_t wrong) {
        const segs sent = lab.out();
        REQUIRE(sent.size() == 1);
        CHECK(sent[0].flags == RST);
        CHECK(lab.listening->acceptable() == 0);
        CHECK(lab.counted().syn_cookies_wrong == wrong);
        CHECK(lab.listening->counted().syn_cookies_wrong == wrong);
    };
    arrives(tcp_lab::peer_port + 1, cookie + 1);
    refused(1);
    arrives(tcp_lab::peer_port, cookie + 2);
    refused(2);
    lab.wait(119s);
    lab.in({.flags = SYN, .seq = 77}); // cookies are out again, so that the old one is looked at
    lab.out();
    lab.wait(2s);
    arrives(tcp_lab::peer_port, cookie + 1);
    refused(3);
}

TEST_CASE(
    "who has sent no cookie for two periods looks at none") { // [RFC 4987 3.6]: as few guesses as can be
    flooded lab(with_cookies(tcp::syn_cookie_mode::when_full), queues(1));
    lab.flood(2);
    CHECK(lab.counted().syn_cookies_sent == 1);
    lab.wait(119s);
    lab.stack.receive(lab.way(), lab.a_segment(9, ACK, 1, tcp::seq(1)), lab.now);
    CHECK(lab.counted().syn_cookies_wrong == 1);
    lab.wait(1s);
    lab.stack.receive(lab.way(), lab.a_segment(9, ACK, 1, tcp::seq(1)), lab.now);
    CHECK(lab.counted().syn_cookies_wrong == 1);
    CHECK(lab.counted().bad_ack == 2);
    lab.drain();
    CHECK(lab.counted().resets_out == 2);
}

// --- when --------------------------------------------------------------------------------------------------

TEST_CASE("a SYN without room in the SYN queue is answered by a cookie, and the client connects at once") {
    flooded lab(with_cookies(tcp::syn_cookie_mode::when_full), queues(3));
    lab.flood(5);
    CHECK(lab.listening->half_open() == 3);
    CHECK(lab.counted().syn_cookies_sent == 2);
    CHECK(lab.counted().half_open_overflow == 0);
    CHECK(lab.listening->under_pressure(pressure::syn_cookies));
    lab.in({.flags = SYN, .options = full_options()});
    CHECK(lab.out() == segs{{.flags = SYN | ACK, .ack = 1}});
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .options = lab.echo()});
    CHECK(lab.listening->acceptable() == 1);
    CHECK(lab.listening->half_open() == 3);
}

TEST_CASE("the bound over all listeners brings cookies as well") {
    tcp::config c = with_cookies(tcp::syn_cookie_mode::when_full);
    c.max_half_open = 2;
    flooded lab(c);
    lab.flood(5);
    CHECK(lab.stack.half_open() == 2);
    CHECK(lab.counted().syn_cookies_sent == 3);
}

TEST_CASE("a client whose first SYN drew a cookie and whose second found room connects with either") {
    for (const bool by_cookie : {true, false}) {
        flooded lab(with_cookies(tcp::syn_cookie_mode::when_full), queues(1));
        lab.flood(1);
        lab.in({.flags = SYN, .options = full_options()});
        lab.out();
        const tcp::seq cookie = lab.isn();
        const auto echo = lab.echo();
        lab.wait(10ms);
        lab.stack.receive(lab.way(), lab.a_segment(1, RST, 1), lab.now); // a place frees
        REQUIRE(lab.listening->half_open() == 0);
        lab.in({.flags = SYN, .options = full_options()});
        lab.out();
        REQUIRE(lab.listening->half_open() == 1);
        REQUIRE(lab.isn() != cookie);
        if (by_cookie) {
            tcp::segment s = lab.a_segment(tcp_lab::peer_port, ACK, tcp_lab::peer_isn + 1, cookie + 1);
            s.header.options = echo;
            lab.stack.receive(lab.way(), s, lab.now);
        } else {
            lab.in({.flags = ACK, .seq = 1, .ack = 1, .options = lab.echo()});
        }
        CHECK(lab.out() == segs{});
        CHECK(lab.stack.half_open() == 0);
        lab.e = lab.listening->accept();
        REQUIRE(lab.e != nullptr);
        CHECK(lab.e->state() == tcp::state::established);
        CHECK(lab.e->info().from_cookie == by_cookie);
        CHECK(lab.e->info().send_scale == 7);
    }
}

TEST_CASE("data that overtakes the ACK of a cookie draws no RST, though a repeated SYN has made an entry") {
    flooded lab(with_cookies(tcp::syn_cookie_mode::when_full), queues(1));
    lab.flood(1);
    lab.in({.flags = SYN, .options = full_options()});
    lab.out();
    const tcp::seq cookie = lab.isn();
    const tcp::options echo = lab.echo();
    lab.stack.receive(lab.way(), lab.a_segment(1, RST, 1), lab.now); // a place frees
    lab.in({.flags = SYN, .options = full_options()});
    lab.out();
    REQUIRE(lab.listening->half_open() == 1);
    const auto arrives = [&](std::uint32_t at, std::string_view text) {
        tcp::segment s = lab.a_segment(tcp_lab::peer_port, ACK, tcp_lab::peer_isn + at, cookie + 1);
        s.header.options = echo;
        buffer b = lab.pool.allocate(text.size());
        copy_bytes(b.span(), as_bytes(text));
        s.payload = chunk(b, 0, text.size());
        lab.stack.receive(lab.way(), s, lab.now);
    };
    arrives(6, "world");
    CHECK(lab.out() == segs{});
    CHECK(lab.counted().bad_ack == 1);
    CHECK(lab.listening->half_open() == 1);
    arrives(1, "hello");
    lab.e = lab.listening->accept();
    REQUIRE(lab.e != nullptr);
    CHECK(lab.e->info().from_cookie);
    CHECK(lab.read() == "hello");
    lab.e->abort(lab.now);
    lab.out();

    // Where no cookie is out, it is a mistake, and is told so. [RFC 9293 3.10.7.4, fifth]
    flooded quiet(with_cookies(tcp::syn_cookie_mode::when_full));
    quiet.in({.flags = SYN});
    quiet.out();
    quiet.in({.flags = ACK, .seq = 6, .ack = 77, .text = "world"});
    CHECK(quiet.out() == segs{{.flags = RST, .seq = 77}});
}

// --- the accept queue --------------------------------------------------------------------------------------

TEST_CASE(
    "the ACK of a cookie that meets a full accept queue is dropped and counted, and its data opens later") {
    flooded lab(with_cookies(), queues(1024, 1));
    lab.flood(1); // both get their cookie while there is room
    const tcp::seq other = lab.isn();
    lab.in({.flags = SYN});
    lab.out();
    lab.stack.receive(lab.way(), lab.a_segment(1, ACK, 1, other + 1), lab.now);
    CHECK(lab.listening->acceptable() == 1);
    lab.in({.flags = ACK, .seq = 1, .ack = 1});
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "hello"});
    CHECK(lab.out() == segs{});
    CHECK(lab.listening->acceptable() == 1);
    CHECK(lab.counted().accept_overflow == 2);
    CHECK(lab.listening->counted().accept_overflow == 2);
    CHECK(lab.listening->under_pressure(pressure::accept_overflow));
    auto first = lab.listening->accept();
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "hello"}); // as the peer's retransmission
    lab.e = lab.listening->accept();
    REQUIRE(lab.e != nullptr);
    CHECK(lab.read() == "hello");
}

TEST_CASE("nobody is promised by cookie a connection for which the accept queue has no room") {
    flooded lab(with_cookies(), queues(1024, 0));
    lab.in({.flags = SYN});
    CHECK(lab.out() == segs{});
    CHECK(lab.counted().syn_cookies_sent == 0);
    CHECK(lab.counted().accept_overflow == 1);
}

// --- fewer retries -----------------------------------------------------------------------------------------

TEST_CASE("while a SYN queue is more than half full its entries are given up after 3 s instead of 63 s") {
    flooded lab(with_cookies(tcp::syn_cookie_mode::when_full), queues(10));
    lab.flood(6);
    lab.wait(2999ms);
    CHECK(lab.listening->half_open() == 6);
    lab.wait(10ms);
    CHECK(lab.listening->half_open() == 5); // half full: the others get their time
    CHECK(lab.listening->counted().half_open_timeouts == 1);
    lab.wait(59s);
    CHECK(lab.listening->half_open() == 5);
    lab.wait(2s);
    CHECK(lab.listening->half_open() == 0);
    CHECK(lab.wheel.armed() == 0);
}

TEST_CASE("the first wait and the number of SYN|ACKs are configurable") {
    tcp::config c = tcp_lab::plain();
    c.syn_ack_timeout = 200ms;
    c.syn_ack_retries = 2;
    tcp_lab lab(c);
    lab.listen();
    lab.in({.flags = SYN});
    lab.wait(1399ms);
    CHECK(lab.out() == segs{{.flags = SYN | ACK, .ack = 1, .at = 0},
                            {.flags = SYN | ACK, .ack = 1, .at = 200},
                            {.flags = SYN | ACK, .ack = 1, .at = 600}});
    CHECK(lab.listening->half_open() == 1);
    lab.wait(2ms);
    CHECK(lab.listening->half_open() == 0);
}

// --- what there is to see ----------------------------------------------------------------------------------

TEST_CASE("each half-open connection of a listener can be seen") {
    flooded lab(with_cookies(tcp::syn_cookie_mode::when_full));
    auto other = std::move(*lab.stack.listen({{}, 81}, {}, lab.now));
    lab.flood(1);
    lab.wait(1500ms);
    lab.in({.flags = SYN});
    const auto all = lab.listening->half_open_connections();
    REQUIRE(all.size() == 2);
    CHECK(all[0].local == ip::endpoint(tcp_lab::here(), 80));
    CHECK(all[0].remote == ip::endpoint(tcp_lab::there(), 1));
    CHECK(all[0].arrived == instant(100s));
    CHECK(all[0].retransmits == 1);
    CHECK(all[1].remote.port == tcp_lab::peer_port);
    CHECK(all[1].retransmits == 0);
    CHECK(other->half_open_connections().empty());
}

TEST_CASE("cookies begin with one event and end with one: quiet for 5 s, the queue half empty") {
    flooded lab(with_cookies(tcp::syn_cookie_mode::when_full), queues(4));
    CHECK(lab.events().end() == 0);
    lab.flood(3);
    CHECK(lab.events().end() == 0);
    lab.flood(100, 100);
    REQUIRE(lab.events().end() == 1);
    CHECK(lab.events()[0] == tcp::listener_event(0, pressure::syn_cookies, true, instant(100s), 0));
    lab.wait(4s);
    lab.flood(2, 500); // the table has given up two
    CHECK(lab.counted().syn_cookies_sent == 99);
    lab.flood(2, 600);
    CHECK(lab.counted().syn_cookies_sent == 101);
    lab.wait(4900ms);
    CHECK(lab.listening->under_pressure(pressure::syn_cookies));
    lab.wait(200ms);
    CHECK_FALSE(lab.listening->under_pressure(pressure::syn_cookies));
    REQUIRE(lab.events().end() == 2);
    CHECK(lab.events()[1] == tcp::listener_event(1, pressure::syn_cookies, false, instant(109s), 101));
}

TEST_CASE("cookies do not end while the SYN queue is more than half full") {
    tcp::config c = with_cookies(tcp::syn_cookie_mode::when_full);
    c.syn_ack_retries_under_pressure = 5; // the entries stay
    flooded lab(c, queues(4));
    lab.flood(5);
    lab.wait(60s);
    CHECK(lab.listening->under_pressure(pressure::syn_cookies));
    lab.wait(5s);
    CHECK_FALSE(lab.listening->under_pressure(pressure::syn_cookies));
    CHECK(lab.wheel.armed() == 0);
}

TEST_CASE("overflows of either queue are events as well, and a listener that closes ends its episodes") {
    flooded lab(with_cookies(tcp::syn_cookie_mode::off), queues(1, 0));
    lab.flood(3);
    lab.in({.flags = SYN}); // has no room
    tcp::seq isn;
    lab.stack.for_each_half_open([&](const tcp::flow_key&, const tcp::half_open_entry& e) { isn = e.iss; });
    lab.stack.receive(lab.way(), lab.a_segment(1, ACK, 1, isn + 1), lab.now);
    REQUIRE(lab.events().end() == 2);
    CHECK(lab.events()[0].what == pressure::half_open_overflow);
    CHECK(lab.events()[1].what == pressure::accept_overflow);
    lab.listening->close(lab.now);
    REQUIRE(lab.events().end() == 4);
    CHECK(lab.events()[2] == tcp::listener_event(2, pressure::half_open_overflow, false, lab.now, 3));
    CHECK(lab.events()[3] == tcp::listener_event(3, pressure::accept_overflow, false, lab.now, 1));
    lab.wait(10s);
    CHECK(lab.wheel.armed() == 0);
}

TEST_CASE("the last 64 events are kept, and numbered") {
    tcp::listener_events events;
    for (int i = 0; i < 100; ++i) {
        CHECK(events.happened(pressure::accept_overflow, instant(i * 10s)));
        CHECK_FALSE(events.happened(pressure::accept_overflow, instant(i * 10s)));
        events.ended(pressure::accept_overflow, instant(i * 10s + 5s));
        events.ended(pressure::accept_overflow, instant(i * 10s + 6s)); // has ended already
    }
    CHECK(events.end() == 200);
    CHECK(events.begin() == 136);
    CHECK(events[136] == tcp::listener_event(136, pressure::accept_overflow, true, instant(680s), 0));
    CHECK(events[199] == tcp::listener_event(199, pressure::accept_overflow, false, instant(995s), 2));
}

// --- limits ------------------------------------------------------------------------------------------------

TEST_CASE("RSTs to nobody's segments are limited for each remote address, and the rest are counted") {
    tcp_lab lab;
    const auto from = [&](const ip::address& remote) {
        tcp::segment s;
        s.header.source_port = 1;
        s.header.destination_port = lab.our_port;
        s.header.flags = ACK;
        tcp::path p = lab.way();
        p.remote = remote;
        lab.stack.receive(p, s, lab.now);
    };
    for (int i = 0; i < 2000; ++i) from(tcp_lab::there());
    CHECK(lab.counted().resets_out == 500);
    CHECK(lab.counted().resets_suppressed == 1500);
    from(ip::address::v4(198, 51, 100, 1)); // another group has its own
    CHECK(lab.counted().resets_out == 501);
    lab.now += 1s;
    for (int i = 0; i < 2000; ++i) from(tcp_lab::there());
    CHECK(lab.counted().resets_out == 1001);
    // From everywhere: all groups together bound the total.
    lab.now += 1s;
    for (std::uint32_t i = 0; i < 100'000; ++i) from(ip::address::v4(0x0a000000 + i));
    CHECK(lab.counted().resets_out + lab.counted().replies_dropped <= 1001 + 64 * 500);
}

TEST_CASE("what half-open and TIME_WAIT entries answer is limited; SYN|ACKs are not") {
    tcp_lab lab;
    lab.listen();
    lab.in({.flags = SYN});
    lab.out();
    for (int i = 0; i < 300; ++i) lab.in({.flags = RST, .seq = 2}); // each is challenged [RFC 5961 3.2]
    CHECK(lab.out().size() == 100);
    CHECK(lab.counted().stateless_acks_suppressed == 200);
    for (int i = 0; i < 300; ++i) lab.in({.flags = SYN});
    CHECK(lab.out().size() == 300);
    lab.in({.flags = ACK, .seq = 1, .ack = 1});
    lab.e = lab.listening->accept();
    REQUIRE(lab.e != nullptr);
    lab.e->finish(lab.now);
    lab.out();
    lab.in({.flags = FIN | ACK, .seq = 1, .ack = 2});
    REQUIRE(lab.e->state() == tcp::state::time_wait);
    lab.out();
    lab.wait(1s);
    for (int i = 0; i < 300; ++i) lab.in({.flags = FIN | ACK, .seq = 1, .ack = 2});
    CHECK(lab.out().size() == 100);
    CHECK(lab.counted().stateless_acks_suppressed == 400);
}

// --- TIME_WAIT ---------------------------------------------------------------------------------------------

TEST_CASE("a SYN that reuses a TIME_WAIT takes the place of the stalest half-open entry, not a cookie") {
    tcp::config c = tcp_lab::plain(); // [RFC 9293 3.10.7.4 MAY-2]: its numbers must lie above the old ones
    c.max_half_open = 2;
    flooded lab(c);
    lab.time_wait();
    const tcp::seq old = lab.isn() + 2;
    lab.flood(2);
    lab.in({.flags = SYN, .seq = 3});
    CHECK(lab.out() == segs{{.flags = SYN | ACK, .seq = 0, .ack = 4}});
    CHECK(lab.isn() > old);
    CHECK(lab.e->state() == tcp::state::closed);
    CHECK(lab.stack.half_open() == 2);
    CHECK(lab.counted().half_open_evicted == 1);
    CHECK(lab.counted().syn_cookies_sent == 0);
    lab.in({.flags = ACK, .seq = 4, .ack = 1});
    CHECK(lab.listening->acceptable() == 1);
}

TEST_CASE("a table of no half-open entries is one of one: a SYN may reuse a TIME_WAIT all the same") {
    tcp::config c = tcp_lab::plain();
    c.max_half_open = 0;
    flooded lab(c);
    lab.time_wait();
    lab.in({.flags = SYN, .seq = 3});
    CHECK(lab.out() == segs{{.flags = SYN | ACK, .seq = 0, .ack = 4}});
    CHECK(lab.stack.half_open() == 1);
    lab.flood(3); // no more than that
    CHECK(lab.stack.half_open() == 1);
    CHECK(lab.counted().syn_cookies_sent == 3);
}

} // namespace
} // namespace tapir::test
