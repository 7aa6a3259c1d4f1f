// A failing seed is reduced to the faults that matter, and says what each end believed. The invariant that
// fails here is broken on purpose.

#include <tapir/framework/scope.hpp>
#include <tapir/protocols/ethernet/header.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tests/simulation/seeds.hpp"
#include "tests/simulation/topology.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

constexpr std::uint16_t port = 80;
constexpr std::size_t sent_bytes = 30'000;

task<> take_all(topology* t) {
    auto listening = (*t)["server"].host().listen((*t)["server"].at(port));
    REQUIRE(listening);
    auto peer = co_await listening->accept();
    REQUIRE(peer);
    std::array<std::byte, 4000> buffer;
    for (;;) {
        const auto n = co_await peer->read(buffer);
        if (!n || *n == 0) break;
    }
    (void)co_await peer->close();
}

task<> send_all(topology* t) {
    result<tcp::connection> c = errc::cancelled;
    while (!c) c = co_await (*t)["client"].host().connect((*t)["server"].at(port));
    const std::vector<std::byte> data(sent_bytes, std::byte{'x'});
    (void)co_await c->write(data);
    (void)co_await c->close();
}

task<> transfer(topology* t) {
    auto both = [t](scope& s) -> task<> {
        s.spawn(take_all, t);
        s.spawn(send_all, t);
        co_return;
    };
    co_await with_scope(both);
}

/// Claims that no network ever loses the third data segment.
class third_segment {
  public:
    explicit third_segment(topology* t) : topology_(t) {}
    void operator()(node& at, direction d, bytes frame) {
        constexpr std::size_t headers = 14 + 20 + 20;
        if (frame.size() <= headers + 100 || load_be16(frame, 12) != 0x0800) return;
        if (at.name() == "client" && d == direction::out && ++sent_ == 3)
            third_.assign(frame.begin(), frame.end());
        if (at.name() == "server" && d == direction::in && std::ranges::equal(frame, third_)) arrived_ = true;
    }
    void check() const {
        if (!third_.empty() && !arrived_) topology_->fail("the third data segment was lost");
    }

  private:
    topology* topology_;
    std::size_t sent_ = 0;
    std::vector<std::byte> third_;
    bool arrived_ = false;
};

seed_outcome never_loses_the_third(const seed_run& run) {
    topology t(run);
    t.host("client");
    t.link(random_delay(5ms, 30ms), loss(100'000), duplication(30'000), reordering(50'000));
    t.host("server");
    third_segment third(&t);
    t.watch = std::ref(third);
    t.run(transfer(&t));
    third.check();
    t.check_quiet();
    return t.outcome();
}

/// The first seed that breaks the promise.
std::pair<seed_run, seed_outcome> first_failure() {
    for (std::uint64_t seed = 1;; ++seed) {
        seed_outcome out = never_loses_the_third(seed_run(seed));
        if (!out.wrong.empty()) return {seed_run(seed), std::move(out)};
    }
}

} // namespace

TEST_CASE("shrink: a failing seed is reduced to the one fault that makes it fail") {
    const auto [run, failed] = first_failure();
    CHECK(failed.wrong == "the third data segment was lost\n");
    CHECK(failed.faults.size() > 20); // jitter and all
    const shrunk_failure few = shrink(never_loses_the_third, run, failed);
    CHECK(few.outcome.wrong == failed.wrong);
    REQUIRE(few.faults.size() == 1);
    CHECK(few.minimal);
    CHECK(few.faults[0].link == 0);
    CHECK(few.faults[0].what.where == direction::out);
    CHECK(few.faults[0].what.kind == fault_kind::loss);
    CHECK(few.runs < 60);
}

TEST_CASE("shrink: what is printed holds the fault, the ladder, and what each end believed") {
    const auto [run, failed] = first_failure();
    const shrunk_failure few = shrink(never_loses_the_third, run, failed);
    const std::string text = few.report();
    INFO(text);
    const auto holds = [&](const std::string& part) { return text.find(part) != std::string::npos; };
    CHECK(holds("link 0: " + few.faults[0].what.to_string()));
    CHECK(holds("us client sends tcp 192.0.2.1:"));
    CHECK(holds("us server gets  tcp 192.0.2.1:"));
    const std::size_t client = text.find("\nclient:\n  192.0.2.1:");
    const std::size_t server = text.find("\nserver:\n  192.0.2.2:80 to 192.0.2.1:");
    REQUIRE(client != std::string::npos);
    REQUIRE(server != std::string::npos);
    const std::string of_client = text.substr(client, server - client);
    const std::string of_server = text.substr(server);
    CHECK(of_client.find("CLOSED --call_open--> SYN_SENT") != std::string::npos);
    CHECK(of_client.find("snd_una J+" + std::to_string(sent_bytes + 2)) != std::string::npos); // SYN and FIN
    CHECK(of_server.find("LISTEN --rcv_syn--> SYN_RECEIVED") != std::string::npos);
    CHECK(of_server.find("rcv_nxt K+" + std::to_string(sent_bytes + 2)) != std::string::npos);
}

TEST_CASE("shrink: a schedule that is replayed gives the same run as the draws did") {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        const auto run_with = [&](const fault_list* replay, fault_list* done) {
            seed_run run(seed);
            run.replay = replay;
            topology t(run);
            t.host("client");
            t.link(random_delay(5ms, 30ms), loss(100'000), duplication(30'000), corruption(30'000),
                   reordering(50'000));
            t.host("server");
            t.run(transfer(&t));
            *done = t.faults();
            return t.hash();
        };
        fault_list drawn;
        fault_list replayed;
        const std::uint64_t hash = run_with(nullptr, &drawn);
        CHECK(run_with(&drawn, &replayed) == hash);
        CHECK(replayed == drawn);
    }
}

TEST_CASE("a run in which nothing can happen any more fails, with what each end believed then") {
    seed_run run(1);
    run.keep = true;
    topology t(run);
    t.host("client");
    t.link(delay(10ms));
    t.host("server");
    auto waits_for_ever = [&t]() -> task<> {
        auto listening = t["server"].host().listen(t["server"].at(port));
        auto c = co_await t["client"].host().connect(t["server"].at(port));
        REQUIRE(c);
        auto peer = co_await listening->accept();
        (void)co_await c->peer_finished(); // nobody will ever
    };
    CHECK_THROWS_AS(t.run(waits_for_ever()), deadlock);
    const seed_outcome out = t.outcome();
    CHECK(out.wrong.find("nothing can ever happen again") != std::string::npos);
    CHECK(out.beliefs.find("now: ESTABLISHED, snd_una") != std::string::npos);
}
