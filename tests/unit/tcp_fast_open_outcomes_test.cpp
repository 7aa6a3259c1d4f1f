// What becomes of a SYN that asked for a cookie or had data, and what the next one is like: where Fast Open
// did no good it is put off, for that service, from that address. [RFC 7413 4.1.3, 4.1.3.1]
#include <tapir/protocols/tcp/fast_open_cache.hpp>

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

using outcome = tcp::fast_open_outcome;

tcp::flow_key flow(std::uint8_t server, std::uint16_t port = 80, std::uint8_t own = 1) {
    return {ip::address::v4(198, 51, 100, own), 49152, ip::address::v4(192, 0, 2, server), port};
}
tcp::fast_open_cookie a_cookie(int first = 0) {
    tcp::fast_open_cookie c;
    c.size = 8;
    c.octets[0] = std::byte(first);
    return c;
}

// --- what is remembered ------------------------------------------------------------------------------------

TEST_CASE("fast open: a client remembers as many servers as it may, and forgets the one not asked longest") {
    tcp::fast_open_cache cache(2, 1h);
    cache.learn(flow(1), a_cookie(), 1460, instant(1s));
    cache.learn(flow(2), a_cookie(), 1000, instant(2s));
    (void)cache.for_syn(flow(1), instant(3s));
    cache.learn(flow(3), a_cookie(), 500, instant(4s));
    CHECK(cache.cookies() == 2);
    CHECK(cache.knows(flow(1)));
    CHECK_FALSE(cache.knows(flow(2)));
    CHECK(cache.knows(flow(3)));
    CHECK(cache.for_syn(flow(3), instant(5s))->mss == 500);
    tcp::fast_open_cache none(0, 1h);
    none.learn(flow(1), a_cookie(), 1460, instant(1s));
    none.conclude(flow(1), outcome::failed, instant(1s));
    CHECK(none.cookies() == 0);
    CHECK(none.doubtful_services() == 0);
}

TEST_CASE("fast open: a cookie is one of two addresses, for all ports") { // [RFC 7413 4.1.3]
    tcp::fast_open_cache cache(10, 1h);
    cache.learn(flow(1, 80, 1), a_cookie(1), 1460, instant(1s));
    cache.learn(flow(1, 80, 2), a_cookie(2), 1460, instant(1s));
    CHECK(cache.for_syn(flow(1, 443, 1), instant(2s))->cookie == a_cookie(1));
    CHECK(cache.for_syn(flow(1, 443, 2), instant(2s))->cookie == a_cookie(2));
    CHECK(cache.for_syn(flow(1, 80, 3), instant(2s))->cookie.size == 0);
    cache.learn(flow(1, 443, 1), a_cookie(3), 1460, instant(3s));
    CHECK(cache.cookies() == 2);
    CHECK(cache.for_syn(flow(1, 80, 1), instant(4s))->cookie == a_cookie(3)); // the newest
    cache.learn(flow(1, 80, 1), {}, 1200, instant(5s));                       // a SYN|ACK without one
    CHECK(cache.for_syn(flow(1, 80, 1), instant(6s))->cookie == a_cookie(3));
    CHECK(cache.for_syn(flow(1, 80, 1), instant(6s))->mss == 1200);
}

TEST_CASE("fast open: which outcome puts a service off, and for how long") { // [RFC 7413 4.1.3.1]
    struct row {
        std::vector<outcome> seen;
        bool put_off;
    };
    const row rows[] = {
        {{outcome::granted}, false},
        {{outcome::taken}, false},
        {{outcome::accepted}, false},
        {{outcome::no_cookie}, true},
        {{outcome::failed}, true},
        {{outcome::in_vain}, false},
        {{outcome::in_vain, outcome::in_vain}, true},
        {{outcome::in_vain, outcome::accepted, outcome::in_vain}, true}, // that said nothing
        {{outcome::in_vain, outcome::taken, outcome::in_vain}, false},
        {{outcome::in_vain, outcome::granted, outcome::in_vain}, false},
        {{outcome::failed, outcome::taken}, false}, // of another connection, that had begun before
    };
    for (const row& r : rows) {
        CAPTURE(&r - rows);
        tcp::fast_open_cache cache(10, 1h);
        cache.learn(flow(1), a_cookie(), 1460, instant(1s));
        for (const outcome o : r.seen) cache.conclude(flow(1), o, instant(1s));
        CHECK(cache.for_syn(flow(1), instant(3600s)).has_value() == !r.put_off);
        CHECK(cache.for_syn(flow(1, 81), instant(2s)));
        CHECK(cache.for_syn(flow(1, 80, 2), instant(2s)));
        REQUIRE(cache.for_syn(flow(1), instant(3601s)));
        CHECK(cache.for_syn(flow(1), instant(3601s))->cookie == a_cookie());
        if (!r.put_off) continue;
        cache.conclude(flow(1), outcome::in_vain, instant(3602s)); // now once is enough
        CHECK_FALSE(cache.for_syn(flow(1), instant(7201s)));
    }
}

TEST_CASE("fast open: what is held against services is bounded as cookies are") {
    tcp::fast_open_cache cache(2, 1h);
    cache.conclude(flow(1), outcome::failed, instant(1s));
    cache.conclude(flow(2), outcome::failed, instant(2s));
    (void)cache.for_syn(flow(1), instant(3s));
    cache.conclude(flow(3), outcome::failed, instant(4s));
    CHECK(cache.doubtful_services() == 2);
    CHECK_FALSE(cache.for_syn(flow(1), instant(5s)));
    CHECK(cache.for_syn(flow(2), instant(5s)));
    CHECK_FALSE(cache.for_syn(flow(3), instant(5s)));
}

