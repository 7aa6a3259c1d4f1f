// What cancelling a waiting call leaves behind, on the wire and in the stack; and what the end of a host
// means to whoever waits.

#include <tapir/framework/sim_backend.hpp>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "tests/simulation/pair.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

/// How a spawned call ended.
struct outcome {
    bool done = false;
    std::error_code error;
    std::size_t bytes = 0;
    ending how = ending::open;
};

task<result<std::size_t>> read(tcp::connection* c, mutable_bytes to) {
    co_return co_await c->read(to);
}
task<result<>> flush(tcp::connection* c) {
    co_return co_await c->flush();
}
task<result<>> finish(tcp::connection* c) {
    co_return co_await c->finish();
}
task<result<>> peer_finished(tcp::connection* c) {
    co_return co_await c->peer_finished();
}
task<result<>> until(tcp::connection* c, tcp::state s) {
    co_return co_await c->until(s);
}
task<result<tcp::connection>> accept(tcp::listener* a) {
    co_return co_await a->accept();
}

/// Awaits one of the above and notes how it ended.
template <class T>
task<> note(task<result<T>> call, outcome* o) {
    const auto r = co_await std::move(call);
    o->done = true;
    if (!r) o->error = r.error();
}
task<> note_write(tcp::connection* c, bytes data, outcome* o) {
    const auto r = co_await c->write(data);
    o->done = true;
    o->error = r.error();
    o->bytes = r.taken();
}
task<> note_close(tcp::connection* c, outcome* o) {
    const auto r = co_await c->close();
    o->done = true;
    if (r)
        o->how = r->how;
    else
        o->error = r.error();
}
task<> note_last_edge(tcp::connection* c, outcome* o) {
    tcp::transition_cursor cursor;
    for (auto e = co_await c->next_transition(cursor); e; e = co_await c->next_transition(cursor))
        o->bytes = static_cast<std::size_t>(e->cause);
    o->done = true;
}

/// More than all buffers of both ends take.
std::vector<std::byte> too_much() {
    std::vector<std::byte> data(2'000'000);
    for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 7 + i / 251);
    return data;
}

task<std::vector<std::byte>> read_to_end(tcp::connection* c) {
    std::vector<std::byte> all;
    std::vector<std::byte> buffer(64 * 1024);
    for (;;) {
        const auto n = co_await c->read(buffer);
        CHECK(n);
        if (!n || *n == 0) break;
        all.insert(all.end(), buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(*n));
    }
    co_return all;
}

std::size_t segments(world& w) {
    return w.conversation().sent_by(side::client, "") + w.conversation().sent_by(side::server, "");
}

} // namespace

TEST_CASE("cancel: a waiting read takes nothing and sends nothing") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        (void)co_await sleep_for(100ms);
        const std::size_t before = segments(w);
        std::array<std::byte, 16> buffer;
        const auto n = co_await with_timeout(50ms, read(&p.client, buffer));
        REQUIRE(!n);
        CHECK(n.error() == errc::deadline_exceeded);
        CHECK(segments(w) == before);
        // Also when the data comes in the same instant: it is read, or it is still there.
        CHECK(co_await p.server.write("hello"));
        const auto at_once = co_await with_timeout(10ms, read(&p.client, buffer));
        const auto rest = at_once ? result<std::size_t>(0) : co_await p.client.read(buffer);
        CHECK(at_once.value_or(0) + rest.value_or(0) == 5);
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("cancel: a waiting write tells how many bytes were taken, and exactly those arrive") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        const std::vector<std::byte> data = too_much();
        outcome o;
        auto body = [&](scope& s) -> task<> {
            s.spawn(note_write, &p.client, bytes(data), &o);
            (void)co_await sleep_for(1s);
            CHECK(!o.done);
            s.request_stop();
        };
        co_await with_scope(body);
        CHECK(o.error == errc::cancelled);
        CHECK(o.bytes > 0);
        CHECK(o.bytes < data.size());
        (void)p.client.finish();
        const std::vector<std::byte> got = co_await read_to_end(&p.server);
        CHECK(got ==
              std::vector<std::byte>(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(o.bytes)));
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("cancel: a waiting accept loses no connection, whenever it is cancelled") {
    for (duration when = 25ms; when < 36ms; when += 1ms) { // the handshake ends after 30 ms
        CAPTURE(when.count());
        auto scenario = [&](world& w, pair& p) -> task<> {
            auto listening = w.server().listen(w.server_at(pair::port));
            REQUIRE(listening);
            auto connect = [](world* wo, pair* into) -> task<> {
                auto c = co_await wo->client().connect(wo->server_at(pair::port));
                REQUIRE(c);
                into->client = std::move(*c);
            };
            auto body = [&](scope& s) -> task<> {
                s.spawn(connect, &w, &p);
                auto first = co_await with_timeout(when, accept(&*listening));
                if (first) {
                    p.server = std::move(*first);
                } else {
                    CHECK(first.error() == errc::deadline_exceeded);
                    auto second = co_await listening->accept();
                    REQUIRE(second);
                    p.server = std::move(*second);
                }
            };
            co_await with_scope(body);
            CHECK(co_await p.client.write("hello"));
            std::array<std::byte, 16> buffer;
            const auto n = co_await p.server.read(buffer);
            REQUIRE(n);
            CHECK(*n == 5);
        };
        between_two_hosts(quiet_path(), scenario);
    }
}

