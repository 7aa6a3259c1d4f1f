// Runs a scenario over many seeds, or over the one that is to be replayed, and says which seed failed.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <cstdio>
#include <exception>
#include <string>

#include "tests/simulation/world.hpp"

namespace tapir::test {

struct seed_outcome {
    std::uint64_t hash = 0;
    std::string wrong; ///< empty: all invariants held
    std::string ladder;
};

/// `one(seed, pcap)` builds a world, runs it, saves a pcap to that path unless it is empty, and tells how it
/// went. Returns the combined hash of all seeds.
template <class F>
std::uint64_t for_each_seed(const char* name, std::uint64_t count, F one) {
    const std::uint64_t replay = replayed_seed();
    const std::uint64_t first = replay != 0 ? replay : 1;
    const std::uint64_t last = replay != 0 ? replay : count;
    std::uint64_t combined = 0;
    for (std::uint64_t seed = first; seed <= last; ++seed) {
        const std::string pcap = std::string(name) + "-" + std::to_string(seed) + ".pcap";
        const auto guarded = [&](const std::string& save) {
            try {
                return one(seed, save);
            } catch (const std::exception& e) {
                seed_outcome failed;
                failed.wrong = e.what();
                return failed;
            }
        };
        const seed_outcome out = guarded(replay != 0 ? pcap : "");
        if (replay != 0)
            std::printf("%s: seed %llu replayed, frames in %s\n", name, static_cast<unsigned long long>(seed),
                        pcap.c_str());
        if (!out.wrong.empty()) {
            (void)guarded(pcap); // the same again, kept
            std::printf("%s", out.ladder.c_str());
            FAIL_CHECK(name << ", seed " << seed << ": " << out.wrong
                            << "\nreplay it with: ./run tests --seed " << seed << "; frames are in " << pcap);
            if (replay == 0) break;
        }
        combined = (combined ^ out.hash) * 0x100000001b3u;
    }
    if (replay == 0)
        std::printf("%s: %llu seeds, trace hash %016llx\n", name, static_cast<unsigned long long>(count),
                    static_cast<unsigned long long>(combined));
    return combined;
}

} // namespace tapir::test
