// A thousand peers vanish without a word, in each of the states in which a connection can wait for its peer:
// the cable is cut, and nothing is ever heard of them again. What they held at our side must come back after
// a time that config.hpp states, not earlier and not later: buffers to the byte, table entries, timers,
// coroutines.
//
//     state of our end                   ends after                                    by default
//     SYN_RECEIVED                       initial_rto * (2^(syn_ack_retries + 1) - 1)   63 s
//     SYN_SENT                           connect_timeout                               180 s
//     ESTABLISHED, CLOSE_WAIT, idle      keepalive_idle + probes * interval            never
//     with data not acknowledged         give_up_after (R2)                            120 s
//     before a shut window               the next probe, then give_up_after            at most 180 s
//     FIN_WAIT_1, CLOSING, LAST_ACK      give_up_after, from the FIN on                120 s
//       after close()                    close_timeout, from the call on               60 s
//     FIN_WAIT_2 after close()           close_timeout, from the call on               60 s
//       and with somebody who reads      keepalive_idle + probes * interval            never
//     TIME_WAIT                          2 msl                                         60 s
#include <tapir/framework/event.hpp>
#include <tapir/framework/frame_pool.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/sleep.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <string>
#include <vector>

#include "tests/simulation/street.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;

constexpr std::size_t peers = 1000;
constexpr std::uint16_t port = 80;

/// What one of our ends does, and in which state its peer leaves it.
enum class plight : std::uint8_t {
    idle,
    unacked,
    zero_window,
    fin_wait_1,
    fin_wait_1_closed,
    fin_wait_2,
    fin_wait_2_read,
    close_wait,
    last_ack,
    last_ack_closed,
    closing,
    time_wait,
    syn_received,
    syn_sent,
};

/// Everything of ours that a connection may hold.
struct holdings {
    std::size_t buffer_bytes = 0;
    std::size_t buffer_blocks = 0;
    std::size_t connections = 0;
    std::size_t half_open = 0;
    std::size_t time_waits = 0;
    std::size_t orphans = 0; ///< of the connections: nobody reads or writes any more
    std::size_t charged = 0; ///< to the memory budgets
    std::size_t timers = 0;
    std::size_t coroutines = 0;
    bool operator==(const holdings&) const = default;
};
std::string to_string(const holdings& h) {
    return std::to_string(h.buffer_bytes) + " bytes in " + std::to_string(h.buffer_blocks) + " buffers (" +
           std::to_string(h.charged) + " charged), " + std::to_string(h.connections) + " connections (" +
           std::to_string(h.orphans) + " orphans), " + std::to_string(h.half_open) + " half-open, " +
           std::to_string(h.time_waits) + " TIME_WAIT, " + std::to_string(h.timers) + " timers, " +
           std::to_string(h.coroutines) + " coroutines";
}
holdings held_by(street& s) {
    holdings h;
    h.buffer_bytes = s.server.pool().live_bytes();
    h.buffer_blocks = s.server.pool().live_blocks();
    h.connections = s.server.tcp().connections();
    h.half_open = s.server.tcp().half_open();
    h.time_waits = s.server.tcp().time_waits();
    h.orphans = s.server.tcp().orphans();
    h.charged = s.server.tcp().memory().receive.used() + s.server.tcp().memory().send.used();
    h.timers = s.on.timers().armed();
    h.coroutines = live_frames();
    return h;
}
std::size_t entries(const holdings& h) {
    return h.connections + h.half_open + h.time_waits;
}

struct stage {
    street* s;
    plight which;
    event act{}; ///< the cable is cut: whoever is to act into the void does
    std::size_t ended = 0;
    std::string wrong{};

    void ends(std::error_code why, errc expected) {
        ++ended;
        if (why != expected) wrong += "ended with " + why.message() + "\n";
    }
};

constexpr std::size_t much = 40'000; ///< more than the first window of ten segments, and than the buffer

const std::vector<std::byte>& some_bytes() {
    static const std::vector<std::byte> block(much);
    return block;
}

