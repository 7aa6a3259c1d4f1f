#include "tests/simulation/world.hpp"

#include "tests/simulation/networks.hpp"

namespace tapir::test {

namespace {

seed_run kept(std::uint64_t seed) {
    seed_run run(seed);
    run.keep = true;
    return run;
}

} // namespace

world::world(const seed_run& run, const options& o) : net_(run) {
    net_.host("client", o.client);
    net_.link(to_right(impaired(o.to_server)), to_left(impaired(o.to_client)));
    net_.host("server", o.server);
    net_.start();
}

world::world(std::uint64_t seed, const options& o) : world(kept(seed), o) {}

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
        // A FIN lost eight times in a row is no failure of TCP.
        c->connections.close_timeout = c->connections.give_up_after = 10min;
        c->msl = 5min; // nor is its ACK that is lost as often
    }
    draw_recovery(draw, o.client, o.server);
    return o;
}

} // namespace tapir::test
