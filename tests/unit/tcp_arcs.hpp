// Which arcs of the transition table the exhaustive test and the model check have walked, together.
#pragma once

#include <tapir/protocols/tcp/path_of_states.hpp>
#include <tapir/protocols/tcp/state.hpp>

#include <array>
#include <cstdint>
#include <string>

namespace tapir::test {

class arc_tally {
  public:
    void add(const tcp::edge& e, tcp::opening how) {
        for (std::size_t i = 0; i < tcp::arcs.size(); ++i) {
            const tcp::arc& a = tcp::arcs[i];
            if (a.from == e.from && a.cause == e.cause && a.to == e.to && (!a.only || *a.only == how))
                ++times_[i];
        }
    }
    std::uint64_t times(std::size_t i) const { return times_[i]; }
    std::string missing() const {
        std::string out;
        for (std::size_t i = 0; i < tcp::arcs.size(); ++i) {
            const tcp::arc& a = tcp::arcs[i];
            if (times_[i] == 0)
                out += std::string(name(a.from)) + " --" + std::string(name(a.cause)) + "--> " +
                       std::string(name(a.to)) +
                       (!a.only                           ? ""
                        : *a.only == tcp::opening::active ? " (active)"
                                                          : " (passive)") +
                       "; ";
        }
        return out;
    }

  private:
    std::array<std::uint64_t, tcp::arcs.size()> times_{};
};

/// Of this run of the program: by whatever tests have run.
inline arc_tally& walked_arcs() {
    static arc_tally all;
    return all;
}

} // namespace tapir::test
