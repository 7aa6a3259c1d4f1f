// Whose turn it is to send when connections have more than goes at once: stack::flush(), most_in_turn,
// most_per_flush.
#include <doctest/doctest.h>

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

constexpr std::size_t mss = 1000, turn = tcp::stack::most_in_turn, all = tcp::stack::most_per_flush;

/// Neither windows nor the network hold anybody up.
struct senders : tcp_crowd {
    static tcp::config settings() {
        tcp::config c = tcp_lab::plain();
        c.use_window_scale = true;
        c.initial_window_segments = 255;
        return c;
    }
    static tcp::connection_options buffers() {
        tcp::connection_options o = settings().connections;
        o.send_buffer = 16 << 20;
        return o;
    }
    senders() : tcp_crowd(settings(), buffers()) {
        stack.on_want_flush([](void* self) { ++static_cast<senders*>(self)->wanted; }, this);
    }
    std::unique_ptr<tcp::endpoint> opened(std::uint16_t port) {
        tcp::options syn = tcp_lab::default_options(); // an MSS of 1000
        syn.window_scale = std::uint8_t{10};
        auto e = establish(port, syn);
        std::uint32_t has = 1;
        while (e->info().cwnd < 12'000'000) {
            writes(*e, e->info().cwnd);
            do
                for (const seg& s : out(port)) has += static_cast<std::uint32_t>(s.text.size());
            while (stack.output_pending());
            in(port, {.flags = ACK, .seq = 1, .ack = has});
        }
        REQUIRE(e->info().send_memory == 0);
        return e;
    }
    void writes(tcp::endpoint& e, std::size_t bytes) {
        const std::string much = bulk(bytes);
        REQUIRE(e.write(as_bytes(much)) == bytes);
    }
    void emit(const tcp::path& p, const tcp::outgoing_segment& s) override {
        tcp_crowd::emit(p, s);
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
        for (const auto& t : turns) sum += t.second;
        return sum;
    }

    std::vector<std::pair<std::uint16_t, std::size_t>> turns;
    int wanted = 0;
};

bool about(std::size_t bytes, std::size_t limit) {
    return bytes >= limit && bytes < limit + mss;
}

TEST_CASE("turns: who has much to send does not keep the others waiting until all of it is sent") {
    senders s;
    const auto first = s.opened(5001), second = s.opened(5002), small = s.opened(5003);
    s.writes(*first, 2'000'000);
    s.writes(*second, 600'000);
    s.writes(*small, 100);
    CHECK(s.flush_once());
    REQUIRE(s.turns.size() == 6);
    CHECK(s.turns[0].first == 5001);
    CHECK(about(s.turns[0].second, turn));
    CHECK(s.turns[1].first == 5002);
    CHECK(about(s.turns[1].second, turn));
    CHECK(s.turns[2] == std::pair<std::uint16_t, std::size_t>(5003, 100));
    CHECK(s.turns[3].first == 5001);
    CHECK(about(s.turns[3].second, turn));
    CHECK(s.turns[4] == std::pair<std::uint16_t, std::size_t>(5002, 75'000));
    CHECK(s.turns[5].first == 5001);
    CHECK(s.sent() == 2'600'100);
}

TEST_CASE("turns: one flush sends so much and no more, and one that goes on is wanted") {
    senders s;
    const auto e = s.opened(5001);
    s.wanted = 0;
    s.writes(*e, 12'000'000);
    CHECK(s.wanted == 1);
    CHECK_FALSE(s.flush_once());
    const std::size_t sent = s.sent();
    CHECK(sent >= all);
    CHECK(sent < all + turn);
    CHECK(s.stack.output_pending());
    CHECK(s.wanted == 2);
    CHECK(s.flush_once());
    CHECK(s.sent() == 12'000'000 - sent);
    CHECK_FALSE(s.stack.output_pending());
    CHECK(s.wanted == 2);
    s.writes(*e, 1);
    CHECK(s.wanted == 3);
}

TEST_CASE("turns: who begins while others fill every flush has the next turn but theirs that are due") {
    senders s;
    std::vector<std::unique_ptr<tcp::endpoint>> busy;
    for (std::uint16_t port = 5001; port <= 5003; ++port) busy.push_back(s.opened(port));
    const auto late = s.opened(5100);
    for (const auto& e : busy) s.writes(*e, 6'000'000);
    CHECK_FALSE(s.flush_once());
    s.writes(*late, 10);
    CHECK_FALSE(s.flush_once());
    std::size_t before = 0;
    while (before < s.turns.size() && s.turns[before].first != 5100) ++before;
    CHECK(before == busy.size());
}

TEST_CASE("turns: a link that takes no more ends a flush in the middle of one, and nothing is sent twice") {
    struct narrow : senders {
        std::size_t takes = 0;
        bool ready() override { return takes != 0; }
        void emit(const tcp::path& p, const tcp::outgoing_segment& s) override {
            senders::emit(p, s);
            if (takes != 0) --takes;
        }
    } s;
    s.takes = SIZE_MAX;
    const auto first = s.opened(5001), second = s.opened(5002);
    s.writes(*first, 1'000'000);
    s.writes(*second, 1'000'000);
    std::size_t sent = 0;
    for (int i = 0; i < 20; ++i) {
        s.takes = 100;
        CHECK(s.flush_once() == (i == 19));
        CHECK(s.sent() == 100 * mss);
        sent += s.sent();
    }
    CHECK(sent == 2'000'000);
    for (const std::uint16_t port : {std::uint16_t{5001}, std::uint16_t{5002}}) {
        const segs all_of_it = s.out(port);
        std::uint32_t next = all_of_it.at(0).seq;
        for (const seg& one : all_of_it) {
            CHECK(one.seq == next);
            next += static_cast<std::uint32_t>(one.text.size());
        }
        CHECK(next == all_of_it[0].seq + 1'000'000);
    }
}

} // namespace
} // namespace tapir::test
