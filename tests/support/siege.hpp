// A server under attack, in virtual time and in memory. The victim at 192.0.2.2 runs an echo server on a
// whole tcp::stack. Beside the attacker an honest client at 192.0.2.1, a second whole stack, comes again and
// again: it connects, sends, reads all back, compares, closes. An attack is a test that bounds what the
// victim pays, in counts and bytes, and then asks whether the honest client noticed anything:
//
//     siege s;
//     raw_peer attacker(s, 1);
//     REQUIRE(attacker.open());
//     for (int i = 0; i < 1000; ++i) { attacker.send(ACK, "x"); s.run_for(1ms); }
//     CHECK(s.honest_clients_go_on(5));
//
// The network is perfect and takes 5 ms each way between honest parties, so that every honest visit takes
// exactly as long as the first, unless something is in its way. The attacker's segments arrive at once; what
// the victim sends him is kept in `heard`.
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/random.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/framework/timer_wheel.hpp>
#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/tcp/stack.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tapir::test {

struct heard_segment {
    ip::address to;
    tcp::header header;
    std::string text;
};

class siege {
  public:
    static constexpr std::uint16_t port = 80;
    static ip::address victim_address() { return ip::address::v4(192, 0, 2, 2); }
    static ip::address honest_address() { return ip::address::v4(192, 0, 2, 1); }
    static ip::address attacker_address(std::uint32_t n) {
        return ip::address::v4(10, static_cast<std::uint8_t>(n >> 16 & 0xff),
                               static_cast<std::uint8_t>(n >> 8 & 0xff), static_cast<std::uint8_t>(n & 0xff));
    }

    explicit siege(const tcp::config& victim_config = {}, const tcp::listen_options& listening = {});
    siege(const siege&) = delete;
    siege& operator=(const siege&) = delete;

    // --- time ---
    instant now = instant(1000s);
    void run_for(duration d);
    /// What is due now: the victim's and the honest client's output, and whatever their users do.
    void flush();

    // --- the attacker ---
    /// A segment from `from`, which may be a lie, to the victim (or to the honest client).
    void inject(const ip::address& from, const tcp::header& h, std::string_view text = "");
    void inject_into_honest(const ip::address& from, const tcp::header& h, std::string_view text = "");
    /// The same with bytes that are no tcp::header: everything but the checksum, which is filled in here.
    void inject_raw(const ip::address& from, std::string segment);
    std::vector<heard_segment> heard; ///< what the victim sent to neither itself nor the honest client
    std::size_t answers = 0;          ///< segments the victim ever sent to attackers
    bool keep_heard = true;

    // --- the victim ---
    struct session final : tcp::observer {
        session(siege& s, std::unique_ptr<tcp::endpoint> endpoint);
        void changed(tcp::endpoint&) override;
        siege& owner;
        std::unique_ptr<tcp::endpoint> e;
        bool queued = false;
    };
    /// How the server treats whoever is not the honest client, each time something changes. Unset: it echoes.
    std::function<void(tcp::endpoint&)> treatment;
    /// The server's end of an attacker's connection, or null.
    tcp::endpoint* session_of(const ip::address& remote, std::uint16_t remote_port);
    std::size_t sessions() const { return sessions_.size(); }
    /// Forgets an attacker's session: the server's user drops it.
    void drop_session(const ip::address& remote, std::uint16_t remote_port);
    std::size_t victim_bytes() const { return victim_pool_.live_bytes(); } ///< buffers, true size
    std::size_t victim_blocks() const { return victim_pool_.live_blocks(); }
    std::size_t most_victim_bytes = 0; ///< the highest victim_bytes() after any turn
    std::uint64_t timers_fired = 0;
    const tcp::counters& counted() const { return victim.counted(); }