// Our end.
task<> serve(tcp::connection c, stage* st) {
    std::array<std::byte, 16> room;
    switch (st->which) {
    case plight::idle: {
        const auto n = co_await c.read(room);
        st->ends(n.error(), errc::timed_out);
        break;
    }
    case plight::unacked: {
        (void)co_await st->act.wait();
        const auto written = co_await c.write(std::span(some_bytes()));
        st->ends(written.error(), errc::timed_out);
        break;
    }
    case plight::zero_window: {
        (void)co_await c.write(std::span(some_bytes()).first(8000));
        const auto flushed = co_await c.flush();
        st->ends(flushed.error(), errc::timed_out);
        break;
    }
    case plight::last_ack: (void)co_await c.peer_finished(); [[fallthrough]];
    case plight::fin_wait_1:
    case plight::closing: {
        (void)co_await st->act.wait();
        const auto finished = co_await c.finish();
        if (finished) st->wrong += "the FIN was acknowledged\n";
        st->ends(c.error(), errc::timed_out);
        break;
    }
    case plight::last_ack_closed: (void)co_await c.peer_finished(); [[fallthrough]];
    case plight::fin_wait_1_closed: (void)co_await st->act.wait(); [[fallthrough]];
    case plight::fin_wait_2: {
        const auto report = co_await c.close();
        if (!report || report->how != ending::close_timeout) st->wrong += "close() did not time out\n";
        st->ends(c.error(), errc::aborted);
        break;
    }
    case plight::fin_wait_2_read: {
        (void)co_await c.finish();
        const auto n = co_await c.read(room);
        st->ends(n.error(), errc::timed_out);
        break;
    }
    case plight::close_wait: {
        (void)co_await c.peer_finished();
        (void)co_await c.until(tcp::state::closed);
        st->ends(c.error(), errc::timed_out);
        break;
    }
    case plight::time_wait: {
        const auto report = co_await c.close();
        if (!report || report->how != ending::orderly) st->wrong += "close() was not orderly\n";
        ++st->ended;
        break;
    }
    case plight::syn_received:
    case plight::syn_sent: break; // nobody gets that far
    }
}

task<> accept_all(tcp::listener* port_of_ours, scope* s, stage* st) {
    while (auto c = co_await port_of_ours->accept()) s->spawn(serve, std::move(*c), st);
}

// Their end, until its host is gone. They come one after the other, a tenth of a millisecond apart.
task<> call(stage* st, std::size_t number) {
    (void)co_await sleep_for(number * 100us);
    tcp::connection_options o;
    if (st->which == plight::zero_window) o.receive_buffer = 4096;
    auto c = co_await st->s->theirs.connect(street::at_server(port), o);
    if (!c) co_return;
    switch (st->which) {
    case plight::closing: (void)co_await st->act.wait(); [[fallthrough]];
    case plight::close_wait:
    case plight::last_ack:
    case plight::last_ack_closed: (void)co_await c->finish(); break;
    case plight::time_wait:
        (void)co_await c->peer_finished();
        (void)co_await c->finish();
        break;
    default: break;
    }
    (void)co_await c->until(tcp::state::closed);
}

// Our end when we are the ones who call.
task<> call_out(stage* st) {
    const auto c = co_await st->s->server.connect(street::at_client(port));
    st->ends(c ? std::error_code() : c.error(), errc::timed_out);
}

struct expectation {
    tcp::state state;
    duration after;               ///< from the moment below on
    bool from_last_heard = false; ///< of each connection; else from the moment of the cut
    bool from_next_timer = false; ///< of each connection: the probe that nobody answers
};

tcp::config configured(plight which) {
    tcp::config c;
    c.connections.send_buffer = 32 * 1024;
    if (which == plight::idle || which == plight::close_wait || which == plight::fin_wait_2_read) {
        c.connections.keepalive_idle = 10min;
        c.connections.keepalive_interval = 75s;
        c.connections.keepalive_probes = 9;
    }
    return c;
}

