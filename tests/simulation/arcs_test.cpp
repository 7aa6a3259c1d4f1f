// Each way out of each state, walked on purpose: what a random network does rarely, or never. Together these
// walk the whole transition table; coverage_test.cpp checks that.

#include <tapir/protocols/ip/checksum.hpp>

#include <array>
#include <memory>

#include "tests/simulation/pair.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

constexpr duration patience = 5s; // for what is never answered

world::options impatient() {
    world::options o = quiet_path();
    o.client.connections.give_up_after = patience;
    return o;
}

tcp::listen_options impatient_listener() {
    tcp::listen_options o;
    o.accepted.give_up_after = patience;
    return o;
}

/// The end that is to leave a state, and its peer.
struct ends {
    ends(tcp::connection& s, tcp::connection& p, host& h) : self(&s), peer(&p), own_host(&h) {}
    tcp::connection* self;
    tcp::connection* peer;
    host* own_host;
};

task<ends> bring_to(tcp::state s, world* w, pair* p) {
    co_await p->open(*w, impatient_listener());
    (void)co_await sleep_for(100ms);
    switch (s) {
    case tcp::state::fin_wait_1: (void)p->client.finish(); break;
    case tcp::state::fin_wait_2: (void)co_await p->client.finish(); break;
    case tcp::state::closing:
        (void)p->client.finish();
        (void)p->server.finish();
        (void)co_await p->client.until(tcp::state::closing);
        break;
    case tcp::state::time_wait:
        (void)co_await p->client.finish();
        (void)p->server.finish();
        (void)co_await p->client.until(tcp::state::time_wait);
        break;
    case tcp::state::close_wait:
    case tcp::state::last_ack:
        (void)p->client.finish();
        (void)co_await p->server.until(tcp::state::close_wait);
        if (s == tcp::state::last_ack) (void)p->server.finish();
        CHECK(p->server.state() == s);
        co_return ends(p->server, p->client, w->server());
    default: break;
    }
    CHECK(p->client.state() == s);
    co_return ends(p->client, p->server, w->client());
}

constexpr std::array open_states = {tcp::state::established, tcp::state::fin_wait_1, tcp::state::fin_wait_2,
                                    tcp::state::close_wait,  tcp::state::closing,    tcp::state::last_ack};

/// Brings one end into each of these states, lets `leave` happen, and checks that it left by that event.
template <class F>
void leave_each(tcp::event cause, std::error_code error, F leave) {
    for (const tcp::state s : open_states) {
        CAPTURE(name(s));
        auto scenario = [&](world& w, pair& p) -> task<> {
            const ends e = co_await bring_to(s, &w, &p);
            co_await leave(w, e);
            const tcp::edge last = e.self->transitions().back();
            CHECK(last.from == s);
            CHECK(last.cause == cause);
            CHECK(last.to == tcp::state::closed);
            CHECK(e.self->error() == error);
        };
        between_two_hosts(impatient(), scenario);
    }
}

/// A connection attempt as the layer below the coroutines has it: with a handle from SYN_SENT on.
std::unique_ptr<tcp::endpoint> attempt(host& from, ip::endpoint local, ip::endpoint to) {
    const tcp::path path(local.addr, to.addr, ip::pseudo_header_sum(local.addr, to.addr, ip::protocol::tcp),
                         1500);
    auto e = from.tcp().connect(path, to.port, local.port, tcp::connection_options(), from.on().now());
    REQUIRE(e);
    return std::move(*e);
}

void lose_syn_acks(world& w) {
    const auto is_syn_ack = [](bytes frame) {
        constexpr std::size_t flags_at = 14 + 20 + 13; // behind Ethernet's header and IPv4's
        return frame.size() > flags_at && load_u8(frame, flags_at) == 0x12;
    };
    for (const direction d : {direction::out, direction::in})
        w.path().when(d, is_syn_ack, fault_kind::loss, 1'000'000);
}

/// Two attempts that meet: both ends stand in SYN_RECEIVED, the SYN,ACKs under way.
struct crossing {
    std::unique_ptr<tcp::endpoint> client;
    std::unique_ptr<tcp::endpoint> server;

