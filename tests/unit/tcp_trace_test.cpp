// What a sender decides is told to whoever listens: why it takes data for lost, what it does about it, how
// fast it sends, and what keeps it from sending more.
#include <tapir/protocols/tcp/trace.hpp>

#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/support/tcp_lab.hpp"

namespace tapir::test {
namespace {
using namespace std::chrono_literals;

struct recorder : tcp::trace_sink {
    std::vector<std::string> told;
    std::vector<tcp::send_rate> rates;
    std::string name(std::string_view s) const { return std::string(s); }

    void retransmission_timeout(const tcp::flow_key&, duration, unsigned backoff, instant) override {
        told.push_back("timeout " + std::to_string(backoff));
    }
    void recovery_began(const tcp::flow_key&, tcp::loss_sign why, tcp::seq, instant) override {
        told.push_back("recovery " + name(to_string(why)));
    }
    void recovery_ended(const tcp::flow_key&, instant) override { told.push_back("recovered"); }
    void marked_lost(const tcp::flow_key&, std::uint32_t bytes, instant) override {
        told.push_back("lost " + std::to_string(bytes));
    }
    void recovery_undone(const tcp::flow_key&, std::uint32_t cwnd, instant) override {
        told.push_back("undone " + std::to_string(cwnd));
    }
    void tail_probe(const tcp::flow_key&, tcp::seq, instant) override { told.push_back("tail probe"); }
    void limit_changed(const tcp::flow_key&, tcp::send_limit l, instant) override {
        told.push_back("limit " + name(to_string(l)));
    }
    void black_hole_found(const tcp::flow_key&, std::uint16_t from, std::uint16_t to, instant) override {
        told.push_back("black hole " + std::to_string(from) + " " + std::to_string(to));
    }
    void mtu_probe_sent(const tcp::flow_key&, tcp::seq, std::uint16_t size, instant) override {
        told.push_back("mtu probe " + std::to_string(size));
    }
    void mtu_probe_done(const tcp::flow_key&, std::uint16_t size, bool arrived, instant) override {
        told.push_back("mtu probe " + std::to_string(size) + (arrived ? " arrived" : " lost"));
    }
    void congestion_marked(const tcp::flow_key&, tcp::seq, instant) override { told.push_back("marked"); }
    void window_reduced_by_ecn(const tcp::flow_key&, std::uint32_t to, instant) override {
        told.push_back("reduced by ecn to " + std::to_string(to));
    }
    void rate_changed(const tcp::flow_key&, const tcp::send_rate& r, instant) override { rates.push_back(r); }
};

/// An established connection with a round trip of 10 ms and segments of 1000 bytes, all it tells written
/// down.
struct traced {
    explicit traced(const tcp::config& c = tcp_lab::plain()) : lab(c, instant(100s), &sink) {
        lab.establish(c.connections, 65535, c.use_sack ? permitting_sack() : tcp_lab::default_options());
        sink.told.clear();
    }
    void write(std::size_t bytes) {
        CHECK(lab.write(std::string(bytes, 'x')) == bytes);
        lab.e->set_no_delay(false);
        lab.out();
    }
    void ack(std::uint32_t n, const blocks& held = {}, std::uint16_t window = 65535) {
        lab.in({.flags = ACK, .seq = 1, .ack = n, .window = window, .options = lab.holding(held)});
        lab.out();
    }
    std::string told() {
        std::string all;
        for (const std::string& line : std::exchange(sink.told, {})) all += (all.empty() ? "" : "; ") + line;
        return all;
    }

    recorder sink;
    tcp_lab lab;
};

TEST_CASE("trace: a loss found by what was sent later, and the recovery's end") {
    traced t(with_sack());
    t.write(5000);
    t.lab.wait(10ms);
    t.ack(1, {{1001, 4001}});
    CHECK(t.told() == "lost 1000; recovery newer_arrived");
    CHECK(t.lab.e->info().in_recovery);
    t.lab.wait(10ms);
    t.ack(5001);
    CHECK(t.told() == "recovered");
}

TEST_CASE("trace: a loss found once the time for reordering is over") {
    traced t(with_sack());
    t.write(5000);
    t.lab.wait(10ms);
    t.ack(1, {{1001, 2001}});
    CHECK(t.told().empty());
    t.lab.wait(5ms);
    CHECK(t.told() == "lost 1000; recovery overdue");
}

TEST_CASE("trace: three duplicate ACKs of a peer without SACK") {
    traced t;
    t.write(5000);
    t.lab.wait(10ms);
    for (int i = 0; i < 3; ++i) t.ack(1);
    CHECK(t.told() == "recovery duplicate_acks");
}

TEST_CASE("trace: a timeout, and the next one backed off") {
    traced t;
    t.write(1000);
    t.lab.wait(700ms);
    CHECK(t.told() == "timeout 1; timeout 2");
    t.ack(1001);
    CHECK(t.told() == "recovered");
}

TEST_CASE("trace: a probe for the tail, and that it filled a hole") {
    traced t(with_sack());
    t.write(2000);
    t.lab.wait(10ms);
    t.ack(1001);
    t.lab.wait(100ms);
    CHECK(t.told() == "tail probe");
    t.write(1000);
    t.ack(3001);
    CHECK(t.told() == "recovery tail_probe");
}

TEST_CASE("trace: a recovery that was for nothing") {
    traced t(with_sack());
    t.write(5000);
    t.lab.wait(10ms);
    t.ack(1, {{1001, 4001}});
    t.told();
    t.ack(5001, {{1, 1001}}); // it came twice
    CHECK(t.told() == "recovered; undone 10000");
}

TEST_CASE("trace: what keeps a sender from sending more") {
    traced t; // cwnd is 10 segments
    t.write(10'500);
    CHECK(t.told() == "limit cwnd");
    CHECK(t.lab.e->info().limited_by == tcp::send_limit::cwnd);
    t.ack(5001);
    CHECK(t.told() == "limit small_segment"); // Nagle's
    t.ack(10'001);
    CHECK(t.told() == "limit application");
    t.ack(10'501, {}, 2000);
    t.write(5000);
    CHECK(t.told() == "limit window");
    CHECK(t.lab.e->info().limited_by == tcp::send_limit::window);
}

TEST_CASE("trace: a paced sender waits for its time, and tells its rate") {
    tcp::config c = tcp_lab::plain();
    c.connections.paced = true;
    traced t(c);
    t.write(10'000);
    t.lab.wait(10ms);
    t.write(60'000);
    for (std::uint32_t n = 2001; n <= 10'001; n += 2000) t.ack(n);
    CHECK(t.lab.e->info().limited_by == tcp::send_limit::pacing);
    REQUIRE_FALSE(t.sink.rates.empty());
    const tcp::send_rate last = t.sink.rates.back();
    CHECK(last.cwnd == t.lab.e->info().cwnd);
    CHECK(last.ssthresh == t.lab.e->info().ssthresh);
    CHECK(last.pacing_rate == t.lab.e->info().pacing_rate);
    CHECK(last.pacing_rate != 0);
}

} // namespace
} // namespace tapir::test
