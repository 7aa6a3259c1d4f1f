// What every sample needs before its own work begins: options, a reactor, and either tapir's stack on a TAP
// or the kernel's. The work itself is written once, against the stream concept:
//
//     int main(int argc, char** argv) {
//         CLI::App app("what it does");
//         samples::network_options options(app, 7);
//         CLI11_PARSE(app, argc, argv);
//         return samples::run(options, [&](auto& network) { return work(network); });
//     }
//
// `network` is a samples::tap_network or a samples::kernel_network; both have listen(port), connect(address)
// and wait_for_interrupt().
#pragma once

#include <tapir/framework/entropy.hpp>
#include <tapir/framework/kernel_stream.hpp>
#include <tapir/framework/log.hpp>
#include <tapir/framework/race.hpp>
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/signals.hpp>
#include <tapir/framework/stream.hpp>
#include <tapir/framework/task.hpp>
#include <tapir/framework/uring_backend.hpp>
#include <tapir/framework/wall_clock.hpp>
#include <tapir/protocols/host/host.hpp>
#include <tapir/protocols/host/kernel_side.hpp>
#include <tapir/protocols/ipv4/routes.hpp>
#include <tapir/protocols/link/capture.hpp>
#include <tapir/protocols/link/tap.hpp>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>

namespace samples {

using namespace tapir;

struct network_options {
    network_options(CLI::App& app, std::uint16_t default_port) : port(default_port) {
        app.add_option("--stack", stack, "whose TCP: tapir's own over a TAP, or the kernel's")
            ->check(CLI::IsMember({"tap", "kernel"}))
            ->capture_default_str();
        app.add_option("--tap", tap, "name of the TAP device")->capture_default_str();
        app.add_option("--address", address,
                       "our address and network on the TAP; with --stack kernel where to listen")
            ->capture_default_str();
        app.add_option("--peer", peer,
                       "the kernel's address on the TAP (default: the first other one of the network)");
        app.add_option("--port", port, "TCP port")->check(CLI::Range(1, 65535))->capture_default_str();
        app.add_option("--tap-io", tap_io_name, "how frames are moved")
            ->check(CLI::IsMember({"automatic", "poll", "multishot"}))
            ->capture_default_str();
        app.add_option("--pcap", pcap, "write every frame to this file, for Wireshark");
    }

    std::string stack = "tap";
    std::string tap = "tapir0";
    std::string address = "192.0.2.2/24";
    std::string peer;
    std::uint16_t port;
    std::string tap_io_name = "automatic";
    std::string pcap;

    tap_io io() const {
        if (tap_io_name == "poll") return tap_io::poll;
        return tap_io_name == "multishot" ? tap_io::multishot : tap_io::automatic;
    }
};

/// SIGINT or SIGTERM has come, or the coroutine was stopped.
inline task<> interrupt(signal_set* signals) {
    (void)co_await signals->next();
}

class tap_network {
  public:
    /// Opens the TAP and gives both sides their addresses. The error has been printed when nothing is
    /// returned.
    static task<std::unique_ptr<tap_network>> open(const network_options& o) {
        const auto own = ip::parse_prefix(o.address);
        if (!own)
            co_return fail("--address '" + o.address +
                           "' is not an IPv4 address with its prefix, as 192.0.2.2/24");
        std::unique_ptr<tap_network> n(new tap_network);
        n->own_ = *own;
        auto peer = kernel_address(o, *own);
        if (!peer) co_return fail("--peer '" + o.peer + "' is not an IPv4 address");
        ipv4::routes plan; // what the host will have; refused here, nothing has been touched yet
        if (!plan.add_address(*own))
            co_return fail("--address " + o.address + ": no host can have that address");
        if (!plan.add(ip::prefix(), *peer))
            co_return fail("the kernel cannot have " + peer->to_string() + " beside " + o.address +
                           ": give it, with --peer, another host's address of the same network");
        auto device = co_await open_tap(tap_config(o.tap, o.io()));
        if (!device) co_return fail(o.tap + ": " + device.error().message());
        n->tap_ = std::move(*device);
        if (auto set = configure_kernel_side(o.tap, ip::prefix(*peer, own->length)); !set)
            co_return fail(o.tap + ": cannot set the kernel's address " + peer->to_string() + ": " +
                           set.error().message());
        promise_base& self = co_await this_coroutine;
        tapir::link* top = n->tap_.get();
        if (!o.pcap.empty()) {
            capture_config c;
            c.time_origin = unix_time_of_instant_zero();
            auto file = capture::to_file(self.reactor(), *top, o.pcap, c);
            if (!file) co_return fail(o.pcap + ": " + file.error().message());
            n->capture_ = std::move(*file);
            top = n->capture_.get();
        }
        host_config config;
        config.secret = os_secret();
        n->host_ = std::make_unique<host>(self.reactor(), config);
        const std::uint64_t draw = self.reactor().rng().next();
        const auto octet = [&](unsigned i) { return static_cast<std::uint8_t>(draw >> (8 * i)); };
        const ethernet::mac_address mac(0x02, octet(0), octet(1), octet(2), octet(3),
                                        octet(4)); // locally administered
        if (auto added = n->host_->add_interface(*top, mac, *own); !added)
            co_return fail("--address " + o.address + ": " + added.error().message());
        if (auto route = n->host_->add_route(ip::prefix(), *peer); !route)
            co_return fail("default route by " + peer->to_string() + ": " + route.error().message());
        co_return n;
    }

