// Two TCPs and the network between them as a machine whose every step is somebody's choice: a user calls, a
// segment is delivered, lost, repeated or overtaken, time passes until something happens. A run is a list of
// steps; the same list gives the same run. `digest()` names the state a run has come to, so that two runs
// which came to the same are followed only once.
//
//     machine m(rules);
//     m.choices(steps, faults);                // what can happen now
//     m.take(steps[0]);                        // and it happens
//     m.violation()                            // what must not be, or empty
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/framework/timer_wheel.hpp>
#include <tapir/protocols/tcp/stack.hpp>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tests/unit/tcp_arcs.hpp"

namespace tapir::test::model {

enum class act : std::uint8_t {
    // calls
    open,        ///< connect() or listen()
    send,        ///< one byte
    read,        ///< all there is
    finish,      ///< half-close
    close,       ///< both directions
    abort,       ///<
    unlisten,    ///< closes the listener
    stop,        ///< the host ends
    unreachable, ///< the network below gives up the peer
    // the network, about the segments that `who` sent
    deliver, ///< the oldest arrives
    lose,    ///< the oldest is lost: a fault
    repeat,  ///< the oldest arrives, and will once more: a fault
    reorder, ///< the second overtakes the oldest: a fault
    // both
    wait, ///< nothing is under way: time passes until a timer does something
    late, ///< the same while something is under way: a fault
    cut,  ///< the network falls silent for ever
};

struct step {
    act what = act::wait;
    std::uint8_t who = 0; ///< 0: A, 1: B
};
std::string to_string(step s);
bool is_fault(act what);

/// What may happen in the runs of one model.
struct rules {
    std::string name;
    bool both_connect = false;               ///< simultaneous open; else A connects and B listens
    std::array<unsigned, 2> opens{1, 1};     ///< how often each may open, again when it is CLOSED
    std::array<unsigned, 2> sends{};         ///< bytes that each may send
    std::array<std::vector<act>, 2> calls{}; ///< beside open, send and read
    std::vector<act> faults{};               ///< of the network
    unsigned fault_budget = 0;               ///< faults in one run
    bool may_be_cut = false;
    std::uint32_t receive_buffer = 1000;
};

class machine {
  public:
    machine(const rules& r, buffer_pool& pool);
    ~machine();

    /// What can happen now, in a fixed order, and what the network can do wrong. No choices: the end.
    void choices(std::vector<step>& out, std::vector<step>& faults) const;
    void take(step s);
    std::uint64_t digest() const;
    /// The first property that does not hold after the last step; `at_end` asks those of the end as well.
    std::string violation(bool at_end) const;

    duration elapsed() const { return now_ - start; }
    /// Of this run, with how the end stood in SYN_RECEIVED.
    const std::vector<std::pair<tcp::edge, tcp::opening>>& edges() const { return edges_; }
    /// Writes down what happens, for a person.
    void keep_ladder() { keep_ladder_ = true; }
    const std::string& ladder() const { return ladder_; }

    static constexpr instant start = instant(std::chrono::seconds(100));

  private:
    struct packet {
        tcp::header header;
        std::string text;
    };
    struct party final : tcp::output_sink, tcp::trace_sink {
        party(machine& of, std::uint8_t index);
        ~party() override;
        bool ready() override { return true; }
        std::size_t max_payload() override { return 0; }
        void emit(const tcp::path&, const tcp::outgoing_segment& s) override;
        void state_changed(const tcp::flow_key&, const tcp::edge& e) override;

        machine& m;
        std::uint8_t self;
        timer_wheel wheel;
        tcp::stack stack;
        std::unique_ptr<tcp::listening_endpoint> listener;
        std::unique_ptr<tcp::endpoint> user;
        std::unique_ptr<tcp::endpoint> former; ///< the connection before
        unsigned opened = 0;
        bool finished = false; ///< finish, close or abort was called
        bool gone = false;     ///< close or abort was called: no more calls
        bool stopped = false;
        bool told_unreachable = false;
        bool unlistened = false;
        bool was_not_there = false; ///< a segment came before open
        unsigned written = 0;
        unsigned read = 0;
        tcp::seq isn; ///< of the last SYN sent
    };

    party& other(const party& p) { return *ends_[1u - p.self]; }
    const party& other(const party& p) const { return *ends_[1u - p.self]; }
    tcp::path way(const party& from) const;
    bool live(const party& p) const; ///< there is a connection, and it has not ended
    bool timers_run() const;
    void flush();
    void accept();
    void arrive(party& at, const packet& p);
    void pass_time();
    void call(act what, party& p);
    std::string wrong_acknowledgements(const party& from, const party& to) const;
    std::string stalled() const;
    std::string wrong_end() const;
    bool quiet() const { return under_way_[0].empty() && under_way_[1].empty(); }
    static void absorb_party(std::uint64_t& h, const machine& m, const party& p);
    void note(std::string line);

    const rules& rules_;
    buffer_pool& pool_;
    instant now_ = start;
    std::array<std::vector<packet>, 2> under_way_; ///< by who sent them, oldest first
    std::size_t sent_ = 0;
    std::vector<std::pair<tcp::edge, tcp::opening>> edges_;
    std::string broken_; ///< what went wrong within a step
    bool cut_ = false;
    bool keep_ladder_ = false;
    std::string ladder_;
    std::array<std::unique_ptr<party>, 2> ends_;
};

} // namespace tapir::test::model
