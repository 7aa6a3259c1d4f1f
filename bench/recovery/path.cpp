// The network between the two ends of a transfer, in real time: Ethernet frames from TAPs on the left go
// through impair to what is on the right, and back. Each TAP is the device of a kernel in a network namespace
// of its own; an end that is tapir is a host in this process, on a wire in memory. So the frames of every
// transfer, whoever sends, meet one and the same code, and no kernel but those at the ends.
//
//     path --left l/t0 --right r/t0 --rate 12500000 --delay 10 --queue 250000 --loss 1 --seed 7
//     path --tapir-sends 192.0.2.2:8001 --right r/t0 ...        tapir on the left, also beside --left
//     path --left l/t0 --tapir-receives 8001 ...                tapir on the right
//
// Data goes from left to right. Loss and reordering hit segments that carry data, and nothing else: so the
// seed does the same to the n-th of them, whoever sends it and however much ARP and handshake is in between.
// Rate, queue and delay are for all frames. It prints "ready" when frames can flow, and what it did to them
// when SIGTERM ends it.

#include <tapir/framework/entropy.hpp>
#include <tapir/framework/log.hpp>
#include <tapir/framework/race.hpp>
#include <tapir/framework/signals.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/framework/uring_backend.hpp>
#include <tapir/protocols/link/impair.hpp>
#include <tapir/protocols/link/tap.hpp>
#include <tapir/protocols/link/wire.hpp>

#include <csignal>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <sys/prctl.h>
#include <vector>

#include "bench/recovery/hub.hpp"
#include "bench/recovery/in_namespace.hpp"
#include "bench/recovery/load.hpp"
#include "bench/recovery/tapir_end.hpp"
#include "samples/support/command_line.hpp"

using namespace tapir;

