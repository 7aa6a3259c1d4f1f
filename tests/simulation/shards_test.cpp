// A host that is split over several shards, in virtual time: their queues may get any frame, and still each
// flow is one shard's, and nobody outside can tell that there is more than one.
#include <tapir/framework/crossing.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/sim_backend.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/protocols/host/host.hpp>
#include <tapir/protocols/host/shard_link.hpp>
#include <tapir/protocols/icmp/message.hpp>
#include <tapir/protocols/ipv4/header.hpp>
#include <tapir/protocols/link/impair.hpp>
#include <tapir/protocols/link/wire.hpp>

#include <doctest/doctest.h>

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/simulation/hosts.hpp"
#include "tests/simulation/seeds.hpp"
#include "tests/support/link_end.hpp"
#include "tests/support/queues.hpp"
#include "tests/support/station.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

constexpr std::uint16_t port = 80;

/// Between a shard's link and its host: which flows the host has seen.
class flow_book final : public middleware {
  public:
    using middleware::middleware;
    std::set<std::string> flows; ///< "source destination port port", of packets that are no others' by damage

  private:
    void receive(frame&& f) override {
        const bytes b = f.data();
        if (b.size() >= 38 && load_be16(b, 12) == 0x0800 && (load_be16(b, 20) & 0x3fff) == 0 &&
            load_u8(b, 23) == 6 && ipv4::view::parse(b.subspan(14)))
            flows.emplace(reinterpret_cast<const char*>(b.data()) + 26, 12);
        pass_up(std::move(f));
    }
};

/// 192.0.2.2, over `count` queues of a link.
struct split_host {
    split_host(reactor& r, tapir::link& below, std::uint32_t count, queues::chooser choose = {})
        : device(below, count, std::move(choose)),
          others(std::make_shared<crossing>(count, shard_link::ring_size)) {
        for (std::uint32_t i = 0; i < count; ++i) {
            const ip::flow_share mine(siphash_key{3, 4}, i, count);
            ways.push_back(std::make_unique<shard_link>(r, device[i], mine, others));
            books.push_back(std::make_unique<flow_book>(*ways.back()));
            host_config c = named("shard " + std::to_string(i));
            c.secret = siphash_key{5, 6};
            c.share = mine;
            shards.push_back(std::make_unique<host>(r, c));
            REQUIRE(shards.back()->add_interface(*books.back(), mac(2), p("192.0.2.2/24")).has_value());
        }
    }

    link_counters sum() const {
        link_counters all;
        for (const auto& way : ways) {
            const link_counters c = way->counters();
            all.frames_in += c.frames_in;
            all.handed_over += c.handed_over;
            all.given_to_all += c.given_to_all;
            all.taken_over += c.taken_over;
            all.handover_full += c.handover_full;
        }
        return all;
    }
    /// Flows that more than one host has seen.
    std::size_t moved() const {
        std::map<std::string, int> seen;
        for (const auto& b : books)
            for (const std::string& flow : b->flows) ++seen[flow];
        std::size_t n = 0;
        for (const auto& [flow, times] : seen) n += times > 1 ? 1 : 0;
        return n;
    }
    std::uint64_t resets() const {
        std::uint64_t n = 0;
        for (const auto& s : shards) n += s->tcp().counted().resets_out;
        return n;
    }

    queues device;
    std::shared_ptr<crossing> others;
    std::vector<std::unique_ptr<shard_link>> ways;
    std::vector<std::unique_ptr<flow_book>> books;
    std::vector<std::unique_ptr<host>> shards;
};

task<> answer(tcp::connection c, int* served) {
    std::array<std::byte, 1000> buffer;
    std::vector<std::byte> all;
    for (;;) {
        const auto n = co_await c.read(mutable_bytes(buffer));
        if (!n) co_return;
        if (*n == 0) break;
        all.insert(all.end(), buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(*n));
    }
    if (!co_await c.write(bytes(all))) co_return;
    if (co_await c.close()) ++*served;
}

task<> serve(tcp::listener* l, int* served) {
    auto body = [&](scope& s) -> task<> {
        while (auto c = co_await l->accept()) s.spawn(answer, std::move(*c), served);
    };
    co_await with_supervisor(body);
}

/// Says `size` bytes, and wants them back. Whether it went well.
task<bool> ask(host* client, std::size_t size, tcp::connection_options how = {}) {
    auto opened = co_await client->connect(ip::endpoint(a("192.0.2.2"), port), how);
    if (!opened) co_return false;
    tcp::connection c = std::move(*opened);
    const auto said = numbered_bytes(size);
    if (!co_await c.write(bytes(said)) || !co_await c.finish()) co_return false;
    std::vector<std::byte> got(size + 1);
    std::size_t n = 0;
    for (;;) {
        const auto more = co_await c.read(mutable_bytes(got).subspan(n));
        if (!more) co_return false;
        if (*more == 0) break;
        n += *more;
        if (n > size) co_return false;
    }
    got.resize(n);
    (void)co_await c.close();
    co_return got == said;
}

