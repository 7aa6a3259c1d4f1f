#include "tests/simulation/bottleneck.hpp"

#include <tapir/framework/scope.hpp>
#include <tapir/framework/sleep.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>

#include "tests/simulation/topology.hpp"

namespace tapir::test {

namespace {

constexpr std::uint16_t first_port = 5001;
constexpr std::size_t frame_bytes = 1514;

/// What the coroutines of one run share; it outlives them.
struct sharing {
    sharing(const bottleneck& b, topology& net) : plan(&b), t(&net), records(b.flows.size()) {}
    const bottleneck* plan;
    topology* t;
    std::vector<flow_record> records;
    bool watching = false;
    bool over = false;
};

task<> receive_all(sharing* s, std::size_t number, tcp::listener* listening) {
    auto accepted = co_await listening->accept();
    if (!accepted) {
        s->t->fail("accept: " + accepted.error().message());
        co_return;
    }
    tcp::connection peer = std::move(*accepted);
    for (;;) {
        const auto some = co_await peer.read();
        if (!some || some->empty()) break;
        if (s->watching) s->records[number].bytes += some->size();
    }
    peer.abort();
}

task<> send_all(sharing* s, std::size_t number) {
    flow_record& mine = s->records[number];
    const flow_plan& how = s->plan->flows[number];
    mine.from_far = how.from_far;
    mine.congestion = how.congestion;
    mine.paced = how.paced;
    const duration after = number == 0 ? duration(0) : s->plan->head_start;
    (void)co_await sleep_for(after + s->plan->apart * static_cast<std::int64_t>(number));
    tcp::connection_options options;
    options.congestion = how.congestion;
    options.paced = how.paced;
    topology& t = *s->t;
    const ip::endpoint to = t["sink"].at(static_cast<std::uint16_t>(first_port + number));
    auto connected = co_await t[how.from_far ? "far" : "near"].host().connect(to, options);
    if (!connected) {
        t.fail("connect: " + connected.error().message());
        co_return;
    }
    tcp::connection c = std::move(*connected);
    const std::vector<std::byte> piece(16 * 1024);
    while (!s->over) {
        const auto written = co_await c.write(piece);
        if (!written) {
            t.fail("write: " + written.error().message());
            break;
        }
    }
    const tcp::info last = c.info();
    mine.cwnd = last.cwnd;
    mine.again = last.bytes_retransmitted;
    mine.timeouts = last.rto_fired;
    c.abort();
}

task<> share(sharing* s, duration settled, duration end) {
    std::vector<tcp::listener> listening;
    for (std::size_t i = 0; i < s->records.size(); ++i) {
        const ip::endpoint at = s->t->last().at(static_cast<std::uint16_t>(first_port + i));
        auto l = s->t->last().host().listen(at);
        REQUIRE(l);
        listening.push_back(std::move(*l));
    }
    auto all = [&](scope& in) -> task<> {
        for (std::size_t i = 0; i < s->records.size(); ++i) {
            in.spawn(receive_all, s, i, &listening[i]);
            in.spawn(send_all, s, i);
        }
        (void)co_await sleep_for(settled);
        s->watching = true;
        (void)co_await sleep_for(end - settled);
        s->watching = false;
        s->over = true;
    };
    co_await with_scope(all);
}

// A simulated sender answers an ACK in no time, so that its segments come to a full queue just when one has
// left it, or just before, for ever: whom such a phase favours has nothing to do with congestion control.
// Real machines take a random moment; ACKs here take one of up to two segments' transmission. (Floyd,
// Jacobson 1991)
element no_phases(std::uint64_t rate) {
    return [=](link_plan& p) {
        p.to_left.jitter = duration(static_cast<std::int64_t>(2 * frame_bytes * 1'000'000'000 / rate));
        p.to_left.keep_order = true;
    };
}

} // namespace

std::vector<flow_record> bottleneck::run(duration settled, duration end, std::uint64_t seed) const {
    const auto bdp = static_cast<std::size_t>(rate) * static_cast<std::size_t>(rtt / 1us) / 1'000'000;
    const auto waiting = static_cast<std::size_t>(static_cast<double>(bdp) * queue);
    topology t{seed_run(seed)};
    t.host("far").link(delay(way_in / 2)).router("near");
    t.link(to_right(test::rate(rate), tail_drop_queue(std::max(waiting, 4 * frame_bytes))), delay(rtt / 2),
           no_phases(rate));
    t.host("sink");
    sharing s(*this, t);
    t.run(share(&s, settled, end));
    CHECK(t.wrong() == "");
    return s.records;
}

double jains_index(const std::vector<flow_record>& flows) {
    double sum = 0;
    double squares = 0;
    for (const flow_record& f : flows) {
        const auto x = static_cast<double>(f.bytes);
        sum += x;
        squares += x * x;
    }
    return sum * sum / (static_cast<double>(flows.size()) * squares);
}

double utilisation(const bottleneck& b, const std::vector<flow_record>& flows, duration watched) {
    double sum = 0;
    for (const flow_record& f : flows) sum += static_cast<double>(f.bytes);
    constexpr double headers = 1514.0 / 1448.0;
    return sum * headers / (static_cast<double>(b.rate) * std::chrono::duration<double>(watched).count());
}

std::string table_of(const std::vector<flow_record>& flows) {
    std::string out;
    for (const flow_record& f : flows) {
        char line[160];
        std::snprintf(line, sizeof line, "%-4s %-8s %9llu bytes  cwnd %7u  again %7llu  %u timeouts\n",
                      f.from_far ? "far" : "near", std::string(tcp::to_string(f.congestion)).c_str(),
                      static_cast<unsigned long long>(f.bytes), f.cwnd,
                      static_cast<unsigned long long>(f.again), f.timeouts);
        out += line;
    }
    return out;
}

} // namespace tapir::test
