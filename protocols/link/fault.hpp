// What a network may do to a frame, as values: counted, listed and replayed. A list of faults says exactly
// what was done to which frame, so that a failing run can be repeated with fewer and fewer of them.
#pragma once

#include <tapir/protocols/link/middleware.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tapir {

enum class fault_kind : std::uint8_t {
    loss,
    duplicate, ///< `value`: the copy arrives so many nanoseconds after the original
    corrupt,   ///< `value`: the bit that is flipped, from the front of the frame
    reorder,   ///< `value`: so many later frames overtake it
    jitter,    ///< `value`: so many nanoseconds later than the delay says
    mark,      ///< told of congestion: scripted, or since the rate's queue was long, which needs no entry
    // What configuration alone decides is counted, and needs no entry in a schedule:
    tail_drop, ///< the rate's queue was full
    too_big,   ///< above the impairment's MTU
    outage,    ///< lost while the path was down
    swallowed, ///< lost for its ECN field or flags
};
inline constexpr std::size_t fault_kinds = 10;

const char* to_string(fault_kind k);

/// One fault done, or to be done.
struct fault {
    fault() = default;
    fault(std::uint64_t number, direction d, fault_kind k, std::uint64_t v = 0)
        : frame(number), where(d), kind(k), value(v) {}

    std::uint64_t frame = 0; ///< counted from 0 in each direction
    direction where = direction::out;
    fault_kind kind = fault_kind::loss;
    std::uint64_t value = 0;

    bool operator==(const fault&) const = default;
    /// "out #12 corrupt 345"
    std::string to_string() const;
};

using fault_schedule = std::vector<fault>;

/// How much of each kind was done; a simulation adds them up and prints them.
struct fault_counts {
    std::uint64_t frames = 0; ///< that came to the impairment, in both directions
    std::array<std::uint64_t, fault_kinds> of{};

    std::uint64_t& operator[](fault_kind k) { return of[static_cast<std::size_t>(k)]; }
    std::uint64_t operator[](fault_kind k) const { return of[static_cast<std::size_t>(k)]; }
    fault_counts& operator+=(const fault_counts& other);
    bool operator==(const fault_counts&) const = default;
    /// "5120 frames: loss 51, duplicate 12, ..."; kinds that never happened are left out.
    std::string to_string() const;
};

} // namespace tapir
