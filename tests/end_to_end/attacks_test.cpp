// Programs that attack a server on its TAP, as anybody can run them: nmap's scans and slowhttptest's slow
// clients. They harm nothing: honest clients are served meanwhile and afterwards.
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/on_tap.hpp"
#include "tests/support/process.hpp"

using namespace tapir::test;

namespace {

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

/// The rest of the line behind `label`; empty without one.
std::string after(const std::string& text, const std::string& label) {
    const std::size_t at = text.find(label);
    if (at == std::string::npos) return {};
    const std::size_t from = at + label.size();
    return text.substr(from, text.find('\n', from) - from);
}

/// Without the escape sequences that colour it.
std::string plain(const std::string& text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\x1b') {
            i = std::min(text.find_first_of("mJHK", i), text.size());
        } else {
            out += text[i];
        }
    }
    return out;
}

void honest_client_is_served(const std::string& when) {
    const finished page = run({"curl", "-sS", "--max-time", "10", "http://192.0.2.2/"});
    expect(page.status == 0 && page.out == "honest\n", when + ": " + page.all());
}

void end_in_order(process& server) {
    server.signal(SIGINT);
    expect(server.wait(seconds(10)) == 0, "ends in order: " + server.err());
}

/// Three ports, of which one is open.
std::vector<std::string> nmap(std::vector<std::string> scan) {
    // Patient: a busy machine must not look like a lost packet.
    std::vector<std::string> arguments{"nmap",          "-n", "-Pn", "-T4",     "--min-rtt-timeout", "1s",
                                       "--max-retries", "3",  "-p",  "22,80,81"};
    arguments.insert(arguments.end(), scan.begin(), scan.end());
    arguments.push_back("192.0.2.2");
    return arguments;
}

/// What nmap says of a port: "closed".
std::string state_of(const std::string& report, const std::string& port) {
    std::string rest = after(report, "\n" + port + "/tcp ");
    rest.erase(0, rest.find_first_not_of(' '));
    return rest.substr(0, rest.find(' '));
}

} // namespace

TEST_CASE("nmap's scans of ports and of the system harm nothing, and find nothing that can be guessed") {
    const temporary_directory root;
    root.write("index.html", "honest\n");
    on_tap([&] {
        const auto server = serve(root);
        struct {
            std::string scan;
            std::string open;   ///< what RFC 9293 3.10.7 has it find at a listener
            std::string closed; ///< and where nobody listens
        } const stealthy[] = {{"-sF", "open|filtered", "closed"},
                              {"-sX", "open|filtered", "closed"},
                              {"-sN", "open|filtered", "closed"},
                              {"-sA", "unfiltered", "unfiltered"}};
        std::vector<std::unique_ptr<process>> scans;
        for (const auto& s : stealthy) scans.push_back(std::make_unique<process>(nmap({s.scan})));
        honest_client_is_served("while it is scanned");
        for (std::size_t i = 0; i < scans.size(); ++i) {
            expect(scans[i]->wait(seconds(30)) == 0, scans[i]->err());
            const std::string report = scans[i]->out();
            expect(state_of(report, "80") == stealthy[i].open, stealthy[i].scan + ": " + report);
            expect(state_of(report, "81") == stealthy[i].closed, stealthy[i].scan + ": " + report);
        }
        const finished system = run(nmap({"-sS", "-O", "-v", "--max-os-tries", "1"}), seconds(40));
        expect(system.status == 0, system.all());
        expect(state_of(system.out, "80") == "open" && state_of(system.out, "22") == "closed", system.out);
        // nmap's own words for a sequence that passes every statistic that it knows; a counter is below 10.
        const std::string difficulty = after(system.out, "TCP Sequence Prediction: Difficulty=");
        expect(!difficulty.empty() && std::stoi(difficulty) >= 200, "sequence numbers: " + system.out);
        const std::string ids = after(system.out, "IP ID Sequence Generation: ");
        expect(ids == "All zeros" || ids == "Randomized", "identifications are not global: " + system.out);

        honest_client_is_served("afterwards");
        const finished left = run({sample("tapstat"), "-an"});
        const bool nothing = !has(left.out, "SYN_RECV") && !has(left.out, "ESTABLISHED");
        expect(left.status == 0 && nothing, "nothing of it is left: " + left.all() +
                                                (nothing ? "" : run({sample("tapstat"), "-s"}).all()));
        end_in_order(*server);
        expect(has(server->err(), "served 2 requests on 2 connections"),
               "nobody else came in: " + server->err());
        expect(!has(server->err(), "error"), server->err());
    });
}

TEST_CASE("slow headers, bodies, reads and ranges, 500 connections of each: honest clients are served") {
    const temporary_directory root;
    root.write("index.html", "honest\n");
    root.write_noise("large", 200'000);
    on_tap([&] {
        const auto server = serve(root);
        struct attack {
            std::string name;
            std::vector<std::string> options;
            std::string seconds; ///< that it goes on for, if it can
            bool stays;          ///< as long as that
        };
        const std::vector<attack> attacks{
            {"slow headers", {"-H", "-x", "24"}, "30", false}, // header_time is 10 s
            {"slow bodies", {"-B", "-s", "8192", "-x", "10"}, "13", true},
            {"slow reads", {"-X", "-w", "10", "-y", "20", "-n", "1", "-z", "32", "-k", "3"}, "13", true},
            {"ranges", {"-R", "-a", "10", "-b", "3000"}, "30", false}};
        std::vector<std::unique_ptr<process>> running;
        for (const attack& a : attacks) {
            std::vector<std::string> arguments{"slowhttptest"};
            arguments.insert(arguments.end(), a.options.begin(), a.options.end());
            for (const char* more : {"-c", "500", "-r", "500", "-l", a.seconds.c_str(), "-p", "10", "-i", "2",
                                     "-u", "http://192.0.2.2/large"})
                arguments.emplace_back(more);
            running.push_back(std::make_unique<process>(std::move(arguments)));
        }
        std::uint64_t honest = 0;
        while (std::ranges::any_of(running, [](const auto& a) { return a->running(); })) {
            honest_client_is_served("client " + std::to_string(++honest));
            std::this_thread::sleep_for(std::chrono::milliseconds(500));
        }
        expect(honest >= 5, "some came meanwhile: " + std::to_string(honest));
        for (std::size_t i = 0; i < attacks.size(); ++i) {
            (void)running[i]->wait(seconds(20));
            const std::string said = plain(running[i]->out());
            const std::string end = after(said, "Exit status:");
            expect(has(end, attacks[i].stays ? "Hit test time limit" : "No open connections left"),
                   attacks[i].name + ": " + said);
            if (attacks[i].stays) expect(has(said, "connected:           500\n"), "it was one: " + said);
            expect(!has(said, "service available:   NO"), said);
        }
        honest_client_is_served("afterwards");
        end_in_order(*server);
        const std::string connections = after(server->err(), " requests on ");
        expect(!connections.empty() && std::stoul(connections) > 2000, "they were 2,000: " + server->err());
    });
}
