#include <doctest/doctest.h>

#include <array>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/support/tcp_crowd.hpp"
#include "tests/support/tcp_lab.hpp"
#include "tests/support/tcp_world.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;

// --- ports and initial sequence numbers --------------------------------------------------------------------

TEST_CASE("connect picks ports that are free, in the ephemeral range, until there are none") { // [RFC 6056]
    tcp::config c = tcp_lab::plain();
    c.first_ephemeral_port = 50000;
    c.last_ephemeral_port = 50009;
    tcp_lab lab(c);
    std::set<std::uint16_t> ports;
    std::vector<std::unique_ptr<tcp::endpoint>> all;
    for (int i = 0; i < 10; ++i) {
        auto e = lab.stack.connect(lab.way(), 80, 0, tcp::connection_options(), lab.now);
        REQUIRE(e.has_value());
        ports.insert((*e)->local().port);
        all.push_back(std::move(*e));
    }
    CHECK(ports.size() == 10);
    CHECK(*ports.begin() == 50000);
    CHECK(*ports.rbegin() == 50009);
    CHECK(lab.stack.connect(lab.way(), 80, 0, tcp::connection_options(), lab.now).error() == errc::no_ports);
    CHECK(lab.stack.connect(lab.way(), 81, 0, tcp::connection_options(), lab.now).has_value());
}

TEST_CASE("connect refuses what cannot be") { // [RFC 9293 3.9.2.3 MUST-46]
    tcp_lab lab;
    const tcp::connection_options o;
    CHECK(lab.stack.connect(lab.way(), 0, 0, o, lab.now).error() == errc::invalid_argument);
    tcp::path p = lab.way();
    p.remote = ip::address::v4(224, 0, 0, 5);
    CHECK(lab.stack.connect(p, 80, 0, o, lab.now).error() == errc::invalid_argument);
    p.remote = ip::address();
    CHECK(lab.stack.connect(p, 80, 0, o, lab.now).error() == errc::invalid_argument);
    tcp::config few;
    few.max_connections = 1;
    tcp_lab small(few);
    auto first = small.stack.connect(small.way(), 80, 0, o, small.now);
    CHECK(small.stack.connect(small.way(), 80, 0, o, small.now).error() == errc::no_memory);
}

TEST_CASE("initial sequence numbers of one flow rise with time, those of others are unrelated") {
    const auto isn = [](std::uint16_t port, duration later, std::uint64_t key) { // [RFC 6528 3]
        buffer_pool pool;
        timer_wheel wheel(1us);
        tcp::stack s(tcp_lab::plain(), siphash_key{key, 0}, random(1), pool, wheel);
        struct sink final : tcp::output_sink {
            tcp::seq seen;
            bool ready() override { return true; }
            std::size_t max_payload() override { return 1460; }
            void emit(const tcp::path&, const tcp::outgoing_segment& o) override { seen = o.header.seq; }
        } out;
        const tcp::path p(tcp_lab::here(), tcp_lab::there(), 0);
        const instant now = instant(1000s) + later;
        auto e = s.connect(p, 80, port, tcp::connection_options(), now);
        s.flush(now, out);
        return out.seen;
    };
    const tcp::seq first = isn(1000, 0s, 1);
    CHECK(isn(1000, 0s, 1) == first);
    CHECK(isn(1000, 4us, 1) == first + 1); // a clock of 4 microseconds [MUST-8]
    CHECK(isn(1000, 1s, 1) == first + 250000);
    const auto far = [](tcp::seq a, tcp::seq b) { return a - b > 1000000 && b - a > 1000000; };
    CHECK(far(isn(1001, 0s, 1), first));
    CHECK(far(isn(1000, 0s, 2), first));
}

// --- output ------------------------------------------------------------------------------------------------

