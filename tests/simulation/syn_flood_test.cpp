// A flood of SYNs from random addresses beside honest clients, in virtual time: what it costs the server in
// bytes, and the honest in waiting. And old SYNs, which must never make a connection.

#include <tapir/framework/log.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/sim_backend.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/protocols/ethernet/header.hpp>
#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/ipv4/header.hpp>
#include <tapir/protocols/link/middleware.hpp>

#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "tests/simulation/pair.hpp"
#include "tests/support/sanitized.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

const ip::address gateway = ip::address::v4(192, 0, 2, 1);
const ip::address target = ip::address::v4(192, 0, 2, 2);
const ethernet::mac_address gateway_mac(2, 0, 0, 0, 0, 1);
const ethernet::mac_address target_mac(2, 0, 0, 0, 0, 2);

/// Stands before the gateway: sends SYNs from everywhere towards the server, swallows what the server answers
/// to anybody but the gateway's host, and keeps the last SYN of that host, to send it again much later.
class attacker final : public middleware {
  public:
    attacker(link& below, std::uint64_t seed) : middleware(below), draw_(seed) {}

    /// `count` SYNs, each from a random address and port, with the options of a common client.
    void flood(unsigned count) {
        for (unsigned i = 0; i < count; ++i) {
            tcp::header h;
            const std::uint32_t from = draw_.next_u32();
            h.source_port = static_cast<std::uint16_t>(1024 + draw_.below(60'000));
            h.destination_port = 80;
            h.seq = tcp::seq(draw_.next_u32());
            h.flags = tcp::flags::syn;
            h.window = 64240;
            h.options.mss = std::uint16_t{1460};
            h.options.window_scale = std::uint8_t{7};
            h.options.sack_permitted = true;
            h.options.ts = tcp::timestamps{draw_.next_u32(), 0};
            // Public unicast addresses that are not ours.
            const ip::address source = ip::address::v4(0x0b000000 + from % 0x70000000);
            send_segment(source, h);
        }
    }
    std::uint64_t swallowed = 0;

    /// What a network has kept somewhere comes out again.
    void repeat_syn() {
        REQUIRE(!syn_.empty());
        frame f(pool_.allocate(syn_.size()), 0);
        copy_bytes(f.push_back(syn_.size()), syn_);
        below().send(std::move(f));
    }

  private:
    void send(frame&& f) override {
        const bytes b = f.data();
        const bool tcp = load_be16(b, 12) == 0x0800 && load_u8(b, 23) == 6;
        if (tcp && load_u8(b, 47) == static_cast<std::uint8_t>(tcp::flags::syn))
            syn_.assign(b.begin(), b.end());
        below().send(std::move(f));
    }
    void send_segment(const ip::address& source, const tcp::header& h) {
        frame f(pool_.allocate(frame::default_headroom), frame::default_headroom);
        tcp::emit(f.push_front(h.size()), h, ip::pseudo_header_sum(source, target, ip::protocol::tcp),
                  std::span<const bytes>());
        ipv4::header ip;
        ip.protocol = ip::protocol::tcp;
        ip.source = source;
        ip.destination = target;
        ip.payload_size = h.size();
        ip.emit(f.push_front(ipv4::header::size));
        ethernet::header e;
        e.destination = target_mac;
        e.source = gateway_mac;
        e.type = ethernet::ether_type::ipv4;
        e.emit(f.push_front(ethernet::header::size));
        below().send(std::move(f));
    }
    void receive(frame&& f) override {
        const bytes b = f.data();
        const bool ipv4 = load_be16(b, 12) == 0x0800;
        if (ipv4 && load_be32(b, 30) != gateway.v4_value())
            ++swallowed;
        else
            pass_up(std::move(f));
    }
    buffer_pool pool_;
    tapir::random draw_;
    std::vector<std::byte> syn_;
};

struct network {
    static constexpr duration one_way = 10ms;

    explicit network(const tcp::config& server_config = {})
        : reactor_(make_sim_backend(sim_config())), cable(reactor_, wide()), middle(cable.left(), 7),
          distance(reactor_, middle, far_away()), client(reactor_, named("client", {})),
          server(reactor_, named("server", server_config)) {
        (void)client.add_interface(distance, gateway_mac, ip::prefix(gateway, 24));
        (void)server.add_interface(cable.right(), target_mac, ip::prefix(target, 24));
        (void)server.add_route(ip::prefix(), gateway);
    }
    static wire_config wide() {
        wire_config c;
        c.queue = 1'000'000;
        return c;
    }
    static impair_config far_away() {
        impair_config c;
        c.out.delay = c.in.delay = one_way;
        return c;
    }
    static host_config named(const char* name, const tcp::config& tcp) {
        host_config c;
        c.name = name;
        c.tcp = tcp;
        return c;
    }

    reactor reactor_;
    wire cable;
    attacker middle;
    impair distance; ///< of the honest clients only
    host client;
    host server;
};

/// Everything that a flood may make a server keep: the SYN queue, the places of its entries in the
/// demultiplexing table (32 bytes a slot, 2.7 slots an entry), and the queue of replies. See tcp/config.hpp.
constexpr std::size_t table_bound(std::size_t half_open_max) {
    return half_open_max * (64 + 96) + 512 * 1024;
}

task<> serve_one(tcp::connection peer) {
    std::array<std::byte, 64> buffer;
    const auto n = co_await peer.read(buffer);
    if (!n) co_return;
    (void)co_await peer.write(std::span(buffer).first(*n));
    (void)co_await peer.close();
}

task<> serve_all(tcp::listener* port, scope* s) {
    while (auto peer = co_await port->accept()) s->spawn(serve_one, std::move(*peer));
}

/// What the hosts log meanwhile, instead of printing it.
struct logged {
    logged() {
        log::set_sink([this](log::level, std::string_view line) { lines.emplace_back(line); });
    }
    ~logged() { log::set_sink(nullptr); }
    std::vector<std::string> lines;
};

struct seen_events {
    std::vector<tcp::listener_event> list;
    std::error_code end;
};

task<> watch(tcp::listener* port, seen_events* seen) {
    tcp::event_cursor cursor;
    for (;;) {
        const auto e = co_await port->next_event(cursor);
        if (!e) {
            seen->end = e.error();
            co_return;
        }
        seen->list.push_back(*e);
    }
}

/// One honest client: connects, says something, hears it again, closes. Returns how long the handshake took.
task<> visit(network* net, std::vector<duration>* took) {
    const instant begin = net->reactor_.now();
    auto c = co_await net->client.connect(ip::endpoint(target, 80));
    REQUIRE(c);
    took->push_back(net->reactor_.now() - begin);
    CHECK(co_await c->write("hello"));
    std::array<std::byte, 64> buffer;
    const auto n = co_await c->read(buffer);
    REQUIRE(n);
    CHECK(as_text(std::span(buffer).first(*n)) == "hello");
    CHECK(co_await c->peer_finished());
    (void)co_await c->close();
}

/// ARP is done on both sides.
task<> introduce(network* net) {
    const auto refused = co_await net->client.connect(ip::endpoint(target, 9));
    REQUIRE(!refused);
    CHECK(refused.error() == errc::refused);
}

} // namespace

TEST_CASE(
    "a flood of a million SYNs: every honest client connects within one round trip, memory stays bounded") {
    // A tenth under AddressSanitizer, by the same code: the tables are full after 1,024.
    constexpr unsigned syns = sanitized ? 100'000 : 1'000'000;
    constexpr unsigned per_ms = 100; // 100,000 a second
    constexpr unsigned milliseconds = syns / per_ms;
    const logged log;
    network net;
    std::vector<duration> took;
    seen_events first;
    seen_events second;
    std::size_t most_half_open = 0;
    std::size_t most_bytes = 0;
    std::size_t most_blocks = 0;
    auto run = [&]() -> task<> {
        co_await introduce(&net);
        auto listening = net.server.listen(ip::endpoint({}, 80));
        REQUIRE(listening);
        auto everything = [&](scope& s) -> task<> {
            s.spawn(serve_all, &*listening, &s);
            s.spawn(watch, &*listening, &first);
            s.spawn(watch, &*listening, &second);
            for (unsigned ms = 0; ms < milliseconds; ++ms) {
                net.middle.flood(per_ms);
                if (ms % 50 == 25) s.spawn(visit, &net, &took);
                (void)co_await sleep_for(1ms);
                most_half_open = std::max(most_half_open, listening->half_open());
                most_bytes = std::max(most_bytes, net.server.tcp().table_bytes());
                most_blocks = std::max(most_blocks, net.server.pool().live_blocks());
            }
            CHECK(listening->under_pressure(tcp::pressure::syn_cookies));
            CHECK(listening->half_open_connections().size() == 1024);
            // Cookies stop: 5 s after the last one, as soon as the SYN queue is half empty.
            (void)co_await sleep_for(6s);
            CHECK_FALSE(listening->under_pressure(tcp::pressure::syn_cookies));
            CHECK(listening->half_open() <= 512);
            s.spawn(visit, &net, &took);
            (void)co_await sleep_for(1s);
            CHECK(net.server.tcp().counted().syn_cookies_sent == first.list.back().count);
            (void)co_await sleep_for(2min);
            CHECK(listening->half_open() == 0);
            CHECK(net.server.tcp().connections() == 0);
            CHECK(net.server.pool().live_blocks() == 0);
            listening->close();
        };
        co_await with_scope(everything);
    };
    net.reactor_.run(run());

    REQUIRE(took.size() == milliseconds / 50 + 1);
    for (const duration d : took) CHECK(d <= 2 * network::one_way + 1ms); // the timer wheel's resolution
    CHECK(most_half_open == 1024);
    CHECK(most_bytes <= table_bound(1024));
    CHECK(most_blocks <= 4 * per_ms); // frames on the way, and two buffers for each honest connection
    const tcp::counters& n = net.server.tcp().counted();
    CHECK(n.half_open_overflow == 0);
    CHECK(n.replies_dropped == 0);
    CHECK(n.syn_cookies_sent >= syns - 5 * 1024);
    CHECK(n.syn_cookies_accepted >= milliseconds / 50 - 1);
    CHECK(n.passive_opens == took.size());
    CHECK(n.syn_cookies_wrong == 0);
    CHECK(net.middle.swallowed >= syns);
    // Two readers saw the same two events.
    REQUIRE(first.list.size() == 2);
    CHECK(first.list == second.list);
    CHECK(first.list[0].began);
    CHECK(first.list[0].what == tcp::pressure::syn_cookies);
    CHECK_FALSE(first.list[1].began);
    CHECK(first.list[1].count == n.syn_cookies_sent);
    CHECK(first.end == errc::closed);
    REQUIRE(log.lines.size() == 2);
    CHECK(log.lines[0] ==
          "server: 0.0.0.0:80: SYN cookies began: 1024 connections half-open, 0 to be accepted");
    CHECK(log.lines[1] ==
          "server: 0.0.0.0:80: SYN cookies ended: " + std::to_string(n.syn_cookies_sent) + " sent");
    std::printf(
        "flood: %u SYNs, %llu cookies, %zu honest clients; at most %zu half-open, %zu bytes of tables\n",
        syns, static_cast<unsigned long long>(n.syn_cookies_sent), took.size(), most_half_open, most_bytes);
}

namespace {

/// A listener at the server, and one connection to it from the client.
struct one_connection {
    tcp::listener port;
    tcp::connection client;
    tcp::connection server;

