// http_server: serves a directory over tapir's own TCP (or, for comparison, the kernel's: --stack kernel).
// Ctrl-C ends requests in progress in order, within a few seconds; a second Ctrl-C at once.

#include <tapir/framework/coroutine_tree.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/framework/wall_clock.hpp>
#include <tapir/protocols/http/server.hpp>
#include <tapir/protocols/http/static_files.hpp>

#include <atomic>
#include <cstdint>
#include <filesystem>

#include "samples/support/network.hpp"

using namespace tapir;

namespace {

constexpr duration stop_within = 3s;

/// First signal: stop in order. Second: stop now. SIGUSR1: print what every coroutine waits for.
task<> control_by_signals(samples::program_signals* signals, http::server_control* control,
                          event* now_at_once, bool speaks) {
    promise_base& self = co_await this_coroutine;
    for (;;) {
        const auto signal = co_await signals->next();
        if (!signal) co_return;
        if (*signal == SIGUSR1) {
            log::info("coroutines:\n" + coroutine_tree(self.reactor()));
        } else if (!control->stopping()) {
            if (speaks) log::info("ending; once more to end at once");
            control->stop(self.reactor().now() + stop_within);
        } else {
            now_at_once->set();
            co_return;
        }
    }
}

task<> wait_for(event* e) {
    (void)co_await e->wait();
}

/// Of all shards.
struct served {
    std::atomic<std::uint64_t> requests = 0;
    std::atomic<std::uint64_t> connections = 0;
};

/// Serves until a signal has ended it.
template <class Network, class Listener>
task<result<>> serve_until_stopped(Network* network, Listener* listener, http::handler site,
                                   http::server_config config, served* all) {
    samples::program_signals signals(network->own_shard());
    http::server_control control;
    event now_at_once;
    result<> outcome;
    auto body = [&](scope& s) -> task<> {
        s.spawn(control_by_signals, &signals, &control, &now_at_once, network->is_first());
        auto ended = co_await race(http::serve(*listener, site, config, control), wait_for(&now_at_once));
        if (ended.index() == 0) outcome = std::get<0>(ended);
        s.request_stop();
    };
    co_await with_scope(body);
    all->requests += control.counters().requests;
    all->connections += control.counters().accepted;
    (void)co_await network->meet();
    if (network->is_first())
        log::info("served " + std::to_string(all->requests) + " requests on " +
                  std::to_string(all->connections) + " connections");
    co_return outcome;
}

} // namespace

int main(int argc, char** argv) {
    samples::command_line line("http_server: serves a directory over tapir's own TCP");
    samples::network_options options(line, 80);
    std::string root = ".";
    line.option("--root", root, "the directory to serve");
    if (const auto status = line.parse(argc, argv)) return *status;
    served all;
    auto work = [&](auto& network) -> task<int> {
        http::handler site;
        try {
            site = http::static_files(root);
        } catch (const std::exception& e) {
            log::error("--root '" + root + "' cannot be served: " + e.what());
            co_return 1;
        }
        auto listener = network.listen(options.port);
        if (!listener) {
            log::error("cannot listen on port " + std::to_string(options.port) + ": " +
                       listener.error().message());
            co_return 1;
        }
        http::server_config config;
        config.wall_clock = unix_time;
        const std::string port = options.port == 80 ? "" : ":" + std::to_string(options.port);
        if (!co_await network.meet()) co_return 1;
        if (network.is_first()) {
            std::printf("serving %s at http://%s%s/ over %s TCP; Ctrl-C ends it\n", root.c_str(),
                        network.address().c_str(), port.c_str(),
                        options.stack == "kernel" ? "the kernel's" : "tapir's own");
            std::fflush(stdout);
        }
        using listener_type = std::remove_cvref_t<decltype(*listener)>;
        using network_type = std::remove_cvref_t<decltype(network)>;
        const auto ended = co_await serve_until_stopped<network_type, listener_type>(&network, &*listener,
                                                                                     site, config, &all);
        if (!ended) {
            log::error("serving failed: " + ended.error().message());
            co_return 1;
        }
        co_return 0;
    };
    return samples::run(options, work);
}
