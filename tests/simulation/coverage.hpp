// What all the simulations of a run came to: the arcs of TCP's table that were walked, the faults done.
#pragma once

#include <tapir/protocols/link/fault.hpp>
#include <tapir/protocols/tcp/state.hpp>

#include <array>
#include <cstdint>
#include <map>
#include <string>

namespace tapir::test {

/// Which arcs of TCP's transition table were walked, over all worlds of the process.
class coverage {
  public:
    static coverage& of_this_run();
    void walked(tcp::state from, tcp::event cause, tcp::state to);
    std::uint64_t count(const tcp::arc& a) const;
    /// One line for each arc that was never walked.
    std::string missing() const;
    std::size_t walked_arcs() const;

  private:
    std::map<std::array<int, 3>, std::uint64_t> counts_;
};

/// Adds up what all worlds of the process injected.
fault_counts& faults_of_this_run();

/// Acknowledgements that waited while input did.
std::uint64_t& acks_deferred_in_this_run();

} // namespace tapir::test