    // --- the honest client ---
    std::size_t visit_bytes = 20'000; ///< that each visit sends, and reads back
    duration pause = 200ms;           ///< between visits
    bool visiting = true;             ///< begins new visits
    std::size_t visits = 0;           ///< completed, every byte intact
    std::size_t failures = 0;         ///< visits that ended otherwise
    duration slowest{0};              ///< of the completed visits since the last honest_clients_go_on()
    std::string last_failure;
    tcp::endpoint* visitor() { return visitor_.get(); }
    /// The last segments of the connection from this port of the honest client: what an attacker off the path
    /// does not know.
    tcp::header& last_to_victim(std::uint16_t client_port) { return last_[{true, client_port}]; }
    tcp::header& last_to_honest(std::uint16_t client_port) { return last_[{false, client_port}]; }
    /// How many segments each has sent on that connection.
    std::size_t to_victim(std::uint16_t client_port) { return count_[{true, client_port}]; }
    std::size_t to_honest(std::uint16_t client_port) { return count_[{false, client_port}]; }
    /// Runs until `n` more visits are complete. False, with the reason printed, if one failed or took longer
    /// than a visit to a server that nobody attacks (plus `patience`).
    bool honest_clients_go_on(std::size_t n, duration patience = duration{0});
    /// How long a visit of `visit_bytes` takes when nobody attacks.
    duration undisturbed_visit() const;

    tcp::path path_to_victim(const ip::address& from) const;

  private:
    struct node final : tcp::output_sink {
        node(siege& s, bool victims) : owner(s), is_victim(victims) {}
        bool ready() override { return true; }
        std::size_t max_payload() override { return 0; }
        void emit(const tcp::path& to, const tcp::outgoing_segment& s) override {
            owner.carry(is_victim, to, s);
        }
        siege& owner;
        bool is_victim;
    };
    struct arrival {
        bool at_victim;
        ip::address from;
        chunk segment;
    };

    void carry(bool from_victim, const tcp::path& to, const tcp::outgoing_segment& s);
    void deliver(const arrival& a);
    void turn();
    void serve(session& s);
    void visit();

    buffer_pool victim_pool_; ///< the victim's buffers, and the frames that reached it
    buffer_pool honest_pool_;
    timer_wheel wheel_;
    node victim_end_{*this, true};
    node honest_end_{*this, false};
    std::map<std::pair<instant, std::uint64_t>, arrival> in_flight_;
    std::uint64_t order_ = 0;
    std::map<std::pair<bool, std::uint16_t>, tcp::header>
        last_; ///< to the victim?, port of the honest client
    std::map<std::pair<bool, std::uint16_t>, std::size_t> count_;

  public:
    tcp::stack victim;
    tcp::stack honest;
    timer_wheel& wheel() { return wheel_; }
    tcp::listening_endpoint& listener() { return *listener_; }

  private:
    std::unique_ptr<tcp::listening_endpoint> listener_;
    std::map<std::pair<ip::address, std::uint16_t>, std::unique_ptr<session>> sessions_;
    std::vector<session*> ready_;
    std::unique_ptr<tcp::endpoint> visitor_;
    std::size_t visitor_sent_ = 0;
    std::size_t visitor_received_ = 0;
    instant visit_began_{};
    instant next_visit_{};
};

/// The attacker's end of a connection of his own: knows all of TCP's numbers and respects none of its rules.
class raw_peer {
  public:
    raw_peer(siege& s, std::uint32_t number, std::uint16_t from_port = 5000)
        : at_(s), from_(siege::attacker_address(number)), port_(from_port) {}

    tcp::seq next{0xffffff00}; ///< of our next byte; near the wrap, always
    tcp::seq expects{};        ///< what we acknowledge
    std::uint16_t window = 65535;
    tcp::options syn_options;   ///< an MSS of 1460 unless changed
    tcp::options options;       ///< on every later segment
    std::uint32_t clock = 1000; ///< of our timestamps, if syn_options has them
    std::uint32_t their_clock = 0;

    /// The three-way handshake. False: no SYN|ACK came.
    bool open();
    /// A segment at `next`, which stays.
    void send(tcp::flags f, std::string_view text = "", std::uint16_t urgent = 0);
    void send_at(tcp::seq seq, tcp::seq ack, tcp::flags f, std::string_view text = "",
                 std::uint16_t urgent = 0);
    /// What the victim has said to us since we last asked; `expects` moves behind what is in order.
    std::vector<heard_segment> take();
    const ip::address& address() const { return from_; }
    std::uint16_t port() const { return port_; }
    tcp::endpoint* their_end() { return at_.session_of(from_, port_); }

  private:
    tcp::header header(tcp::seq seq, tcp::seq ack, tcp::flags f) const;
    siege& at_;
    ip::address from_;
    std::uint16_t port_;
};

} // namespace tapir::test
