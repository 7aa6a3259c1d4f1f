// router: forwards between two networks, each behind a TAP of its own, and can be as bad a network as one
// likes. It answers ping, says when hops are used up or packets are too large, and cuts those that may be.
//
//     router --right-kernel none --loss 1 --delay 20 &      # 192.0.2.2 on tapir0, 198.51.100.2 on tapir1
//     ip route add 198.51.100.0/24 via 192.0.2.2            # from here everything there goes through it
//
// "none": the kernel gets no address on that side, for it would reach both networks directly; who is there
// instead is bridged to the device, or has it moved into a namespace (ip link set tapir1 netns ...).

#include <tapir/framework/entropy.hpp>
#include <tapir/framework/reactor.hpp>
#include <tapir/protocols/host/kernel_side.hpp>
#include <tapir/protocols/ipv4/routes.hpp>
#include <tapir/protocols/link/impair.hpp>

#include <csignal>
#include <optional>

#include "samples/support/network.hpp"

using namespace tapir;

namespace {

/// One of the two networks.
struct side {
    side(samples::command_line& line, const std::string& name, std::string device, std::string own_address)
        : option("--" + name), tap(std::move(device)), address(std::move(own_address)) {
        line.option(option, tap, "name of the TAP device on the " + name);
        line.option(option + "-address", address, "our address and network there");
        line.option(option + "-kernel", kernel,
                    "the kernel's address there, or none (default: the first other one)");
        line.option(option + "-gateway", gateway, "who knows the way to everything else, if there is one");
        line.option(option + "-mtu", mtu, "bytes of the largest packet there; 0: as the device has it")
            .within(0, 65535);
    }

    std::string option;
    std::string tap;
    std::string address;
    std::string kernel;
    std::string gateway;
    std::uint32_t mtu = 0;

