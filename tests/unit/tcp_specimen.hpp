// A connection brought into a state by a script, for one segment to meet it: the state is reached through the
// same doors as any other, only the numbers are chosen, so that both windows lie across the end of the circle
// (or across its middle, where a signed comparison turns). What the oracle is told of it is what the wire
// said, never what the code thinks.
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/framework/timer_wheel.hpp>
#include <tapir/protocols/tcp/stack.hpp>

#include <array>
#include <bitset>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tests/unit/tcp_oracle.hpp"

namespace tapir::test {

/// What the script makes.
struct specimen_kind {
    std::string_view name;
    tcp::state state;
    tcp::opening how = tcp::opening::active;
    bool listening = false; ///< in TIME_WAIT: a new SYN finds a listener
    bool shut = false;      ///< the receive window is full of unread bytes
    bool reader = true;     ///< false: ended by close(), not by finish()
    bool hole = false;      ///< text is held beyond a hole
    bool hole_fin = false;  ///< and the FIN behind it
};

/// Initial sequence numbers, ours and the peer's.
struct numbers {
    std::uint32_t iss;
    std::uint32_t irs;
};

class specimen final : tcp::output_sink, tcp::trace_sink {
  public:
    static constexpr std::uint32_t window = 100;       ///< receive buffer, and so the window
    static constexpr std::uint16_t peer_window = 1000; ///< what the peer offers before the segment
    static constexpr std::uint32_t written = 10;       ///< bytes in flight, where the state can have some
    static constexpr std::uint32_t peer_stamp = 0xffffff80; ///< TSval of all that the script's peer sends

    specimen(const specimen_kind& kind, const numbers& n, bool timestamps, buffer_pool& pool);
    ~specimen();

    /// What the oracle may know.
    const oracle::connection& before() const { return before_; }
    void arrives(const oracle::segment& s);

    struct sent {
        tcp::flags flags;
        tcp::seq seq;
        tcp::seq ack;
        std::uint16_t window;
        std::size_t text;
    };
    const std::vector<sent>& answers() const { return answers_; }
    const std::vector<tcp::edge>& edges() const { return edges_; }
    /// Differences between what the oracle foretold and what happened; empty when there are none.
    std::string differences(const oracle::outcome& expected);

  private:
    tcp::path way() const;
    void in(tcp::flags f, std::uint32_t seq, std::uint32_t ack, std::string_view text = "");
    void receive(tcp::flags f, tcp::seq seq, tcp::seq ack, chunk text, std::uint16_t segment_window,
                 std::optional<std::uint32_t> stamp);
    void open_passive();
    void open_active();
    void flush();
    void wait(duration d);
    void peer_acks_all();
    void peer_finishes();
    void build();

    bool ready() override { return true; }
    std::size_t max_payload() override { return 1460; }
    void emit(const tcp::path& to, const tcp::outgoing_segment& s) override;
    void state_changed(const tcp::flow_key&, const tcp::edge& e) override { edges_.push_back(e); }
    void dropped(const tcp::flow_key&, const tcp::segment&, std::string_view reason, instant) override {
        dropped_.push_back(reason);
    }

    specimen_kind kind_;
    numbers numbers_;
    bool timestamps_;
    buffer_pool& pool_;
    instant now_;
    timer_wheel wheel_;
    tcp::stack stack_;
    std::unique_ptr<tcp::listening_endpoint> listener_;
    std::unique_ptr<tcp::endpoint> user_;

    // From the wire: the highest that each side has said.
    tcp::seq rcv_nxt_; ///< what the peer has sent and we have acknowledged
    tcp::seq snd_una_; ///< what the peer has acknowledged
    tcp::seq snd_nxt_;
    tcp::seq right_edge_; ///< of the window that we have offered
    tcp::seq last_wl1_;
    tcp::seq last_wl2_;

    bool scripted_ = true;
    oracle::connection before_;
    instant time_wait_expires_{};
    oracle::offset text_begin_ = 0; ///< of what is delivered
    std::size_t unread_before_ = 0;
    bool challengeable_ = false; ///< there is a TCB, which counts its challenge ACKs
    std::uint64_t challenges_before_ = 0;
    std::vector<sent> answers_;
    std::vector<tcp::edge> edges_;
    std::vector<std::string_view> dropped_;
};

} // namespace tapir::test
