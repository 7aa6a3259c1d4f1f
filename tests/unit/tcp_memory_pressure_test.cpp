// Memory runs short: who pays, in which order, how far, and at what cost to find them. Each test is named
// after the way in which somebody once held the memory of all others.
#include <doctest/doctest.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/tcp_crowd.hpp"
#include "tests/support/tcp_small_budget.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;

std::uint32_t right_edge(const segs& sent) {
    return sent.back().ack + *sent.back().window;
}

struct short_of_memory {
    tcp_crowd crowd{small_budget()};

    std::size_t used() const { return crowd.stack.memory().receive.used(); }
    bool tight() const { return crowd.stack.memory().receive.tight(); }
    void ahead(std::uint16_t port, std::uint32_t segments, std::uint32_t from = 2001) {
        for (std::uint32_t i = 0; i < segments; ++i)
            crowd.in(port, {.flags = ACK, .seq = from + 1000 * i, .ack = 1, .text = bulk(1000)});
    }
    void in_order(std::uint16_t port, std::uint32_t segments, std::uint32_t from = 1) {
        ahead(port, segments, from);
    }
};

// --- receiving: the quarter that nobody got back
// ------------------------------------------------------------

TEST_CASE("memory pressure: data in order sheds down to the mark as soon as the budget is tight, not full") {
    short_of_memory s;
    auto silent = s.crowd.establish(5001);
    auto silent_too = s.crowd.establish(5002, permitting_sack());
    auto honest = s.crowd.establish(5003);
    s.ahead(5001, 16);
    s.ahead(5002, 15);
    s.crowd.flush();
    REQUIRE(s.tight());
    s.in_order(5003, 1);
    CHECK_FALSE(s.tight());
    CHECK(silent->info().out_of_order == 0);
    CHECK(silent_too->info().out_of_order == 15'000); // as far as needed
    CHECK(s.crowd.counted().memory_shed_ahead == 1);
    const segs answer = s.crowd.out(5003);
    REQUIRE(answer.size() == 1);
    CHECK(right_edge(answer) == 1001 + 65535); // the window is back at once
    CHECK(s.used() == s.crowd.pool.live_bytes());
}

TEST_CASE("memory pressure: data beyond a hole that passes the floor is refused while the budget is tight") {
    short_of_memory s;
    auto one = s.crowd.establish(5001);
    auto other = s.crowd.establish(5002);
    s.ahead(5001, 31);
    REQUIRE(s.tight());
    s.ahead(5002, 9);
    CHECK(other->info().receive_memory == 4 * 1024); // memory_floor
    CHECK(s.crowd.counted().memory_dropped == 5);
    s.ahead(5001, 1, 40'001);
    CHECK(one->info().out_of_order == 31'000);
    // It is not held against anybody when there is memory again.
    one.reset();
    s.ahead(5002, 9);
    CHECK(other->info().out_of_order == 9'000);
}

TEST_CASE("memory pressure: whoever asks for memory is not in the way of finding who is idle") {
    short_of_memory s;
    auto asking = s.crowd.establish(5001);
    auto idle = s.crowd.establish(5002);
    s.in_order(5001, 20); // idle for longest, and the one that wants more
    s.in_order(5002, 20);
    s.crowd.wait(11s);
    s.in_order(5001, 5, 20'001);
    CHECK(idle->error() == errc::no_memory);
    CHECK_FALSE(asking->error());
    CHECK(asking->readable() == 25'000);
    CHECK(s.crowd.counted().memory_dropped == 0);
}

TEST_CASE("memory pressure: what fills a hole does not cost its own connection what it holds behind it") {
    short_of_memory s;
    auto filling = s.crowd.establish(5001, permitting_sack());
    auto other = s.crowd.establish(5002, permitting_sack());
    s.ahead(5001, 20);
    s.ahead(5002, 11);
    REQUIRE(s.tight());
    s.in_order(5001, 2);
    CHECK(filling->readable() == 22'000);
    CHECK(other->info().out_of_order == 0);
}

TEST_CASE("memory pressure: a connection that holds all there is beyond a hole sheds it to go on") {
    short_of_memory s;
    auto only = s.crowd.establish(5001);
    s.ahead(5001, 31, 20'001);
    s.in_order(5001, 9); // while there is room it keeps both
    CHECK(only->info().out_of_order == 31'000);
    CHECK(s.used() == 40 * 1024);
    s.in_order(5001, 10, 9001);
    CHECK(only->readable() == 19'000);
    CHECK(only->info().out_of_order == 0);
    CHECK(s.crowd.counted().memory_dropped == 0);
}

TEST_CASE("memory pressure: finding who is to pay looks at no more connections than pay") {
    short_of_memory s;
    std::vector<std::unique_ptr<tcp::endpoint>> holders;
    tcp_crowd& crowd = s.crowd;
    // A byte each, unread, of many: 64 of them are 16 KiB. None is idle.
    for (std::uint16_t i = 0; i < 64; ++i) {
        holders.push_back(crowd.establish(static_cast<std::uint16_t>(6000 + i), permitting_sack()));
        crowd.in(static_cast<std::uint16_t>(6000 + i), {.flags = ACK, .seq = 1, .ack = 1, .text = "x"});
    }
    auto ahead = crowd.establish(5001, permitting_sack());
    auto honest = crowd.establish(5002);
    std::uint32_t next = 1;
    for (int i = 0; i < 200; ++i) {
        s.ahead(5001, 20); // again and again
        crowd.in(5002, {.flags = ACK, .seq = next, .ack = 1, .text = bulk(1000)});
        next += 1000;
        read(*honest);
        crowd.flush();
    }
    const tcp::counters& count = crowd.counted();
    CHECK(count.memory_shed_ahead > 50);
    CHECK(count.memory_looked_at <= count.memory_shed_ahead + count.memory_shed_connections + 200);
    // With nothing to shed a segment costs a look or two, not one at each holder.
    ahead.reset();
    const std::uint64_t before = count.memory_looked_at;
    for (std::uint32_t i = 0; i < 30; ++i)
        crowd.in(5002, {.flags = ACK, .seq = next + 1000 * i, .ack = 1, .text = bulk(1000)});
    CHECK(s.tight());
    CHECK(count.memory_looked_at - before <= 2 * 30);
    CHECK(count.memory_looked_at > before);
}

// --- receiving: those whom nobody has accepted
// ---------------------------------------------------------------

TEST_CASE("memory pressure: data of connections that broke before anybody accepted them is shed") {
    short_of_memory s;
    tcp_crowd& crowd = s.crowd;
    auto honest = crowd.establish(5100);
    const auto leave = [&](std::uint16_t port, std::uint32_t segments) {
        crowd.in(port, {.flags = SYN, .options = tcp_lab::default_options()});
        crowd.flush();
        crowd.in(port, {.flags = ACK, .seq = 1, .ack = 1});
        s.in_order(port, segments);
        crowd.in(port, {.flags = RST, .seq = 1 + 1000 * segments});
    };
    leave(5001, 15);
    leave(5002, 15);
    REQUIRE(s.used() == 30 * 1024);
    SUBCASE("the oldest first, and only as far as needed; who accepts them learns of it") {
        s.in_order(5100, 1);
        CHECK_FALSE(s.tight());
        CHECK(crowd.counted().memory_shed_unaccepted == 1);
        auto first = crowd.listening->accept();
        auto second = crowd.listening->accept();
        REQUIRE(second != nullptr);
        CHECK(first->readable() == 0);
        CHECK(first->error() == errc::reset);
        CHECK(first->report().unread == 15'000);
        CHECK(second->readable() == 15'000);
        CHECK(second->report().unread == 15'000);
    }
    SUBCASE("not when somebody has accepted them: they are their owner's") {
        auto first = crowd.listening->accept();
        auto second = crowd.listening->accept();
        s.in_order(5100, 1);
        CHECK(crowd.counted().memory_shed_unaccepted == 0);
        CHECK(read(*first).size() == 15'000);
        CHECK(read(*second).size() == 15'000);
    }
    SUBCASE("and nothing is left of them when the listener closes") {
        crowd.listening.reset();
        honest.reset();
        CHECK(s.used() == 0);
        CHECK(crowd.pool.live_bytes() == 0);
    }
    SUBCASE("for ever so many of them, the rest of the queue is served") {
        for (std::uint16_t i = 0; i < 50; ++i) leave(static_cast<std::uint16_t>(5200 + i), 16);
        CHECK(s.used() <= 40 * 1024);
        std::uint32_t next = 1;
        for (int i = 0; i < 20; ++i, next += 1000) {
            crowd.in(5100, {.flags = ACK, .seq = next, .ack = 1, .text = bulk(1000)});
            CHECK(read(*honest).size() == 1000);
        }
    }
}

// --- the window
// ----------------------------------------------------------------------------------------------

TEST_CASE("memory pressure: with jumbo frames a reader tells its peer that there is room again") {
    tcp::config c = tcp_lab::plain();
    c.receive_memory = 1024 * 1024;
    tcp_crowd crowd(c);
    crowd.mtu = 9000;
    auto reader = crowd.establish(5002);
    std::uint32_t segment = 8960;
    SUBCASE("in segments of an MSS") {}
    SUBCASE("in segments that have room for timestamps") {
        segment = 8948;
    }
    std::vector<std::unique_ptr<tcp::endpoint>> others;
    for (std::uint16_t port = 6000; !crowd.stack.memory().receive.tight(); ++port) {
        others.push_back(crowd.establish(port));
        for (std::uint32_t i = 0; i < 7; ++i)
            crowd.in(port, {.flags = ACK, .seq = 1 + 8960 * i, .ack = 1, .text = bulk(8960)});
    }
    crowd.flush();
    std::uint32_t next = 1;
    std::uint32_t edge = 1 + 65535;
    int waits = 0;
    for (int i = 0; i < 40; ++i) {
        // The peer sends whole segments as its window allows, and the acknowledgement goes before anybody
        // reads.
        std::size_t sent = 0;
        for (; next + segment <= edge; next += segment, ++sent)
            crowd.in(5002, {.flags = ACK, .seq = next, .ack = 1, .text = bulk(segment)});
        if (sent == 0) ++waits;
        segs answers = crowd.out(5002);
        read(*reader);
        const segs updates = crowd.out(5002);
        answers.insert(answers.end(), updates.begin(), updates.end());
        if (!answers.empty()) edge = right_edge(answers);
        CHECK(edge <= next + 2 * 8960); // it is tight all the time
    }
    CHECK(crowd.stack.memory().receive.tight());
    CHECK(waits == 0);
}

TEST_CASE("memory pressure: a window that a SYN has offered is not taken back when memory runs short") {
    short_of_memory s; // [RFC 9293 3.8.6 SHLD-14]
    tcp_crowd& crowd = s.crowd;
    auto hog = crowd.establish(5001);
    auto active = std::move(*crowd.stack.connect(crowd.way(), 5002, 80, {}, crowd.now));
    const segs syn = crowd.out(5002);
    REQUIRE(syn.size() == 1);
    CHECK(syn[0].window == 65535);
    CHECK(active->info().receive_window == 65535);
    s.in_order(5001, 34);
    REQUIRE(s.tight());
    SUBCASE("") {}
    SUBCASE("nor by the same SYN, sent again") {
        crowd.wait(1s);
        const segs again = crowd.out(5002);
        REQUIRE(again.size() == 1);
        CHECK(again[0].window == 65535);
    }
    crowd.in(5002, {.flags = SYN | ACK, .ack = 1, .options = tcp_lab::default_options()});
    const segs answer = crowd.out(5002);
    REQUIRE(answer.size() == 1);
    CHECK(right_edge(answer) == 1 + 65535);
    CHECK(active->info().receive_window == 65535);
    // And what fits in it is taken, as far as there is memory.
    crowd.in(5002, {.flags = ACK, .seq = 1, .ack = 1, .text = bulk(1000)});
    CHECK(active->readable() == 1000);
}

// --- sending
// -------------------------------------------------------------------------------------------------

/// 250 KiB to be sent by all. Three readers hold 64 KiB each, which is more than three quarters, and one more
/// writes.
struct short_of_send_memory {
    static tcp::config budget() {
        tcp::config c = tcp_lab::plain();
        c.send_memory = 250 * 1024;
        return c;
    }
    tcp_crowd crowd{budget()};
    std::unique_ptr<tcp::endpoint> honest = crowd.establish(5100);

    bool tight() const { return crowd.stack.memory().send.tight(); }
    std::unique_ptr<tcp::endpoint> reader(std::uint16_t port, std::size_t bytes = 65536) {
        auto e = crowd.establish(port);
        const std::string much = bulk(bytes);
        CHECK(e->write(as_bytes(much)) == bytes);
        crowd.flush();
        return e;
    }
    /// It has taken everything up to `ack`, says it has no room, and answers every probe.
    void answers_probes(std::uint16_t port, std::uint32_t ack) {
        crowd.in(port, {.flags = ACK, .seq = 1, .ack = ack, .window = 0});
    }
    std::size_t honest_writes(std::size_t bytes) {
        const std::string much = bulk(bytes);
        return honest->write(as_bytes(much));
    }
};

TEST_CASE("memory pressure: writers that never stop share the send budget, whoever came first") {
    tcp::config c = tcp_lab::plain();
    c.send_memory = 1 << 20;
    c.use_window_scale = true;
    c.initial_window_segments = 255;
    tcp::connection_options o = c.connections;
    o.send_buffer = 1 << 20;
    tcp_crowd crowd(c, o);
    tcp::options syn = tcp_lab::default_options();
    syn.window_scale = std::uint8_t{10};
    const std::string much = bulk(1 << 20);
    const auto fill = [&](tcp::endpoint& e) { return e.write(as_bytes(much)); };
    const auto joins = [&](std::uint16_t port) {
        auto e = crowd.establish(port, syn);
        fill(*e);
        return e;
    };

    const auto first = joins(5001);
    CHECK(first->info().send_memory == 512 * 1024); // the other half stays for others
    const auto second = joins(5002);
    CHECK(second->info().send_memory == 256 * 1024);
    const auto third = joins(5003);
    std::uint32_t has[] = {1, 1, 1};
    for (int round = 0; round < 20; ++round) {
        std::uint16_t port = 5001;
        for (tcp::endpoint* e : {first.get(), second.get(), third.get()}) {
            std::uint32_t& its = has[port - 5001];
            for (const seg& s : crowd.out(port)) its = s.seq + static_cast<std::uint32_t>(s.text.size());
            crowd.in(port, {.flags = ACK, .seq = 1, .ack = its});
            fill(*e);
            ++port;
        }
    }
    for (const tcp::endpoint* e : {first.get(), second.get(), third.get()}) {
        CAPTURE(e->info().send_memory);
        CHECK(e->info().send_memory > 200 * 1024);
        CHECK(e->info().send_memory < 300 * 1024);
    }
    const auto late = joins(5004);
    CHECK(late->info().send_memory > 90 * 1024);
    CHECK(crowd.counted().memory_shed_writers == 0);
}

TEST_CASE("memory pressure: readers whose window stays shut do not keep the send budget from writers") {
    short_of_send_memory s;
    auto first = s.reader(5001);
    s.crowd.wait(1s);
    auto second = s.reader(5002);
    auto third = s.reader(5003);
    auto small = s.reader(5004, 100);
    REQUIRE(s.tight());
    const auto all_answer = [&](duration d) {
        for (const instant until = s.crowd.now + d; s.crowd.now < until; s.crowd.wait(500ms))
            for (std::uint16_t port = 5001; port <= 5003; ++port) s.answers_probes(port, 1);
        s.crowd.in(5004, {.flags = ACK, .seq = 1, .ack = 101});
    };
    SUBCASE("not before they have stood still for memory_idle_after") {
        all_answer(8s);
        CHECK(s.honest_writes(100'000) < 100'000);
        CHECK(s.crowd.counted().memory_shed_writers == 0);
        CHECK_FALSE(first->error());
    }
    SUBCASE("the one that stands still for longest goes, by RST, and nobody more than is needed") {
        all_answer(12s);
        s.crowd.out(5001);
        CHECK(s.honest_writes(60'000) == 60'000);
        CHECK(first->error() == errc::no_memory);
        CHECK(first->report().how == tcp::ending::out_of_memory);
        CHECK(first->report().unacked + first->report().unsent == 65536);
        const segs told = s.crowd.out(5001);
        REQUIRE(told.size() == 1);
        CHECK(told[0].flags == RST);
        CHECK_FALSE(second->error());
        CHECK_FALSE(third->error());
        CHECK(s.crowd.counted().memory_shed_writers == 1);
        const std::size_t beyond = s.crowd.stack.memory().send.used() - s.crowd.pool.live_bytes();
        CHECK(beyond < 2000); // what two connections know of the probes that went again
    }
    SUBCASE("as many as it takes for one writer, who leaves some free") {
        all_answer(12s);
        CHECK(s.honest_writes(50'000) == 50'000);
        for (int i = 0; i < 3; ++i) s.honest_writes(50'000);
        CHECK(s.honest->info().send_memory > 64 * 1024);
        CHECK(s.crowd.counted().memory_shed_writers == 2); // a writer alone leaves some free
        CHECK_FALSE(s.tight());
        CHECK_FALSE(third->error());
    }
    SUBCASE("as many as it takes for several, one after the other") {
        all_answer(12s);
        auto another = s.crowd.establish(5101);
        auto one_more = s.crowd.establish(5102);
        for (int i = 0; i < 10; ++i) {
            const std::string much = bulk(30'000);
            s.honest_writes(30'000);
            another->write(as_bytes(much));
            one_more->write(as_bytes(much));
        }
        CHECK(second->error() == errc::no_memory);
        CHECK(s.crowd.counted().memory_shed_writers == 3);
        // Who writes is not the one to pay, however long its own peer stands still.
        REQUIRE(s.tight());
        s.crowd.wait(11s);
        CHECK(s.honest_writes(10'000) == 10'000);
        CHECK_FALSE(s.honest->error());
    }
    SUBCASE("who writes does not pay for itself, although it stands still for longest") {
        all_answer(12s);
        const std::string more = bulk(10'000);
        CHECK(first->write(as_bytes(more)) == 10'000);
        CHECK_FALSE(first->error());
        CHECK(second->error() == errc::no_memory);
    }
    SUBCASE("nobody goes when nobody writes, nor for one who cannot write anyway") {
        all_answer(12s);
        s.honest->finish(s.crowd.now);
        CHECK(s.honest_writes(1000) == 0);
        s.crowd.wait(50s);
        CHECK(s.crowd.counted().memory_shed_writers == 0);
    }
    SUBCASE("a peer that has fallen silent altogether is no better") {
        s.crowd.wait(12s);
        CHECK(s.honest_writes(60'000) == 60'000);
        CHECK(first->error() == errc::no_memory);
    }
}

TEST_CASE(
    "memory pressure: a reader that is slow but goes on keeps its connection, one that feigns it does not") {
    short_of_send_memory s;
    auto slow = s.reader(5001);
    auto feigning = s.reader(5002);
    auto stuck = s.reader(5003);
    auto at_last = s.reader(5004, 10'000);
    auto prompt = s.reader(5005, 20); // takes all at once, but there is always a little more under way
    REQUIRE(s.tight());
    const std::string little = bulk(20);
    std::uint32_t slow_has = 1;
    std::uint32_t feigned = 1;
    for (int second = 0; second < 12; ++second) {
        s.crowd.in(5001, {.flags = ACK, .seq = 1, .ack = slow_has += 500, .window = 1000});
        s.crowd.in(5002, {.flags = ACK, .seq = 1, .ack = ++feigned, .window = 1}); // a byte a second
        s.answers_probes(5003, 1);
        s.answers_probes(5004, 1);
        prompt->write(as_bytes(little));
        s.crowd.in(5005, {.flags = ACK, .seq = 1, .ack = 21 + 20u * static_cast<std::uint32_t>(second)});
        s.crowd.wait(1s);
    }
    auto another = s.crowd.establish(5101);
    for (int i = 0; i < 10; ++i) {
        const std::string much = bulk(30'000);
        s.honest_writes(30'000);
        another->write(as_bytes(much));
    }
    CHECK_FALSE(slow->error());
    CHECK(slow->state() == tcp::state::established);
    CHECK(stuck->error() == errc::no_memory);
    CHECK(feigning->error() == errc::no_memory);
    CHECK(at_last->error() == errc::no_memory);
    CHECK_FALSE(prompt->error());
}

TEST_CASE("memory pressure: a writer is woken when the memory that it waits for is there") {
    short_of_send_memory s;
    auto hog = s.reader(5001, 65'536);
    struct watcher final : tcp::observer {
        std::size_t saw = 0;
        void changed(tcp::endpoint& e) override { saw = e.writable(); }
    } watch;
    auto writer = s.crowd.establish(5002);
    const std::string much = bulk(100'000);
    while (writer->write(as_bytes(much)) != 0) {
    }
    REQUIRE(writer->info().send_memory > 4096); // more than the floor: it waits for what the budget has left
    REQUIRE(writer->writable() == 0);
    s.crowd.flush();
    writer->set_observer(&watch);
    const auto queued = static_cast<std::uint32_t>(writer->info().send_queue);
    for (std::uint32_t acked = 1000; acked < queued && writer->writable() == 0; acked += 1000) {
        s.crowd.in(5002, {.flags = ACK, .seq = 1, .ack = 1 + acked});
        CHECK(watch.saw == writer->writable());
        s.crowd.flush();
    }
    CHECK(writer->info().send_queue != 0);
    CHECK(writer->writable() != 0);
    writer->set_observer(nullptr);
}

} // namespace
} // namespace tapir::test
