// Tests that need the kernel's network run in a child process with a network namespace of its own: nothing of
// them is seen outside, and nothing is left when they have ended.
//
//     TEST_CASE("...") {
//         const auto outcome = test::in_own_network([] {
//             test::expect(1 + 1 == 2, "sums");          // instead of CHECK, which only the parent can count
//         });
//         if (!outcome.possible) return test::skip(outcome.text.c_str());
//         CHECK_MESSAGE(outcome.text.empty(), outcome.text);
//     }
#pragma once

#include <functional>
#include <source_location>
#include <stdexcept>
#include <string>

namespace tapir::test {

struct netns_outcome {
    bool possible = true; ///< false: this machine lacks what the test needs; `text` says what
    std::string text;     ///< what went wrong; empty if nothing did
};

/// Thrown by a body that cannot run here: a reason to skip, not a failure.
struct lacking : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// Forks, makes a new network namespace (and a user namespace when not root), brings its loopback up and runs
/// `body`. An exception, a signal and a leak found by the sanitizer are failures. The child is killed after
/// `seconds`.
netns_outcome in_own_network(const std::function<void()>& body, unsigned seconds = 30);

/// Throws with file and line when `condition` is false.
void expect(bool condition, const std::string& what,
            std::source_location at = std::source_location::current());

} // namespace tapir::test