TEST_CASE("flush stops when the link takes no more and goes on later; nothing is lost or repeated") {
    tcp_lab lab;
    lab.establish();
    int wanted = 0;
    lab.stack.on_want_flush([](void* count) { ++*static_cast<int*>(count); }, &wanted);
    lab.write(std::string(5000, 'x'));
    lab.write("more");
    CHECK(wanted == 1);
    struct narrow final : tcp::output_sink {
        int room = 2;
        std::size_t bytes = 0;
        bool ready() override { return room > 0; }
        std::size_t max_payload() override { return 1000; }
        void emit(const tcp::path&, const tcp::outgoing_segment& s) override {
            --room;
            bytes += s.payload_size;
        }
    } link;
    CHECK_FALSE(lab.stack.flush(lab.now, link));
    CHECK(link.bytes == 2000);
    CHECK(lab.stack.output_pending());
    link.room = 10;
    CHECK(lab.stack.flush(lab.now, link));
    CHECK(link.bytes == 5000); // Nagle keeps "more"
    CHECK_FALSE(lab.stack.output_pending());
    CHECK(wanted == 1);
    lab.in({.flags = ACK, .seq = 1, .ack = 5001});
    CHECK(wanted == 2);
}

TEST_CASE("a link that cuts gets many segments in one, whole ones only") {
    tcp_lab lab;
    lab.establish();
    lab.most = 65535;
    lab.write(std::string(9500, 'x'));
    const segs sent = lab.out();
    REQUIRE(sent.size() == 1);
    CHECK(sent[0].text.size() == 9000);
    lab.in({.flags = ACK, .seq = 1, .ack = 9001});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 9001, .ack = 1, .text = std::string(500, 'x')}});
}

TEST_CASE("replies without a connection are bounded and counted") {
    tcp::config c = tcp_lab::plain();
    c.max_replies = 10;
    tcp_lab lab(c);
    for (std::uint32_t i = 0; i < 15; ++i) lab.in({.flags = ACK, .seq = 1, .ack = i});
    CHECK(lab.out().size() == 10);
    CHECK(lab.counted().replies_dropped == 5);
}

TEST_CASE("written chunks are shared when large, copied when small, and freed when acknowledged") {
    tcp_lab lab;
    lab.establish();
    const std::size_t before = lab.pool.live_blocks();
    buffer large = lab.pool.allocate(4096);
    std::fill(large.span().begin(), large.span().end(), std::byte{'L'});
    CHECK(lab.e->write(chunk(lab.pool.copy_of(as_bytes("small")), 0, 5)) == 5);
    CHECK(lab.e->write(chunk(large, 0, 4096)) == 4096);
    CHECK(lab.pool.live_blocks() == before + 2);
    CHECK_FALSE(large.unique());
    std::string text;
    for (const seg& s : lab.out()) text += s.text;
    CHECK(text == "small" + std::string(3995, 'L'));
    lab.in({.flags = ACK, .seq = 1, .ack = 4001});
    lab.out();
    lab.in({.flags = ACK, .seq = 1, .ack = 4102});
    CHECK(lab.e->flushed());
    CHECK(large.unique());
    CHECK(lab.pool.live_blocks() == before + 1);
}

TEST_CASE("the send buffer is bounded: write takes what fits") {
    tcp_lab lab;
    tcp::connection_options o;
    o.send_buffer = 3000;
    lab.establish(o);
    CHECK(lab.e->writable() == 3000);
    CHECK(lab.write(std::string(5000, 'x')) == 3000);
    CHECK(lab.write("y") == 0);
    lab.out();
    lab.in({.flags = ACK, .seq = 1, .ack = 1001});
    CHECK(lab.e->writable() == 1000);
}

// --- ICMP --------------------------------------------------------------------------------------------------

TEST_CASE("while connecting, unreachable and refused end the attempt, each with its own error") {
    tcp_lab lab; // [RFC 5461 4.2]
    lab.connect();
    lab.out();
    errc expected = errc::refused;
    SUBCASE("port") {
        lab.icmp(tcp::icmp_kind::port_unreachable, 0);
    }
    SUBCASE("host") {
        lab.icmp(tcp::icmp_kind::host_unreachable, 0);
        expected = errc::host_unreachable;
    }
    SUBCASE("network") {
        lab.icmp(tcp::icmp_kind::network_unreachable, 0);
        expected = errc::network_unreachable;
    }
    SUBCASE("no answer to ARP") {
        lab.stack.unreachable(tcp_lab::there(), errc::host_unreachable, lab.now);
        expected = errc::host_unreachable;
    }
    CHECK(lab.e->state() == tcp::state::closed);
    CHECK(lab.e->error() == expected);
    CHECK(lab.e->report().how == tcp::ending::unreachable);
    CHECK(lab.out() == segs{});
}

