// The urgent pointer moves no byte: urgent data is data. [RFC 9293 3.8.5] [RFC 6093]
#include <doctest/doctest.h>

#include "tests/support/tcp_crowd.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;

/// A segment with URG, which tcp_lab's literals do not have.
void urgent(tcp_crowd& crowd, std::uint32_t at, std::string_view text, std::uint16_t pointer,
            tcp::flags also = ACK) {
    tcp::segment s;
    s.header.source_port = 5001;
    s.header.destination_port = 80;
    s.header.seq = tcp::seq(tcp_lab::peer_isn + at);
    s.header.ack = crowd.isn(5001) + 1;
    s.header.flags = also | tcp::flags::urg;
    s.header.window = 65535;
    s.header.urgent = pointer;
    s.payload = chunk(crowd.pool.copy_of(as_bytes(text)), 0, text.size());
    s.arrived = crowd.now;
    crowd.stack.receive(crowd.way(), s, crowd.now);
}

TEST_CASE(
    "urgent data is delivered in line, and how far it goes can be asked") { // [MUST-31, MUST-33, MUST-62]
    tcp_crowd crowd;
    auto e = crowd.establish(5001);
    CHECK(e->info().urgent_ahead == 0);
    urgent(crowd, 1, "abcdef", 3); // "abc" is urgent
    CHECK(e->info().urgent_segments == 1);
    CHECK(e->info().urgent_ahead == 3);
    CHECK(read(*e, 2) == "ab");
    CHECK(e->info().urgent_ahead == 1);
    CHECK(read(*e) == "cdef");
    CHECK(e->info().urgent_ahead == 0);
    urgent(crowd, 7, "gh", 1000); // urgent data that is yet to come
    CHECK(e->info().urgent_ahead == 1000);
    CHECK(read(*e) == "gh");
    CHECK(e->info().urgent_ahead == 998);
    CHECK(crowd.counted().urgent_segments == 2);
}

TEST_CASE("the user hears of urgent data that begins, and of a pointer that moves on") { // [MUST-32]
    struct listener final : tcp::observer {
        int times = 0;
        void changed(tcp::endpoint&) override { ++times; }
    } heard;
    tcp_crowd crowd;
    auto e = crowd.establish(5001);
    e->set_observer(&heard);
    urgent(crowd, 1, "", 100);
    CHECK(heard.times == 1);
    urgent(crowd, 1, "", 100); // no news
    CHECK(heard.times == 1);
    urgent(crowd, 1, "", 101);
    CHECK(heard.times == 2);
    e->set_observer(nullptr);
}

TEST_CASE("whatever urgent pointers say, in whatever order, the stream arrives as it was sent") { // [MUST-30]
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        random r(seed);
        tcp_crowd crowd;
        auto e = crowd.establish(5001);
        std::string sent;
        std::vector<std::pair<std::uint32_t, std::string>> pieces;
        for (int i = 0; i < 40; ++i) {
            std::string piece(1 + r.below(200), static_cast<char>('a' + r.below(26)));
            pieces.emplace_back(1 + static_cast<std::uint32_t>(sent.size()), piece);
            sent += piece;
        }
        for (std::size_t i = 0; i + 1 < pieces.size(); i += 2)
            if (r.chance_ppm(500'000)) std::swap(pieces[i], pieces[i + 1]);
        std::string received;
        for (const auto& [at, text] : pieces) {
            const auto pointer = static_cast<std::uint16_t>(r.below(65536));
            urgent(crowd, at, text, r.chance_ppm(500'000) ? pointer : std::uint16_t{0});
            if (r.chance_ppm(300'000)) received += read(*e);
        }
        urgent(crowd, 1 + static_cast<std::uint32_t>(sent.size()), "", 1, FIN | ACK);
        received += read(*e, 10'000);
        INFO("seed ", seed);
        CHECK(received == sent);
        CHECK(e->at_end());
        CHECK(e->state() == tcp::state::close_wait);
    }
}

TEST_CASE("a pointer from two gigabytes ago is no news that hides the next") {
    tcp_crowd crowd;
    auto e = crowd.establish(5001);
    urgent(crowd, 1, "", 10);
    CHECK(e->info().urgent_ahead == 10);
    const std::string block(60'000, 'x');
    std::uint32_t at = 1;
    const buffer shared = crowd.pool.copy_of(as_bytes(block));
    while (at < 0x80000000u + 100'000) {
        tcp::segment s;
        s.header.source_port = 5001;
        s.header.destination_port = 80;
        s.header.seq = tcp::seq(tcp_lab::peer_isn + at);
        s.header.ack = crowd.isn(5001) + 1;
        s.header.flags = ACK;
        s.header.window = 65535;
        s.payload = chunk(shared, 0, block.size());
        s.arrived = crowd.now;
        crowd.stack.receive(crowd.way(), s, crowd.now);
        at += static_cast<std::uint32_t>(block.size());
        while (!e->read_chunk().empty()) {
        }
        crowd.out(5001);
    }
    CHECK(e->info().urgent_ahead == 0);
    urgent(crowd, at, "", 5);
    CHECK(e->info().urgent_ahead == 5);
}

} // namespace
} // namespace tapir::test