    task<> begin(world* w) {
        constexpr std::uint16_t client_port = 5001;
        constexpr std::uint16_t server_port = 5002;
        w->conversation().restart(w->on().now());
        client = attempt(w->client(), w->client_at(client_port), w->server_at(server_port));
        server = attempt(w->server(), w->server_at(server_port), w->client_at(client_port));
        (void)co_await sleep_for(12ms);
        REQUIRE(client->state() == tcp::state::syn_received);
        REQUIRE(server->state() == tcp::state::syn_received);
    }
};

/// A SYN that has reached the listener; `client` has no handle: the attempt is whoever awaits it.
task<> half_open(world* w, pair* p) {
    auto listening = w->server().listen(w->server_at(pair::port));
    REQUIRE(listening);
    p->listener = std::move(*listening);
    w->conversation().restart(w->on().now());
    auto connect = [](host* from, ip::endpoint to) -> task<result<tcp::connection>> {
        co_return co_await from->connect(to);
    };
    // Given up when the SYN has arrived and the SYN,ACK is under way.
    const auto none = co_await with_timeout(15ms, connect(&w->client(), w->server_at(pair::port)));
    REQUIRE(!none);
    CHECK(none.error() == errc::deadline_exceeded);
    CHECK(p->listener.half_open() == 1);
}

} // namespace

TEST_CASE("coverage: a RST of the peer ends every state") {
    auto leave = [](world&, ends e) -> task<> {
        e.peer->abort();
        (void)co_await e.self->until(tcp::state::closed);
    };
    leave_each(tcp::event::rst, make_error_code(errc::reset), leave);
}

TEST_CASE("coverage: abort() ends every state, and the peer hears of it by a RST") {
    auto leave = [](world& w, ends e) -> task<> {
        e.self->abort();
        (void)co_await sleep_for(20ms);
        const side by = e.own_host == &w.client() ? side::client : side::server;
        CHECK(w.conversation().sent_by(by, "RST") >= 1); // and one for each segment that was under way
        CHECK(e.peer->error() == errc::reset);
    };
    leave_each(tcp::event::call_abort, make_error_code(errc::aborted), leave);
}

TEST_CASE("coverage: the end of its host ends every state, and the peer hears of it by a RST") {
    auto leave = [](world& w, ends e) -> task<> {
        e.own_host->stop();
        (void)co_await sleep_for(20ms);
        const side by = e.own_host == &w.client() ? side::client : side::server;
        CHECK(w.conversation().sent_by(by, "RST") >= 1); // and one for each segment that was under way
        CHECK(e.peer->error() == errc::reset);
    };
    leave_each(tcp::event::host_stopped, make_error_code(errc::host_stopped), leave);
}

TEST_CASE("coverage: silence ends every state") { // [RFC 9293 3.8.3]
    for (const tcp::state s : open_states) {
        CAPTURE(name(s));
        auto scenario = [&](world& w, pair& p) -> task<> {
            const ends e = co_await bring_to(s, &w, &p);
            cut(w);
            // What waits for no acknowledgement waits for ever, unless close() bounds it.
            if (tcp::may_send(s)) (void)co_await e.self->write("anybody there?");
            const instant began = w.on().now();
            if (s == tcp::state::fin_wait_2) {
                const auto closed = co_await e.self->close(began + patience);
                REQUIRE(closed);
                CHECK(closed->how == ending::close_timeout);
                CHECK(e.self->error() == errc::aborted);
            } else {
                (void)co_await e.self->until(tcp::state::closed);
                CHECK(e.self->error() == errc::timed_out);
            }
            CHECK(w.on().now() - began <= patience + 100ms);
            CHECK(e.self->transitions().back().from == s);
            CHECK(e.self->transitions().back().cause == tcp::event::timeout);
        };
        between_two_hosts(impatient(), scenario);
    }
}

TEST_CASE("coverage: CLOSING ends in TIME_WAIT when the FIN is acknowledged") {
    auto scenario = [](world& w, pair& p) -> task<> {
        const ends e = co_await bring_to(tcp::state::closing, &w, &p);
        (void)co_await e.self->until(tcp::state::time_wait);
        CHECK(e.self->transitions().back().from == tcp::state::closing);
        CHECK(e.self->transitions().back().cause == tcp::event::our_fin_acked);
    };
    between_two_hosts(impatient(), scenario);
}

