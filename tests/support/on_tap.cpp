#include "tests/support/on_tap.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <net/if.h>
#include <stdexcept>
#include <unistd.h>

#include "tests/skip.hpp"

namespace tapir::test {
namespace {

/// False when the test was skipped.
bool on_tap_as(const std::string& title, const std::function<void()>& body, unsigned time_limit) {
    if (::access("/dev/net/tun", R_OK | W_OK) != 0) {
        skip("/dev/net/tun is missing or not open to this user");
        return false;
    }
    // Control sockets are files: the network namespace does not hide those of other programs.
    const temporary_directory control;
    const auto with_own_control = [&] {
        ::setenv("TAPIR_RUNTIME_DIR", control.path().c_str(), 1);
        body();
    };
    const auto outcome = in_own_network(with_own_control, time_limit);
    if (!outcome.possible) {
        skip(outcome.text.c_str());
        return false;
    }
    CHECK_MESSAGE(outcome.text.empty(), title, outcome.text);
    return true;
}

} // namespace

namespace {

bool can_be_split(const std::vector<std::string>& arguments) {
    const auto given = [&](const char* what) {
        return std::ranges::find(arguments, what) != arguments.end();
    };
    if (given("--shards") || given("kernel") || given("--pcap"))
        return false; // captures are one for each shard
    return std::ranges::any_of(std::array{"http_server", "echo", "half_close", "smtp_sink"},
                               [&](const char* name) { return arguments[0] == sample(name); });
}

} // namespace

void on_tap(const std::function<void()>& body, unsigned time_limit) {
    on_tap_as("", body, time_limit);
}

void on_each_tap_path(const std::function<void(const std::string&)>& body, unsigned time_limit) {
    for (const char* io : {"poll", "multishot"})
        if (!on_tap_as(std::string(io) + ": ", [&] { body(io); }, time_limit)) return;
}

unsigned shards() {
    const char* asked = std::getenv("TAPIR_SHARDS");
    return asked == nullptr ? 1 : static_cast<unsigned>(std::atoi(asked));
}

std::unique_ptr<process> start(std::vector<std::string> arguments, const std::string& ready) {
    if (shards() > 1 && can_be_split(arguments)) {
        arguments.emplace_back("--shards");
        arguments.push_back(std::to_string(shards()));
    }
    auto p = std::make_unique<process>(std::move(arguments));
    if (p->says(ready)) return p;
    const std::string why = p->err();
    if (why.find("READ_MULTISHOT") != std::string::npos) throw lacking(why);
    throw std::runtime_error("not ready: " + why);
}

std::unique_ptr<process> serve(const temporary_directory& root, const std::string& io,
                               std::vector<std::string> more) {
    std::vector<std::string> arguments{sample("http_server"), "--root", root.path(), "--tap-io", io};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return start(std::move(arguments), "serving");
}

bool device_exists(const std::string& name) {
    return ::if_nametoindex(name.c_str()) != 0;
}

} // namespace tapir::test
