// Every order in which a connection can close, under the loss of each single segment: from the moment at
// which both ends are ESTABLISHED, the n-th segment of one direction is lost, for all n and both directions;
// and then the n-th and its retransmission. Both ends must reach CLOSED, every byte must arrive (or, where an
// end aborts, no wrong one), no end may walk a path of states that the order does not allow, and nothing may
// be left: no connection, no TIME_WAIT, no timer, no buffer.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/tcp_world.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;
using side = tcp_world::side;

std::byte pattern(std::size_t i) {
    return static_cast<std::byte>((i * 7 + i / 251) & 0xff);
}

enum class call : std::uint8_t { finish, close, abort };
enum class moment : std::uint8_t {
    at_once,         ///< as soon as everything is written
    with_peers_fin,  ///< in the turn in which the peer's FIN comes: FIN and ACK travel together
    after_peers_fin, ///< 20 ms later, when the ACK is under way
    never_by_itself, ///< only once the connection has ended
};

/// What one end does.
struct part {
    std::size_t first = 0;     ///< bytes it writes at once
    std::size_t after_fin = 0; ///< bytes it writes when the peer's FIN has come
    moment when = moment::at_once;
    call how = call::finish;
    duration linger{0}; ///< the deadline of close(), from the call on
};

struct order {
    const char* name;
    part client;
    part server;
    bool everything_arrives; ///< no end aborts
    /// The states after ESTABLISHED: first the ones without loss, then what losses may make of them.
    std::vector<std::string_view> client_paths;
    std::vector<std::string_view> server_paths;
};

/// A user who follows his part.
struct actor {
    tcp::endpoint& e;
    const part& does;
    std::size_t written = 0;
    std::size_t received = 0;
    bool intact = true;
    bool called = false;
    instant fin_came = never;

    void turn(instant now) {
        std::array<std::byte, 3000> block;
        for (std::size_t n = e.read(block); n != 0; n = e.read(block)) {
            for (std::size_t i = 0; i < n; ++i) intact = intact && block[i] == pattern(received + i);
            received += n;
        }
        if (e.peer_finished() && fin_came == never) fin_came = now;
        const std::size_t to_write = does.first + (fin_came != never ? does.after_fin : 0);
        while (!called && written < to_write && e.writable() > 0) {
            const std::size_t n = std::min({block.size(), to_write - written, e.writable()});
            for (std::size_t i = 0; i < n; ++i) block[i] = pattern(written + i);
            written += e.write(std::span(block).first(n));
        }
        if (called || written < does.first + does.after_fin || !due(now)) return;
        called = true;
        switch (does.how) {
        case call::finish: e.finish(now); break;
        case call::close: e.close(now, now + does.linger); break;
        case call::abort: e.abort(now); break;
        }
    }
    bool due(instant now) const {
        switch (does.when) {
        case moment::at_once: return true;
        case moment::with_peers_fin: return fin_came != never;
        case moment::after_peers_fin: return fin_came != never && now >= fin_came + 20ms;
        case moment::never_by_itself: return e.ended();
        }
        return false;
    }
    bool wants_to_act_later() const { return does.when == moment::after_peers_fin && !called; }
};

/// The states after ESTABLISHED, as "FIN_WAIT_1 FIN_WAIT_2 TIME_WAIT CLOSED"; what no connection may do is
/// named instead.
std::string path_of(const tcp::endpoint& e) {
    std::string text;
    bool established = false;
    tcp::state at = e.edges().front().from;
    for (const tcp::edge& step : e.edges()) {
        const bool known = std::ranges::any_of(tcp::arcs, [&](const tcp::arc& a) {
            return a.from == step.from && a.cause == step.cause && a.to == step.to;
        });
        if (step.from != at || !known)
            return "an arc that is not in the table, to " + std::string(name(step.to));
        at = step.to;
        if (established) text += (text.empty() ? "" : " ") + std::string(name(step.to));
        established = established || step.to == tcp::state::established;
    }
    return text;
}

