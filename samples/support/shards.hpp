// --shards N: a sample on N threads, each with its own reactor, queue of the TAP and host (shard_link.hpp),
// that is one program to whoever looks from outside: one address, one control socket, one line when it is
// ready, and a signal that ends all of it.
#pragma once

#include <tapir/framework/crossing.hpp>
#include <tapir/framework/event.hpp>
#include <tapir/framework/signals.hpp>
#include <tapir/framework/task.hpp>
#include <tapir/framework/team.hpp>
#include <tapir/protocols/control/server.hpp>
#include <tapir/protocols/ethernet/mac_address.hpp>
#include <tapir/protocols/host/host.hpp>
#include <tapir/protocols/ip/flow_share.hpp>
#include <tapir/protocols/link/tap.hpp>

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

namespace samples {

using namespace tapir;

class shard;

/// A locally administered one.
ethernet::mac_address random_mac(std::uint64_t draw);
/// Over io_uring, seeded from the operating system.
std::unique_ptr<reactor> new_reactor(duration spin);

/// What the shards of one program share; made before their threads are.
class shard_group final : public control::other_hosts {
  public:
    shard_group(std::size_t count, duration spin);

    /// Runs program(shard) on each thread. The first status that is not 0.
    int run(const std::function<task<int>(shard&)>& program);

    // control::other_hosts, of shard 0
    std::size_t count() const override { return members_.size() - 1; }
    void visit(std::size_t number, std::move_only_function<void(host*)> job) override;

  private:
    friend class shard;
    team threads_;
    signal_set signals_{SIGINT, SIGTERM, SIGUSR1}; ///< blocked before there are threads that could get them
    siphash_key flows_;
    siphash_key secret_;
    ethernet::mac_address mac_;
    std::shared_ptr<crossing> between_;
    tap_offload offload_ = tap_offload::automatic; ///< written before the others are met
    std::vector<std::unique_ptr<shard>> members_;
};

/// One of them: all but its constructor is for its own thread.
class shard {
  public:
    shard(shard_group& of, std::size_t number) : group_(of), number_(number) {}

    std::size_t number() const { return number_; }
    std::size_t count() const { return group_.threads_.size(); }
    bool is_first() const { return number_ == 0; }
    ip::flow_share share() const;
    const siphash_key& secret() const { return group_.secret_; }
    ethernet::mac_address mac() const { return group_.mac_; }
    const std::shared_ptr<crossing>& others() const { return group_.between_; }
    control::other_hosts& group() const { return group_; }

    /// Waits for all; false if one could not come, or was not `well`.
    task<bool> meet(bool well = true) { return group_.threads_.meet(number_, well); }
    /// Of shard 0: gives the signals of the program to all, until it is stopped.
    task<> relay_signals();
    /// As if the program had got a signal.
    void raise(int signal);
    /// The next signal of the program.
    task<result<int>> next_signal();

    /// All queues of a device have a virtio-net header or none: what the first shard found.
    tap_offload& offload() const { return group_.offload_; }

    host* here = nullptr; ///< for the control socket, while there is one

  private:
    friend class shard_group;
    void deliver(int signal) {
        signals_.push_back(signal);
        signalled_.set();
    }
    shard_group& group_;
    std::size_t number_;
    std::deque<int> signals_;
    event signalled_;
};

/// Signals of a program, of one shard or of many: each of those gets each.
class program_signals {
  public:
    explicit program_signals(shard* of) : shard_(of) {
        if (of == nullptr) own_.emplace(SIGINT, SIGTERM, SIGUSR1);
    }
    task<result<int>> next() { return shard_ != nullptr ? shard_->next_signal() : own_->next(); }

  private:
    shard* shard_;
    std::optional<signal_set> own_;
};

} // namespace samples
