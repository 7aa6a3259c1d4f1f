// What two ends did, step by step, as a table that a test compares with a literal:
//
//       0 ms  SYN_SENT      LISTEN        --> SYN seq J
//      10 ms  SYN_SENT      SYN_RECEIVED  rcv_syn
//      10 ms  SYN_SENT      SYN_RECEIVED  <-- SYN,ACK seq K ack J+1
//
// The columns are the time, the client's state, the server's state, and what happened: a segment that one of
// them sent, or the event that changed a state. J and K are the initial sequence numbers of client and
// server. It follows one connection at a time.
#pragma once

#include <tapir/framework/time.hpp>
#include <tapir/protocols/tcp/path_of_states.hpp>
#include <tapir/protocols/tcp/segment.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tapir::test {

enum class side : std::uint8_t { client, server };

class conversation_table {
  public:
    void sent(side by, const tcp::outgoing_segment& s, instant now);
    void changed(side by, const tcp::edge& e);
    /// Forgets everything, for another connection; times count from `now`.
    void restart(instant now);
    /// Forgets the lines so far, and goes on with the same connection; times count from `now`.
    void turn_page(instant now);

    std::string text() const;
    /// How many of the segments that `by` sent contain this, as in "RST" or "seq J+1 ack K+1".
    std::size_t sent_by(side by, std::string_view like) const;

  private:
    struct ends {
        tcp::state state = tcp::state::closed;
        std::optional<tcp::seq> first; ///< its initial sequence number
    };
    struct row {
        std::string line;
        std::string segment; ///< empty for a change of state
        side by = side::client;
    };
    ends& of(side s) { return s == side::client ? client_ : server_; }
    void add(instant at, std::string what, std::string segment, side by);

    instant start_{};
    ends client_;
    ends server_;
    std::vector<row> rows_;
};

} // namespace tapir::test