/// Loses the n-th segment of one direction, and then, if it is to, the next that carries the same.
struct loss {
    side from = side::client;
    std::size_t number = 0; ///< counted from 1; 0: nothing is lost
    bool again = false;

    std::size_t seen = 0;
    bool happened = false;
    bool happened_again = false;
    tcp::seq begin{};
    bool empty = false;

    fate judge(side by, const tcp::outgoing_segment& s) {
        if (by != from) return {};
        const bool is_empty = s.payload_size == 0 && !s.header.syn() && !s.header.fin();
        if (++seen == number) {
            happened = true;
            begin = s.header.seq;
            empty = is_empty;
            return {true, 1, 0ms};
        }
        if (happened && again && !happened_again && is_empty == empty && (empty || s.header.seq <= begin)) {
            happened_again = true;
            return {true, 1, 0ms};
        }
        return {};
    }
};

using paths_seen = std::array<std::map<std::string, std::size_t>, 2>;

/// One run. Returns whether the loss happened: whether there was an n-th segment.
bool run(const order& o, loss& lost, paths_seen& seen) {
    tcp::config c;
    // How an end learns that the RST of the other one was lost: it asks.
    c.connections.keepalive_idle = 10s;
    c.connections.keepalive_interval = 1s;
    c.connections.keepalive_probes = 3;
    tcp_world w(c);
    w.establish(c.connections, c.connections);
    w.network = [&](std::size_t, side by, const tcp::outgoing_segment& s) { return lost.judge(by, s); };
    actor client{w.c(), o.client};
    actor server{w.s(), o.server};
    const auto both = [&] {
        client.turn(w.now);
        server.turn(w.now);
    };
    w.each_step = both;
    if (o.server.when == moment::with_peers_fin) w.before_flush = both;
    const auto closed = [&] {
        return w.c().state() == tcp::state::closed && w.s().state() == tcp::state::closed;
    };
    both();
    const instant latest = w.now + 10min;
    while (!closed() && w.now < latest) {
        if (!client.wants_to_act_later() && !server.wants_to_act_later()) {
            if (!w.step(latest)) break;
            continue;
        }
        w.run_for(10ms);
        both();
    }
    INFO(std::string(o.name), ": segment ", lost.number, " of the ",
         std::string(lost.from == side::client ? "client" : "server"), " lost (0: none) ",
         std::string(lost.again ? "twice" : "once"), "\n", w.ladder_text());
    CHECK(closed());
    CHECK(client.intact);
    CHECK(server.intact);
    CHECK(client.received <= server.written);
    CHECK(server.received <= client.written);
    if (o.everything_arrives) {
        CHECK(client.received == o.server.first + o.server.after_fin);
        CHECK(server.received == o.client.first + o.client.after_fin);
        CHECK_FALSE(w.c().error());
        CHECK_FALSE(w.s().error());
    }
    const std::string by_client = path_of(w.c());
    const std::string by_server = path_of(w.s());
    CHECK(std::ranges::find(o.client_paths, by_client) != o.client_paths.end());
    CHECK(std::ranges::find(o.server_paths, by_server) != o.server_paths.end());
    if (lost.number == 0) {
        CHECK(by_client == o.client_paths.front());
        CHECK(by_server == o.server_paths.front());
    }
    ++seen[0][by_client];
    ++seen[1][by_server];
    CHECK(w.client().connections() + w.server().connections() == 0);
    CHECK(w.client().time_waits() + w.server().time_waits() == 0);
    w.each_step = w.before_flush = nullptr;
    w.drop_users();
    w.run_for(2s); // a RST may still be under way; the listener's timer fires once more, for nobody
    CHECK(w.timers_armed() == 0);
    CHECK(w.live_blocks() == 0);
    return lost.happened;
}