    task<> open(network* net) {
        co_await introduce(net);
        auto listening = net->server.listen(ip::endpoint({}, 80));
        REQUIRE(listening);
        port = std::move(*listening);
        auto connected = co_await net->client.connect(ip::endpoint(target, 80));
        REQUIRE(connected);
        client = std::move(*connected);
        auto accepted = co_await port.accept();
        REQUIRE(accepted);
        server = std::move(*accepted);
    }
};

task<> half_close(tcp::connection* c) {
    (void)co_await c->finish();
}

/// Both directions, `first` before the other.
task<> close_in_order(tcp::connection* first, tcp::connection* second) {
    auto both = [&](scope& s) -> task<> {
        s.spawn(half_close, first);
        CHECK(co_await second->peer_finished());
        (void)co_await second->finish();
    };
    co_await with_scope(both);
}

template <class F>
void with_one_connection(const tcp::config& server_config, F scenario) {
    const logged log;
    network net(server_config);
    auto run = [&]() -> task<> {
        one_connection c;
        co_await c.open(&net);
        co_await scenario(net, c);
        c.client.abort();
        c.server.abort();
        c.port.close();
        (void)co_await sleep_for(2min);
        CHECK(net.server.tcp().connections() == 0);
        CHECK(net.server.tcp().half_open() == 0);
        CHECK(net.server.tcp().time_waits() == 0);
    };
    net.reactor_.run(run());
}

} // namespace

TEST_CASE("a long-delayed duplicate SYN creates no connection") { // [RFC 9293 3.5, figure 9]
    for (const bool cookies : {false, true}) {
        tcp::config c;
        if (cookies) c.syn_cookies = tcp::syn_cookie_mode::always;
        auto scenario = [&](network& net, one_connection& c1) -> task<> {
            co_await close_in_order(&c1.client, &c1.server);
            (void)co_await sleep_for(3min); // both ends have forgotten it
            net.middle.repeat_syn();
            (void)co_await sleep_for(15ms);
            CHECK(net.server.tcp().half_open() == (cookies ? 0 : 1)); // the SYN|ACK is on its way
            (void)co_await sleep_for(10ms);
            CHECK(net.server.tcp().half_open() == 0); // the client has refused it
            CHECK(net.client.tcp().counted().resets_out == 1);
            // And a client that is not even there to refuse.
            net.distance.outage(direction::in, net.reactor_.now(), never);
            net.middle.repeat_syn();
            (void)co_await sleep_for(2min);
            CHECK(net.server.tcp().half_open() == 0);
            CHECK(c1.port.counters().established == 1);
            CHECK(c1.port.acceptable() == 0);
        };
        with_one_connection(c, scenario);
    }
}

TEST_CASE("a duplicate SYN in ESTABLISHED draws a challenge ACK and changes nothing") { // [RFC 5961 4.2]
    auto scenario = [](network& net, one_connection& c) -> task<> {
        (void)co_await sleep_for(1min);
        net.middle.repeat_syn();
        (void)co_await sleep_for(100ms);
        CHECK(net.server.tcp().counted().challenge_acks == 1);
        CHECK(c.server.state() == tcp::state::established);
        CHECK(c.client.state() == tcp::state::established);
        CHECK(co_await c.client.write("still here"));
        std::array<std::byte, 64> buffer;
        const auto n = co_await c.server.read(buffer);
        REQUIRE(n);
        CHECK(as_text(std::span(buffer).first(*n)) == "still here");
        CHECK(c.port.counters().established == 1);
    };
    with_one_connection({}, scenario);
}

TEST_CASE("a duplicate SYN in TIME_WAIT neither opens nor ends anything, nor does the RST that follows") {
    for (const bool timestamps : {true, false}) { // [RFC 6191 2] [RFC 1337 3]
        tcp::config config;
        config.use_timestamps = timestamps;
        auto scenario = [](network& net, one_connection& c) -> task<> {
            co_await close_in_order(&c.server, &c.client);
            CHECK(c.server.state() == tcp::state::time_wait);
            (void)co_await sleep_for(30s);
            net.middle.repeat_syn();
            (void)co_await sleep_for(1s); // our ACK has met nobody and drawn a RST
            CHECK(net.server.tcp().counted().time_wait_rst_ignored == 1);
            CHECK(c.server.state() == tcp::state::time_wait);
            CHECK(net.server.tcp().half_open() == 0);
            (void)co_await sleep_for(28s); // 2 MSL, not longer
            CHECK(c.server.state() == tcp::state::time_wait);
            (void)co_await sleep_for(2s);
            CHECK(c.server.state() == tcp::state::closed);
            CHECK(c.port.counters().established == 1);
        };
        with_one_connection(config, scenario);
    }
}

TEST_CASE("an accept queue that overflows can be awaited, and so can its relief") {
    const logged log;
    network net;
    auto run = [&]() -> task<> {
        co_await introduce(&net);
        tcp::listen_options o;
        o.backlog = 2;
        auto listening = net.server.listen(ip::endpoint({}, 80), o);
        REQUIRE(listening);
        std::vector<duration> took;
        seen_events seen;
        auto everything = [&](scope& s) -> task<> {
            s.spawn(watch, &*listening, &seen);
            for (int i = 0; i < 3; ++i) s.spawn(visit, &net, &took);
            (void)co_await sleep_for(100ms);
            CHECK(took.size() == 3); // all three believe to be connected
            CHECK(listening->acceptable() == 2);
            REQUIRE(seen.list.size() == 1);
            CHECK(seen.list[0].what == tcp::pressure::accept_overflow);
            CHECK(seen.list[0].began);
            CHECK(listening->under_pressure(tcp::pressure::accept_overflow));
            s.spawn(serve_all, &*listening, &s);
            (void)co_await sleep_for(20s);
            REQUIRE(seen.list.size() == 2);
            CHECK_FALSE(seen.list[1].began);
            CHECK(seen.list[1].count == listening->counters().accept_overflow);
            CHECK(seen.list[1].when - seen.list[0].when >= 5s);
            CHECK(listening->counters().established == 3);
            net.server.stop();
        };
        co_await with_scope(everything);
        CHECK(seen.end == errc::host_stopped);
    };
    net.reactor_.run(run());
}

TEST_CASE("a reader of events that is cancelled has lost none, and a late one sees those that are kept") {
    const logged log;
    network net;
    auto run = [&]() -> task<> {
        tcp::listen_options o;
        o.half_open_max = 0; // each SYN draws a cookie
        auto listening = net.server.listen(ip::endpoint({}, 80), o);
        REQUIRE(listening);
        tcp::event_cursor cursor;
        auto next = [](tcp::listener* port, tcp::event_cursor* at) -> task<result<tcp::listener_event>> {
            co_return co_await port->next_event(*at);
        };
        const auto none = co_await with_timeout(1s, next(&*listening, &cursor));
        REQUIRE(!none);
        CHECK(none.error() == errc::deadline_exceeded);
        CHECK(cursor.next == 0);
        for (int i = 0; i < 40; ++i) { // 80 events
            net.middle.flood(1);
            (void)co_await sleep_for(10s);
        }
        for (std::uint64_t number = 80 - tcp::listener_events::kept; number < 80; ++number) {
            const auto e = co_await listening->next_event(cursor);
            REQUIRE(e);
            CHECK(e->number == number);
            CHECK(e->began == (number % 2 == 0));
        }
        listening->close();
        const auto last = co_await listening->next_event(cursor);
        REQUIRE(!last);
        CHECK(last.error() == errc::closed);
        tcp::listener empty;
        const auto nothing = co_await empty.next_event(cursor);
        REQUIRE(!nothing);
        CHECK(nothing.error() == errc::closed);
    };
    net.reactor_.run(run());
}