    ip::prefix own;
};

/// How bad the network on the right is, both ways.
struct impairment_options {
    explicit impairment_options(samples::command_line& line) {
        line.option("--loss", loss, "per cent of packets lost").within(0.0, 100.0);
        line.option("--duplicate", duplicate, "per cent of packets doubled").within(0.0, 100.0);
        line.option("--corrupt", corrupt, "per cent of packets with a wrong bit").within(0.0, 100.0);
        line.option("--reorder", reorder, "per cent of packets that others overtake").within(0.0, 100.0);
        line.option("--delay", delay, "milliseconds each way").within(0, 60'000);
        line.option("--jitter", jitter, "milliseconds at most, added to the delay").within(0, 60'000);
        line.option("--rate", rate, "kilobytes per second each way; 0: as fast as they come")
            .within(0, 10'000'000);
    }

    double loss = 0;
    double duplicate = 0;
    double corrupt = 0;
    double reorder = 0;
    std::uint32_t delay = 0;
    std::uint32_t jitter = 0;
    std::uint32_t rate = 0;

    bool any() const {
        return loss + duplicate + corrupt + reorder > 0 || delay != 0 || jitter != 0 || rate != 0;
    }
    impair_config config(std::uint64_t seed) const {
        const auto ppm = [](double per_cent) { return static_cast<std::uint32_t>(per_cent * 10'000); };
        impairment how;
        how.loss_ppm = ppm(loss);
        how.duplicate_ppm = ppm(duplicate);
        how.corrupt_ppm = ppm(corrupt);
        how.reorder_ppm = ppm(reorder);
        how.delay = std::chrono::milliseconds(delay);
        how.jitter = std::chrono::milliseconds(jitter);
        how.rate = std::uint64_t{rate} * 1000;
        impair_config c;
        c.out = how;
        c.in = how;
        c.seed = seed;
        return c;
    }
};

bool fail(const std::string& why) {
    log::error(why);
    return false;
}

std::nullptr_t no_tap(const std::string& why) {
    log::error(why);
    return nullptr;
}

/// Whether both sides' addresses can stand beside each other. Nothing has been touched yet.
bool parse(side& s, ipv4::routes& plan, std::size_t number) {
    const auto own = ip::parse_prefix(s.address);
    if (!own)
        return fail(s.option + "-address '" + s.address +
                    "' is not an IPv4 address with its prefix, as 192.0.2.2/24");
    s.own = *own;
    if (auto added = plan.add_address(*own, number); !added)
        return fail(s.option + "-address " + s.address + ": " + added.error().message());
    return true;
}

result<ip::address> first_other(const ip::prefix& own) {
    const std::uint32_t network = own.addr.v4_value() & own.mask();
    return ip::address::v4(network + 1 == own.addr.v4_value() ? network + 2 : network + 1);
}

/// How frames are moved.
struct moving {
    moving(tap_io path, tap_offload what) : io(path), offload(what) {}
    tap_io io;
    tap_offload offload;
};

/// Opens the TAP and sets the kernel's end of it up. What is wrong has been said when there is none.
task<std::unique_ptr<tapir::tap>> open(const side* s, moving how) {
    tap_config c(s->tap, how.io);
    c.offload = how.offload;
    c.mtu = s->mtu;
    auto device = co_await open_tap(c);
    if (!device) co_return no_tap(s->tap + ": " + device.error().message());
    if (s->kernel == "none") {
        if (auto up = set_kernel_side_up(s->tap, true); !up)
            co_return no_tap(s->tap + ": " + up.error().message());
        co_return std::move(*device);
    }
    const auto kernel = s->kernel.empty() ? first_other(s->own) : ip::parse_address(s->kernel);
    if (!kernel)
        co_return no_tap(s->option + "-kernel '" + s->kernel + "' is neither an IPv4 address nor none");
    if (auto set = configure_kernel_side(s->tap, ip::prefix(*kernel, s->own.length)); !set)
        co_return no_tap(s->tap + ": cannot set the kernel's address " + kernel->to_string() + ": " +
                         set.error().message());
    co_return std::move(*device);
}

bool attach(host& router, side& s, tapir::link& over) {
    const std::uint64_t draw = router.on().rng().next();
    const auto octet = [&](unsigned i) { return static_cast<std::uint8_t>(draw >> (8 * i)); };
    const ethernet::mac_address mac(0x02, octet(0), octet(1), octet(2), octet(3), octet(4));
    if (auto added = router.add_interface(over, mac, s.own); !added)
        return fail(s.option + "-address " + s.address + ": " + added.error().message());
    if (s.gateway.empty()) return true;
    const auto gateway = ip::parse_address(s.gateway);
    if (!gateway) return fail(s.option + "-gateway '" + s.gateway + "' is not an IPv4 address");
    if (auto added = router.add_route(ip::prefix(), *gateway); !added)
        return fail(s.option + "-gateway " + s.gateway + ": no neighbour in " + s.address);
    return true;
}

task<int> route(side* left, side* right, const impairment_options* bad, moving io,
                const samples::control_options* seen) {
    ipv4::routes plan;
    if (!parse(*left, plan, 0) || !parse(*right, plan, 1)) co_return 1;
    promise_base& self = co_await this_coroutine;
    const std::unique_ptr<tapir::tap> on_the_left = co_await open(left, io);
    if (!on_the_left) co_return 1;
    const std::unique_ptr<tapir::tap> on_the_right = co_await open(right, io);
    if (!on_the_right) co_return 1;
    std::optional<impair> path;
    tapir::link* to_the_right = on_the_right.get();
    if (bad->any())
        to_the_right = &path.emplace(self.reactor(), *to_the_right, bad->config(self.reactor().rng().next()));
    host_config config;
    config.name = "router";
    config.secret = os_secret();
    config.forwarding = true;
    host router(self.reactor(), config);
    if (!attach(router, *left, *on_the_left) || !attach(router, *right, *to_the_right)) co_return 1;

    samples::control_socket control;
    if (!co_await control.open(*seen)) co_return 1;

    samples::program_signals signals(nullptr);
    std::printf("routing between %s on %s and %s on %s%s; Ctrl-C ends it\n", left->address.c_str(),
                left->tap.c_str(), right->address.c_str(), right->tap.c_str(),
                bad->any() ? ", over a bad network" : "");
    std::fflush(stdout);
    auto body = [&](scope& s) -> task<> {
        s.spawn([&] { return control.serve(&router, nullptr); });
        co_await samples::interrupt(&signals);
        s.request_stop();
    };
    co_await with_scope(body);
    const auto& n = router.forwarding_counters();
    log::info("forwarded " + std::to_string(n.forwarded) + " packets, " +
              std::to_string(router.output().count().fragmented) + " of them in pieces; hops used up: " +
              std::to_string(n.ttl_exceeded) + ", no route: " + std::to_string(n.no_route) +
              ", too large: " + std::to_string(n.fragmentation_needed));
    co_return 0;
}

} // namespace

int main(int argc, char** argv) {
    samples::command_line line("router: forwards between two TAPs, with faults if asked to");
    side left(line, "left", "tapir0", "192.0.2.2/24");
    side right(line, "right", "tapir1", "198.51.100.2/24");
    const impairment_options bad(line);
    std::string io = "automatic";
    const samples::control_options control(line);
    line.option("--tap-io", io, "how frames are moved").one_of({"automatic", "poll", "multishot"});
    std::string offload = "auto";
    line.option("--tap-offload", offload, "whether the kernel cuts large segments and sums checksums")
        .one_of({"auto", "off"});
    if (const auto status = line.parse(argc, argv)) return *status;
    const tap_io path = io == "poll"        ? tap_io::poll
                        : io == "multishot" ? tap_io::multishot
                                            : tap_io::automatic;
    const moving how(path, offload == "off" ? tap_offload::off : tap_offload::automatic);
    return samples::run_program([&] { return route(&left, &right, &bad, how, &control); });
}