struct crowd {
    int well = 0;
    std::vector<int> served;
};

/// `flows` clients at once, each with `size` bytes.
void run_crowd(reactor& r, host& client, split_host& server, int flows, std::size_t size, crowd& c) {
    std::vector<tcp::listener> listeners;
    for (const auto& s : server.shards) listeners.push_back(std::move(s->listen({{}, port}).value()));
    c.served.resize(listeners.size());
    auto one = [&](std::size_t bytes_said) -> task<> {
        if (co_await ask(&client, bytes_said)) ++c.well;
    };
    auto body = [&](scope& all) -> task<> {
        for (std::size_t i = 0; i < listeners.size(); ++i) all.spawn(serve, &listeners[i], &c.served[i]);
        auto clients = [&](scope& s) -> task<> {
            for (int i = 0; i < flows; ++i) s.spawn(one, size + static_cast<std::size_t>(i));
            co_return;
        };
        co_await with_scope(clients);
        (void)co_await sleep_for(1s); // the last acknowledgements
        all.request_stop();
    };
    r.run(with_scope(body));
}

} // namespace

TEST_CASE(
    "shards: over wires that lose, reorder and duplicate, to any queue, each flow stays with one shard") {
    for_each_seed(
        "shards", seeds_per_run(),
        [](const seed_run& run) {
            tapir::random draws(run.seed);
            sim_config time;
            time.seed = run.seed;
            reactor r(make_sim_backend(time));
            wire_config cable;
            cable.latency = 5ms;
            cable.segmentation = draws.below(2) == 0;
            wire w(r, cable);
            impairment bad{
                .loss_ppm = 20'000, .duplicate_ppm = 20'000, .corrupt_ppm = 5'000, .reorder_ppm = 50'000};
            impair path(r, w.left(), {.out = bad, .in = bad, .seed = draws.next()});
            host client(r, named("client"));
            REQUIRE(client.add_interface(path, mac(1), p("192.0.2.1/24")).has_value());
            const std::uint32_t count = 2 + draws.below(3);
            tapir::random any = draws.fork();
            split_host server(r, w.right(), count, [&](bytes) { return any.below(count); });
            crowd c;
            run_crowd(r, client, server, 8, 3000, c);
            seed_outcome outcome;
            const link_counters n = server.sum();
            outcome.hash = n.frames_in * 1000003 + n.handed_over;
            const auto wants = [&](bool holds, const char* what) {
                if (!holds && outcome.wrong.empty()) outcome.wrong = what;
            };
            wants(c.well == 8, "every conversation ends well");
            wants(server.moved() == 0, "no flow reaches two shards");
            wants(n.handed_over > 0, "frames are handed over");
            wants(n.taken_over + n.handover_full == n.handed_over + (count - 1) * n.given_to_all,
                  "what is handed over arrives");
            wants(n.handover_full == 0, "there is room");
            return outcome;
        },
        10);
}

