// Two hosts and a bad cable between them, in virtual time, from one seed.
//
//     world w(seed, network_of(seed));
//     w.run(scenario(w));
//     CHECK(w.quiet() == "");       // both stacks empty, nothing leaked
//
// A world watches every frame and every change of state: the hash of both is the same for the same seed, on
// every compiler. A test that fails inside leaves <name>-<seed>.pcap.
#pragma once

#include <tapir/framework/reactor.hpp>
#include <tapir/framework/sim_backend.hpp>
#include <tapir/framework/task.hpp>
#include <tapir/protocols/host/host.hpp>
#include <tapir/protocols/link/capture.hpp>
#include <tapir/protocols/link/impair.hpp>
#include <tapir/protocols/link/trace.hpp>
#include <tapir/protocols/link/wire.hpp>
#include <tapir/protocols/tcp/trace.hpp>

#include <array>
#include <cstdint>
#include <map>
#include <string>

#include "tests/simulation/conversation.hpp"

namespace tapir::test {

/// Which arcs of TCP's transition table were walked, over all worlds of the process.
class coverage {
  public:
    static coverage& of_this_run();
    void walked(tcp::state from, tcp::event cause, tcp::state to);
    std::uint64_t count(const tcp::arc& a) const;
    /// One line for each arc that was never walked.
    std::string missing() const;
    std::size_t walked_arcs() const;

  private:
    std::map<std::array<int, 3>, std::uint64_t> counts_;
};

/// Adds up what all worlds of the process injected.
fault_counts& faults_of_this_run();

class world : private tcp::trace_sink {
  public:
    struct options {
        impairment to_server; ///< client to server
        impairment to_client;
        tcp::config client;
        tcp::config server;
    };
    world(std::uint64_t seed, options o);
    ~world();

    reactor& on() { return reactor_; }
    host& client() { return *client_; }
    host& server() { return *server_; }
    random& rng() { return random_; }
    impair& path() { return path_; }
    wire& cable() { return wire_; }
    std::uint64_t seed() const { return seed_; }

    ip::endpoint server_at(std::uint16_t port) const { return {ip::address::v4(192, 0, 2, 2), port}; }
    ip::endpoint client_at(std::uint16_t port) const { return {ip::address::v4(192, 0, 2, 1), port}; }

    template <class T>
    T run(task<T> t) {
        return reactor_.run(std::move(t));
    }

    /// Lets virtual time pass until TIME_WAIT is over, then checks that no connection, no half-open entry, no
    /// TIME_WAIT, no buffer and no coroutine is left. Returns what is wrong, or nothing.
    std::string quiet();

    /// Over every frame and transition so far.
    std::uint64_t hash() const { return hash_; }
    void save_pcap(const std::string& path) const { (void)seen_.save(path); }
    /// The frames so far, one line each.
    const std::string& ladder() const { return ladder_; }
    /// What TCP did at both ends, one line each, times from the last restart() on.
    conversation_table& conversation() { return conversation_; }

  private:
    void state_changed(const tcp::flow_key&, const tcp::edge&) override;
    void segment_out(const tcp::flow_key&, const tcp::outgoing_segment&, instant) override;
    side side_of(const tcp::flow_key& flow) const {
        return flow.local == client_at(0).addr ? side::client : side::server;
    }
    void mix(std::uint64_t value);

    std::uint64_t seed_;
    std::size_t frames_before_;
    random random_;
    reactor reactor_;
    wire wire_;
    impair path_;
    trace hashed_;
    capture seen_;
    std::uint64_t hash_ = 0xcbf29ce484222325u;
    std::string ladder_;
    conversation_table conversation_;
    std::unique_ptr<host> client_; // these speak until their end
    std::unique_ptr<host> server_;
};

/// The impairments that a seed stands for: from none to 10 % loss, delay, jitter, duplicates, corruption, a
/// narrow rate.
world::options network_of(std::uint64_t seed);

/// How many seeds a run takes (TAPIR_SEEDS, default 500), and the one seed to replay (TAPIR_SEED), if any.
std::uint64_t seeds_per_run();
std::uint64_t replayed_seed();

} // namespace tapir::test