// --- what connections make of it ---------------------------------------------------------------------------

TEST_CASE("fast open: a service that takes no data, twice in a row, is sent none for an hour") {
    tcp_world w;
    w.server_listens(80, offered());
    get_cookie(w);
    w.server_listens(81); // at the same address, and does not do it
    const auto data_sent = [&] { return w.client().counted().fast_open_used; };
    visit(w, 81);
    CHECK(data_sent() == 1); // the cookie is that of the address
    visit(w, 81);
    CHECK(data_sent() == 2);
    visit(w, 81);
    CHECK(data_sent() == 2);
    CHECK(w.client().counted().fast_open_data_refused == 2);
    w.server_listens(80, offered());
    visit(w, 80); // that is another service
    CHECK(data_sent() == 3);
    CHECK(w.server().counted().fast_open_accepted == 1);
    w.run_for(1h);
    w.server_listens(81);
    visit(w, 81);
    CHECK(data_sent() == 4);
    visit(w, 81); // it has been given its chance
    CHECK(data_sent() == 4);
}

TEST_CASE("fast open: a service without it costs another one at the same address no cookie") {
    tcp_world w;
    w.server_listens(81);
    visit(w, 81); // asks, and is given none
    w.server_listens(80, offered());
    get_cookie(w);
    visit(w);
    CHECK(w.server().counted().fast_open_accepted == 1);
}

TEST_CASE("fast open: a SYN with data after which nothing passes any more is the last for an hour") {
    for (const bool waits : {true, false}) { // some firewalls block the flow [RFC 7413 4.1.3.1]
        CAPTURE(waits);
        tcp_world w;
        w.server_listens(80, offered());
        get_cookie(w);
        w.network = [](std::size_t, tcp_world::side, const tcp::outgoing_segment&) {
            return fate{.dropped = true};
        };
        tcp::connection_options o = wanted();
        o.connect_timeout = 10s;
        w.connect(80, o, 0, as_bytes("hello"));
        w.run_for(waits ? 11s : 3s);
        CHECK(w.c().error() == (waits ? make_error_code(errc::timed_out) : std::error_code()));
        w.drop_users(); // or the user has waited long enough
        w.network = nullptr;
        w.forget();
        visit(w);
        CHECK(w.ladder()[1] == "client -> server SYN seq=0");
        w.run_for(1h);
        w.forget();
        visit(w);
        CHECK(w.ladder()[1] == "client -> server SYN seq=0 len=5");
    }
}

TEST_CASE("fast open: a user who gives up before a SYN went again has learnt nothing") {
    tcp_world w;
    w.server_listens(80, offered());
    get_cookie(w);
    w.one_way = 400ms;
    w.connect(80, wanted(), 0, as_bytes("hello"));
    w.run_for(100ms);
    w.drop_users();
    w.run_for(2s);
    w.one_way = 5ms;
    w.accept();
    w.drop_users();
    w.forget();
    visit(w);
    CHECK(w.ladder()[1] == "client -> server SYN seq=0 len=5");
}

TEST_CASE("fast open: a router or a host that refuses a SYN with data is sent none for an hour") {
    for (const bool reset : {true, false}) {
        CAPTURE(reset);
        client_lab lab;
        if (reset)
            lab.in({.flags = RST | ACK, .ack = 6});
        else
            REQUIRE(lab.icmp(tcp::icmp_kind::host_unreachable, 0));
        REQUIRE(lab.e->error());
        lab.connect_with("hello");
        const segs plain = lab.out();
        REQUIRE(plain == segs{{.flags = SYN}});
        CHECK_FALSE(plain[0].options->fast_open);
        lab.in({.flags = RST | ACK, .ack = 1}); // it was not the data, after all
        lab.wait(1h);
        lab.connect_with("hello");
        CHECK(lab.out() == segs{{.flags = SYN, .text = "hello"}});
    }
}

TEST_CASE("fast open: a cookie is good for the address of ours that it was given to") { // [RFC 7413 4.1.3]
    client_lab lab;
    const auto second = ip::address::v4(192, 0, 2, 77);
    const tcp::path way(second, tcp_lab::there(),
                        ip::pseudo_header_sum(second, tcp_lab::there(), ip::protocol::tcp));
    lab.e = std::move(
        *lab.stack.connect(way, tcp_lab::peer_port, lab.our_port, wanted(), lab.now, as_bytes("hello")));
    const segs first = lab.out();
    REQUIRE(first == segs{{.flags = SYN}});
    REQUIRE(first[0].options->fast_open);
    CHECK(first[0].options->fast_open->size == 0); // it asks for one of its own
}

TEST_CASE(
    "fast open: who always searches the path's MTU has no more with a SYN than arrives nearly anywhere") {
    tcp_world w; // [RFC 4821 7.2]
    w.server_listens(80, offered());
    get_cookie(w);
    tcp::connection_options o = wanted();
    o.path_mtu = tcp::mtu_probing::always;
    w.connect(80, o, 0, as_bytes(std::string(4000, 'x')));
    w.run_for(100ms);
    INFO(w.ladder_text());
    CHECK(w.ladder()[1] == "client -> server SYN seq=0 len=952"); // 1024 less headers and options
    CHECK(read(w.accept()).size() == 4000);
}

} // namespace
} // namespace tapir::test