TEST_CASE("shards: accept works on all of them, and queues that follow their writers hand over little") {
    reactor r(make_sim_backend());
    wire_config cable;
    cable.latency = 5ms;
    wire w(r, cable);
    host client(r, named("client"));
    REQUIRE(client.add_interface(w.left(), mac(1), p("192.0.2.1/24")).has_value());
    split_host server(r, w.right(), 2);
    crowd c;
    run_crowd(r, client, server, 200, 20'000, c);
    CHECK(c.well == 200);
    CHECK(c.served[0] + c.served[1] == 200);
    CHECK(c.served[0] > 70);
    CHECK(c.served[1] > 70);
    CHECK(server.moved() == 0);
    CHECK(server.resets() == 0);
    const link_counters n = server.sum();
    MESSAGE("handed over ", n.handed_over, " of ", n.frames_in, " frames of 200 flows");
    CHECK(n.handed_over > 70);
    CHECK(n.handed_over < 130); // the SYN of every second flow, and nothing else
    CHECK(n.frames_in > 3000);
}

TEST_CASE("shards: one answer to ARP and to a ping, by whatever queue; all learn who answers") {
    reactor r(make_sim_backend());
    wire w(r);
    std::size_t queue = 0;
    split_host us(r, w.right(), 3, [&](bytes) { return queue; });
    station peer(w.left(), mac(1), a("192.0.2.1"));
    r.run(pass_time(10s)); // announcements
    for (queue = 0; queue < 3; ++queue) {
        peer.arp_received.clear();
        peer.received.clear();
        peer.send_arp(arp::packet::request(mac(1), a("192.0.2.1"), a("192.0.2.2")), mac(2));
        r.run(pass_time(1ms));
        CHECK(peer.arp_received.size() == 1);
        peer.send(ping(a("192.0.2.1"), a("192.0.2.2"), 56), mac(2));
        r.run(pass_time(1ms));
        CHECK(peer.icmp_of(icmp::type::echo_reply).size() == 1);
    }
}

TEST_CASE("shards: datagrams in pieces reach the shard that has their port") {
    reactor r(make_sim_backend());
    wire w(r);
    tapir::random any(5);
    split_host us(r, w.right(), 3, [&](bytes) { return any.below(3); });
    host client(r, named("client"));
    REQUIRE(client.add_interface(w.left(), mac(1), p("192.0.2.1/24")).has_value());
    auto from = client.bind_udp({{}, 5000});
    REQUIRE(from.has_value());
    for (const std::uint16_t to : {std::uint16_t{53}, std::uint16_t{54}, std::uint16_t{55}}) {
        for (std::uint32_t shard = 0; shard < 3; ++shard)
            if (shard != to % 3u)
                CHECK(us.shards[shard]->bind_udp({{}, to}).error() == errc::address_unavailable);
        auto at = us.shards[to % 3u]->bind_udp({{}, to});
        REQUIRE(at.has_value());
        for (const std::size_t size : {std::size_t{100}, std::size_t{9000}, std::size_t{60'000}}) {
            const auto said = numbered_bytes(size);
            auto both = [&]() -> task<> {
                std::vector<std::byte> room(65'536);
                CHECK(co_await from->send_to(bytes(said), {a("192.0.2.2"), to}));
                const auto got = co_await at->receive_from(room);
                REQUIRE(got.has_value());
                CHECK(std::ranges::equal(bytes(room).first(got->size), said));
                // And back: the answer, in pieces of another shard's numbers.
                CHECK(co_await at->send_to(bytes(said), got->from));
                const auto back = co_await from->receive_from(room);
                REQUIRE(back.has_value());
                CHECK(std::ranges::equal(bytes(room).first(back->size), said));
            };
            r.run(both());
        }
    }
    CHECK(us.shards[0]->reassembly().count().reassembled == 6);
    CHECK(us.shards[1]->reassembly().count().reassembled == 0);
    auto any_port = us.shards[2]->bind_udp({{}, 0});
    REQUIRE(any_port.has_value());
    CHECK(any_port->local().port % 3 == 2);
}

TEST_CASE("shards: each opens connections whose answers are its own") {
    reactor r(make_sim_backend());
    wire w(r);
    tapir::random any(5);
    split_host us(r, w.right(), 3, [&](bytes) { return any.below(3); });
    host peer(r, named("peer"));
    REQUIRE(peer.add_interface(w.left(), mac(1), p("192.0.2.1/24")).has_value());
    auto listening = peer.listen({{}, port});
    REQUIRE(listening.has_value());
    int refused = 0;
    auto body = [&]() -> task<> {
        std::vector<tcp::connection> open;
        for (const auto& shard : us.shards) {
            for (int i = 0; i < 20; ++i) {
                auto c = co_await shard->connect({a("192.0.2.1"), port});
                REQUIRE(c.has_value());
                open.push_back(std::move(*c));
            }
            for (std::uint16_t own = 2000; own < 2030; ++own) { // a port of our choice is one in three
                auto c = co_await shard->connect({a("192.0.2.1"), port}, {}, own);
                if (!c) {
                    CHECK(c.error() == errc::address_unavailable);
                    ++refused;
                } else {
                    open.push_back(std::move(*c));
                }
            }
        }
        CHECK(us.shards[0]->listen({{}, 0}).error() == errc::invalid_argument);
        // An ICMP error finds the flow, whoever gets it.
        CHECK((co_await us.shards[1]->connect({a("192.0.2.1"), 81})).error() == errc::refused);
        for (tcp::connection& c : open) c.abort();
    };
    r.run(body());
    CHECK(refused == 60);
    CHECK(us.moved() == 0);
}

TEST_CASE("shards: a Fast Open cookie of one is good with all, for days") {
    constexpr std::uint32_t count = 3;
    tcp::config c;
    std::vector<tcp::fast_open_cookies> shards;
    const siphash_key secret{5, 6};
    for (std::uint32_t i = 0; i < count; ++i)
        shards.emplace_back(secret, tapir::random(secret.k0 ^ secret.k1), c.fast_open_cookie_period);
    using verdict = tcp::fast_open_cookies::verdict;
    for (int hour = 1; hour < 100; hour += 7) { // each is asked when it happens to be
        auto& one = shards[static_cast<std::size_t>(hour) % count];
        auto& other = shards[static_cast<std::size_t>(hour + 1) % count];
        const auto made = one.make(a("192.0.2.2"), a("192.0.2.1"), instant(hour * 1h));
        CHECK(other.check(made, a("192.0.2.2"), a("192.0.2.1"), instant(hour * 1h)) == verdict::good);
    }
}