namespace {

struct options {
    explicit options(samples::command_line& line) {
        line.option("--left", left, "NAMESPACE/DEVICE of a TAP whose kernel sends; may be given again");
        line.option("--right", right, "NAMESPACE/DEVICE of the TAP whose kernel receives");
        line.option("--rate", rate, "bytes per second of the bottleneck, each way");
        line.option("--queue", queue, "bytes that may wait for it; the tail is dropped");
        line.option("--delay", delay, "milliseconds each way").within(0.0, 60'000.0);
        line.option("--loss", loss, "per cent of data segments lost").within(0.0, 100.0);
        line.option("--ack-loss", ack_loss, "per cent of segments lost on the way back").within(0.0, 100.0);
        line.option("--reorder", reorder, "per cent of data segments that later ones overtake")
            .within(0.0, 100.0);
        line.option("--reorder-by", reorder_by, "so many overtake it").within(1, 10'000);
        line.option("--reorder-hold", reorder_hold, "milliseconds after which it goes in any case")
            .within(0.0, 60'000.0);
        line.option("--seed", seed, "decides which");
        line.option("--tapir-sends", tapir_sends, "ADDRESS:PORT to which tapir sends from the left");
        line.option("--tapir-receives", tapir_receives, "port at which tapir receives on the right");
        line.option("--tapir-address", tapir_address, "tapir's own address");
        line.option("--buffer", buffer, "bytes of tapir's send and receive buffers; 0: its default")
            .within(0, 1 << 30);
        line.option("--bytes", bytes, "that tapir sends");
        line.option("--seconds", limits.seconds, "tapir receives no longer").within(0.1, 36'000.0);
        line.option("--stalled", limits.stalled, "seconds without a byte that end it").within(0.1, 3600.0);
        line.option("--warm-up", limits.warm_up, "seconds whose bytes are not counted").within(0.0, 3600.0);
        line.option("--life", life, "seconds after which the path ends by itself").within(0.1, 36'000.0);
    }

    std::vector<std::string> left;
    std::string right;
    std::uint64_t rate = 12'500'000;
    std::uint64_t queue = 250'000;
    double delay = 10;
    double loss = 0;
    double ack_loss = 0;
    double reorder = 0;
    std::uint32_t reorder_by = 3;
    double reorder_hold = 10;
    std::uint64_t seed = 1;
    std::string tapir_sends;
    std::uint16_t tapir_receives = 0;
    std::string tapir_address = "192.0.2.9/24";
    std::uint32_t buffer = 0;
    std::uint64_t bytes = 20'000'000;
    bench::tally_limits limits;
    double life = 600;
};

duration milliseconds(double ms) {
    return std::chrono::duration_cast<duration>(std::chrono::duration<double, std::milli>(ms));
}

impair_config faults_of(const options& o) {
    const auto ppm = [](double per_cent) { return static_cast<std::uint32_t>(per_cent * 10'000 + 0.5); };
    impairment back;
    back.rate = o.rate;
    back.queue = o.queue;
    back.delay = milliseconds(o.delay);
    back.loss_ppm = ppm(o.ack_loss);
    impairment there = back;
    there.loss_ppm = ppm(o.loss);
    there.reorder_ppm = ppm(o.reorder);
    there.reorder_gap = o.reorder_by;
    there.reorder_hold = milliseconds(o.reorder_hold);
    impair_config c;
    c.out = there;
    c.in = back;
    c.seed = o.seed;
    return c;
}

/// The TCP segment in an Ethernet frame; empty if there is none.
bytes tcp_segment(bytes f) {
    constexpr std::size_t ip = 14;
    constexpr std::size_t ip_header = 20;
    constexpr std::size_t tcp_header = 20;
    if (f.size() < ip + ip_header || load_be16(f, 12) != 0x0800 || load_u8(f, ip + 9) != 6) return {};
    const std::size_t header = std::size_t{load_u8(f, ip)} % 16 * 4;
    const std::size_t total = load_be16(f, ip + 2);
    if (header < ip_header || total < header + tcp_header || total > f.size() - ip) return {};
    return f.subspan(ip + header, total - header);
}
bool carries_data(bytes f) {
    const bytes s = tcp_segment(f);
    return !s.empty() && s.size() > std::size_t{load_u8(s, 12)} / 16 * 4;
}
bool of_handshake(bytes f) {
    const bytes s = tcp_segment(f);
    constexpr std::uint8_t syn = 0x02;
    return s.empty() || (load_u8(s, 13) & syn) != 0;
}

task<std::unique_ptr<tapir::tap>> open_in_namespace(const std::string* where) {
    const auto slash = where->find('/');
    if (slash == std::string::npos) {
        log::error("'" + *where + "' is not NAMESPACE/DEVICE, as l/t0");
        co_return nullptr;
    }
    tap_config config(where->substr(slash + 1));
    config.txqueuelen = 4096; // more frames than any window here has
    const bench::in_namespace inside(where->substr(0, slash));
    config.offload = tap_offload::off; // packets as they are on a cable: the kernel cuts before the queue
    auto opened = co_await open_tap(config);
    if (!opened) {
        log::error(*where + ": " + opened.error().message());
        co_return nullptr;
    }
    co_return std::move(*opened);
}

void print_direction(const char* name, const fault_counts& n) {
    const auto of = [&](fault_kind k) { return static_cast<unsigned long long>(n[k]); };
    std::printf("%s_frames %llu %s_lost %llu %s_tail_drops %llu %s_reordered %llu ", name,
                static_cast<unsigned long long>(n.frames), name, of(fault_kind::loss), name,
                of(fault_kind::tail_drop), name, of(fault_kind::reorder));
}

std::uint64_t drops(const link_counters& c) {
    return c.dropped_full + c.dropped_too_big + c.dropped_no_carrier + c.errors;
}

task<> interrupted(signal_set* signals) {
    (void)co_await signals->next();
}
task<> end_of_life(double seconds) {
    const result<> slept = co_await sleep_for(milliseconds(seconds * 1000));
    if (slept) log::error("nobody has ended this path in " + std::to_string(seconds) + " s");
}

task<int> carry(const options* o) {
    promise_base& self = co_await this_coroutine;
    reactor& on = self.reactor();
    signal_set signals(SIGINT, SIGTERM);

    std::vector<std::unique_ptr<tapir::tap>> taps;
    bench::hub left(on, o->seed);
    for (const std::string& name : o->left) {
        taps.push_back(co_await open_in_namespace(&name));
        if (!taps.back()) co_return 1;
        left.add(*taps.back());
    }
    const auto own = ip::parse_prefix(o->tapir_address);
    if (!own) {
        log::error("--tapir-address '" + o->tapir_address + "' is not an IPv4 address with its prefix");
        co_return 1;
    }
    wire to_tapir(on);
    const bool sends = !o->tapir_sends.empty();
    const bool receives = o->tapir_receives != 0;
    if (sends == receives && sends) {
        log::error("tapir cannot be at both ends here: --tapir-sends or --tapir-receives");
        co_return 1;
    }
    if (sends) left.add(to_tapir.left());
    tapir::link* right = &to_tapir.left();
    if (!receives) {
        taps.push_back(co_await open_in_namespace(&o->right));
        if (!taps.back()) co_return 1;
        right = taps.back().get();
    }

    impair path(on, *right, faults_of(*o));
    bench::load_meter load(on);
    path.spare(direction::out, [&load](bytes f) {
        const bool data = carries_data(f);
        if (data) load.begin();
        return !data;
    });
    path.spare(direction::in, of_handshake);
    bench::bridge joined(on, left, path);

    std::unique_ptr<host> ours;
    std::optional<tcp::listener> listener;
    if (sends || receives) {
        ours = bench::make_host(on, to_tapir.right(), *own, o->buffer);
        if (!ours) co_return 1;
    }
    const auto to = ip::parse_endpoint(sends ? o->tapir_sends : "192.0.2.1:1");
    if (!to) {
        log::error("--tapir-sends '" + o->tapir_sends + "' is not an IPv4 address with a port");
        co_return 1;
    }
    if (receives) {
        tcp::listen_options how;
        how.accepted = bench::options_with(o->buffer);
        auto opened = ours->listen(ip::endpoint(ip::address(), o->tapir_receives), how);
        if (!opened) {
            log::error("--tapir-receives " + std::to_string(o->tapir_receives) + ": " +
                       opened.error().message());
            co_return 1;
        }
        listener = std::move(*opened);
    }
    std::printf("ready\n");
    std::fflush(stdout);

    auto until_told = [&](scope& s) -> task<> {
        s.spawn([&] { return load.watch(); });
        if (sends) s.spawn(&bench::send_bulk, ours.get(), *to, o->bytes, o->buffer);
        if (receives) s.spawn(&bench::receive_bulk, &*listener, o->limits);
        co_await race(interrupted(&signals), end_of_life(o->life));
        s.request_stop();
    };
    co_await with_scope(until_told);

    std::uint64_t lost_at_taps = 0;
    for (const auto& t : taps) lost_at_taps += drops(t->counters());
    std::printf("path ");
    print_direction("data", path.faults(direction::out));
    print_direction("ack", path.faults(direction::in));
    std::printf("tap_drops %llu wire_drops %llu ", static_cast<unsigned long long>(lost_at_taps),
                static_cast<unsigned long long>(drops(to_tapir.left().counters()) +
                                                drops(to_tapir.right().counters())));
    load.print();
    co_return 0;
}

} // namespace

int main(int argc, char** argv) {
    samples::command_line line("path: a network with faults between TAPs, for bench/recovery/run");
    const auto o = std::make_unique<options>(line);
    if (const auto status = line.parse(argc, argv)) return *status;
    ::prctl(PR_SET_TIMERSLACK, 1UL); // the default of 50 us would be a twentieth of the shortest RTT
    try {
        reactor_config config;
        config.seed = os_seed();
        reactor r(make_uring_backend(), config);
        return r.run(carry(o.get()));
    } catch (const std::exception& e) {
        log::error(e.what());
        return 1;
    }
}