TEST_CASE("cancel: connect in SYN_SENT leaves the wire silent and nothing behind") {
    auto scenario = [](world& w, pair&) -> task<> {
        cut(w);
        auto connect = [](world* wo) -> task<result<tcp::connection>> {
            co_return co_await wo->client().connect(wo->server_at(pair::port));
        };
        const auto c = co_await with_timeout(1500ms, connect(&w));
        REQUIRE(!c);
        CHECK(c.error() == errc::deadline_exceeded);
        CHECK(w.client().tcp().connections() == 0);
        const std::size_t before = segments(w);
        CHECK(w.conversation().sent_by(side::client, "SYN") == 2); // at 0 and 1 s
        (void)co_await sleep_for(5min);
        CHECK(segments(w) == before);

        // Stopped beforehand it does not even begin.
        stop_source stop;
        stop.request_stop();
        const auto none = co_await connect(&w).under(stop.token());
        CHECK(none.error() == errc::cancelled);
        CHECK(segments(w) == before);
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("cancel: a waiting close aborts: RST on the wire") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        outcome o;
        auto body = [&](scope& s) -> task<> {
            s.spawn(note_close, &p.client, &o); // the server does not close: FIN_WAIT_2
            (void)co_await sleep_for(1s);
            CHECK(p.client.state() == tcp::state::fin_wait_2);
            CHECK(!o.done);
            s.request_stop();
        };
        co_await with_scope(body);
        CHECK(o.error == errc::cancelled);
        CHECK(p.client.error() == errc::aborted);
        (void)co_await sleep_for(20ms);
        CHECK(w.conversation().sent_by(side::client, "RST") == 1);
        CHECK(p.server.error() == errc::reset);
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("cancel: the FIN of a waiting finish stays sent, what a flush waits for still arrives") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        CHECK(co_await p.client.write("last words"));
        const auto flushed = co_await with_timeout(5ms, flush(&p.client));
        CHECK(flushed.error() == errc::deadline_exceeded);
        const auto finished = co_await with_timeout(5ms, finish(&p.client));
        CHECK(finished.error() == errc::deadline_exceeded);
        CHECK(p.client.state() == tcp::state::fin_wait_1);
        const std::vector<std::byte> got = co_await read_to_end(&p.server);
        CHECK(as_text(got) == "last words");
        CHECK(p.server.state() == tcp::state::close_wait);
        CHECK(co_await p.client.flush());
        CHECK(co_await p.client.finish()); // again: waits for the same FIN
        CHECK(w.conversation().sent_by(side::client, "FIN") == 1);
        CHECK(w.conversation().sent_by(side::client, "RST") == 0);
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("cancel: waiting for a state, for an edge or for the peer's FIN changes nothing") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        (void)co_await sleep_for(100ms);
        const std::size_t before = segments(w);
        tcp::transition_cursor cursor;
        cursor.next = p.client.transitions().size();
        auto next = [](tcp::connection* c, tcp::transition_cursor* at) -> task<result<tcp::edge>> {
            co_return co_await c->next_transition(*at);
        };
        CHECK((co_await with_timeout(1s, until(&p.client, tcp::state::time_wait))).error() ==
              errc::deadline_exceeded);
        CHECK((co_await with_timeout(1s, peer_finished(&p.client))).error() == errc::deadline_exceeded);
        CHECK((co_await with_timeout(1s, next(&p.client, &cursor))).error() == errc::deadline_exceeded);
        CHECK(segments(w) == before);
        CHECK(p.client.state() == tcp::state::established);
        (void)p.client.finish();
        const auto edge = co_await p.client.next_transition(cursor);
        REQUIRE(edge);
        CHECK(edge->to == tcp::state::fin_wait_1);
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("cancel: stopping a host resumes every waiter with its error, and resets the peers") {
    auto scenario = [](world& w, pair& p) -> task<> {
        const std::vector<std::byte> data = too_much();
        co_await p.open(w);
        pair other;
        auto second = [&]() -> task<> {
            auto c = co_await w.client().connect(w.server_at(pair::port));
            auto s = co_await p.listener.accept();
            REQUIRE(c);
            REQUIRE(s);
            other.client = std::move(*c);
            other.server = std::move(*s);
        };
        co_await second();

        std::array<std::byte, 16> buffer;
        outcome reads, writes, flushes, states, edges, fins, accepts, connects, closes, peer_reads;
        auto connect = [](world* wo) -> task<result<tcp::connection>> {
            co_return co_await wo->server().connect(ip::endpoint(ip::address::v4(192, 0, 2, 99), 80));
        };
        auto body = [&](scope& s) -> task<> {
            s.spawn(note<std::size_t>, read(&p.server, buffer), &reads);
            s.spawn(note_write, &p.server, bytes(data), &writes);
            s.spawn(note<void>, flush(&p.server), &flushes);
            s.spawn(note<void>, until(&p.server, tcp::state::time_wait), &states);
            s.spawn(note_last_edge, &p.server, &edges);
            s.spawn(note<void>, peer_finished(&p.server), &fins);
            s.spawn(note<tcp::connection>, accept(&p.listener), &accepts);
            s.spawn(note<tcp::connection>, connect(&w), &connects);
            s.spawn(note_close, &other.server, &closes);
            s.spawn(note<std::size_t>, read(&other.client, buffer), &peer_reads);
            (void)co_await sleep_for(500ms);
            for (const outcome* o : {&reads, &writes, &flushes, &states, &edges, &fins, &accepts, &connects})
                CHECK(!o->done);
            w.server().stop();
        };
        const instant began = w.on().now();
        co_await with_scope(body);
        CHECK(w.on().now() - began == 500ms); // nobody waited any longer
        CHECK(reads.error == errc::host_stopped);
        CHECK(writes.error == errc::host_stopped);
        CHECK(flushes.error == errc::host_stopped);
        CHECK(states.error == errc::host_stopped);
        CHECK(edges.bytes == static_cast<std::size_t>(tcp::event::host_stopped)); // the last edge, not lost
        CHECK(fins.error == errc::host_stopped);
        CHECK(accepts.error == errc::host_stopped);
        CHECK(connects.error == errc::host_stopped);
        CHECK(closes.error == errc::host_stopped);
        (void)co_await sleep_for(20ms);
        CHECK(p.client.error() == errc::reset);
        CHECK(other.client.error() == errc::reset);
        CHECK(w.server().listen(w.server_at(8080)).error() == errc::host_stopped);
        CHECK((co_await w.server().connect(w.client_at(8080))).error() == errc::host_stopped);
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("cancel: handles and chunks outlive their host") {
    const std::size_t frames_before = live_frames();
    {
        reactor r(make_sim_backend());
        wire w(r);
        const ip::prefix left(ip::address::v4(192, 0, 2, 1), 24);
        const ip::prefix right(ip::address::v4(192, 0, 2, 2), 24);
        auto run = [&]() -> task<> {
            auto client = std::make_unique<host>(r);
            auto server = std::make_unique<host>(r);
            REQUIRE(client->add_interface(w.left(), ethernet::mac_address(2, 0, 0, 0, 0, 1), left));
            REQUIRE(server->add_interface(w.right(), ethernet::mac_address(2, 0, 0, 0, 0, 2), right));
            auto listener = server->listen(ip::endpoint(right.addr, 80));
            REQUIRE(listener);
            auto c = co_await client->connect(ip::endpoint(right.addr, 80));
            REQUIRE(c);
            auto s = co_await listener->accept();
            REQUIRE(s);
            CHECK(co_await s->write("kept"));
            CHECK(co_await s->write("unread"));
            (void)co_await sleep_for(100ms);
            const auto piece = co_await c->read();
            REQUIRE(piece);
            CHECK(as_text(piece->data()).starts_with("kept"));
            const std::size_t left_unread = c->readable();
            client.reset();
            server.reset();

            CHECK(as_text(piece->data()).starts_with("kept"));
            CHECK(c->state() == tcp::state::closed);
            CHECK(c->error() == errc::host_stopped);
            CHECK(c->transitions().back().cause == tcp::event::host_stopped);
            CHECK(c->info().bytes_received == 10);
            CHECK(c->remote() == ip::endpoint(right.addr, 80));
            if (left_unread != 0) { // what had come stays readable
                std::array<std::byte, 16> buffer;
                const auto n = co_await c->read(buffer);
                REQUIRE(n);
                CHECK(*n == left_unread);
            }
            std::array<std::byte, 16> buffer;
            CHECK((co_await c->read(buffer)).error() == errc::host_stopped);
            CHECK((co_await c->write("more")).error() == errc::host_stopped);
            CHECK((co_await c->finish()).error() == errc::host_stopped);
            CHECK((co_await c->close()).error() == errc::host_stopped);
            c->abort();
            CHECK((co_await listener->accept()).error() == errc::host_stopped);
            const auto chunk_of_a_dead_connection = *piece;
            *c = tcp::connection();
            CHECK(as_text(chunk_of_a_dead_connection.data()).starts_with("kept"));
        };
        r.run(run());
    }
    CHECK(live_frames() == frames_before);
}
