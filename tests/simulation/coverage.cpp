#include "tests/simulation/coverage.hpp"

namespace tapir::test {

coverage& coverage::of_this_run() {
    static coverage instance;
    return instance;
}

void coverage::walked(tcp::state from, tcp::event cause, tcp::state to) {
    ++counts_[{static_cast<int>(from), static_cast<int>(cause), static_cast<int>(to)}];
}

std::uint64_t coverage::count(const tcp::arc& a) const {
    const auto found =
        counts_.find({static_cast<int>(a.from), static_cast<int>(a.cause), static_cast<int>(a.to)});
    return found == counts_.end() ? 0 : found->second;
}

std::size_t coverage::walked_arcs() const {
    std::size_t n = 0;
    for (const tcp::arc& a : tcp::arcs) n += count(a) != 0 ? 1u : 0u;
    return n;
}

std::string coverage::missing() const {
    std::string out;
    for (const tcp::arc& a : tcp::arcs)
        if (count(a) == 0)
            out += std::string(name(a.from)) + " --" + std::string(name(a.cause)) + "--> " +
                   std::string(name(a.to)) + "\n";
    return out;
}

fault_counts& faults_of_this_run() {
    static fault_counts instance;
    return instance;
}

std::uint64_t& acks_deferred_in_this_run() {
    static std::uint64_t instance = 0;
    return instance;
}

} // namespace tapir::test