TEST_CASE("an ICMP error about a sequence number not in flight is ignored") { // [RFC 5927 4.1]
    tcp_lab lab;
    lab.connect();
    lab.out();
    lab.icmp(tcp::icmp_kind::port_unreachable, 1);
    lab.icmp(tcp::icmp_kind::port_unreachable, 4000000000u);
    CHECK(lab.e->state() == tcp::state::syn_sent);
    CHECK(lab.counted().icmp_ignored == 2);
    lab.stack.icmp_error(tcp::icmp_kind::port_unreachable, tcp_lab::here(), tcp_lab::there(),
                         as_bytes("short"), 0, lab.now);
    CHECK(lab.counted().icmp_ignored == 3);
}

TEST_CASE("once connected, an ICMP error is remembered and ends nothing") { // [RFC 9293 3.9.2.2 MUST-56]
    tcp_lab lab;
    lab.establish();
    lab.write("x");
    lab.out();
    lab.icmp(tcp::icmp_kind::host_unreachable, 1);
    CHECK(lab.e->state() == tcp::state::established);
    CHECK(lab.e->soft_error() == errc::host_unreachable);
    CHECK_FALSE(lab.e->error());
    lab.stack.unreachable(tcp_lab::there(), errc::network_unreachable, lab.now);
    CHECK(lab.e->state() == tcp::state::established);
    CHECK(lab.e->soft_error() == errc::network_unreachable);
}

TEST_CASE("an ICMP error about our SYN|ACK frees the half-open entry") {
    tcp_lab lab;
    lab.listen();
    lab.in({.flags = SYN});
    lab.out();
    lab.icmp(tcp::icmp_kind::host_unreachable, 0);
    CHECK(lab.listening->half_open() == 0);
}

// --- the end of the stack ----------------------------------------------------------------------------------

TEST_CASE("stop resets every peer and tells every user; nothing can be opened afterwards") {
    tcp_lab lab;
    lab.establish();
    auto connecting = std::move(*lab.stack.connect(lab.way(), 9, 0, tcp::connection_options(), lab.now));
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "kept"});
    lab.stack.stop(lab.now);
    CHECK(lab.out() == segs{{.flags = RST, .seq = 1}});
    CHECK(lab.e->error() == errc::host_stopped);
    CHECK(lab.e->edges().back().cause == tcp::event::host_stopped);
    CHECK(connecting->error() == errc::host_stopped);
    CHECK(lab.read() == "kept");
    CHECK(lab.stack.connect(lab.way(), 9, 0, tcp::connection_options(), lab.now).error() ==
          errc::host_stopped);
    CHECK(lab.stack.listen({tcp_lab::here(), 9}, {}, lab.now).error() == errc::host_stopped);
    CHECK(lab.wheel.armed() == 0);
}

TEST_CASE("endpoints and listeners outlive their stack") {
    buffer_pool pool;
    timer_wheel wheel(1us);
    auto s = std::make_unique<tcp::stack>(tcp_lab::plain(), siphash_key{1, 1}, random(1), pool, wheel);
    const tcp::path p(tcp_lab::here(), tcp_lab::there(), 0);
    auto e = std::move(*s->connect(p, 80, 0, tcp::connection_options(), instant(1s)));
    auto l = std::move(*s->listen({tcp_lab::here(), 80}, {}, instant(1s)));
    s.reset();
    CHECK(e->error() == errc::host_stopped);
    CHECK(e->state() == tcp::state::closed);
    CHECK(e->write(as_bytes("x")) == 0);
    CHECK(e->info().state == tcp::state::closed);
    e->close(instant(2s));
    CHECK(l->error() == errc::host_stopped);
    CHECK(l->accept() == nullptr);
    CHECK(wheel.armed() == 0);
}

// --- observers and looking ---------------------------------------------------------------------------------

struct watcher final : tcp::observer {
    int told = 0;
    void changed(tcp::endpoint&) override { ++told; }
};

TEST_CASE("the observer is told of data, of room, of states, and not of nothing") {
    tcp_lab lab;
    lab.establish();
    watcher w;
    lab.e->set_observer(&w);
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "x"});
    CHECK(w.told == 1);
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "x"}); // nothing new
    CHECK(w.told == 1);
    lab.write("y");
    lab.out();
    lab.in({.flags = ACK, .seq = 2, .ack = 2});
    CHECK(w.told == 2);
    lab.in({.flags = FIN | ACK, .seq = 2, .ack = 2});
    CHECK(w.told == 3);
    lab.e->finish(lab.now);
    CHECK(w.told == 4);
    lab.out();
    lab.in({.flags = ACK, .seq = 3, .ack = 3});
    CHECK(w.told >= 5);
    CHECK(lab.e->state() == tcp::state::closed);
}

