#include "tests/simulation/networks.hpp"

#include <algorithm>
#include <array>

#include "tests/simulation/topology.hpp"

namespace tapir::test {

namespace {

/// Uniform below `most`.
duration below(random& draw, duration most) {
    if (most <= duration::zero()) return {};
    return duration(static_cast<std::int64_t>(draw.next() % static_cast<std::uint64_t>(most.count())));
}

/// One way, without jitter: ordinary in three seeds of four, else anything from 5 us to half an hour.
duration draw_delay(random& draw) {
    constexpr std::array<duration, 9> scales = {10us, 100us, 1ms, 10ms, 100ms, 1s, 10s, 300s, 1700s};
    if (draw.below(4) != 0) return below(draw, 50ms);
    const duration scale = scales[draw.below(static_cast<std::uint32_t>(scales.size()))];
    return scale / 2 + below(draw, scale / 2);
}

void draw_way(random& draw, duration delay, impairment& way) {
    if (draw.below(3) != 0) way.loss_ppm = draw.below(80'000);
    if (draw.below(2) != 0) way.duplicate_ppm = draw.below(50'000);
    if (draw.below(3) == 0) way.corrupt_ppm = draw.below(30'000);
    if (draw.below(2) != 0) way.reorder_ppm = draw.below(100'000);
    way.delay = delay;
    if (draw.below(2) != 0) way.jitter = below(draw, delay / 2);
    way.keep_order = draw.below(4) == 0;
    if (draw.below(3) == 0) way.rate = 50'000 + draw.below(10'000'000);
    way.queue = 5'000 + draw.below(200'000);
}

/// What happens to a link while it is used, within the first round trips or so.
void draw_changes(random& draw, duration rtt, link_plan& plan) {
    const duration soon = 200ms + below(draw, 3s + 10 * rtt);
    const duration lasts = below(draw, 2s + 3 * rtt);
    switch (draw.below(8)) {
    case 0: // the cable is pulled, and put back
        at(soon, down())(plan);
        at(soon + lasts, up())(plan);
        break;
    case 1: // nothing passes, and nobody is told
        at(soon, loss(1'000'000))(plan);
        at(soon + lasts, loss(0))(plan);
        break;
    case 2: // another route, one way only
        at(soon, to_right(delay(below(draw, plan.to_right.delay))))(plan);
        break;
    case 3: at(soon, to_left(rate(20'000), tail_drop_queue(10'000)))(plan); break;
    case 4: at(soon, mtu(1280))(plan); break;
    case 5: // narrow, and wide again
        at(soon, mtu(600 + draw.below(800)))(plan);
        at(soon + lasts, mtu(1500))(plan);
        break;
    case 6: // the same, and nobody is told
        at(soon, black_hole(600 + draw.below(800)))(plan);
        at(soon + 2 * lasts, black_hole(0))(plan);
        break;
    default: break;
    }
}

/// Who uses ECN, where packets are marked, and what does not know it.
void draw_ecn(random& draw, drawn_network& n) {
    for (tcp::config* c : {&n.client, &n.server}) c->connections.ecn = draw.below(3) != 0;
    for (link_plan& plan : n.links) {
        for (impairment* way : {&plan.to_right, &plan.to_left}) {
            if (draw.below(2) != 0) way->mark_above = draw.below(static_cast<std::uint32_t>(way->queue));
            switch (draw.below(12)) {
            case 0: way->ecn = ecn_path::bleaches; break;
            case 1: way->ecn = ecn_path::swallows_setup; break;
            case 2: way->ecn = ecn_path::swallows_ect; break;
            default: break;
            }
        }
    }
}

} // namespace

void draw_recovery(random& draw, tcp::config& client, tcp::config& server) {
    for (tcp::config* c : {&client, &server}) {
        if (draw.below(4) == 0) c->use_sack = false;
        if (draw.below(3) == 0) c->connections.congestion = tcp::congestion_algorithm::new_reno;
        if (draw.below(6) == 0) c->tail_loss_probe = false;
        if (draw.below(6) == 0) c->limited_transmit = false;
        if (draw.below(8) == 0) c->max_sack_ranges = 1 + draw.below(4);
        constexpr std::array modes = {tcp::mtu_probing::off, tcp::mtu_probing::black_hole,
                                      tcp::mtu_probing::black_hole, tcp::mtu_probing::always};
        c->connections.path_mtu = modes[draw.below(static_cast<std::uint32_t>(modes.size()))];
    }
}

void suit(tcp::config& c, duration rtt) {
    c.initial_rto = std::max<duration>(c.initial_rto, 2 * rtt);
    c.max_rto = std::max<duration>(c.max_rto, 8 * rtt);
    c.persist_max = std::max<duration>(c.persist_max, 2 * rtt);
    // A FIN whose ACK is lost comes again within 2 MSL, also when it is lost several times.
    c.msl = std::max<duration>(c.msl, 32 * rtt);
    c.syn_ack_retries = 12; // more than ARP can hold up, when its own packets are lost
    c.connections.give_up_after = 10min + 64 * rtt;
    c.connections.connect_timeout = 10min + 64 * rtt;
    c.connections.close_timeout = 10min + 400 * rtt; // what is queued may take a round trip for each window
}

void suit(arp::cache_config& c, duration rtt) {
    c.retry_interval = std::max<duration>(c.retry_interval, 2 * rtt);
    c.reachable_time = std::max<duration>(c.reachable_time, 16 * rtt);
    c.idle_lifetime = std::max<duration>(c.idle_lifetime, 64 * rtt);
}

drawn_network draw_network(std::uint64_t seed) {
    random draw(seed * 104'729 + 7);
    drawn_network n;
    const duration to_server = draw_delay(draw);
    // Asymmetric in one seed of four: one way is another network.
    const duration to_client = draw.below(4) == 0 ? draw_delay(draw) : to_server;
    // A cable in most, else one router or two.
    const std::uint32_t count = draw.below(3) != 0 ? 1 : 2 + draw.below(2);
    for (std::uint32_t i = 0; i < count; ++i) {
        link_plan plan;
        draw_way(draw, to_server / count, plan.to_right);
        draw_way(draw, to_client / count, plan.to_left);
        for (impairment* way : {&plan.to_right, &plan.to_left}) {
            way->loss_ppm /= count;
            // Two bits flipped in one packet may cancel each other in a 16-bit sum: one link only.
            if (i > 0) way->corrupt_ppm = 0;
        }
        n.rtt += plan.to_right.delay + plan.to_right.jitter + plan.to_left.delay + plan.to_left.jitter;
        constexpr std::array<std::size_t, 4> mtus = {1500, 1400, 1280, 576};
        if (draw.below(3) == 0) plan.mtu = mtus[draw.below(static_cast<std::uint32_t>(mtus.size()))];
        n.links.push_back(std::move(plan));
    }
    draw_changes(draw, n.rtt, n.links[draw.below(count)]);

    constexpr std::array<instant, 3> starts = {instant(20min), sequence_clock_wraps, timestamps_wrap};
    // Two draws are two statements: the order of operands differs between compilers.
    const instant wrap = starts[draw.below(static_cast<std::uint32_t>(starts.size()))];
    n.start = std::max(wrap - below(draw, 10s + 20 * n.rtt) / 4, instant(1s));
    suit(n.arp, n.rtt);
    for (tcp::config* c : {&n.client, &n.server}) {
        suit(*c, n.rtt);
        if (draw.below(4) == 0) c->use_timestamps = false;
        if (draw.below(4) == 0) c->use_window_scale = false;
        c->connections.no_delay = draw.below(2) == 0;
        // Tiny windows, small buffers, plenty, or what grows as needed.
        if (draw.below(2) == 0) c->first_buffer = 2'000 + draw.below(60'000);
        switch (draw.below(6)) {
        case 0: c->connections.receive_buffer = 1 + draw.below(600); break;
        case 1:
        case 2: c->connections.receive_buffer = 2'000 + draw.below(20'000); break;
        default: break;
        }
        switch (draw.below(6)) {
        case 0: c->connections.send_buffer = 1 + draw.below(600); break;
        case 1:
        case 2: c->connections.send_buffer = 2'000 + draw.below(20'000); break;
        default: break;
        }
    }
    draw_recovery(draw, n.client, n.server);
    draw_ecn(draw, n);
    for (link_plan& plan : n.links) plan.segmentation = draw.below(3) == 0;
    for (tcp::config* c : {&n.client, &n.server}) // folded at every opportunity
        if (draw.below(2) == 0)
            c->most_awake = 0;
        else if (draw.below(2) == 0)
            c->dormant_after = 1ns;
    if (draw.below(3) == 0) n.flood_one_in = 1 + draw.below(8);
    return n;
}

void drawn_network::build(topology& t) const {
    host_config left;
    left.tcp = client;
    left.arp = arp;
    host_config right;
    right.tcp = server;
    right.arp = arp;
    host_config between;
    between.arp = arp;
    between.forwarding = true;
    t.host("client", left);
    for (std::size_t i = 0; i < links.size(); ++i) {
        if (i > 0) t.host("router-" + std::to_string(i), between);
        t.link(links[i]);
    }
    t.host("server", right);
    t.floods(flood_one_in);
}

} // namespace tapir::test
