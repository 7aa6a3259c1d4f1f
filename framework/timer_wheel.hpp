// Deadlines, many thousands of them, where most are moved or dropped before they pass. A hierarchical wheel:
// seven levels of 64 slots; arming and cancelling are O(1) and allocate nothing. Time is handed in.
//
// One named resolution: a timer never fires early, and fires at most one `resolution` late (plus the time
// until advance() is called). next() is a lower bound: waking there may fire nothing but moves timers closer.
#pragma once

#include <tapir/framework/intrusive_list.hpp>
#include <tapir/framework/time.hpp>

#include <array>
#include <cstddef>
#include <cstdint>

namespace tapir {

class timer_wheel;

/// One deadline. Lives in the object that waits; disarms itself when destroyed.
class timer : public list_hook<timer> {
  public:
    using handler = void (*)(timer&, instant now);
    explicit timer(handler on_fire) : on_fire_(on_fire) {}
    timer(timer&&) noexcept = default; ///< only while not armed
    ~timer();

    bool armed() const { return wheel_ != nullptr; }
    instant deadline() const { return deadline_; }

  private:
    friend class timer_wheel;
    handler on_fire_;
    timer_wheel* wheel_ = nullptr;
    instant deadline_ = never;
    std::int64_t tick_ = 0; ///< the deadline, rounded up to ticks
    std::uint8_t level_ = 0;
    std::uint8_t slot_ = 0;
};

class timer_wheel {
  public:
    /// `resolution` is rounded down to a power of two of nanoseconds, at least 1.
    explicit timer_wheel(duration resolution, instant start = instant{});
    timer_wheel(const timer_wheel&) = delete;
    timer_wheel& operator=(const timer_wheel&) = delete;
    ~timer_wheel();

    duration resolution() const { return duration(std::int64_t{1} << shift_); }

    /// Arms `t`, or moves it when it is armed already. A deadline that has passed fires at the next
    /// advance(), one of `never` does not.
    void arm(timer& t, instant deadline);
    void cancel(timer& t);

    /// No timer fires before this instant; `never` when none is armed, or none for any other deadline.
    instant next() const;

    /// Fires every timer whose deadline is not after `now`, in order of their ticks, equal ticks in the order
    /// of arming. Handlers may arm and cancel any timer; one armed for the past fires in the next call.
    /// Returns how many fired.
    std::size_t advance(instant now);

    std::size_t armed() const { return armed_; }

  private:
    static constexpr int slot_bits = 6;
    static constexpr int slots = 1 << slot_bits;
    static constexpr int levels = 7;

    void place(timer& t);
    void forget(timer& t);
    std::int64_t ticks_up(instant at) const;
    std::int64_t next_tick() const;

    using level = std::array<intrusive_list<timer, timer>, slots>;

    // What each turn of a loop asks stands first, on two cache lines; the slots are several kilobytes.
    int shift_;
    std::int64_t now_ = 0;    ///< every tick up to this one has been fired
    std::int64_t target_ = 0; ///< where the newest advance() goes
    std::size_t armed_ = 0;
    std::array<std::uint64_t, levels> occupied_{}; ///< a bit for each slot of a level
    std::array<level, levels> slot_;
    intrusive_list<timer, timer> never_; ///< armed, on no level: these do not fire
};

} // namespace tapir