TEST_CASE("tapstat can list everything there is") {
    tcp_lab lab;
    lab.establish();
    auto second = std::move(*lab.stack.connect(lab.way(), 9, 0, tcp::connection_options(), lab.now));
    std::vector<std::uint64_t> ids;
    lab.stack.for_each_connection([&](tcp::endpoint& e) { ids.push_back(e.id()); });
    CHECK(ids == std::vector<std::uint64_t>{1, 2});
    int listeners = 0;
    lab.stack.for_each_listener([&](tcp::listening_endpoint& l) { listeners += l.local().port; });
    CHECK(listeners == 80);
    CHECK(lab.e->flow().to_string() == "192.0.2.1:80 <- 192.0.2.2:5000");
    lab.e->note_call(7, std::source_location::current(), lab.now);
    CHECK(lab.e->owned_by().task == 7);
}

// --- demultiplexing ----------------------------------------------------------------------------------------

TEST_CASE("ten thousand flows come and go, and each is found while it is there") {
    tcp::demux d;
    random r(5);
    std::vector<std::uint64_t> hashes;
    std::vector<std::uint64_t> places(10000); // only addresses count
    const auto user = [&](std::uint32_t i) -> tcp::endpoint& {
        return reinterpret_cast<tcp::endpoint&>(places[i]);
    };
    for (std::uint32_t i = 0; i < 10000; ++i) {
        hashes.push_back(r.next() & 0xffffffff00000fff); // crowded on purpose
        d.insert(hashes[i], user(i));
    }
    const auto find = [&](std::uint32_t i) {
        return d.find(hashes[i], [&](const tcp::endpoint& e) { return &e == &user(i); });
    };
    for (std::uint32_t i = 0; i < 10000; i += 2) d.erase(hashes[i], user(i));
    for (std::uint32_t i = 0; i < 10000; ++i) REQUIRE((find(i) != nullptr) == (i % 2 == 1));
    CHECK(d.size() == 5000);
}

// More of them than places among the connections of late, whose place comes from the ports and the peer.
TEST_CASE("who has the same ports at another address is somebody else") {
    constexpr std::uint32_t peers = 200;
    struct : tcp::output_sink {
        bool ready() override { return true; }
        std::size_t max_payload() override { return 0; }
        void emit(const tcp::path& to, const tcp::outgoing_segment& s) override {
            if (s.header.syn()) iss[to.remote.v4_value()] = s.header.seq;
        }
        std::map<std::uint32_t, tcp::seq> iss;
    } link;
    tcp_crowd crowd;
    const auto in = [&](std::uint32_t peer, tcp::flags f, std::uint32_t seq, std::string_view text = {}) {
        const ip::address from = ip::address::v4(0x0a000001 + peer);
        tcp::segment s;
        s.header.source_port = 5000;
        s.header.destination_port = 80;
        s.header.seq = tcp::seq(seq);
        s.header.ack = link.iss[from.v4_value()] + 1;
        s.header.flags = f;
        s.header.window = 65535;
        s.payload = chunk(crowd.pool.copy_of(as_bytes(text)), 0, text.size());
        s.arrived = crowd.now;
        crowd.stack.receive({tcp_lab::here(), from, 0}, s, crowd.now);
        crowd.stack.flush(crowd.now, link);
    };
    std::vector<std::unique_ptr<tcp::endpoint>> all;
    for (std::uint32_t i = 0; i < peers; ++i) {
        in(i, SYN, 0);
        in(i, ACK, 1);
        all.push_back(crowd.listening->accept());
        REQUIRE(all.back() != nullptr);
    }
    for (std::uint32_t i = 0; i < peers; i += 2) all[i]->abort(crowd.now); // and their places are free
    for (std::uint32_t i = 1; i < peers; i += 2) in(i, ACK, 1, std::to_string(i));
    for (std::uint32_t i = 1; i < peers; i += 2) {
        std::array<std::byte, 8> text;
        CHECK(as_text(bytes(text).first(all[i]->read(text))) == std::to_string(i));
    }
    CHECK(crowd.counted().no_connection == 0);
}

} // namespace
} // namespace tapir::test