TEST_CASE("coverage: TIME_WAIT ignores a RST, and ends with its host") { // [RFC 1337 3]
    auto scenario = [](world& w, pair& p) -> task<> {
        const ends e = co_await bring_to(tcp::state::time_wait, &w, &p);
        e.peer->abort(); // it is in LAST_ACK yet
        (void)co_await sleep_for(20ms);
        CHECK(e.self->state() == tcp::state::time_wait);
        // The second answers the last ACK, which meets nobody any more.
        CHECK(w.client().tcp().counted().time_wait_rst_ignored == 2);
        w.client().stop();
        CHECK(e.self->state() == tcp::state::closed);
        CHECK(e.self->transitions().back().cause == tcp::event::host_stopped);
        CHECK(!e.self->error()); // it had ended in order
    };
    between_two_hosts(impatient(), scenario);
}

TEST_CASE("coverage: a new SYN takes the place of TIME_WAIT") { // [RFC 6191 2]
    auto scenario = [](world& w, pair& p) -> task<> {
        constexpr std::uint16_t client_port = 5001;
        co_await p.open(w, tcp::listen_options(), client_port);
        (void)p.server.finish();
        (void)co_await p.client.peer_finished();
        (void)co_await p.client.close();
        CHECK(p.server.state() == tcp::state::time_wait);
        const auto again =
            co_await w.client().connect(w.server_at(pair::port), tcp::connection_options(), client_port);
        REQUIRE(again);
        CHECK(p.server.state() == tcp::state::closed);
        CHECK(p.server.transitions().back().cause == tcp::event::superseded);
        CHECK(w.server().tcp().counted().time_wait_reused == 1);
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("coverage: a half-open connection goes back to LISTEN when the client resets it") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await half_open(&w, &p);
        (void)co_await sleep_for(20ms); // the SYN,ACK meets nobody
        CHECK(w.conversation().sent_by(side::client, "RST seq J+1") == 1);
        CHECK(p.listener.half_open() == 0);
        CHECK(p.listener.counters().half_open_resets == 1);
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("coverage: a half-open connection goes back to LISTEN for another SYN of the same client") {
    auto scenario = [](world& w, pair&) -> task<> {
        constexpr std::uint16_t client_port = 5001;
        auto listening = w.server().listen(w.server_at(pair::port));
        REQUIRE(listening);
        // Between the two SYNs the client forgets the first: its initial sequence number goes on, by a
        // clock, and stays within the window.
        const auto first = attempt(w.client(), w.client_at(client_port), w.server_at(pair::port));
        (void)co_await sleep_for(5ms);
        first->abort(w.on().now());
        const auto second = attempt(w.client(), w.client_at(client_port), w.server_at(pair::port));
        (void)co_await sleep_for(12ms);
        CHECK(w.server().tcp().counted().unexpected_syn == 1);
        CHECK(w.server().tcp().half_open() == 0);
        // The SYN goes again after a second.
        const auto accepted = co_await listening->accept();
        REQUIRE(accepted);
        CHECK(second->state() == tcp::state::established);
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("coverage: a half-open connection is forgotten when the client stays silent, or unreachable") {
    for (const bool unreachable : {false, true}) {
        world::options o = quiet_path();
        if (unreachable) o.server.syn_ack_retries = 10; // longer than ARP believes its answers
        auto scenario = [&](world& w, pair& p) -> task<> {
            co_await half_open(&w, &p);
            cut(w);
            (void)co_await sleep_for(150s);
            CHECK(p.listener.half_open() == 0);
            CHECK(p.listener.counters().half_open_timeouts == (unreachable ? 0 : 1));
        };
        // Its RST must not arrive: the SYN,ACK under way when the cable is cut is lost.
        o.to_client.delay = 20ms;
        between_two_hosts(o, scenario);
    }
}

TEST_CASE("coverage: a half-open connection ends with its listener, and with its host") {
    for (const bool host_stops : {false, true}) {
        auto scenario = [&](world& w, pair& p) -> task<> {
            co_await half_open(&w, &p);
            if (host_stops)
                w.server().stop();
            else
                p.listener.close();
            CHECK(w.server().tcp().half_open() == 0);
            const auto closed = co_await p.listener.accept();
            REQUIRE(!closed);
            CHECK(closed.error() == (host_stops ? errc::host_stopped : errc::closed));
        };
        between_two_hosts(quiet_path(), scenario);
    }
}

TEST_CASE(
    "coverage: SYN_SENT ends by refusal, silence, an absent station, a cancelled call and its host's end") {
    auto scenario = [](world& w, pair&) -> task<> {
        const auto refused = co_await w.client().connect(w.server_at(9));
        CHECK(refused.error() == errc::refused);

        const auto absent = co_await w.client().connect(ip::endpoint(ip::address::v4(192, 0, 2, 77), 80));
        CHECK(absent.error() == errc::host_unreachable);

        cut(w);
        tcp::connection_options hurry;
        hurry.connect_timeout = patience;
        const auto silent = co_await w.client().connect(w.server_at(80), hurry);
        CHECK(silent.error() == errc::timed_out);

        const auto closed = attempt(w.client(), w.client_at(5001), w.server_at(80));
        closed->close(w.on().now());
        CHECK(closed->state() == tcp::state::closed);
        CHECK(closed->edges().back().cause == tcp::event::call_close);

        const auto aborted = attempt(w.client(), w.client_at(5001), w.server_at(80));
        aborted->abort(w.on().now());
        CHECK(aborted->edges().back().cause == tcp::event::call_abort);

        const auto orphan = attempt(w.client(), w.client_at(5001), w.server_at(80));
        w.client().stop();
        CHECK(orphan->error() == errc::host_stopped);
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("coverage: SYN_RECEIVED of an active open ends by close, RST, abort, silence and its host's end") {
    auto close = [](world& w, pair&) -> task<> {
        crossing c;
        co_await c.begin(&w);
        c.client->finish(w.on().now());
        CHECK(c.client->state() == tcp::state::fin_wait_1);
        (void)co_await sleep_for(100ms);
        CHECK(c.server->state() == tcp::state::close_wait);
        CHECK(c.client->fin_acked());
    };
    between_two_hosts(quiet_path(), close);

    auto reset = [](world& w, pair&) -> task<> {
        crossing c;
        lose_syn_acks(w);
        co_await c.begin(&w);
        c.server->abort(w.on().now());
        CHECK(c.server->edges().back().cause == tcp::event::call_abort);
        (void)co_await sleep_for(20ms);
        CHECK(c.client->edges().back().from == tcp::state::syn_received);
        CHECK(c.client->edges().back().cause == tcp::event::rst);
        CHECK(c.client->error() == errc::refused);
    };
    between_two_hosts(quiet_path(), reset);

    auto stop = [](world& w, pair&) -> task<> {
        crossing c;
        co_await c.begin(&w);
        w.server().stop();
        CHECK(c.server->edges().back().from == tcp::state::syn_received);
        CHECK(c.server->error() == errc::host_stopped);
        co_return;
    };
    between_two_hosts(quiet_path(), stop);

    auto unreachable = [](world& w, pair&) -> task<> {
        crossing c;
        lose_syn_acks(w);
        co_await c.begin(&w);
        cut(w);
        (void)co_await sleep_for(150s); // by then ARP has asked again
        CHECK(c.client->edges().back().from == tcp::state::syn_received);
        CHECK(c.client->error() == errc::host_unreachable);
    };
    between_two_hosts(quiet_path(), unreachable);
}

TEST_CASE("coverage: SYN_RECEIVED of an active open ends by silence") {
    auto scenario = [](world& w, pair&) -> task<> {
        tcp::connection_options hurry;
        hurry.connect_timeout = patience;
        auto connect = [](host* from, ip::endpoint to, std::uint16_t port, tcp::connection_options o,
                          std::error_code* error) -> task<> {
            const auto c = co_await from->connect(to, o, port);
            REQUIRE(!c);
            *error = c.error();
        };
        lose_syn_acks(w);
        std::error_code client;
        std::error_code server;
        auto both = [&](scope& s) -> task<> {
            s.spawn(connect, &w.client(), w.server_at(5002), std::uint16_t{5001}, hurry, &client);
            s.spawn(connect, &w.server(), w.client_at(5001), std::uint16_t{5002}, hurry, &server);
            (void)co_await sleep_for(12ms);
            cut(w);
        };
        co_await with_scope(both);
        CHECK(client == errc::timed_out);
        CHECK(server == errc::timed_out);
    };
    between_two_hosts(quiet_path(), scenario);
}
