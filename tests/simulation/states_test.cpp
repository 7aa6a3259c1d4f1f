// The states of both ends, step by step, as two programs see them through the coroutine API: each way takes
// 10 ms, the conversation is compared line by line. J and K are the two initial sequence numbers.

#include "tests/simulation/pair.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

/// A table as it stands in a test, whose first line is empty.
std::string lines(const char* table) {
    return table + 1;
}

/// Takes every edge of `c`, until the connection is over.
task<> collect(tcp::connection* c, std::vector<tcp::edge>* into) {
    tcp::transition_cursor cursor;
    for (;;) {
        const auto next = co_await c->next_transition(cursor);
        if (!next) {
            CHECK(next.error() == errc::closed);
            co_return;
        }
        into->push_back(*next);
    }
}

bool same(const std::vector<tcp::edge>& a, std::span<const tcp::edge> b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

/// Waits for both ends' last edge, and compares what each reader of transitions saw.
task<> until_closed(pair* p) {
    std::vector<tcp::edge> client;
    std::vector<tcp::edge> server;
    auto both = [&](scope& s) -> task<> {
        s.spawn(collect, &p->client, &client);
        s.spawn(collect, &p->server, &server);
        co_return;
    };
    co_await with_scope(both);
    CHECK(same(client, p->client.transitions()));
    CHECK(same(server, p->server.transitions()));
    CHECK(p->client.state() == tcp::state::closed);
    CHECK(p->server.state() == tcp::state::closed);
}

} // namespace

