// End-to-end tests: a sample on its TAP, the kernel's sockets and programs on the other side, in a network
// namespace of the test's own.
//
//     TEST_CASE("curl gets a page") {
//         const test::temporary_directory root; // out here, so that it is removed even if the body hangs
//         root.write("index.html", "hello");
//         test::on_each_tap_path([&](const std::string& io) {
//             const auto server = test::serve(root, io);
//             test::expect(test::run({"curl", "-sS", "http://192.0.2.2/"}).out == "hello", "the page");
//         });
//     }
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/netns.hpp"
#include "tests/support/process.hpp"

namespace tapir::test {

/// Runs `body` in a network of its own; counted as skipped where there can be none, where /dev/net/tun is not
/// open to this user, and where `body` throws lacking.
void on_tap(const std::function<void()>& body, unsigned seconds = 60);

/// The same once for each of the ways frames are moved: body("poll"), body("multishot").
void on_each_tap_path(const std::function<void(const std::string& io)>& body, unsigned seconds = 60);

/// How many shards servers are to run in, unless they say it themselves: TAPIR_SHARDS, or 1.
unsigned shards();

/// Starts a sample and waits until it says `ready`. What it lacks on this machine is a reason to skip.
std::unique_ptr<process> start(std::vector<std::string> arguments, const std::string& ready);

/// http_server over `root` at 192.0.2.2, port 80.
std::unique_ptr<process> serve(const temporary_directory& root, const std::string& io = "automatic",
                               std::vector<std::string> more = {});

/// Whether a network device of that name exists here.
bool device_exists(const std::string& name);

} // namespace tapir::test
