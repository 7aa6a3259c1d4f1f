// A flood of SYNs on a real TAP: the kernel's side sends as fast as it can, from addresses drawn at random,
// and honest clients of the same kernel go on. The network namespace has no other link and does not forward:
// what the server answers to those addresses ends in the kernel, silently. tapstat looks on.
#include <tapir/protocols/host/shard_link.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/on_tap.hpp"
#include "tests/support/process.hpp"
#include "tests/support/sanitized.hpp"
#include "tests/support/tapstat.hpp"

using namespace tapir::test;

namespace {

// Ten seconds once in a run of all builds is enough; the others see the same in three.
#if defined(__clang__)
constexpr int flood_seconds = sanitized ? 3 : 10;
#else
constexpr int flood_seconds = 3;
#endif

/// In KiB: "VmRSS", or the most that it ever was, "VmHWM".
long memory_of(const process& p, const std::string& field) {
    std::ifstream status("/proc/" + std::to_string(p.pid()) + "/status");
    for (std::string line; std::getline(status, line);)
        if (line.starts_with(field + ":")) return std::stol(line.substr(field.size() + 1));
    throw std::runtime_error("no " + field);
}

/// Frames that the kernel could not put into the queue of the TAP, because we had not taken the others yet.
std::uint64_t dropped_before_the_tap() {
    std::ifstream devices("/proc/net/dev");
    for (std::string line; std::getline(devices, line);) {
        const std::size_t at = line.find("tapir0:");
        if (at == std::string::npos) continue;
        std::istringstream numbers(line.substr(at + 7));
        std::uint64_t n = 0;
        for (int column = 0; column < 12; ++column) numbers >> n; // eight of receiving, then sent, errs, drop
        return n;
    }
    throw std::runtime_error("no tapir0 in /proc/net/dev");
}

struct attempt {
    std::unique_ptr<process> curl;
    std::uint64_t dropped_before;
};

std::unique_ptr<process> curl() {
    // What it prints: how long connecting took; 0 when that never came to an end.
    return std::make_unique<process>(std::vector<std::string>{
        "curl", "-s", "--max-time", "10", "-w", " connected after %{time_connect}", "http://192.0.2.2/"});
}

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

/// While the flood lasts: tapstat shows what stands in the SYN queue, and how many cookies have gone out.
std::uint64_t watch(const process& server) {
    finished all;
    // Those that have waited for 3 s make room for the next: for moments it is not full at all.
    for (int i = 0; i < 100 && grep(" SYN_RECV ", all.out).empty(); ++i) all = tapstat({"-nap"});
    expect(all.status == 0, all.all());
    const std::size_t shown = lines_with(" SYN_RECV ", all.out);
    const std::string whose = " SYN_RECV    " + std::to_string(server.pid()) + "/http_server\n";
    expect(shown > 0 && shown <= 1024 * shards(), std::to_string(shown) + " rows of SYN_RECV");
    expect(shown == lines_with(whose, all.out), "all of them are the server's: " + all.out);
    return counter_in_tapstat("syn_cookies_sent");
}

} // namespace

TEST_CASE("http_server: a flood of SYNs from random addresses, and honest clients are served") {
    const temporary_directory root;
    root.write("index.html", "honest\n");
    on_tap(
        [&] {
            const auto server = serve(root);
            expect(curl()->wait() == 0, "it serves before");
            const long before = memory_of(*server, "VmRSS");

            std::vector<attempt> attempts;
            {
                process flood({"hping3", "--flood", "--rand-source", "-S", "-p", "80", "192.0.2.2"});
                expect(server->says("SYN cookies began"), "cookies begin: " + server->err());
                std::uint64_t cookies = 0;
                for (int second = 0; second < flood_seconds; ++second) {
                    const std::uint64_t before_this = std::exchange(cookies, watch(*server));
                    expect(cookies > before_this, "cookies go out");
                    attempts.push_back(attempt{curl(), dropped_before_the_tap()});
                    std::this_thread::sleep_for(std::chrono::seconds(1));
                }
                expect(flood.running(), "it was a flood to the end: " + flood.err());
                flood.signal(SIGINT);
                (void)flood.wait();
            }
            std::size_t served = 0;
            std::size_t lost = 0;
            for (const attempt& a : attempts) {
                if (a.curl->wait() == 0 && has(a.curl->out(), "honest\n")) {
                    ++served;
                    continue;
                }
                // Four SYNs in ten seconds, and none came through the full queue: nothing else may stop one.
                expect(has(a.curl->out(), "connected after 0.000000"),
                       "connected, not served: " + a.curl->out());
                expect(dropped_before_the_tap() > a.dropped_before,
                       "no SYN was lost, and it is not connected");
                ++lost;
            }
            expect(served > 0, "some get through");

            expect(server->says("SYN cookies ended", seconds(30)), "cookies end: " + server->err());
            const std::uint64_t cookies = counter_in_tapstat("syn_cookies_sent");
            expect(curl()->wait() == 0, "it serves afterwards");
            expect(counter_in_tapstat("syn_cookies_sent") == cookies, "and no more by cookie");
            // For each shard its SYN queue (64 KiB), the places in its demultiplexing table (64 KiB), replies
            // and frames that wait for the link (512 KiB, 2 MiB); a ring for each way between two shards,
            // which half of the flood goes round and round in; the allocator's slack.
            const auto n = static_cast<long>(shards());
            const long allowed = n * 2688 + n * (n - 1) * long{tapir::shard_link::ring_size / 1024} + 1408;
            const long grown = memory_of(*server, "VmHWM") - before;
            if (!sanitized) expect(grown <= allowed, "memory grew by " + std::to_string(grown) + " KiB");
            std::fprintf(
                stderr,
                "flood of %d s: %zu of %zu honest attempts served, %zu lost before the TAP; %llu frames "
                "dropped there; memory grew by %ld KiB\n",
                flood_seconds, served, attempts.size(), lost,
                static_cast<unsigned long long>(dropped_before_the_tap()), grown);
            server->signal(SIGINT);
            expect(server->wait(seconds(10)) == 0, "ends in order: " + server->err());
        },
        120);
}
