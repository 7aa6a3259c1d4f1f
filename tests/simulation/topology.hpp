// Hosts, routers and the links between them, in virtual time, from one seed, written down in the order in
// which a packet meets them:
//
//     topology t(run);
//     t.host("client");
//     t.link(tail_drop_queue(64'000), rate(1'000'000), random_delay(10ms, 30ms));
//     t.router("r");
//     t.link(delay(20ms), at(5s, mtu(1280)));
//     t.host("server");
//     t.run(scenario(&t));                        // t["client"].host().connect(t["server"].at(80)) ...
//     t.check_quiet();                            // stacks empty, nothing leaked
//     return t.outcome();
//
// Link number n is the network 192.0.(n+2).0/24; its left end is .1, its right end .2.
//
// It watches every frame that a node sends or gets, and every change of state: the hash of all is the same
// for the same seed, on every compiler.
#pragma once

#include <tapir/framework/reactor.hpp>
#include <tapir/framework/task.hpp>
#include <tapir/framework/timer_wheel.hpp>
#include <tapir/protocols/host/host.hpp>
#include <tapir/protocols/link/capture.hpp>
#include <tapir/protocols/link/impair.hpp>
#include <tapir/protocols/link/middleware.hpp>
#include <tapir/protocols/link/segmenter.hpp>
#include <tapir/protocols/link/wire.hpp>
#include <tapir/protocols/tcp/trace.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/simulation/beliefs.hpp"
#include "tests/simulation/conversation.hpp"
#include "tests/simulation/coverage.hpp"
#include "tests/simulation/elements.hpp"
#include "tests/simulation/seeds.hpp"

namespace tapir::test {

class node;
class topology;

/// Where a node is plugged into a link: shows what the node sends and gets, and can be pulled out.
class plug final : public middleware {
  public:
    plug(topology& in, node& of, std::size_t number, tapir::link& below);
    void send(frame&& f) override;
    bool plugged = true; ///< pulled out, nothing passes, and nobody is told

  private:
    friend class topology;
    void receive(frame&& f) override;

    topology& topology_;
    node& node_;
    std::size_t number_; ///< in all the topology
};

/// A link with its impairment, which sits at its left end.
class cable {
  public:
    cable(reactor& on, link_plan plan, std::uint64_t seed, bool keeps_frames);

    impair& path() { return path_; }
    wire& medium() { return wire_; }
    const link_plan& plan() const { return plan_; }
    /// The link becomes this now; frames under way are not touched.
    void become(const element& what);
    void save_pcap(const std::string& to) const;

    tapir::link& left() {
        if (cut_) return *cut_;
        return seen_ ? static_cast<tapir::link&>(*seen_) : path_;
    }
    tapir::link& right() { return wire_.right(); }

  private:
    struct change : timer {
        change(cable& of, element e)
            : timer([](timer& t, instant) {
                  auto& self = static_cast<change&>(t);
                  self.on.become(self.what);
              }),
              on(of), what(std::move(e)) {}
        cable& on;
        element what;
    };

    link_plan plan_;
    wire wire_;
    impair path_;
    std::unique_ptr<capture> seen_;
    std::unique_ptr<segmenter> cut_;
    std::vector<std::unique_ptr<change>> changes_;
};

/// Of every so many frames one begins a flood: for some turns of the reactor more input waits, as on a device
/// from which there is more to read than a turn takes. Virtual time may pass meanwhile.
class flood final : turn_hook {
  public:
    flood(reactor& on, std::uint64_t seed);
    void one_in(std::uint32_t frames) { one_in_ = frames; } ///< 0: none does
    void frame_came();

  private:
    void goes_on();

    reactor& reactor_;
    random random_;
    std::uint32_t one_in_ = 0;
    std::uint32_t turns_ = 0; ///< for which it will last
};

/// A host in a topology. It outlives what runs on it: host() may be another one after a restart.
class node final : private tcp::trace_sink {
  public:
    node(topology& in, std::string name, std::size_t position, host_config config);
    ~node() override;

    const std::string& name() const { return name_; }
    tapir::host& host() { return *host_; }
    bool running() const { return host_ != nullptr; }
    /// Its address, the one that faces the middle of the topology if it has two.
    ip::endpoint at(std::uint16_t port_number) const;

    /// Power fails: whoever waits on the host gets errc::host_stopped, and not one frame leaves.
    void vanish();
    /// A new host, which knows nothing of the one before, at the same addresses.
    void start();
    void restart() {
        vanish();
        start();
    }

    belief_book& beliefs() { return beliefs_; }

  private:
    friend class topology;
    struct attachment {
        std::unique_ptr<plug> way_in;
        ethernet::mac_address mac;
        ip::prefix address;
    };

