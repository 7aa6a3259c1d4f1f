// Whose turn it is to send when connections have more than goes at once: config::most_in_turn and
// most_per_flush.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/tcp_crowd.hpp"
#include "tests/support/tcp_small_budget.hpp"

namespace tapir::test {
namespace {

/// Turns of ten segments, and eight turns in a flush. Neither windows nor the network hold anybody up.
struct senders : tcp_crowd {
    using turn = std::pair<std::uint16_t, std::size_t>; ///< whose, and how much

    static tcp::config settings(std::size_t most_in_turn, std::size_t most_per_flush) {
        tcp::config c = tcp_lab::plain();
        c.use_window_scale = true;
        c.initial_window_segments = 255;
        c.most_in_turn = most_in_turn;
        c.most_per_flush = most_per_flush;
        return c;
    }
    explicit senders(std::size_t most_in_turn = 10'000, std::size_t most_per_flush = 80'000)
        : tcp_crowd(settings(most_in_turn, most_per_flush)) {
        stack.on_want_flush([](void* self) { ++static_cast<senders*>(self)->wanted; }, this);
    }
    std::unique_ptr<tcp::endpoint> opened(std::uint16_t port) {
        tcp::options syn = tcp_lab::default_options(); // an MSS of 1000
        syn.window_scale = std::uint8_t{10};
        return establish(port, syn);
    }
    static void writes(tcp::endpoint& e, std::size_t size) {
        const std::string much = bulk(size);
        REQUIRE(e.write(as_bytes(much)) == size);
    }
    bool ready() override { return takes != 0; }
    void emit(const tcp::path& p, const tcp::outgoing_segment& s) override {
        tcp_crowd::emit(p, s);
        if (takes != 0) --takes;
        const std::uint16_t to = s.header.destination_port;
        if (turns.empty() || turns.back().first != to) turns.emplace_back(to, 0);
        turns.back().second += s.payload_size;
    }
    /// Whether it was all, and in `turns` who sent how much in a row.
    bool flush_once() {
        turns.clear();
        return stack.flush(now, *this);
    }
    std::size_t sent() const {
        std::size_t sum = 0;
        for (const turn& t : turns) sum += t.second;
        return sum;
    }

    std::vector<turn> turns;
    int wanted = 0;
    std::size_t takes = SIZE_MAX; ///< segments, before the link is full
};
using turns = std::vector<senders::turn>;

TEST_CASE("turns: who has much to send does not keep the others waiting until all of it is sent") {
    senders s;
    const auto first = s.opened(5001), second = s.opened(5002), small = s.opened(5003);
    s.writes(*first, 35'000);
    s.writes(*second, 12'000);
    s.writes(*small, 100);
    CHECK(s.flush_once());
    CHECK(s.turns ==
          turns{{5001, 10'000}, {5002, 10'000}, {5003, 100}, {5001, 10'000}, {5002, 2000}, {5001, 15'000}});
}

TEST_CASE("turns: one flush sends so much and no more, and one that goes on is wanted") {
    senders s;
    const auto e = s.opened(5001);
    s.wanted = 0;
    s.writes(*e, 120'000);
    CHECK(s.wanted == 1);
    CHECK_FALSE(s.flush_once());
    CHECK(s.sent() == 80'000);
    CHECK(s.stack.output_pending());
    CHECK(s.wanted == 2);
    CHECK(s.flush_once());
    CHECK(s.sent() == 40'000);
    CHECK_FALSE(s.stack.output_pending());
    CHECK(s.wanted == 2);
    s.writes(*e, 1);
    CHECK(s.wanted == 3);
}

TEST_CASE("turns: where nothing may go in one, a segment does") {
    senders s(0, 0);
    const auto first = s.opened(5001), second = s.opened(5002);
    s.writes(*first, 2000);
    s.writes(*second, 1000);
    for (const turns& expected : {turns{{5001, 1000}}, turns{{5002, 1000}}, turns{{5001, 1000}}}) {
        CHECK(s.stack.output_pending());
        s.flush_once();
        CHECK(s.turns == expected);
    }
    CHECK_FALSE(s.stack.output_pending());
}

TEST_CASE("turns: who begins while others fill every flush has the next turn but theirs that are due") {
    senders s;
    std::vector<std::unique_ptr<tcp::endpoint>> busy;
    for (std::uint16_t port = 5001; port <= 5003; ++port) busy.push_back(s.opened(port));
    const auto late = s.opened(5100);
    for (const auto& e : busy) s.writes(*e, 100'000);
    CHECK_FALSE(s.flush_once());
    s.writes(*late, 10);
    CHECK_FALSE(s.flush_once());
    const auto at = std::ranges::find(s.turns, senders::turn(5100, 10));
    CHECK(at - s.turns.begin() == 3);
}

TEST_CASE("turns: a link that takes no more ends a turn, and the next flush begins with who has waited") {
    senders s;
    const auto first = s.opened(5001), second = s.opened(5002);
    s.writes(*first, 20'000);
    s.writes(*second, 20'000);
    SUBCASE("in its middle") {
        for (const turns& expected : {turns{{5001, 4000}}, turns{{5002, 4000}}, turns{{5001, 4000}}}) {
            s.takes = 4;
            CHECK_FALSE(s.flush_once());
            CHECK(s.turns == expected);
        }
    }
    SUBCASE("in the middle of the second") {
        s.takes = 14;
        CHECK_FALSE(s.flush_once());
        CHECK(s.turns == turns{{5001, 10'000}, {5002, 4000}});
        s.takes = 14;
        CHECK_FALSE(s.flush_once());
        CHECK(s.turns == turns{{5001, 10'000}, {5002, 4000}});
    }
    SUBCASE("between two") {
        s.takes = 10;
        CHECK_FALSE(s.flush_once());
        CHECK(s.turns == turns{{5001, 10'000}});
        s.takes = 10;
        CHECK_FALSE(s.flush_once());
        CHECK(s.turns == turns{{5002, 10'000}});
    }
    s.takes = SIZE_MAX;
    CHECK(s.flush_once());
    for (const std::uint16_t port : {std::uint16_t{5001}, std::uint16_t{5002}}) {
        std::uint32_t next = 1;
        for (const seg& one : s.out(port)) {
            CHECK(one.seq == next);
            next += static_cast<std::uint32_t>(one.text.size());
        }
        CHECK(next == 20'001);
    }
}

} // namespace
} // namespace tapir::test
