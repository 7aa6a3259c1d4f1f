// How large may the packets to a peer be, when nobody says so? Between the largest that is known to arrive
// (the floor) and the largest that could (the ceiling) probes decide. A search of sizes alone: what a probe
// is made of, and how its loss is found, is the transport's matter (mtu_discovery.cpp).
//
//     if (const auto size = search.next(now)) send a packet of `size`, search.sent(size);
//     search.arrived(now);                    // it did: packets may be so large from now on
//     search.lost(now);                       // it alone did not: once more, or it counts as too large
//     search.inconclusive();                  // it did not, but neither did others
//
// The ceiling is asked first, since it is right most of the time; then sizes that links and tunnels are known
// to have, as long as they cut what is left about in half; then the middle. [RFC 4821 7.3] [RFC 8899 5.3.2]
// Once nothing is left to ask the search rests, and begins anew after a while: paths change.
// Sizes are bytes of one packet, network header included.
#pragma once

#include <tapir/framework/time.hpp>
#include <tapir/protocols/tcp/seq.hpp>

#include <cstdint>
#include <string_view>

namespace tapir::tcp {

/// [RFC 8899 5.2]
enum class mtu_state : std::uint8_t {
    disabled,  ///< there is no search: packets are as large as the link and ICMP say
    base,      ///< packets have the base size, and none has arrived yet
    searching, ///< for larger ones
    complete,  ///< nothing larger is worth asking for, until the raise timer
    error,     ///< not even the base size arrives: packets have the least
};
std::string_view to_string(mtu_state s);

struct mtu_limits {
    std::uint16_t least = 0; ///< never less [MIN_PLPMTU]
    std::uint16_t base = 0;  ///< what nearly every path carries [BASE_PLPMTU]
    std::uint16_t step = 0;  ///< a difference that is not worth a probe
    std::uint8_t probes = 0; ///< as many of one size must be lost [MAX_PROBES]
    duration raise_after{0}; ///< [PMTU_RAISE_TIMER]
};

class mtu_search {
  public:
    /// Begins with packets of `size`, of which it is not known that they arrive; `most` is what the link and
    /// the peer take.
    mtu_search(const mtu_limits& l, std::uint16_t size, std::uint16_t most);

    mtu_state state() const { return state_; }
    /// How large packets may be.
    std::uint16_t size() const { return floor_; }
    std::uint16_t ceiling() const { return ceiling_; }
    /// Of the probe that is under way; zero: none is.
    std::uint16_t probing() const { return probing_; }

    /// What size to probe; zero: none, or one is under way. Once the search has rested for long enough it
    /// begins anew here: who sends nothing needs no timer.
    std::uint16_t next(instant now);
    void sent(std::uint16_t size) { probing_ = size; }
    void arrived(instant now);
    void lost(instant now);
    void inconclusive() { probing_ = 0; }

    /// Begins with packets of the base size instead. False: there is nothing to find above it.
    bool start_low();
    /// A packet of size() has arrived.
    void proven(instant now);
    /// Packets of size() do not arrive any more: down to the base, or below if that is what does not.
    /// [RFC 4821 7.7] [RFC 8899 4.3]
    void black_hole();
    /// What that makes of size(); the same when it has the least already.
    std::uint16_t size_below() const;
    /// Whoever routes says that larger ones than this are not carried. A larger probe that is under way will
    /// be lost, but says nothing more. [RFC 1191] [RFC 8899 4.6.2]
    void limit(std::uint16_t mtu, instant now);

  private:
    void settle(instant now);

    mtu_limits limits_;
    instant rests_since_{};
    std::uint16_t floor_;
    std::uint16_t ceiling_;
    std::uint16_t most_;
    std::uint16_t probing_ = 0;
    std::uint8_t tries_ = 0; ///< of the size that next() names
    mtu_state state_ = mtu_state::base;
    bool ceiling_asked_ = false;
};

/// What a connection has of it, once it searches.
struct mtu_discovery {
    mtu_discovery(const mtu_search& begin, seq una) : search(begin), quiet_until(una) {}

    mtu_search search;
    seq probe_begin; ///< of the data that is the probe under way
    seq probe_end;
    seq quiet_until; ///< no probe before this is acknowledged: the last was not, or not by itself
};

} // namespace tapir::tcp
