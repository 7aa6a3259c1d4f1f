// Memory: what buffers cost is counted to the byte, bounded over all connections and for each, and shed in a
// stated order. The account is compared with what the pool of buffers says.
#include <doctest/doctest.h>

#include <numeric>

#include "tests/support/tcp_crowd.hpp"
#include "tests/support/tcp_small_budget.hpp"
#include "tests/support/tcp_world.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;

std::size_t charged(const tcp::stack& s) {
    return s.memory().receive.used() + s.memory().send.used();
}

// --- the account -------------------------------------------------------------------------------------------

TEST_CASE("memory: the account is what the buffers really are") {
    tcp_lab lab;
    lab.establish();
    const auto exact = [&] { return lab.pool.live_bytes() == charged(lab.stack); };
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = bulk(1000)}); // fits its buffer: kept
    CHECK(lab.stack.memory().receive.used() == 1024);
    lab.in({.flags = ACK, .seq = 1001, .ack = 1, .text = "a"}); // would pin 256 bytes either way
    lab.in({.flags = ACK, .seq = 1002, .ack = 1, .text = "b"});
    CHECK(lab.stack.memory().receive.used() == 1024 + 256);
    lab.in({.flags = ACK, .seq = 3003, .ack = 1, .text = bulk(1000)}); // beyond a hole
    CHECK(lab.e->info().receive_memory == 1024 + 256 + 1024);
    CHECK(exact());
    lab.write("hello");
    CHECK(lab.e->info().send_memory == 2048);
    lab.write(bulk(100'000));
    CHECK(exact());
    lab.out();
    CHECK(lab.read().size() == 1002);
    lab.in({.flags = ACK, .seq = 1003, .ack = 6, .text = bulk(2000)});
    CHECK(exact());
    CHECK(lab.read().size() == 3000);
    CHECK(lab.stack.memory().receive.used() == 0);
    CHECK(exact());
    lab.e->abort(lab.now);
    CHECK(charged(lab.stack) == 0);
}

TEST_CASE("memory: of small segments the first stays where it came, the others share a buffer") {
    tcp_lab lab;
    lab.establish();
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "a"}); // in a buffer of 256 bytes
    CHECK(lab.stack.memory().receive.used() == 256);
    for (std::uint32_t i = 2; i <= 200; ++i) lab.in({.flags = ACK, .seq = i, .ack = 1, .text = "b"});
    CHECK(lab.stack.memory().receive.used() == 512);
    CHECK(lab.stack.memory().receive.used() == lab.pool.live_bytes());
    CHECK(lab.read() == "a" + std::string(199, 'b'));
    CHECK(lab.stack.memory().receive.used() == 0);
}