expectation expected_of(plight which, const tcp::config& c) {
    const tcp::connection_options& o = c.connections;
    const duration keepalive = o.keepalive_idle + o.keepalive_probes * o.keepalive_interval;
    switch (which) {
    case plight::idle: return {tcp::state::established, keepalive, true};
    case plight::unacked: return {tcp::state::established, o.give_up_after};
    case plight::zero_window: return {tcp::state::established, o.give_up_after, false, true};
    case plight::fin_wait_1: return {tcp::state::fin_wait_1, o.give_up_after};
    case plight::fin_wait_1_closed: return {tcp::state::fin_wait_1, o.close_timeout};
    case plight::fin_wait_2: return {tcp::state::fin_wait_2, o.close_timeout};
    case plight::fin_wait_2_read: return {tcp::state::fin_wait_2, keepalive, true};
    case plight::close_wait: return {tcp::state::close_wait, keepalive, true};
    case plight::last_ack: return {tcp::state::last_ack, o.give_up_after};
    case plight::last_ack_closed: return {tcp::state::last_ack, o.close_timeout};
    case plight::closing: return {tcp::state::closing, o.give_up_after};
    case plight::time_wait: return {tcp::state::time_wait, 2 * c.msl};
    case plight::syn_received:
        return {tcp::state::syn_received, c.initial_rto * ((1 << (c.syn_ack_retries + 1)) - 1)};
    case plight::syn_sent: return {tcp::state::syn_sent, o.connect_timeout};
    }
    return {};
}

std::size_t count_in(street& s, tcp::state wanted) {
    if (wanted == tcp::state::syn_received) return s.server.tcp().half_open();
    if (wanted == tcp::state::time_wait) return s.server.tcp().time_waits();
    std::size_t n = 0;
    s.server.tcp().for_each_connection([&](const tcp::endpoint& e) { n += e.state() == wanted ? 1u : 0u; });
    return n;
}

task<> vanish(stage* st, expectation e, std::string* outcome) {
    street& s = *st->s;
    tcp::listen_options l;
    l.accepted = s.server.tcp().configuration().connections;
    l.half_open_max = 4 * peers; // less than half full, or they were given up after 3 s
    auto listening = s.server.listen(street::at_server(port), l);
    REQUIRE(listening);
    {
        // The stations get to know each other; the announcements of both are over.
        const auto refused = co_await s.theirs.connect(street::at_server(9));
        REQUIRE(!refused);
        const auto refused_too = co_await s.server.connect(street::at_client(9));
        REQUIRE(!refused_too);
        (void)co_await sleep_for(10s);
    }
    auto body = [&](scope& children) -> task<> {
        children.spawn(accept_all, &*listening, &children, st);
        (void)co_await sleep_for(1s);
        const holdings before = held_by(s);
        REQUIRE(entries(before) == 0);

        // Who is to be left in SYN_RECEIVED never hears our SYN|ACK; who is to be left in CLOSING, not our
        // FIN.
        const instant began = s.on.now();
        if (st->which == plight::syn_received) s.cut(direction::in);
        if (st->which == plight::syn_sent) s.cut(direction::out);
        for (std::size_t i = 0; i < peers; ++i) {
            if (st->which == plight::syn_sent)
                children.spawn(call_out, st);
            else
                children.spawn(call, st, i);
        }
        // Between two probes, in the case of the shut window: neither a probe nor its answer is under way.
        (void)co_await sleep_for(st->which == plight::zero_window ? 750ms : 400ms);
        if (st->which == plight::closing) {
            s.cut(direction::in);
            st->act.set();
            (void)co_await sleep_for(50ms);
        }
        s.cut(direction::in);
        s.cut(direction::out);
        const instant vanished = s.on.now();
        s.theirs.stop();
        st->act.set();
        (void)co_await sleep_for(1us);
        const std::size_t in_state = count_in(s, e.state);
        CHECK(in_state == peers);

        // When the first and the last of them must end.
        instant first = began + e.after;
        instant last = vanished + e.after;
        if (e.from_last_heard || e.from_next_timer) {
            first = never;
            last = instant{};
            s.server.tcp().for_each_connection([&](const tcp::endpoint& c) {
                const tcp::info i = c.info();
                if (e.from_next_timer) CHECK(i.send_window == 0);
                const instant ends = (e.from_last_heard ? i.last_receive : i.next_timer) + e.after;
                first = std::min(first, ends);
                last = std::max(last, ends);
            });
        }
        const holdings worst = held_by(s);
        (void)co_await sleep_for(first - 1ms - s.on.now());
        CHECK(entries(held_by(s)) == peers); // not one too early
        (void)co_await sleep_for(last + 1ms - s.on.now());
        CHECK(entries(held_by(s)) == 0);
        // A listener's or TIME_WAIT's timer may be armed for what has ended already, and the last RSTs are on
        // their way to nobody.
        (void)co_await sleep_for(s.server.tcp().configuration().max_rto);
        const holdings after = held_by(s);
        CHECK(to_string(after) == to_string(before));
        CHECK(after == before);
        *outcome = std::string(name(e.state)) + ": " + to_string(worst) + "; all back after " +
                   std::to_string((last - vanished) / 1s) + " s";
        listening->close();
    };
    co_await with_scope(body);
}

