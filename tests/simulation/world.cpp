#include "tests/simulation/world.hpp"

#include <tapir/framework/sleep.hpp>
#include <tapir/protocols/host/packet_text.hpp>

#include <cstdlib>
#include <memory>

namespace tapir::test {

coverage& coverage::of_this_run() {
    static coverage instance;
    return instance;
}

void coverage::walked(tcp::state from, tcp::event cause, tcp::state to) {
    ++counts_[{static_cast<int>(from), static_cast<int>(cause), static_cast<int>(to)}];
}

std::uint64_t coverage::count(const tcp::arc& a) const {
    const auto found =
        counts_.find({static_cast<int>(a.from), static_cast<int>(a.cause), static_cast<int>(a.to)});
    return found == counts_.end() ? 0 : found->second;
}

std::size_t coverage::walked_arcs() const {
    std::size_t n = 0;
    for (const tcp::arc& a : tcp::arcs) n += count(a) != 0 ? 1u : 0u;
    return n;
}

std::string coverage::missing() const {
    std::string out;
    for (const tcp::arc& a : tcp::arcs)
        if (count(a) == 0)
            out += std::string(name(a.from)) + " --" + std::string(name(a.cause)) + "--> " +
                   std::string(name(a.to)) + "\n";
    return out;
}

fault_counts& faults_of_this_run() {
    static fault_counts instance;
    return instance;
}

namespace {

reactor_config seeded(std::uint64_t seed) {
    reactor_config c;
    c.seed = seed;
    return c;
}

sim_config simulated(std::uint64_t seed) {
    sim_config c;
    c.seed = seed;
    return c;
}

impair_config impaired(std::uint64_t seed, const world::options& o) {
    impair_config c;
    c.out = o.to_server;
    c.in = o.to_client;
    c.seed = seed;
    return c;
}

host_config named(const char* name, const tcp::config& tcp, tcp::trace_sink* trace) {
    host_config c;
    c.name = name;
    c.tcp = tcp;
    c.trace = trace;
    return c;
}

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

} // namespace

world::world(std::uint64_t seed, options o)
    : seed_(seed), frames_before_(live_frames()), random_(seed ^ 0x5eed),
      reactor_(make_sim_backend(simulated(seed)), seeded(seed)), wire_(reactor_),
      path_(reactor_, wire_.left(), impaired(seed, o)),
      hashed_(reactor_, path_,
              [this](direction d, instant at, const frame& f) {
                  mix(static_cast<std::uint64_t>(at.time_since_epoch().count()));
                  for (const std::byte b : f.data()) mix(static_cast<std::uint64_t>(b));
                  if (ladder_.size() < 200'000)
                      ladder_ += std::to_string(at.time_since_epoch() / 1us) + "us " +
                                 (d == direction::out ? "client -> " : "server -> ") + packet_text(f.data()) +
                                 "\n";
              }),
      seen_(reactor_, hashed_), client_(std::make_unique<host>(reactor_, named("client", o.client, this))),
      server_(std::make_unique<host>(reactor_, named("server", o.server, this))) {
    const ethernet::mac_address client_mac(2, 0, 0, 0, 0, 1);
    const ethernet::mac_address server_mac(2, 0, 0, 0, 0, 2);
    (void)client_->add_interface(seen_, client_mac, ip::prefix(client_at(0).addr, 24));
    (void)server_->add_interface(wire_.right(), server_mac, ip::prefix(server_at(0).addr, 24));
}

world::~world() {
    faults_of_this_run() += path_.faults();
}

void world::mix(std::uint64_t value) {
    hash_ = (hash_ ^ value) * 0x100000001b3u;
} // FNV-1a

void world::segment_out(const tcp::flow_key& flow, const tcp::outgoing_segment& s, instant now) {
    conversation_.sent(side_of(flow), s, now);
}

void world::state_changed(const tcp::flow_key& flow, const tcp::edge& e) {
    coverage::of_this_run().walked(e.from, e.cause, e.to);
    // A listener on any address has none of its own.
    conversation_.changed(flow.local.is_unspecified() ? side::server : side_of(flow), e);
    mix(static_cast<std::uint64_t>(e.from) << 16 | static_cast<std::uint64_t>(e.cause) << 8 |
        static_cast<std::uint64_t>(e.to));
    mix(static_cast<std::uint64_t>(e.when.time_since_epoch().count()));
}

std::string world::quiet() {
    auto pass = []() -> task<> { (void)co_await sleep_for(10min); };
    reactor_.run(pass());
    std::string wrong;
    const auto check = [&](const char* what, std::size_t left) {
        if (left != 0) wrong += std::string(what) + ": " + std::to_string(left) + " left\n";
    };
    check("client connections", client_->tcp().connections());
    check("client half-open", client_->tcp().half_open());
    check("client TIME_WAIT", client_->tcp().time_waits());
    check("server connections", server_->tcp().connections());
    check("server half-open", server_->tcp().half_open());
    check("server TIME_WAIT", server_->tcp().time_waits());
    check("client receive memory", client_->tcp().memory().receive.used());
    check("client send memory", client_->tcp().memory().send.used());
    check("server receive memory", server_->tcp().memory().receive.used());
    check("server send memory", server_->tcp().memory().send.used());
    check("client buffers", client_->pool().live_blocks());
    check("server buffers", server_->pool().live_blocks());
    check("coroutines", live_frames() - frames_before_);
    return wrong;
}

world::options network_of(std::uint64_t seed) {
    random draw(seed * 7919 + 1);
    world::options o;
    for (impairment* way : {&o.to_server, &o.to_client}) {
        if (draw.below(3) != 0) way->loss_ppm = draw.below(100'000);
        if (draw.below(2) != 0) way->duplicate_ppm = draw.below(50'000);
        if (draw.below(2) != 0) way->corrupt_ppm = draw.below(30'000);
        if (draw.below(2) != 0) way->reorder_ppm = draw.below(100'000);
        way->delay = duration(draw.below(50'000'000));
        if (draw.below(2) != 0) way->jitter = duration(draw.below(20'000'000));
        if (draw.below(3) == 0) way->rate = 100'000 + draw.below(10'000'000);
        way->queue = 20'000 + draw.below(200'000);
    }
    for (tcp::config* c : {&o.client, &o.server}) {
        if (draw.below(4) == 0) c->use_timestamps = false;
        if (draw.below(4) == 0) c->use_window_scale = false;
        if (draw.below(3) == 0) c->connections.receive_buffer = 4096 + draw.below(20'000);
        if (draw.below(3) == 0) c->connections.send_buffer = 4096 + draw.below(20'000);
        c->connections.no_delay = draw.below(2) == 0;
    }
    return o;
}

std::uint64_t seeds_per_run() {
    return from_environment("TAPIR_SEEDS", 500);
}
std::uint64_t replayed_seed() {
    return from_environment("TAPIR_SEED", 0);
}

} // namespace tapir::test