    /// With Nagle's algorithm off: servers here write whole messages, and the end of one must not wait for an
    /// ACK.
    result<tcp::listener> listen(std::uint16_t port) {
        tcp::listen_options o;
        o.accepted.no_delay = true;
        return host_->listen(ip::endpoint(own_.addr, port), o);
    }
    task<result<tcp::connection>> connect(std::string to) {
        const auto where = ip::parse_endpoint(to);
        if (!where) co_return where.error();
        co_return co_await host_->connect(*where);
    }
    std::string address() const { return own_.addr.to_string(); }
    host* our_host() { return host_.get(); }
    /// How frames are moved: "multishot" or "poll".
    std::string tap_path() const { return tap_->io() == tap_io::multishot ? "multishot" : "poll"; }

  private:
    tap_network() = default;
    static std::unique_ptr<tap_network> fail(const std::string& why) {
        log::error(why);
        return nullptr;
    }
    static result<ip::address> kernel_address(const network_options& o, const ip::prefix& own) {
        if (!o.peer.empty()) return ip::parse_address(o.peer);
        const std::uint32_t network = own.addr.v4_value() & own.mask();
        const std::uint32_t first = network + 1;
        return ip::address::v4(first == own.addr.v4_value() ? network + 2 : first);
    }

    ip::prefix own_;
    std::unique_ptr<tapir::tap> tap_;
    std::unique_ptr<capture> capture_;
    std::unique_ptr<host> host_;
};

class kernel_network {
  public:
    static task<std::unique_ptr<kernel_network>> open(const network_options& o) {
        std::unique_ptr<kernel_network> n(new kernel_network);
        n->address_ = o.address.substr(0, o.address.find('/'));
        if (!kernel::address::parse(n->address_ + ":0")) {
            log::error("--address '" + o.address + "' is not an IP address");
            co_return nullptr;
        }
        co_return n;
    }
    result<kernel::listener> listen(std::uint16_t port) {
        const auto at = kernel::address::parse(address_ + ":" + std::to_string(port));
        if (!at) return at.error();
        return kernel::listen(*at);
    }
    task<result<kernel::stream>> connect(std::string to) {
        const auto where = kernel::address::parse(to);
        if (!where) co_return where.error();
        co_return co_await kernel::connect(*where);
    }
    std::string address() const { return address_; }

  private:
    kernel_network() = default;
    std::string address_;
};

template <class Network, class F>
task<int> open_and_run(const network_options& options, F work) {
    auto network = co_await Network::open(options);
    if (!network) co_return 1;
    co_return co_await work(*network);
}

/// Runs work(network) -> task<int> on a reactor over io_uring; its value is the program's exit status.
template <class F>
int run(const network_options& options, F work) {
    try {
        reactor_config config;
        config.seed = os_seed();
        reactor r(make_uring_backend(), config);
        return options.stack == "kernel" ? r.run(open_and_run<kernel_network>(options, work))
                                         : r.run(open_and_run<tap_network>(options, work));
    } catch (const std::exception& e) {
        log::error(e.what());
        return 1;
    }
}

/// Serves every connection with a coroutine of its own; one that fails ends alone.
template <stream_listener L, class F>
task<> accept_all(L* listener, F serve) {
    auto body = [&](scope& s) -> task<> {
        while (auto peer = co_await listener->accept()) s.spawn(serve, std::move(*peer));
    };
    co_await with_supervisor(body);
}

/// The whole of a simple server: listens, says so, and runs serve(stream) -> task<> for each connection until
/// SIGINT or SIGTERM comes. `what` begins the line that it prints.
template <class F>
int run_server(const network_options& options, std::string what, F serve) {
    auto work = [&](auto& network) -> task<int> {
        signal_set signals(SIGINT, SIGTERM);
        auto listener = network.listen(options.port);
        if (!listener) {
            log::error("cannot listen on port " + std::to_string(options.port) + ": " +
                       listener.error().message());
            co_return 1;
        }
        std::printf("%s on %s port %u; Ctrl-C ends it\n", what.c_str(), network.address().c_str(),
                    options.port);
        std::fflush(stdout);
        using listener_type = std::remove_cvref_t<decltype(*listener)>;
        co_await race(accept_all<listener_type, F>(&*listener, serve), interrupt(&signals));
        co_return 0;
    };
    return run(options, work);
}

} // namespace samples
