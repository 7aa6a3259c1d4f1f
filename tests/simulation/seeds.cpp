#include "tests/simulation/seeds.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "tests/simulation/shrink.hpp"

namespace tapir::test {

namespace {

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

seed_outcome guarded(const seed_scenario& one, const seed_run& run) {
    try {
        return one(run);
    } catch (const std::exception& e) {
        seed_outcome failed;
        failed.wrong = e.what();
        return failed;
    }
}

std::string first_line(const std::string& text) {
    return text.substr(0, text.find('\n'));
}

// A soak goes on after a failure and leaves looking at it to the replay.
bool soaking() {
    return from_environment("TAPIR_SOAK", 0) != 0;
}

} // namespace

std::uint64_t seeds_per_run() {
    return from_environment("TAPIR_SEEDS", 2000);
}
std::uint64_t replayed_seed() {
    return from_environment("TAPIR_SEED", 0);
}

shrunk_failure shrink(const seed_scenario& one, const seed_run& run, const seed_outcome& failed,
                      std::size_t most_runs) {
    shrunk_failure out;
    out.faults = failed.faults;
    out.drawn = failed.faults.size();
    seed_run again = run;
    again.keep = false;
    again.pcap.clear();
    const auto fails = [&](const fault_list& faults) {
        ++out.runs;
        again.replay = &faults;
        return !guarded(one, again).wrong.empty();
    };
    const auto left = [&] { return most_runs - std::min(most_runs, out.runs); };
    // What a replay does not reproduce is no matter of these faults: then all is kept as it was drawn.
    const bool reproduced = left() > 0 && fails(out.faults);
    if (reproduced) {
        // A kind of fault that has nothing to do with it goes in one step.
        for (std::size_t k = 0; k < fault_kinds && left() > 0; ++k) {
            fault_list others;
            for (const placed_fault& f : out.faults)
                if (f.what.kind != static_cast<fault_kind>(k)) others.push_back(f);
            if (others.size() != out.faults.size() && fails(others)) out.faults = others;
        }
        auto fewest = minimise(out.faults, fails, left());
        out.faults = std::move(fewest.list);
        out.minimal = fewest.minimal;
    }
    seed_run kept = run;
    kept.keep = true;
    if (reproduced) kept.replay = &out.faults;
    out.outcome = guarded(one, kept);
    return out;
}

std::string shrunk_failure::report() const {
    std::string text = outcome.ladder;
    text += "what each end believed:\n" + outcome.beliefs;
    text += "faults: " + std::to_string(faults.size()) + " of " + std::to_string(drawn) + " after " +
            std::to_string(runs) + " runs" + (minimal ? ", none of which can be left out" : "") + "\n";
    constexpr std::size_t most_lines = 100;
    for (std::size_t i = 0; i < std::min(faults.size(), most_lines); ++i)
        text += "  link " + std::to_string(faults[i].link) + ": " + faults[i].what.to_string() + "\n";
    if (faults.size() > most_lines) text += "  ...\n";
    return text;
}

std::uint64_t for_each_seed(const char* name, std::uint64_t count, const seed_scenario& one,
                            std::uint64_t every) {
    const std::uint64_t replay = replayed_seed();
    const std::uint64_t first = replay != 0 ? replay : from_environment("TAPIR_FIRST_SEED", 1);
    const std::uint64_t last = replay != 0 ? replay : first + count - 1;
    std::uint64_t combined = 0;
    for (std::uint64_t seed = first; seed <= last; ++seed) {
        if (replay == 0 && seed % every != 0) continue;
        seed_run run(seed);
        if (replay != 0) {
            run.keep = true;
            run.pcap = std::string(name) + "-" + std::to_string(seed) + ".pcap";
            std::printf("%s: seed %llu replayed, frames in %s\n", name, static_cast<unsigned long long>(seed),
                        run.pcap.c_str());
        }
        const seed_outcome out = guarded(one, run);
        if (seed < first + hashed_seeds) combined = (combined ^ out.hash) * 0x100000001b3u;
        if (out.wrong.empty()) continue;
        if (soaking()) {
            std::printf("FAILED %s seed %llu: %s\n", name, static_cast<unsigned long long>(seed),
                        first_line(out.wrong).c_str());
            std::fflush(stdout);
            FAIL_CHECK(std::string(name) << ", seed " << seed);
            continue;
        }
        run.pcap = std::string(name) + "-" + std::to_string(seed) + "-shrunk.pcap";
        const shrunk_failure few = shrink(one, run, out);
        std::printf("%s", few.report().c_str());
        FAIL_CHECK(std::string(name) << ", seed " << seed << ": " << out.wrong << "\nwith "
                                     << few.faults.size() << " of " << few.drawn << " faults: "
                                     << few.outcome.wrong << "\nreplay it with: ./run tests --seed " << seed
                                     << "; frames are in " << run.pcap);
        if (replay == 0) break;
    }
    if (replay == 0 && !soaking())
        std::printf("%s: %llu seeds\n%s: trace hash of the first %llu: %016llx\n", name,
                    static_cast<unsigned long long>(count / every), name,
                    static_cast<unsigned long long>(std::min(count, hashed_seeds)),
                    static_cast<unsigned long long>(combined));
    return combined;
}

} // namespace tapir::test
