// RACK: a segment is lost when one that was sent later has arrived, and some time has passed. How much time
// is what this file decides: none, until the path has been seen to reorder; then a part of the round trip,
// more of it the more often the peer reports that something came twice. [RFC 8985 6.2]
#pragma once

#include <tapir/framework/time.hpp>
#include <tapir/protocols/tcp/scoreboard.hpp>
#include <tapir/protocols/tcp/seq.hpp>

#include <algorithm>
#include <cstdint>

namespace tapir::tcp {

class rack {
  public:
    explicit rack(seq una) : highest_(una), round_(una) {}

    /// The newest sending that has arrived; what went out before it may be lost.
    instant newest_at() const { return newest_at_; }
    seq newest_end() const { return newest_end_; }
    /// How long that one took; zero before there is one.
    duration rtt() const { return rtt_; }
    bool reordering_seen() const { return reordering_seen_; }

    /// An ACK has arrived, at `arrived`, and told `d`; everything before `una` is acknowledged.
    void delivered(const delivery& d, seq una, instant arrived) {
        if (d.has_newest && (rtt_ == duration{0} || d.newest_at > newest_at_ ||
                             (d.newest_at == newest_at_ && d.newest_end > newest_end_))) { // step 2
            newest_at_ = d.newest_at;
            newest_end_ = d.newest_end;
            rtt_ = std::max(arrived - d.newest_at, duration{1});
        }
        // Step 3: something sent just once arrives below what has arrived.
        if (d.once && d.lowest_once_end < highest_) reordering_seen_ = true;
        if (d.bytes != 0) highest_ = later(highest_, d.highest_end);
        highest_ = later(highest_, una);
    }

    /// Something arrived twice: we were too hasty. Once for each round trip. [RFC 8985 6.2, step 4]
    void duplicate_reported(seq una, seq nxt) {
        if (una < round_) return;
        round_ = nxt;
        if (steps_ < most_steps) ++steps_;
        patience_left_ = patient_recoveries;
    }
    /// What had been found lost was only late.
    void reordering_found() { reordering_seen_ = true; }
    /// After sixteen recoveries without such a report the wait is back at its first length.
    void recovered() {
        if (patience_left_ != 0 && --patience_left_ == 0) steps_ = 1;
    }
    /// Keeps up, or half a circle later it would seem to be ahead.
    void acknowledged(seq una) { round_ = later(round_, una - 1); }

    /// How much longer than a round trip an older sending may take. `urgent`: in recovery, or enough has
    /// arrived beyond a hole that waiting could only cost.
    duration reordering_window(duration min_rtt, duration srtt, bool urgent) const {
        if (!reordering_seen_ && urgent) return duration{0};
        return std::min(min_rtt / 4 * steps_, srtt);
    }

  private:
    static constexpr std::uint8_t most_steps = 255;
    static constexpr std::uint8_t patient_recoveries = 16;

    instant newest_at_{};
    duration rtt_{0};
    seq newest_end_{};
    seq highest_; ///< the end of what has arrived [RACK.fack]
    seq round_;   ///< [RACK.dsack_round]
    std::uint8_t steps_ = 1;
    std::uint8_t patience_left_ = 0;
    bool reordering_seen_ = false;
};

} // namespace tapir::tcp