TEST_CASE("states: three-way handshake: SYN_SENT, SYN_RECEIVED, ESTABLISHED; J+1 and K+1") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        show(w.conversation().text());
        CHECK(w.conversation().text() == lines(R"(
     0 ms  SYN_SENT      LISTEN        call_open
     0 ms  SYN_SENT      LISTEN        --> SYN seq J
    10 ms  SYN_SENT      SYN_RECEIVED  rcv_syn
    10 ms  SYN_SENT      SYN_RECEIVED  <-- SYN,ACK seq K ack J+1
    20 ms  ESTABLISHED   SYN_RECEIVED  rcv_syn_ack
    20 ms  ESTABLISHED   SYN_RECEIVED  --> ACK seq J+1 ack K+1
    30 ms  ESTABLISHED   ESTABLISHED   our_syn_acked
)"));
        CHECK(path_of(p.client) == "SYN_SENT ESTABLISHED");
        CHECK(path_of(p.server) == "SYN_RECEIVED ESTABLISHED");
        CHECK(p.client.transitions().front().cause == tcp::event::call_open);
        CHECK(p.server.transitions().front().from == tcp::state::listen);
        CHECK(p.client.transitions()[1].when - p.client.transitions()[0].when == 20ms);
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("states: four-way close, the client first") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        w.conversation().turn_page(w.on().now());
        (void)p.client.finish();
        CHECK(p.client.state() == tcp::state::fin_wait_1); // when called, not when awaited
        CHECK(co_await p.server.until(tcp::state::close_wait));
        CHECK(p.server.state() == tcp::state::close_wait);
        CHECK(co_await p.client.until(tcp::state::fin_wait_2));
        CHECK(p.client.state() == tcp::state::fin_wait_2);
        (void)p.server.finish();
        CHECK(p.server.state() == tcp::state::last_ack);
        CHECK(co_await p.client.until(tcp::state::time_wait));
        CHECK(co_await p.server.until(tcp::state::closed));
        co_await until_closed(&p);
        show(w.conversation().text());
        CHECK(w.conversation().text() == lines(R"(
     0 ms  FIN_WAIT_1    ESTABLISHED   call_close
     0 ms  FIN_WAIT_1    ESTABLISHED   --> FIN,ACK seq J+1 ack K+1
    10 ms  FIN_WAIT_1    CLOSE_WAIT    peer_fin
    10 ms  FIN_WAIT_1    CLOSE_WAIT    <-- ACK seq K+1 ack J+2
    20 ms  FIN_WAIT_2    CLOSE_WAIT    our_fin_acked
    20 ms  FIN_WAIT_2    LAST_ACK      call_close
    20 ms  FIN_WAIT_2    LAST_ACK      <-- FIN,ACK seq K+1 ack J+2
    30 ms  TIME_WAIT     LAST_ACK      peer_fin
    30 ms  TIME_WAIT     LAST_ACK      --> ACK seq J+2 ack K+2
    40 ms  TIME_WAIT     CLOSED        our_fin_acked
 60030 ms  CLOSED        CLOSED        time_wait_expired
)"));
        CHECK(path_of(p.client) == "SYN_SENT ESTABLISHED FIN_WAIT_1 FIN_WAIT_2 TIME_WAIT CLOSED");
        CHECK(path_of(p.server) == "SYN_RECEIVED ESTABLISHED CLOSE_WAIT LAST_ACK CLOSED");
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("states: four-way close, the server first") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        w.conversation().turn_page(w.on().now());
        (void)p.server.finish();
        CHECK(co_await p.client.peer_finished());
        CHECK(p.client.state() == tcp::state::close_wait);
        CHECK(co_await p.server.until(tcp::state::fin_wait_2));
        const auto closed = co_await p.client.close();
        REQUIRE(closed);
        CHECK(closed->how == ending::orderly);
        CHECK(p.client.state() == tcp::state::closed);
        CHECK(p.server.state() == tcp::state::time_wait);
        co_await until_closed(&p);
        show(w.conversation().text());
        CHECK(w.conversation().text() == lines(R"(
     0 ms  ESTABLISHED   FIN_WAIT_1    call_close
     0 ms  ESTABLISHED   FIN_WAIT_1    <-- FIN,ACK seq K+1 ack J+1
    10 ms  CLOSE_WAIT    FIN_WAIT_1    peer_fin
    10 ms  CLOSE_WAIT    FIN_WAIT_1    --> ACK seq J+1 ack K+2
    20 ms  CLOSE_WAIT    FIN_WAIT_2    our_fin_acked
    20 ms  LAST_ACK      FIN_WAIT_2    call_close
    20 ms  LAST_ACK      FIN_WAIT_2    --> FIN,ACK seq J+1 ack K+2
    30 ms  LAST_ACK      TIME_WAIT     peer_fin
    30 ms  LAST_ACK      TIME_WAIT     <-- ACK seq K+2 ack J+2
    40 ms  CLOSED        TIME_WAIT     our_fin_acked
 60030 ms  CLOSED        CLOSED        time_wait_expired
)"));
        CHECK(path_of(p.client) == "SYN_SENT ESTABLISHED CLOSE_WAIT LAST_ACK CLOSED");
        CHECK(path_of(p.server) == "SYN_RECEIVED ESTABLISHED FIN_WAIT_1 FIN_WAIT_2 TIME_WAIT CLOSED");
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("states: simultaneous close: both ends pass through CLOSING") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        (void)co_await sleep_for(100ms);
        w.conversation().turn_page(w.on().now());
        (void)p.client.finish();
        (void)p.server.finish();
        co_await until_closed(&p);
        show(w.conversation().text());
        CHECK(w.conversation().text() == lines(R"(
     0 ms  FIN_WAIT_1    ESTABLISHED   call_close
     0 ms  FIN_WAIT_1    FIN_WAIT_1    call_close
     0 ms  FIN_WAIT_1    FIN_WAIT_1    --> FIN,ACK seq J+1 ack K+1
     0 ms  FIN_WAIT_1    FIN_WAIT_1    <-- FIN,ACK seq K+1 ack J+1
    10 ms  CLOSING       FIN_WAIT_1    peer_fin
    10 ms  CLOSING       CLOSING       peer_fin
    10 ms  CLOSING       CLOSING       --> ACK seq J+2 ack K+2
    10 ms  CLOSING       CLOSING       <-- ACK seq K+2 ack J+2
    20 ms  TIME_WAIT     CLOSING       our_fin_acked
    20 ms  TIME_WAIT     TIME_WAIT     our_fin_acked
 60020 ms  CLOSED        TIME_WAIT     time_wait_expired
 60020 ms  CLOSED        CLOSED        time_wait_expired
)"));
        CHECK(path_of(p.client) == "SYN_SENT ESTABLISHED FIN_WAIT_1 CLOSING TIME_WAIT CLOSED");
        CHECK(path_of(p.server) == "SYN_RECEIVED ESTABLISHED FIN_WAIT_1 CLOSING TIME_WAIT CLOSED");
        CHECK(!p.client.error());
        CHECK(!p.server.error());
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("states: FIN and ACK in one segment lead from FIN_WAIT_1 straight to TIME_WAIT") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        (void)co_await sleep_for(100ms);
        w.conversation().turn_page(w.on().now());
        // The server answers the client's FIN with its own in the same turn: one segment says both.
        auto finish_at_once = [](tcp::connection* c) -> task<> {
            (void)co_await c->until(tcp::state::close_wait);
            (void)c->finish();
        };
        auto body = [&](scope& s) -> task<> {
            s.spawn(finish_at_once, &p.server);
            (void)p.client.finish();
            co_await until_closed(&p);
        };
        co_await with_scope(body);
        show(w.conversation().text());
        CHECK(w.conversation().text() == lines(R"(
     0 ms  FIN_WAIT_1    ESTABLISHED   call_close
     0 ms  FIN_WAIT_1    ESTABLISHED   --> FIN,ACK seq J+1 ack K+1
    10 ms  FIN_WAIT_1    CLOSE_WAIT    peer_fin
    10 ms  FIN_WAIT_1    LAST_ACK      call_close
    10 ms  FIN_WAIT_1    LAST_ACK      <-- FIN,ACK seq K+1 ack J+2
    20 ms  TIME_WAIT     LAST_ACK      peer_fin_and_our_fin_acked
    20 ms  TIME_WAIT     LAST_ACK      --> ACK seq J+2 ack K+2
    30 ms  TIME_WAIT     CLOSED        our_fin_acked
 60020 ms  CLOSED        CLOSED        time_wait_expired
)"));
        CHECK(path_of(p.client) == "SYN_SENT ESTABLISHED FIN_WAIT_1 TIME_WAIT CLOSED");
        CHECK(p.client.transitions()[3].cause == tcp::event::peer_fin_and_our_fin_acked);
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("states: data sent in CLOSE_WAIT arrives") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        (void)co_await sleep_for(100ms);
        w.conversation().turn_page(w.on().now());
        (void)p.client.finish();
        std::array<std::byte, 100> buffer;
        const auto end = co_await p.server.read(buffer);
        REQUIRE(end);
        CHECK(*end == 0);
        CHECK(p.server.state() == tcp::state::close_wait);
        CHECK(co_await p.server.write("still here"));
        CHECK(p.server.state() == tcp::state::close_wait);
        const auto n = co_await p.client.read(buffer);
        REQUIRE(n);
        CHECK(as_text(std::span(buffer).first(*n)) == "still here");
        CHECK(p.client.state() == tcp::state::fin_wait_2);
        (void)p.server.finish();
        const auto client_end = co_await p.client.read(buffer);
        REQUIRE(client_end);
        CHECK(*client_end == 0);
        co_await until_closed(&p);
        show(w.conversation().text());
        CHECK(w.conversation().text() == lines(R"(
     0 ms  FIN_WAIT_1    ESTABLISHED   call_close
     0 ms  FIN_WAIT_1    ESTABLISHED   --> FIN,ACK seq J+1 ack K+1
    10 ms  FIN_WAIT_1    CLOSE_WAIT    peer_fin
    10 ms  FIN_WAIT_1    CLOSE_WAIT    <-- ACK seq K+1 ack J+2 len 10
    20 ms  FIN_WAIT_2    CLOSE_WAIT    our_fin_acked
    20 ms  FIN_WAIT_2    LAST_ACK      call_close
    20 ms  FIN_WAIT_2    LAST_ACK      <-- FIN,ACK seq K+11 ack J+2
    30 ms  TIME_WAIT     LAST_ACK      peer_fin
    30 ms  TIME_WAIT     LAST_ACK      --> ACK seq J+2 ack K+12
    40 ms  TIME_WAIT     CLOSED        our_fin_acked
 60030 ms  CLOSED        CLOSED        time_wait_expired
)"));
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("states: simultaneous open: both ends pass through SYN_RECEIVED, and data flows") {
    auto scenario = [](world& w, pair& p) -> task<> {
        constexpr std::uint16_t client_port = 5001;
        constexpr std::uint16_t server_port = 5002;
        auto open = [](host* from, ip::endpoint to, std::uint16_t port, tcp::connection* into) -> task<> {
            auto c = co_await from->connect(to, tcp::connection_options(), port);
            REQUIRE(c);
            *into = std::move(*c);
        };
        auto both = [&](scope& s) -> task<> {
            s.spawn(open, &w.client(), w.server_at(server_port), client_port, &p.client);
            s.spawn(open, &w.server(), w.client_at(client_port), server_port, &p.server);
            co_return;
        };
        co_await with_scope(both);
        show(w.conversation().text());
        CHECK(w.conversation().text() == lines(R"(
     0 ms  SYN_SENT      CLOSED        call_open
     0 ms  SYN_SENT      SYN_SENT      call_open
     0 ms  SYN_SENT      SYN_SENT      --> SYN seq J
     0 ms  SYN_SENT      SYN_SENT      <-- SYN seq K
    10 ms  SYN_RECEIVED  SYN_SENT      rcv_syn
    10 ms  SYN_RECEIVED  SYN_RECEIVED  rcv_syn
    10 ms  SYN_RECEIVED  SYN_RECEIVED  --> SYN,ACK seq J ack K+1
    10 ms  SYN_RECEIVED  SYN_RECEIVED  <-- SYN,ACK seq K ack J+1
    20 ms  ESTABLISHED   SYN_RECEIVED  our_syn_acked
    20 ms  ESTABLISHED   ESTABLISHED   our_syn_acked
)"));
        CHECK(path_of(p.client) == "SYN_SENT SYN_RECEIVED ESTABLISHED");
        CHECK(path_of(p.server) == "SYN_SENT SYN_RECEIVED ESTABLISHED");
        for (tcp::connection* from : {&p.client, &p.server}) {
            tcp::connection* to = from == &p.client ? &p.server : &p.client;
            CHECK(co_await from->write("hello"));
            std::array<std::byte, 100> buffer;
            const auto n = co_await to->read(buffer);
            REQUIRE(n);
            CHECK(as_text(std::span(buffer).first(*n)) == "hello");
        }
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("states: until() is done at once when the state was ever entered, and says when it never will be") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        const instant now = w.on().now();
        CHECK(co_await p.client.until(tcp::state::syn_sent)); // long past
        CHECK(w.on().now() == now);
        const auto never_again = co_await p.client.until(tcp::state::syn_received);
        REQUIRE(!never_again);
        CHECK(never_again.error() == errc::unreachable_state);
        CHECK(w.on().now() == now);

        // Many may wait for states; whoever waits for one that the connection passes by is told.
        std::error_code closing;
        std::error_code time_wait = errc::busy;
        auto wait = [](tcp::connection* c, tcp::state s, std::error_code* outcome) -> task<> {
            const auto r = co_await c->until(s);
            *outcome = r ? std::error_code() : r.error();
        };
        auto body = [&](scope& s) -> task<> {
            s.spawn(wait, &p.client, tcp::state::closing, &closing);
            s.spawn(wait, &p.client, tcp::state::time_wait, &time_wait);
            (void)co_await sleep_for(1ms);
            (void)p.client.finish();
            (void)co_await p.server.until(tcp::state::close_wait);
            (void)p.server.finish();
        };
        co_await with_scope(body);
        CHECK(closing == errc::unreachable_state);
        CHECK(!time_wait);
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("states: until(CLOSED) waits for the end, though an active open began there") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        (void)p.client.finish();
        (void)co_await p.server.until(tcp::state::close_wait);
        (void)p.server.finish();
        CHECK(co_await p.client.until(tcp::state::closed));
        CHECK(p.client.state() == tcp::state::closed);
        CHECK(p.client.transitions().back().cause == tcp::event::time_wait_expired);
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("states: a cursor that comes late misses nothing") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        (void)p.client.finish();
        (void)co_await p.server.until(tcp::state::close_wait);
        (void)co_await p.server.finish();
        (void)co_await sleep_for(2min); // TIME_WAIT is over as well
        std::vector<tcp::edge> edges;
        co_await collect(&p.client, &edges);
        CHECK(edges.size() == 5);
        CHECK(same(edges, p.client.transitions()));
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("states: who asks before it waits is told of the end, and of the connection to accept") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        promise_base& self = co_await this_coroutine;
        CHECK(!p.listener.try_accept(self));
        auto second = co_await w.client().connect(w.server_at(pair::port));
        REQUIRE(second);
        (void)co_await sleep_for(100ms);
        auto accepted = p.listener.try_accept(self);
        REQUIRE(accepted);
        CHECK(accepted->remote() == second->local());
        CHECK(!p.listener.try_accept(self));
        accepted->abort();

        CHECK(co_await p.client.write("last"));
        (void)p.client.finish();
        (void)co_await sleep_for(100ms);
        CHECK(!p.server.at_end()); // what came before is to be read
        std::array<std::byte, 8> text;
        CHECK(p.server.try_read(text) == 4);
        CHECK(p.server.at_end());
        CHECK(!p.server.ended());
        (void)p.server.close();
        (void)co_await sleep_for(100ms);
        CHECK(!p.server.at_end()); // nobody reads any more
        CHECK(p.server.ended());
        CHECK(p.client.ended()); // in TIME_WAIT
    };
    between_two_hosts(quiet_path(), scenario);
}
