#include "samples/support/network.hpp"

#include <tapir/framework/entropy.hpp>
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/wall_clock.hpp>
#include <tapir/protocols/control/socket.hpp>
#include <tapir/protocols/host/kernel_side.hpp>
#include <tapir/protocols/ipv4/routes.hpp>

#include <exception>

namespace samples {

control_options::control_options(command_line& line) {
    line.option("--control", path, "path of the socket that tapstat asks (default: one that it finds)");
    line.flag("--no-control", none, "no such socket");
}

network_options::network_options(command_line& line, std::uint16_t default_port, bool serves)
    : port(default_port), control(line) {
    line.option("--stack", stack, "whose TCP: tapir's own over a TAP, or the kernel's")
        .one_of({"tap", "kernel"});
    line.option("--tap", tap, "name of the TAP device");
    line.option("--address", address,
                "our address and network on the TAP; with --stack kernel where to listen");
    line.option("--peer", peer,
                "the kernel's address on the TAP (default: the first other one of the network)");
    line.option("--port", port, "TCP port").within(1, 65535);
    line.option("--tap-io", tap_io_name, "how frames are moved").one_of({"automatic", "poll", "multishot"});
    line.option("--tap-offload", tap_offload_name,
                "whether the kernel cuts large segments and sums checksums")
        .one_of({"auto", "off"});
    line.option("--tap-reclaim", tap_reclaim,
                "frames with data after which a datagram to 127.0.0.1 spares an interrupt; 0: never")
        .within(0, 1'000'000);
    line.option("--tap-join", tap_join,
                "large segments of a connection that go to the kernel as one packet, at most; 1: none do")
        .within(1, 8);
    line.flag("--no-bpf", no_bpf,
              "load no BPF program, which spares Linux a search for each frame to us where RPS is on");
    line.flag("--ecn", ecn, "let routers mark packets in place of dropping them, if the peer is willing");
    line.option("--spin", spin_us,
                "microseconds for which it looks for work before it sleeps: answers sooner, for a CPU's time")
        .within(0, 1'000'000);
    line.option("--pcap", pcap, "write every frame to this file, for Wireshark (shard 1: to FILE.1 ...)");
    if (serves) line.option("--shards", shards, "threads that share out the connections").within(1, 64);
}

tap_io network_options::io() const {
    if (tap_io_name == "poll") return tap_io::poll;
    return tap_io_name == "multishot" ? tap_io::multishot : tap_io::automatic;
}

task<> interrupt(program_signals* signals) {
    while (const auto signal = co_await signals->next())
        if (*signal != SIGUSR1) co_return;
}

namespace {

// Says why, and returns what open() returns then.
std::nullptr_t fail(const std::string& why) {
    log::error(why);
    return nullptr;
}

result<ip::address> kernel_address(const network_options& o, const ip::prefix& own) {
    if (!o.peer.empty()) return ip::parse_address(o.peer);
    const std::uint32_t network = own.addr.v4_value() & own.mask();
    const std::uint32_t first = network + 1;
    return ip::address::v4(first == own.addr.v4_value() ? network + 2 : first);
}

} // namespace

// The first shard makes the device and finds out whether all that was asked for is possible; the others join.
task<std::unique_ptr<tap_network>> tap_network::open(const network_options& o, shard* of) {
    promise_base& self = co_await this_coroutine;
    const bool first = of == nullptr || of->is_first();
    if (!first && !co_await of->meet()) co_return nullptr;
    const auto own = ip::parse_prefix(o.address);
    if (!own)
        co_return fail("--address '" + o.address +
                       "' is not an IPv4 address with its prefix, as 192.0.2.2/24");
    std::unique_ptr<tap_network> n(new tap_network(of));
    n->own_ = *own;
    auto peer = kernel_address(o, *own);
    if (!peer) co_return fail("--peer '" + o.peer + "' is not an IPv4 address");
    ipv4::routes plan; // what the host will have; refused here, nothing has been touched yet
    if (!plan.add_address(*own)) co_return fail("--address " + o.address + ": no host can have that address");
    if (!plan.add(ip::prefix(), *peer))
        co_return fail("the kernel cannot have " + peer->to_string() + " beside " + o.address +
                       ": give it, with --peer, another host's address of the same network");
    tap_config how(o.tap, o.io());
    how.frames_per_reclaim = o.tap_reclaim;
    how.most_joined = o.tap_join;
    how.steering_program = !o.no_bpf;
    how.offload = o.tap_offload_name == "off" ? tap_offload::off : tap_offload::automatic;
    if (of != nullptr) {
        how.queue = first ? tap_queue::first : tap_queue::another;
        if (!first) how.offload = of->offload();
    }
    auto device = co_await open_tap(how);
    if (!device) co_return fail(o.tap + ": " + device.error().message());
    n->tap_ = std::move(*device);
    if (of != nullptr && first)
        of->offload() = n->tap_->offloads() ? tap_offload::automatic : tap_offload::off;
    if (first) {
        if (auto set = configure_kernel_side(o.tap, ip::prefix(*peer, own->length)); !set)
            co_return fail(o.tap + ": cannot set the kernel's address " + peer->to_string() + ": " +
                           set.error().message());
        if (of != nullptr && !co_await of->meet()) co_return nullptr;
    }
    tapir::link* top = n->tap_.get();
    if (!o.pcap.empty()) {
        capture_config c;
        c.time_origin = unix_time_of_instant_zero();
        const std::string path = first ? o.pcap : o.pcap + "." + std::to_string(of->number());
        auto file = capture::to_file(self.reactor(), *top, path, c);
        if (!file) co_return fail(path + ": " + file.error().message());
        n->capture_ = std::move(*file);
        top = n->capture_.get();
    }
    host_config config;
    config.secret = of != nullptr ? of->secret() : os_secret();
    config.tcp.connections.ecn = n->ecn_ = o.ecn;
    if (of != nullptr) {
        config.share = of->share();
        n->way_ = std::make_unique<shard_link>(self.reactor(), *top, config.share, of->others());
        top = n->way_.get();
    }
    n->host_ = std::make_unique<host>(self.reactor(), config);
    const auto mac = of != nullptr ? of->mac() : random_mac(self.reactor().rng().next());
    if (auto added = n->host_->add_interface(*top, mac, *own); !added)
        co_return fail("--address " + o.address + ": " + added.error().message());
    if (auto route = n->host_->add_route(ip::prefix(), *peer); !route)
        co_return fail("default route by " + peer->to_string() + ": " + route.error().message());
    if (of != nullptr) of->here = n->host_.get();
    co_return n;
}

tap_network::~tap_network() {
    if (own_shard() == nullptr) return;
    own_shard()->here = nullptr;
    if (!way_) return;
    const link_counters n = way_->counters();
    log::info("shard " + std::to_string(own_shard()->number()) + ": " + std::to_string(n.frames_in) +
              " frames came in, " + std::to_string(n.handed_over) + " were handed over, " +
              std::to_string(n.taken_over) + " taken over");
}

// Servers here write whole messages, and the end of one must not wait for an ACK: Nagle off.
result<tcp::listener> tap_network::listen(std::uint16_t port) {
    tcp::listen_options o;
    o.accepted.no_delay = true;
    o.accepted.ecn = ecn_;
    return host_->listen(ip::endpoint(own_.addr, port), o);
}

task<result<tcp::connection>> tap_network::connect(std::string to) {
    const auto where = ip::parse_endpoint(to);
    if (!where) co_return where.error();
    co_return co_await host_->connect(*where);
}

task<std::unique_ptr<kernel_network>> kernel_network::open(const network_options& o, shard*) {
    std::unique_ptr<kernel_network> n(new kernel_network);
    n->address_ = o.address.substr(0, o.address.find('/'));
    if (!kernel::address::parse(n->address_ + ":0")) {
        log::error("--address '" + o.address + "' is not an IP address");
        co_return nullptr;
    }
    co_return n;
}

result<kernel::listener> kernel_network::listen(std::uint16_t port) {
    const auto at = kernel::address::parse(address_ + ":" + std::to_string(port));
    if (!at) return at.error();
    return kernel::listen(*at);
}

task<result<kernel::stream>> kernel_network::connect(std::string to) {
    const auto where = kernel::address::parse(to);
    if (!where) co_return where.error();
    co_return co_await kernel::connect(*where);
}

task<bool> control_socket::open(const control_options& o) {
    if (o.none) co_return true;
    std::string path = o.path;
    if (path.empty()) {
        const auto own = control::default_path();
        if (!own) {
            log::warn(own.error() + "; tapstat will not find this program");
            co_return true;
        }
        path = *own;
        co_await control::remove_dead_sockets(path);
    }
    auto opened = co_await control::open_socket(path, config_.backlog);
    if (opened) {
        listener_ = std::move(*opened);
    } else if (o.path.empty()) {
        log::warn(opened.error() + "; tapstat will not find this program");
    } else {
        log::error("--control " + opened.error());
        co_return false;
    }
    co_return true;
}

task<> control_socket::serve(host* of, control::other_hosts* others) {
    if (listener_) (void)co_await control::serve(*listener_, *of, config_, counters_, others);
}

namespace {

int logging_what_it_throws(const std::function<int()>& program) {
    try {
        return program();
    } catch (const std::exception& e) {
        log::error(e.what());
        return 1;
    }
}

} // namespace

int run_program(const std::function<task<int>()>& program, duration spin) {
    return logging_what_it_throws([&] { return new_reactor(spin)->run(program()); });
}

int run_shards(std::size_t count, const std::function<task<int>(shard&)>& program, duration spin) {
    return logging_what_it_throws([&] { return shard_group(count, spin).run(program); });
}

} // namespace samples
