// Two hosts and a bad cable between them, in virtual time, from one seed: the smallest topology, and the one
// that most tests want.
//
//     world w(seed, network_of(seed));
//     w.run(scenario(w));
//     CHECK(w.quiet() == "");       // both stacks empty, nothing leaked
#pragma once

#include <tapir/framework/reactor.hpp>
#include <tapir/framework/task.hpp>
#include <tapir/protocols/host/host.hpp>
#include <tapir/protocols/link/impair.hpp>
#include <tapir/protocols/link/wire.hpp>
#include <tapir/protocols/tcp/config.hpp>

#include <cstdint>
#include <string>
#include <utility>

#include "tests/simulation/topology.hpp"

namespace tapir::test {

class world {
  public:
    struct options {
        impairment to_server; ///< client to server
        impairment to_client;
        tcp::config client;
        tcp::config server;
    };
    world(const seed_run& run, const options& o);
    /// One that keeps everything that can be looked at.
    world(std::uint64_t seed, const options& o);

    topology& net() { return net_; }
    reactor& on() { return net_.on(); }
    host& client() { return net_.first().host(); }
    host& server() { return net_.last().host(); }
    random& rng() { return net_.rng(); }
    impair& path() { return net_.link_at(0).path(); }
    wire& cable() { return net_.link_at(0).medium(); }
    std::uint64_t seed() const { return net_.seed(); }

    ip::endpoint server_at(std::uint16_t port) const { return net_.last().at(port); }
    ip::endpoint client_at(std::uint16_t port) const { return net_.first().at(port); }

    template <class T>
    T run(task<T> t) {
        return net_.run(std::move(t));
    }
    void fail(const std::string& what) { net_.fail(what); }

    /// Lets virtual time pass until TIME_WAIT is over, then checks that no connection, no half-open entry, no
    /// TIME_WAIT, no buffer and no coroutine is left. Returns what is wrong, or nothing.
    std::string quiet() { return net_.quiet(); }

    /// The frames so far, one line each.
    const std::string& ladder() const { return net_.ladder(); }
    /// What TCP did at both ends, one line each, times from the last restart() on.
    conversation_table& conversation() { return net_.conversation(); }

  private:
    topology net_;
};

/// The impairments that a seed stands for: from none to 10 % loss, delay, jitter, duplicates, corruption, a
/// narrow rate.
world::options network_of(std::uint64_t seed);

} // namespace tapir::test
