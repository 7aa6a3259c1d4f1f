// A connection's deadlines: a table of instants whose minimum is the next one. One timer in the wheel serves
// them all; it is moved only when the minimum comes earlier. A deadline that was pushed back (by every ACK)
// costs a store: the timer fires early, finds nothing due, and is armed again.
#pragma once

#include <tapir/framework/time.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace tapir::tcp {

enum class timer_id : std::uint8_t {
    retransmit,     ///< [RFC 6298 5]
    persist,        ///< zero window probes, and the override of silly window avoidance [RFC 9293 3.8.6]
    delayed_ack,    ///< [RFC 9293 3.8.6.3]
    keepalive,      ///< [RFC 9293 3.8.4]
    give_up,        ///< sent data was not acknowledged for too long (R2) [RFC 9293 3.8.3]
    close_deadline, ///< close() took too long
    reordering,     ///< what is late by now would be lost [RFC 8985 6.3]
    pace,           ///< the next of what cwnd allows may go out [RFC 9002 7.7]
    tail_probe,     ///< nothing tells whether the last of the data arrived [RFC 8985 7]
};
inline constexpr std::size_t timer_count = 9;

class timer_table {
  public:
    timer_table() { deadlines_.fill(never); }

    void set(timer_id id, instant deadline) { deadlines_[static_cast<std::size_t>(id)] = deadline; }
    void clear(timer_id id) { set(id, never); }
    instant deadline(timer_id id) const { return deadlines_[static_cast<std::size_t>(id)]; }
    bool armed(timer_id id) const { return deadline(id) != never; }
    /// Whether it is due; if so it is cleared.
    bool expire(timer_id id, instant now) {
        if (deadline(id) > now) return false;
        clear(id);
        return true;
    }
    /// Asked after every segment. Minima of values, which compile to no branches.
    instant next() const {
        instant first = deadlines_[0];
        for (std::size_t i = 1; i < timer_count; ++i) first = std::min(first, deadlines_[i]);
        return first;
    }
    /// Whether no other is armed.
    bool none_but(timer_id one) const {
        bool none = true;
        for (std::size_t i = 0; i < timer_count; ++i)
            none &= deadlines_[i] == never || i == static_cast<std::size_t>(one);
        return none;
    }
    /// Whose deadline next() is; meaningful only if that is not `never`.
    timer_id next_id() const {
        return static_cast<timer_id>(std::min_element(deadlines_.begin(), deadlines_.end()) -
                                     deadlines_.begin());
    }

  private:
    std::array<instant, timer_count> deadlines_;
};

} // namespace tapir::tcp