void a_thousand_vanish(plight which, const char* how) {
    const std::size_t frames = live_frames();
    host_config ours;
    ours.tcp = configured(which);
    street s(ours);
    stage st{&s, which};
    std::string outcome;
    s.on.run(vanish(&st, expected_of(which, s.server.tcp().configuration()), &outcome));
    CHECK(st.wrong == "");
    CHECK(st.ended == (which == plight::syn_received ? 0 : peers));
    CHECK(live_frames() == frames);
    std::printf("%zu peers vanish, %s, %s\n", peers, how, outcome.c_str());
}

TEST_CASE("1,000 peers vanish: ESTABLISHED and idle, with keepalive") {
    a_thousand_vanish(plight::idle, "idle");
}
TEST_CASE("1,000 peers vanish: ESTABLISHED, with data unsent and unacknowledged") {
    a_thousand_vanish(plight::unacked, "data under way");
}
TEST_CASE("1,000 peers vanish: ESTABLISHED, before a window that they had shut") {
    a_thousand_vanish(plight::zero_window, "window shut");
}
TEST_CASE("1,000 peers vanish: FIN_WAIT_1") {
    a_thousand_vanish(plight::fin_wait_1, "after finish()");
    a_thousand_vanish(plight::fin_wait_1_closed, "after close()");
}
TEST_CASE("1,000 peers vanish: FIN_WAIT_2") {
    a_thousand_vanish(plight::fin_wait_2, "after close()");
    a_thousand_vanish(plight::fin_wait_2_read, "while somebody reads, with keepalive");
}
TEST_CASE("1,000 peers vanish: CLOSE_WAIT, where nobody reads or writes") {
    a_thousand_vanish(plight::close_wait, "with keepalive");
}
TEST_CASE("1,000 peers vanish: LAST_ACK") {
    a_thousand_vanish(plight::last_ack, "after finish()");
    a_thousand_vanish(plight::last_ack_closed, "after close()");
}
TEST_CASE("1,000 peers vanish: CLOSING") {
    a_thousand_vanish(plight::closing, "after finish()");
}
TEST_CASE("1,000 peers vanish: TIME_WAIT") {
    a_thousand_vanish(plight::time_wait, "after close()");
}
TEST_CASE("1,000 peers vanish: SYN_RECEIVED") {
    a_thousand_vanish(plight::syn_received, "their SYN come");
}
TEST_CASE("1,000 peers vanish: SYN_SENT") {
    a_thousand_vanish(plight::syn_sent, "our SYN gone");
}

} // namespace
} // namespace tapir::test