std::size_t under_each_loss(const order& o) {
    paths_seen seen;
    loss none;
    run(o, none, seen);
    std::size_t runs = 1;
    for (const side from : {side::client, side::server})
        for (const bool again : {false, true})
            for (std::size_t n = 1;; ++n) {
                loss lost;
                lost.from = from;
                lost.number = n;
                lost.again = again;
                ++runs;
                if (!run(o, lost, seen)) break;
                REQUIRE(n < 1000);
            }
    std::printf("closing order: %s: %zu runs\n", o.name, runs);
    for (const std::size_t who : {std::size_t{0}, std::size_t{1}})
        for (const auto& [path, times] : seen[who])
            std::printf("    %4zu x %s %s\n", times, who == 0 ? "client" : "server", path.c_str());
    return runs;
}

constexpr std::string_view active = "FIN_WAIT_1 FIN_WAIT_2 TIME_WAIT CLOSED";
constexpr std::string_view active_together = "FIN_WAIT_1 TIME_WAIT CLOSED";
constexpr std::string_view simultaneous = "FIN_WAIT_1 CLOSING TIME_WAIT CLOSED";
constexpr std::string_view passive = "CLOSE_WAIT LAST_ACK CLOSED";
constexpr std::string_view broken = "CLOSED";

TEST_CASE("closing order under the loss of each segment: the client first") {
    CHECK(under_each_loss({"the client first",
                           {.first = 3000},
                           {.first = 3000, .when = moment::after_peers_fin},
                           true,
                           {active, active_together},
                           {passive}}) > 10);
}

TEST_CASE("closing order under the loss of each segment: the server first") {
    CHECK(under_each_loss({"the server first",
                           {.first = 3000, .when = moment::after_peers_fin},
                           {.first = 3000},
                           true,
                           {passive},
                           {active, active_together}}) > 10);
}

TEST_CASE("closing order under the loss of each segment: both at the same time") {
    CHECK(under_each_loss({"both at the same time",
                           {},
                           {},
                           true,
                           {simultaneous, passive, active, active_together},
                           {simultaneous, passive, active, active_together}}) > 10);
}

TEST_CASE("closing order under the loss of each segment: FIN and ACK in one segment") {
    CHECK(under_each_loss({"FIN and ACK in one segment",
                           {},
                           {.when = moment::with_peers_fin},
                           true,
                           {active_together, active},
                           {passive}}) > 10);
}

TEST_CASE("closing order under the loss of each segment: data in CLOSE_WAIT") {
    CHECK(under_each_loss({"data in CLOSE_WAIT",
                           {.first = 1000},
                           {.after_fin = 20'000, .when = moment::with_peers_fin},
                           true,
                           {active, active_together},
                           {passive}}) > 10);
}

TEST_CASE("closing order under the loss of each segment: both at once, with data") {
    CHECK(under_each_loss({"both at once, with data",
                           {.first = 20'000},
                           {.first = 20'000},
                           true,
                           {simultaneous, active, active_together, passive},
                           {simultaneous, active, active_together, passive}}) > 10);
}

TEST_CASE("closing order under the loss of each segment: close() within its deadline") {
    CHECK(under_each_loss({"close() within its deadline",
                           {.first = 5000, .how = call::close, .linger = 60s},
                           {.when = moment::after_peers_fin},
                           true,
                           {active, active_together},
                           {passive}}) > 10);
}

TEST_CASE("closing order under the loss of each segment: close() past its deadline aborts") {
    CHECK(under_each_loss({"close() past its deadline",
                           {.first = 5000, .how = call::close, .linger = 2s},
                           {.when = moment::never_by_itself},
                           false,
                           {"FIN_WAIT_1 FIN_WAIT_2 CLOSED", "FIN_WAIT_1 CLOSED"},
                           {"CLOSE_WAIT CLOSED", broken}}) > 10);
}

TEST_CASE("closing order under the loss of each segment: abort") {
    CHECK(under_each_loss({"abort",
                           {.first = 20'000, .how = call::abort},
                           {.first = 20'000, .when = moment::never_by_itself},
                           false,
                           {broken},
                           {broken}}) > 10);
}

} // namespace
} // namespace tapir::test
