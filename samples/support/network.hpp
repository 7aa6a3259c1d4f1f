// What every sample needs before its own work begins: options, a reactor, and either tapir's stack on a TAP
// or the kernel's. The work itself is written once, against the stream concept:
//
//     int main(int argc, char** argv) {
//         samples::command_line line("what it does");
//         samples::network_options options(line, 7);
//         if (const auto status = line.parse(argc, argv)) return *status;
//         return samples::run(options, [&](auto& network) { return work(network); });
//     }
//
// `network` is a samples::tap_network or a samples::kernel_network; both have listen(port), connect(to) and
// address().
#pragma once

#include <tapir/framework/kernel_stream.hpp>
#include <tapir/framework/log.hpp>
#include <tapir/framework/race.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/signals.hpp>
#include <tapir/framework/stream.hpp>
#include <tapir/framework/task.hpp>
#include <tapir/protocols/control/server.hpp>
#include <tapir/protocols/host/host.hpp>
#include <tapir/protocols/link/capture.hpp>
#include <tapir/protocols/link/tap.hpp>

#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "samples/support/command_line.hpp"

namespace samples {

using namespace tapir;

struct control_options {
    explicit control_options(command_line& line);

    std::string path; ///< empty: where tapstat looks for it
    bool none = false;
};

/// Where tapstat asks. The error has been printed when the program is to end: the path that it was told
/// cannot be had. Without one it goes on, and says so.
class control_socket {
  public:
    task<bool> open(const control_options& o);
    /// Until it is stopped.
    task<> serve(host* of);

  private:
    std::optional<kernel::listener> listener_;
    control::config config_;
    control::counters counters_;
};

struct network_options {
    network_options(command_line& line, std::uint16_t default_port);

    std::string stack = "tap";
    std::string tap = "tapir0";
    std::string address = "192.0.2.2/24";
    std::string peer;
    std::uint16_t port;
    std::string tap_io_name = "automatic";
    std::string tap_offload_name = "auto";
    std::string pcap;
    bool ecn = false;
    std::uint32_t spin_us = 0;
    control_options control;

    tap_io io() const;
    duration spin() const { return std::chrono::microseconds(spin_us); }
};

/// SIGINT or SIGTERM has come, or the coroutine was stopped.
task<> interrupt(signal_set* signals);

class tap_network {
  public:
    /// Opens the TAP and gives both sides their addresses. The error has been printed when nothing is
    /// returned.
    static task<std::unique_ptr<tap_network>> open(const network_options& o);

    /// With Nagle's algorithm off: servers here write whole messages, and the end of one must not wait for an
    /// ACK.
    result<tcp::listener> listen(std::uint16_t port);
    task<result<tcp::connection>> connect(std::string to);
    std::string address() const { return own_.addr.to_string(); }
    host* our_host() { return host_.get(); }
    /// How frames are moved: "multishot" or "poll".
    std::string tap_path() const { return tap_->io() == tap_io::multishot ? "multishot" : "poll"; }

  private:
    tap_network() = default;

    ip::prefix own_;
    bool ecn_ = false;
    std::unique_ptr<tapir::tap> tap_;
    std::unique_ptr<capture> capture_;
    std::unique_ptr<host> host_;
};

class kernel_network {
  public:
    static task<std::unique_ptr<kernel_network>> open(const network_options& o);

    result<kernel::listener> listen(std::uint16_t port);
    task<result<kernel::stream>> connect(std::string to);
    std::string address() const { return address_; }

  private:
    kernel_network() = default;
    std::string address_;
};

template <class Network, class F>
task<int> open_and_run(const network_options& options, F work) {
    auto network = co_await Network::open(options);
    if (!network) co_return 1;
    if constexpr (requires { network->our_host(); }) {
        control_socket control;
        if (!co_await control.open(options.control)) co_return 1;
        int status = 1;
        auto both = [&](scope& s) -> task<> {
            s.spawn([&] { return control.serve(network->our_host()); });
            status = co_await work(*network);
            s.request_stop();
        };
        co_await with_scope(both);
        co_return status;
    } else {
        co_return co_await work(*network);
    }
}

/// Runs `program` on a reactor over io_uring; its value is the exit status. What it throws is logged: 1.
int run_program(const std::function<task<int>()>& program, duration spin = duration::zero());

/// Runs work(network) -> task<int>; its value is the program's exit status.
template <class F>
int run(const network_options& options, F work) {
    if (options.stack == "kernel")
        return run_program([&] { return open_and_run<kernel_network>(options, work); }, options.spin());
    return run_program([&] { return open_and_run<tap_network>(options, work); }, options.spin());
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
