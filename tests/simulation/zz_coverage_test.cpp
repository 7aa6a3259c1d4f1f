// The last of this ring, by the name of its file: what did all the simulations of this run come to?

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdio>

#include "tests/simulation/world.hpp"

using namespace tapir;
using namespace tapir::test;

TEST_CASE("coverage: every arc of TCP's transition table was walked") {
    if (replayed_seed() != 0) return; // one seed of each scenario
    const coverage& walked = coverage::of_this_run();
    std::printf("faults injected: %s\n", faults_of_this_run().to_string().c_str());
    std::printf("arcs walked: %zu of %zu\n", walked.walked_arcs(), tcp::arcs.size());
    for (const tcp::arc& a : tcp::arcs)
        std::printf("  %-12s --%s--> %s%s: %llu\n", std::string(name(a.from)).c_str(),
                    std::string(name(a.cause)).c_str(), std::string(name(a.to)).c_str(),
                    !a.only                           ? ""
                    : *a.only == tcp::opening::active ? " (active open)"
                                                      : " (passive open)",
                    static_cast<unsigned long long>(walked.count(a)));
    CHECK(walked.missing() == "");
}

TEST_CASE("coverage: acknowledgements waited in floods of input") {
    if (replayed_seed() != 0) return;
    std::printf("acknowledgements deferred: %llu\n",
                static_cast<unsigned long long>(acks_deferred_in_this_run()));
    CHECK(acks_deferred_in_this_run() != 0);
}