    void segment_in(const tcp::flow_key& flow, const tcp::segment& s, instant now) override;
    void segment_out(const tcp::flow_key& flow, const tcp::outgoing_segment& s, instant now) override;
    void state_changed(const tcp::flow_key& flow, const tcp::edge& e) override;
    void retransmission_timeout(const tcp::flow_key& flow, duration rto, unsigned backoff, instant) override;
    void dropped(const tcp::flow_key& flow, const tcp::segment&, std::string_view reason, instant) override;

    topology& topology_;
    std::string name_;
    std::size_t position_; ///< from the left; also the number of the link to the right of it
    host_config config_;
    std::vector<attachment> attachments_;
    std::vector<std::pair<ip::prefix, ip::address>> routes_;
    belief_book beliefs_;
    std::unique_ptr<tapir::host> host_; // speaks until its end
};

class topology {
  public:
    /// `start` is the virtual time at which it begins.
    explicit topology(const seed_run& run, instant start = instant(1s));
    topology(const topology&) = delete;
    topology& operator=(const topology&) = delete;
    ~topology();

    // --- as it is written down, from left to right
    topology& host(std::string name, host_config config = {});
    topology& host(std::string name, const tcp::config& tcp);
    /// A host that passes on what is not for itself.
    topology& router(std::string name);
    topology& link(link_plan plan);
    template <class... Elements>
    topology& link(Elements... elements) {
        link_plan plan;
        (elements(plan), ...);
        return link(std::move(plan));
    }
    /// Nodes get frames as from devices on which more waits.
    topology& floods(std::uint32_t one_in_frames) {
        flood_.one_in(one_in_frames);
        return *this;
    }
    /// Everything is plugged in and starts. run() does it when nobody has.
    void start();

    node& operator[](std::string_view name);
    node& first() { return *nodes_.front(); }
    node& last() { return *nodes_.back(); }
    const node& first() const { return *nodes_.front(); }
    const node& last() const { return *nodes_.back(); }
    cable& link_at(std::size_t number) { return *cables_[number]; }
    std::size_t links() const { return plans_.size(); }

    reactor& on() { return reactor_; }
    random& rng() { return random_; }
    std::uint64_t seed() const { return run_.seed; }

    /// Runs `root` to its end. When nothing can happen any more that is a failure, with what each end
    /// believed.
    template <class T>
    T run(task<T> root) {
        start();
        try {
            return reactor_.run(await(&root));
        } catch (const std::exception& e) {
            fail(e.what()); // while `root` and its connections still are
            throw;
        }
    }

    /// An invariant is broken. The first time, what each end believes is kept.
    void fail(const std::string& what);
    /// Empty: nothing is wrong.
    const std::string& wrong() const { return wrong_; }

    /// Lets virtual time pass until TIME_WAIT is over; then no connection, no half-open entry, no TIME_WAIT,
    /// no buffer and no coroutine may be left. What is, fails.
    void check_quiet(duration settle = 30min);
    /// The same, returning what is left.
    std::string quiet(duration settle = 30min);

    std::uint64_t hash() const { return hash_; }
    /// The frames that nodes sent and got, one line each; empty unless the run keeps.
    const std::string& ladder() const { return ladder_; }
    std::string beliefs();
    fault_list faults() const;
    seed_outcome outcome();

    /// What the first and the last host did, as a table; only in a run that keeps.
    conversation_table& conversation() { return conversation_; }
    /// Shown every frame that a node sends (out) or gets (in).
    std::function<void(node&, direction, bytes)> watch;

  private:
    friend class plug;
    friend class node;
    template <class T>
    static task<T> await(task<T>* root) {
        co_return co_await std::move(*root);
    }
    void saw(const plug& at, direction d, const frame& f);
    void segment_out(node& by, const tcp::outgoing_segment& s, instant now);
    void state_changed(node& of, const tcp::edge& e);
    void mix(std::uint64_t value) { hash_ = (hash_ ^ value) * 0x100000001b3u; }
    void mix(bytes b);
    std::uint64_t link_seed(std::size_t number) const;

    seed_run run_;
    std::size_t frames_before_;
    random random_;
    reactor reactor_;
    flood flood_;
    bool started_ = false;
    std::vector<link_plan> plans_;
    std::vector<std::unique_ptr<cable>> cables_;
    std::size_t plugs_ = 0;
    std::uint64_t hash_ = 0xcbf29ce484222325u;
    std::string wrong_;
    std::string beliefs_when_it_failed_;
    std::string ladder_;
    conversation_table conversation_;
    std::vector<std::unique_ptr<node>> nodes_; // these speak until their end
};

} // namespace tapir::test
