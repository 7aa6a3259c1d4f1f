// Every edge a connection went through, with cause and time. One incarnation has no cycle and no path longer
// than seven edges (simultaneous open, then simultaneous close), so all of it fits a fixed array: nothing is
// ever lost, and whoever waits for a state just reads it.
#pragma once

#include <tapir/framework/time.hpp>
#include <tapir/protocols/tcp/state.hpp>

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <span>

namespace tapir::tcp {

struct edge {
    state from = state::closed;
    state to = state::closed;
    event cause = event::call_open;
    instant when{};

    bool operator==(const edge&) const = default;
};

class path_of_states {
  public:
    static constexpr std::size_t longest = 7;

    explicit path_of_states(state start = state::closed) : start_(start) {}

    state start() const { return start_; }
    state current() const { return count_ == 0 ? start_ : edges_[count_ - 1].to; }
    std::span<const edge> edges() const { return std::span(edges_).first(count_); }

    /// Where it began does not count: a connection stood in CLOSED before it was opened, and enters it once.
    bool entered(state s) const {
        for (const edge& e : edges())
            if (e.to == s) return true;
        return false;
    }

    void append(state to, event cause, instant when) {
        assert(count_ < longest);
        edges_[count_] = edge{current(), to, cause, when};
        ++count_;
    }

  private:
    state start_;
    std::uint8_t count_ = 0;
    std::array<edge, longest> edges_{};
};

} // namespace tapir::tcp
