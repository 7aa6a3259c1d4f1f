// The standard's own congestion avoidance: half of the window after a loss, one MSS more for each round trip
// without. Growth counts bytes, so that a peer gains nothing by dividing its ACKs, and loses nothing by
// delaying them. Two functions without state but the bytes counted so far. [RFC 5681 3.1] [RFC 3465 2.1]
#pragma once

#include <cstdint>

namespace tapir::tcp {

/// What is left of `window` bytes after a congestion event. [RFC 5681 3.1 (4)]
constexpr std::uint32_t reno_reduced(std::uint32_t window) {
    return window / 2;
}

/// `acked` bytes were acknowledged in congestion avoidance: the new cwnd. `counted` are those towards the
/// next MSS. At most one MSS for each window acknowledged. [RFC 3465 2.1]
constexpr std::uint32_t reno_grown(std::uint32_t cwnd, std::uint32_t acked, std::uint32_t mss,
                                   std::uint32_t& counted) {
    counted += acked < cwnd ? acked : cwnd;
    if (counted < cwnd) return cwnd;
    counted -= cwnd;
    return cwnd + mss;
}

} // namespace tapir::tcp
