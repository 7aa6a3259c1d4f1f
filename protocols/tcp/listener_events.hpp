// What a listener under pressure has to tell: that SYN cookies, or drops at one of its two queues, began and
// ended. Thousands of SYNs a second make one pair of events, because an episode ends only when the pressure
// has been gone for a while (config::pressure_quiet) and the queue is at most half full.
//
// Events are kept in a ring and numbered from 0: any number of readers go through them, each with a cursor of
// its own, and nobody subscribes. The last `kept` are there. Each kind of episode lasts pressure_quiet at
// least, so with the default of 5 s a reader that looks once a minute misses none; who is later sees by the
// numbers how many it missed.
#pragma once

#include <tapir/framework/time.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tapir::tcp {

enum class pressure : std::uint8_t {
    syn_cookies,        ///< SYNs are answered by cookies
    half_open_overflow, ///< SYNs are dropped: the SYN queue is full, and cookies are off
    accept_overflow,    ///< final ACKs (and SYNs that want a cookie) are dropped: the accept queue is full
};
inline constexpr std::array all_pressures = {pressure::syn_cookies, pressure::half_open_overflow,
                                             pressure::accept_overflow};

std::string_view name(pressure p); ///< "SYN cookies", "SYN queue overflow", "accept queue overflow"

struct listener_event {
    listener_event() = default;
    listener_event(std::uint64_t n, pressure p, bool is_begin, instant at, std::uint64_t segments)
        : number(n), what(p), began(is_begin), when(at), count(segments) {}

    std::uint64_t number = 0; ///< counts up from 0 within one listener
    pressure what = pressure::syn_cookies;
    bool began = true; ///< else it ended
    instant when{};
    std::uint64_t count = 0; ///< of an end: cookies sent, or segments dropped, since it began
    bool operator==(const listener_event&) const = default;
};

class listener_events {
  public:
    static constexpr std::size_t kept = 64;

    /// One more cookie or drop. True: it began an episode.
    bool happened(pressure p, instant now);
    /// Ends the episode, if there is one.
    void ended(pressure p, instant now);

    bool active(pressure p) const { return at(p).active; }
    bool any_active() const;
    /// The newest cookie or drop; long ago if there was none.
    instant newest(pressure p) const { return at(p).newest; }

    /// Number that the next event will have.
    std::uint64_t end() const { return next_; }
    /// The oldest that is still kept, if any is.
    std::uint64_t begin() const { return next_ > kept ? next_ - kept : 0; }
    /// Precondition: begin() <= number < end().
    const listener_event& operator[](std::uint64_t number) const { return events_[number % kept]; }

  private:
    struct episode {
        instant newest = instant::min();
        std::uint64_t count = 0;
        bool active = false;
    };
    const episode& at(pressure p) const { return episodes_[static_cast<std::size_t>(p)]; }
    void add(pressure p, bool began, instant now, std::uint64_t count);

    std::array<episode, all_pressures.size()> episodes_{};
    std::array<listener_event, kept> events_{};
    std::uint64_t next_ = 0;
};

} // namespace tapir::tcp