TEST_CASE("memory: exact in every step of a transfer over a bad network, and back at zero after it") {
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
        tcp_world w;
        w.establish();
        random r(seed);
        w.network = [&](std::size_t, tcp_world::side, const tcp::outgoing_segment&) {
            fate f;
            f.dropped = r.chance_ppm(60'000);
            f.copies = r.chance_ppm(30'000) ? 2 : 1;
            if (r.chance_ppm(200'000)) f.delay = duration(1ms) * r.below(20);
            return f;
        };
        const std::string block = bulk(5000);
        std::size_t to_send = 150'000;
        std::size_t received = 0;
        std::array<std::byte, 777> some;
        bool exact = true;
        w.each_step = [&] {
            to_send -= w.c().write(as_bytes(block).first(std::min(block.size(), to_send)));
            if (to_send == 0) w.c().finish(w.now);
            for (int i = 0; i < 8; ++i) received += w.s().read(some);
            if (w.s().at_end()) w.s().finish(w.now);
            exact = exact && w.server().memory().receive.used() == w.s().info().receive_memory &&
                    w.client().memory().send.used() == w.c().info().send_memory &&
                    w.client().memory().receive.used() == 0 &&
                    w.server().memory().send.used() == w.s().info().send_memory; // a FIN that went again
        };
        w.c().write(as_bytes("x"));
        const bool done = w.run_until(
            [&] { return w.c().state() == tcp::state::closed && w.s().state() == tcp::state::closed; });
        INFO("seed ", seed);
        REQUIRE(done);
        w.each_step = nullptr;
        CHECK(exact);
        CHECK(received == 150'001);
        CHECK(w.server().memory().receive.most_used() > 1460);
        CHECK(charged(w.client()) + charged(w.server()) == 0);
    }
}

TEST_CASE("memory: unread data stays charged after a RST and after TIME_WAIT, until read or dropped") {
    tcp_lab lab;
    lab.establish();
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = bulk(1000)});
    lab.in({.flags = ACK, .seq = 1001, .ack = 1, .text = bulk(1000)});
    lab.in({.flags = RST, .seq = 2001});
    CHECK(lab.e->state() == tcp::state::closed);
    CHECK(charged(lab.stack) == 2048);
    std::array<std::byte, 1000> some;
    lab.e->read(some);
    CHECK(charged(lab.stack) == 1024);
    lab.e.reset();
    CHECK(charged(lab.stack) == 0);
}

TEST_CASE("memory: an endpoint with unread data may outlive its stack") {
    std::unique_ptr<tcp::endpoint> survivor;
    buffer_pool pool;
    {
        tcp_crowd crowd;
        survivor = crowd.establish(5001);
        crowd.in(5001, {.flags = ACK, .seq = 1, .ack = 1, .text = bulk(200)});
        crowd.stack.stop(crowd.now);
    }
    CHECK(read(*survivor).size() == 200);
}

// --- one connection ----------------------------------------------------------------------------------------

TEST_CASE("memory: single bytes beyond a hole pin no more than the bound of their connection") {
    tcp_lab lab;
    tcp::connection_options o;
    o.receive_buffer = 8192;
    lab.establish(o);
    for (std::uint32_t i = 0; i < 4000; ++i) lab.in({.flags = ACK, .seq = 3 + 2 * i, .ack = 1, .text = "x"});
    CHECK(lab.stack.memory().receive.used() <= 2 * 8192 + 4096);
    CHECK(lab.stack.memory().receive.used() == lab.pool.live_bytes());
    CHECK(lab.counted().memory_dropped + lab.counted().reassembly_full > 3000);
    // What is in order comes first: it takes the place of what is not.
    for (std::uint32_t at = 0; at < 8000; at += 1000) {
        lab.in({.flags = ACK, .seq = 1 + at, .ack = 1, .text = bulk(1000)});
        CHECK(lab.stack.memory().receive.used() <= 2 * 8192 + 4096);
    }
    CHECK(lab.e->readable() >= 8000);
}

// --- the window --------------------------------------------------------------------------------------------

TEST_CASE("memory: under pressure window that is not promised is withheld, and nothing promised taken back") {
    tcp_crowd crowd(small_budget());
    auto hog = crowd.establish(5001);
    auto quiet = crowd.establish(5002);
    const auto right_edge = [](const segs& sent) { return sent.back().ack + *sent.back().window; };
    std::uint32_t edge = 65536;
    std::uint32_t at = 1;
    for (; at < 38'000; at += 1000) {
        const bool tight = crowd.stack.memory().receive.tight();
        const std::uint32_t before = edge;
        crowd.in(5001, {.flags = ACK, .seq = at, .ack = 1, .text = bulk(1000)});
        const segs answer = crowd.out(5001);
        REQUIRE(answer.size() == 1);
        CHECK(right_edge(answer) >= edge);
        edge = right_edge(answer);
        if (tight) CHECK(edge == before);
    }
    CHECK(crowd.stack.memory().receive.tight());
    CHECK(edge < at + 60'000);

    SUBCASE("whoever reads goes on, by small windows") {
        std::uint32_t next = 1;
        std::uint32_t promised = 65536;
        for (int i = 0; i < 80; ++i) { // more than the window of the handshake
            crowd.in(5002, {.flags = ACK, .seq = next, .ack = 1, .text = bulk(1000)});
            next += 1000;
            read(*quiet);
            const segs answer = crowd.out(5002);
            REQUIRE_FALSE(answer.empty());
            CHECK(right_edge(answer) >= promised);
            promised = right_edge(answer);
            CHECK(promised >= next + 1460);
        }
        CHECK(promised <= next + 4096);
    }
    SUBCASE("when the memory is back the window opens") {
        read(*hog);
        crowd.in(5001, {.flags = ACK, .seq = at, .ack = 1, .text = bulk(1000)});
        const segs answer = crowd.out(5001);
        REQUIRE(answer.size() == 1);
        CHECK(right_edge(answer) == at + 1000 + 65535);
    }
}

// --- shedding ----------------------------------------------------------------------------------------------

/// Three connections that together hold a little more than three quarters of the budget: beyond a hole
/// without SACK, the same with SACK, and in order but unread; and a fourth that wants memory.
struct under_siege {
    tcp_crowd crowd;
    std::unique_ptr<tcp::endpoint> plain = crowd.establish(5001);
    std::unique_ptr<tcp::endpoint> sack = crowd.establish(5002, permitting_sack());
    std::unique_ptr<tcp::endpoint> unread = crowd.establish(5003);
    std::unique_ptr<tcp::endpoint> honest = crowd.establish(5004);
    std::uint32_t honest_next = 1;

    under_siege() : crowd(small_budget()) {
        for (std::uint32_t i = 0; i < 11; ++i) {
            if (i != 0) crowd.in(5001, {.flags = ACK, .seq = 1001 + 1000 * i, .ack = 1, .text = bulk(1000)});
            if (i != 0) crowd.in(5003, {.flags = ACK, .seq = 1000 * i - 999, .ack = 1, .text = bulk(1000)});
            crowd.in(5002, {.flags = ACK, .seq = 2001 + 1000 * i, .ack = 1, .text = bulk(1000)});
        }
        crowd.flush();
        CHECK(used() == 31 * 1024);
    }
    std::size_t used() const { return crowd.stack.memory().receive.used(); }
    void honest_data(int segments) {
        for (; segments > 0; --segments, honest_next += 1000)
            crowd.in(5004, {.flags = ACK, .seq = honest_next, .ack = 1, .text = bulk(1000)});
    }
    void check() const {
        CHECK(used() <= 40 * 1024);
        CHECK(used() == crowd.pool.live_bytes());
    }
};

TEST_CASE("memory: shed first is what connections without SACK hold beyond a hole") {
    under_siege s;
    s.honest_data(9);
    CHECK(s.honest->readable() == 9000);
    CHECK(s.plain->info().out_of_order == 0);
    CHECK(s.sack->info().out_of_order == 11'000);
    CHECK(s.unread->readable() == 10'000);
    CHECK(s.crowd.counted().memory_shed_ahead == 1);
    s.check();
    // The peer sends it again, and nothing is lost.
    for (std::uint32_t i = 0; i < 3; ++i)
        s.crowd.in(5001, {.flags = ACK, .seq = 1 + 1000 * i, .ack = 1, .text = bulk(1000)});
    CHECK(s.plain->readable() == 3000);
}

TEST_CASE("memory: shed next is what connections with SACK hold beyond a hole") { // [RFC 2018 8]
    under_siege s;
    s.honest_data(16);
    CHECK(s.honest->readable() == 16'000);
    CHECK(s.sack->info().out_of_order == 0);
    CHECK(s.unread->readable() == 10'000);
    CHECK(s.crowd.counted().memory_shed_ahead == 2);
    CHECK(s.crowd.counted().memory_shed_connections == 0);
    s.check();
    s.crowd.out(5002);
    s.crowd.in(5002, {.flags = ACK, .seq = 9001, .ack = 1, .text = bulk(100)});
    const segs answer = s.crowd.out(5002);
    REQUIRE(answer.size() == 1);
    CHECK(answer[0].options->sack_count == 1); // what was shed is not named any more
}

TEST_CASE("memory: shed last are idle connections, the longest idle first, by RST, and they are told why") {
    under_siege s;
    auto later = s.crowd.establish(5005);
    s.crowd.wait(5s);
    s.crowd.in(5005, {.flags = ACK, .seq = 1, .ack = 1, .text = bulk(1000)});
    s.honest_data(16); // takes all that lies beyond holes
    s.crowd.out(5003);
    SUBCASE("not as long as they are not idle: the data is dropped instead, and comes again") {
        s.honest_data(20);
        CHECK(s.crowd.counted().memory_shed_connections == 0);
        CHECK(s.crowd.counted().memory_dropped > 0);
        CHECK(s.honest->readable() < 36'000);
        s.check();
    }
    SUBCASE("after memory_idle_after") {
        s.crowd.wait(6s);
        s.honest_data(12);
        CHECK(s.honest->readable() == 28'000);
        CHECK(s.unread->error() == errc::no_memory);
        CHECK(s.unread->report().how == tcp::ending::out_of_memory);
        CHECK(s.unread->report().unread == 10'000);
        CHECK(s.unread->readable() == 0);
        const segs told = s.crowd.out(5003);
        REQUIRE(told.size() == 1);
        CHECK(told[0].flags == RST);
        CHECK(later->state() == tcp::state::established); // one was enough
        CHECK(s.crowd.counted().memory_shed_connections == 1);
        s.check();
    }
    SUBCASE("also when its FIN has come: lost data is no end") {
        s.crowd.in(5003, {.flags = FIN | ACK, .seq = 10'001, .ack = 1});
        CHECK(s.unread->state() == tcp::state::close_wait);
        s.crowd.wait(11s);
        s.honest_data(12);
        CHECK(s.unread->error() == errc::no_memory);
        CHECK(!s.unread->at_end());
    }
    SUBCASE("but not those who hold nothing that was received, however long they are silent") {
        auto writer = s.crowd.establish(5007);
        const std::string said = bulk(1000);
        CHECK(writer->write(as_bytes(said)) == 1000);
        s.crowd.out(5007); // and no acknowledgement comes
        s.crowd.wait(1s);
        s.crowd.in(5003, {.flags = ACK, .seq = 10'001, .ack = 1, .text = bulk(10)});
        s.crowd.wait(11s);
        s.honest_data(12);
        CHECK(s.unread->error() == errc::no_memory);
        CHECK(!writer->error());
        CHECK(writer->state() == tcp::state::established);
    }
    SUBCASE("a peer that only knocks is idle") {
        for (int i = 0; i < 12; ++i) {
            s.crowd.wait(500ms);
            s.crowd.in(5003, {.flags = ACK, .seq = 10'001, .ack = 1});
        }
        s.honest_data(12);
        CHECK(s.unread->error() == errc::no_memory);
    }
}

TEST_CASE("memory: with everything in use each connection still gets its floor") {
    under_siege s;
    for (int i = 0; i < 60; ++i) s.honest_data(1); // all there is, unread
    auto newcomer = s.crowd.establish(5006);
    for (std::uint32_t i = 0; i < 10; ++i) {
        s.crowd.in(5006, {.flags = ACK, .seq = 1 + 1000 * i, .ack = 1, .text = bulk(1000)});
        CHECK(read(*newcomer).size() == 1000);
    }
    CHECK(s.used() <= 40 * 1024 + 4096);
}

TEST_CASE("memory: data of everybody is back when all connections have ended") {
    under_siege s;
    SUBCASE("with holes left") {
        CHECK(s.plain->info().out_of_order + s.sack->info().out_of_order == 21'000);
    }
    SUBCASE("after some was shed") {
        s.crowd.wait(6s);
        s.honest_data(30);
    }
    for (auto* e : {&s.plain, &s.sack, &s.unread, &s.honest}) e->reset();
    CHECK(s.used() == 0);
    CHECK(s.crowd.pool.live_bytes() == 0);
    CHECK(s.crowd.stack.connections() == 0);
}

// --- sending -----------------------------------------------------------------------------------------------

TEST_CASE("memory: writers get what the send budget has left, and never less than the floor") {
    tcp::config c = tcp_lab::plain();
    c.send_memory = 100'000;
    tcp_crowd crowd(c);
    auto first = crowd.establish(5001);
    auto second = crowd.establish(5002);
    auto third = crowd.establish(5003);
    const std::string much = bulk(200'000);
    CHECK(first->write(as_bytes(much)) == 65'536); // half of it, or a buffer
    CHECK(first->writable() == 0);
    CHECK(second->write(as_bytes(much)) == 32'768);
    CHECK(second->writable() == 0);
    CHECK(crowd.stack.memory().send.used() <= 100'000);
    CHECK(crowd.stack.memory().send.used() == crowd.pool.live_bytes());
    CHECK(third->writable() >= 2048);
    CHECK(third->write(as_bytes(much)) == 4096);
    CHECK(third->writable() == 0);
    CHECK(crowd.stack.memory().send.used() <= 104'096);
    CHECK(crowd.stack.memory().send.used() == crowd.pool.live_bytes());

    // A chunk that is handed over counts with all that it keeps alive.
    first->abort(crowd.now);
    second->abort(crowd.now);
    CHECK(crowd.stack.memory().send.used() == 4096);
    auto fourth = crowd.establish(5004);
    buffer shared = crowd.pool.allocate(32'768);
    CHECK(fourth->write(chunk(shared, 0, 20'000)) == 20'000);
    CHECK(fourth->info().send_memory == 32'768);

    // What is acknowledged is given back.
    crowd.flush();
    crowd.in(5003, {.flags = ACK, .seq = 1, .ack = 4001});
    crowd.flush();
    crowd.in(5003, {.flags = ACK, .seq = 1, .ack = 4097});
    CHECK(third->flushed());
    CHECK(crowd.stack.memory().send.used() == 32'768);
    fourth.reset();
    CHECK(crowd.stack.memory().send.used() == 0);
}

} // namespace
} // namespace tapir::test
