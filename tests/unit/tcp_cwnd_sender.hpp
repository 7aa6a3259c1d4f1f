// A sender for tests of congestion control: whatever cwnd allows it sends, over a path that loses nothing.
#pragma once

#include <tapir/protocols/tcp/congestion/control.hpp>

#include <algorithm>
#include <cstdint>

namespace tapir::test::congestion {

using tcp::congestion_algorithm;
using tcp::congestion_cause;
using tcp::congestion_control;
using tcp::seq;

inline constexpr std::uint32_t mss = 1000;
inline constexpr std::uint32_t kB = 1000;
inline constexpr congestion_algorithm both[] = {congestion_algorithm::cubic, congestion_algorithm::new_reno};

/// A sender that has always more than cwnd allows, over a path that loses nothing: each round trip it sends a
/// window and gets an ACK for every other segment of it.
struct sender {
    explicit sender(congestion_algorithm a = congestion_algorithm::cubic, bool paced = true) : cc(a, paced) {
        cc.start(mss, 10);
    }

    congestion_control cc;
    instant now{};
    seq una{0xffff'0000}; ///< wraps soon
    seq nxt = una;
    bool limited = true;
    duration rtt = 100ms;
    bool after_timeout = false;

    void ack(std::uint32_t bytes, std::uint32_t flight) {
        una += bytes;
        nxt = tcp::later(nxt, una);
        tcp::ack_sample s;
        s.now = now;
        s.delivered = bytes;
        s.flight_before = flight;
        s.mss = mss;
        s.rtt = s.srtt = rtt;
        s.snd_una = una;
        s.snd_nxt = nxt;
        s.cwnd_limited = limited;
        s.after_timeout = after_timeout;
        cc.on_ack(s);
    }
    /// One round trip of `bytes` in flight, acknowledged by `step` at a time; cwnd, if not said.
    void round(std::uint32_t bytes = 0, std::uint32_t step = 2 * mss) {
        if (bytes == 0) bytes = cc.cwnd();
        nxt = una + bytes;
        now += rtt;
        for (std::uint32_t left = bytes; left != 0;) {
            const std::uint32_t now_acked = std::min(left, step);
            nxt = later(nxt, una + left);
            ack(now_acked, left);
            left -= now_acked;
        }
    }
    /// Until cwnd is `bytes`, in slow start.
    void grow_to(std::uint32_t bytes) {
        while (cc.cwnd() < bytes) round(std::min(cc.cwnd(), bytes - cc.cwnd()), mss);
    }
    /// A loss with a full window in flight, and a recovery of one round trip.
    void lose() {
        cc.on_congestion(congestion_cause::loss, cc.cwnd(), mss, now);
        now += rtt;
        cc.on_recovered();
        nxt = una;
    }
};

} // namespace tapir::test::congestion
