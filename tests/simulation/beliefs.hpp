// What one end of each connection believed: its path of states, the sequence numbers it had sent, taken and
// promised, what it counted, and how it ended. Two ends that disagree, printed one below the other, show
// where a run went wrong.
//
// Sequence numbers are told from what the end itself said and was told on the wire, so that a connection that
// is over is still in the book; what is alive when the book is printed adds its info().
#pragma once

#include <tapir/framework/time.hpp>
#include <tapir/protocols/tcp/flow.hpp>
#include <tapir/protocols/tcp/path_of_states.hpp>
#include <tapir/protocols/tcp/segment.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tapir::tcp {
class endpoint;
class stack;
} // namespace tapir::tcp

namespace tapir::test {

class belief_book {
  public:
    void segment_in(const tcp::flow_key& flow, const tcp::segment& s, instant now);
    void segment_out(const tcp::flow_key& flow, const tcp::outgoing_segment& s, instant now);
    void state_changed(const tcp::flow_key& flow, const tcp::edge& e);
    void timed_out(const tcp::flow_key& flow, duration rto, unsigned backoff);
    void dropped(const tcp::flow_key& flow, std::string_view reason);

    /// Every connection so far, oldest first; `living` is the stack they belong to, or null when it is gone.
    std::string text(tcp::stack* living) const;

  private:
    struct belief {
        tcp::flow_key flow;
        std::vector<tcp::edge> path;
        std::optional<tcp::seq> iss;
        std::optional<tcp::seq> irs;
        std::optional<tcp::seq> last_syn_in;
        tcp::seq snd_una; ///< the highest ACK that came
        tcp::seq snd_nxt; ///< behind the last that was sent
        tcp::seq snd_max; ///< behind the highest that was sent
        tcp::seq rcv_nxt; ///< the last ACK sent
        std::uint32_t window_in = 0;
        std::uint32_t window_out = 0;
        std::uint64_t segments_in = 0;
        std::uint64_t segments_out = 0;
        std::uint64_t timeouts = 0;
        duration last_rto{};
        unsigned last_backoff = 0;
        instant last_in{};
        instant last_out{};
        std::map<std::string, std::uint64_t> drops; ///< by reason
    };
    struct by_flow {
        bool operator()(const tcp::flow_key& a, const tcp::flow_key& b) const;
    };
    /// Null when the book is full.
    belief* of(const tcp::flow_key& flow);
    belief* open(const tcp::flow_key& flow);
    static std::string text_of(const belief& b);

    static constexpr std::size_t most_beliefs = 1000; ///< more than anybody reads
    std::vector<belief> beliefs_;
    std::map<tcp::flow_key, std::size_t, by_flow> newest_; ///< indices
    std::uint64_t left_out_ = 0;
};

/// "send queue 1200 (200 unsent), receive queue 0, ..." of a connection that lives.
std::string info_text(const tcp::endpoint& e);

} // namespace tapir::test
