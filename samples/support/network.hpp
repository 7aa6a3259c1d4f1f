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
// address(). With --shards work() runs on each shard, on its own thread: what is said once waits until
// network.meet() is true, and is said where network.is_first().
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
#include <tapir/protocols/host/shard_link.hpp>
#include <tapir/protocols/link/capture.hpp>
#include <tapir/protocols/link/tap.hpp>

#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>

#include "samples/support/command_line.hpp"
#include "samples/support/shards.hpp"

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
    /// Until it is stopped. `others`: null, or hosts of other threads.
    task<> serve(host* of, control::other_hosts* others);

  private:
    std::optional<kernel::listener> listener_;
    control::config config_;
    control::counters counters_;
};

struct network_options {
    /// `serves`: it can do so in shards.
    network_options(command_line& line, std::uint16_t default_port, bool serves = true);

    std::string stack = "tap";
    std::string tap = "tapir0";
    std::string address = "192.0.2.2/24";
    std::string peer;
    std::uint16_t port;
    std::string tap_io_name = "automatic";
    std::string tap_offload_name = "auto";
    std::uint32_t tap_reclaim = tap_config().frames_per_reclaim;
    std::uint32_t tap_join = tap_config().most_joined;
    std::string pcap;
    bool no_bpf = false;
    bool ecn = false;
    std::uint16_t shards = 1;
    std::uint32_t spin_us = 0;
    control_options control;

    tap_io io() const;
    duration spin() const { return std::chrono::microseconds(spin_us); }
};

/// SIGINT or SIGTERM has come, or the coroutine was stopped.
task<> interrupt(program_signals* signals);

/// What a network knows of its program.
class network_base {
  public:
    /// Null: it is not split.
    shard* own_shard() const { return shard_; }
    bool is_first() const { return shard_ == nullptr || shard_->is_first(); }
    /// All shards have come here, and were well.
    task<bool> meet(bool well = true) {
        if (shard_ == nullptr) co_return well;
        co_return co_await shard_->meet(well);
    }

  protected:
    explicit network_base(shard* of) : shard_(of) {}

  private:
    shard* shard_;
};

class tap_network : public network_base {
  public:
    /// Opens the TAP and gives both sides their addresses. The error has been printed when nothing is
    /// returned.
    static task<std::unique_ptr<tap_network>> open(const network_options& o, shard* of);
    ~tap_network();

    /// With Nagle's algorithm off: servers here write whole messages, and the end of one must not wait for an
    /// ACK.
    result<tcp::listener> listen(std::uint16_t port);
    task<result<tcp::connection>> connect(std::string to);
    std::string address() const { return own_.addr.to_string(); }
    host* our_host() { return host_.get(); }
    /// How frames are moved: "multishot" or "poll".
    std::string tap_path() const { return tap_->io() == tap_io::multishot ? "multishot" : "poll"; }

  private:
    explicit tap_network(shard* of) : network_base(of) {}

    ip::prefix own_;
    bool ecn_ = false;
    std::unique_ptr<tapir::tap> tap_;
    std::unique_ptr<capture> capture_;
    std::unique_ptr<shard_link> way_;
    std::unique_ptr<host> host_;
};

class kernel_network : public network_base {
  public:
    static task<std::unique_ptr<kernel_network>> open(const network_options& o, shard* of);

    result<kernel::listener> listen(std::uint16_t port);
    task<result<kernel::stream>> connect(std::string to);
    std::string address() const { return address_; }

  private:
    kernel_network() : network_base(nullptr) {}
    std::string address_;
};

/// With what it takes beside work(network): the control socket and the signals of the first shard.
template <class F>
task<int> run_on(tap_network* network, const network_options* options, F* work) {
    if (!network->is_first()) co_return co_await (*work)(*network);
    shard* own = network->own_shard();
    control_socket control;
    if (!co_await control.open(options->control)) co_return 1;
    int status = 1;
    auto all = [&](scope& s) -> task<> {
        s.spawn([&] { return control.serve(network->our_host(), own != nullptr ? &own->group() : nullptr); });
        if (own != nullptr) s.spawn([&] { return own->relay_signals(); });
        status = co_await (*work)(*network);
        s.request_stop();
    };
    co_await with_scope(all);
    co_return status;
}

template <class Network, class F>
task<int> open_and_run(const network_options& options, F work, shard* of = nullptr) {
    auto network = co_await Network::open(options, of);
    if (!network) co_return 1;
    if constexpr (std::is_same_v<Network, tap_network>) {
        const int status = co_await run_on(network.get(), &options, &work);
        if (of != nullptr && status != 0) of->raise(SIGTERM); // nor can the others go on
        (void)co_await network->meet(status == 0);            // what comes here for them is handed over
        co_return status;
    } else {
        co_return co_await work(*network);
    }
}

/// Runs `program` on a reactor over io_uring; its value is the exit status. What it throws is logged: 1.
int run_program(const std::function<task<int>()>& program, duration spin = duration::zero());
/// The same on a reactor for each shard.
int run_shards(std::size_t count, const std::function<task<int>(shard&)>& program,
               duration spin = duration::zero());

/// Runs work(network) -> task<int>; its value is the program's exit status.
template <class F>
int run(const network_options& options, F work) {
    if (options.stack == "kernel" && options.shards > 1) {
        log::error("--shards splits tapir's own host; the kernel has one of its own");
        return 1;
    }
    if (options.stack == "kernel")
        return run_program([&] { return open_and_run<kernel_network>(options, work); }, options.spin());
    if (options.shards > 1)
        return run_shards(
            options.shards, [&](shard& of) { return open_and_run<tap_network>(options, work, &of); },
            options.spin());
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
        program_signals signals(network.own_shard());
        auto listener = network.listen(options.port);
        if (!listener) {
            log::error("cannot listen on port " + std::to_string(options.port) + ": " +
                       listener.error().message());
            co_return 1;
        }
        if (!co_await network.meet()) co_return 1;
        if (network.is_first()) {
            std::printf("%s on %s port %u; Ctrl-C ends it\n", what.c_str(), network.address().c_str(),
                        options.port);
            std::fflush(stdout);
        }
        using listener_type = std::remove_cvref_t<decltype(*listener)>;
        co_await race(accept_all<listener_type, F>(&*listener, serve), interrupt(&signals));
        co_return 0;
    };
    return run(options, work);
}

} // namespace samples
