// Every edge a connection went through, with cause and time. One incarnation has no cycle and no path longer
// than seven edges (simultaneous open, then simultaneous close), so all of it is kept: nothing is ever lost,
// and whoever waits for a state just reads it. Most connections spend most of their life behind the second
// edge: the times of those that follow get room when they come.
#pragma once

#include <tapir/framework/time.hpp>
#include <tapir/protocols/tcp/state.hpp>

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace tapir::tcp {

struct edge {
    state from = state::closed;
    state to = state::closed;
    event cause = event::call_open;
    instant when{};

    bool operator==(const edge&) const = default;
};

/// The edges of one path, oldest first: a value of its own.
class edge_list {
  public:
    static constexpr std::size_t longest = 7;

    std::size_t size() const { return count_; }
    bool empty() const { return count_ == 0; }
    edge operator[](std::size_t i) const {
        assert(i < count_);
        return edges_[i];
    }
    edge front() const { return (*this)[0]; }
    edge back() const { return (*this)[count_ - 1]; }
    const edge* begin() const { return edges_.data(); }
    const edge* end() const { return begin() + count_; }
    void push_back(const edge& e) {
        assert(count_ < longest);
        edges_[count_++] = e;
    }

  private:
    std::array<edge, longest> edges_{};
    std::size_t count_ = 0;
};

class path_of_states {
  public:
    static constexpr std::size_t longest = edge_list::longest;

    explicit path_of_states(state start = state::closed) : start_(start) {}

    state start() const { return start_; }
    state current() const { return count_ == 0 ? start_ : to_[count_ - 1]; }
    std::size_t size() const { return count_; }
    edge_list edges() const {
        edge_list all;
        for (std::size_t i = 0; i < count_; ++i) all.push_back((*this)[i]);
        return all;
    }
    edge operator[](std::size_t i) const {
        edge e;
        e.from = i == 0 ? start_ : to_[i - 1];
        e.to = to_[i];
        e.cause = cause_[i];
        e.when = i < few ? first_[i] : (*rest_)[i - few];
        return e;
    }

    /// Where it began does not count: a connection stood in CLOSED before it was opened, and enters it once.
    bool entered(state s) const {
        for (std::size_t i = 0; i < count_; ++i)
            if (to_[i] == s) return true;
        return false;
    }

    void append(state to, event cause, instant when) {
        assert(count_ < longest);
        to_[count_] = to;
        cause_[count_] = cause;
        if (count_ < few) {
            first_[count_] = when;
        } else {
            if (!rest_) rest_ = std::make_unique<std::array<instant, longest - few>>();
            (*rest_)[count_ - few] = when;
        }
        ++count_;
    }

  private:
    static constexpr std::size_t few = 2;

    state start_;
    std::uint8_t count_ = 0;
    std::array<state, longest> to_{};
    std::array<event, longest> cause_{};
    std::array<instant, few> first_{};
    std::unique_ptr<std::array<instant, longest - few>> rest_; ///< times of the others
};
static_assert(sizeof(path_of_states) <= 40);

} // namespace tapir::tcp
