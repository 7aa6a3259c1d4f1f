// Runs a scenario over many seeds, or over the one that is to be replayed. A seed that fails is run again
// with fewer and fewer of its faults, until each that is left is needed; then what failed, the faults, the
// ladder and what each end believed are printed.
//
//     seed_outcome bulk(const seed_run& run) {
//         topology t(run);                         // draws its faults, or does those of `run` again
//         ...
//         return t.outcome();
//     }
//     TEST_CASE("bulk over wires that ...") { for_each_seed("bulk", seeds_per_run(), bulk); }
//
// "over wires" in the name of a test tells `./run tests --seed`, `./run soak` and `./run mutants` that it
// draws from seeds.
#pragma once

#include <tapir/protocols/link/fault.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace tapir::test {

/// A fault, and on which of the links it is done.
struct placed_fault {
    placed_fault(std::size_t number, const fault& f) : link(number), what(f) {}
    std::size_t link;
    fault what;
    bool operator==(const placed_fault&) const = default;
};
using fault_list = std::vector<placed_fault>;

/// How a seed is to be run.
struct seed_run {
    explicit seed_run(std::uint64_t number) : seed(number) {}
    std::uint64_t seed;
    bool keep = false; ///< ladder, frames and beliefs: what costs time and is read after a failure
    std::string pcap;  ///< where the frames go, if anywhere; only with `keep`
    const fault_list* replay = nullptr; ///< exactly these faults, instead of drawing
};

struct seed_outcome {
    std::uint64_t hash = 0;
    std::string wrong; ///< empty: all invariants held
    fault_list faults; ///< what was done, when something is wrong
    std::string ladder;
    std::string beliefs;
};
using seed_scenario = std::function<seed_outcome(const seed_run&)>;

/// A failing seed and what is left of it.
struct shrunk_failure {
    seed_outcome outcome;  ///< of the run with `faults`, with ladder and beliefs
    fault_list faults;     ///< the fewest found that make it fail
    std::size_t drawn = 0; ///< how many there were
    std::size_t runs = 0;
    bool minimal = false; ///< none of them can be left out
    /// All of it, as text.
    std::string report() const;
};
/// Runs `one` at most `most_runs` times. `failed` is what it came to with all its faults.
shrunk_failure shrink(const seed_scenario& one, const seed_run& run, const seed_outcome& failed,
                      std::size_t most_runs = 300);

/// Runs seeds 1 to `count`, checks that nothing is wrong with any, and returns the combined hash of the first
/// `hashed_seeds`, which it prints: it is the same on every compiler. What is dear takes one seed in `every`.
std::uint64_t for_each_seed(const char* name, std::uint64_t count, const seed_scenario& one,
                            std::uint64_t every = 1);
inline constexpr std::uint64_t hashed_seeds = 200;

/// How many seeds a run takes (TAPIR_SEEDS, default 2000), and the one seed to replay (TAPIR_SEED), if any.
std::uint64_t seeds_per_run();
std::uint64_t replayed_seed();

} // namespace tapir::test
