// One server on two threads, as its clients and its operator see it.
//
// TAPIR_SHARDS=2 runs all the end-to-end tests so: every server that can be split is.
#include <doctest/doctest.h>

#include <csignal>
#include <cstdint>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/kernel_socket.hpp"
#include "tests/support/on_tap.hpp"
#include "tests/support/process.hpp"
#include "tests/support/tapstat.hpp"

using namespace tapir::test;

namespace {

std::uint64_t number_behind(const std::string& key, const std::string& line) {
    const std::size_t at = line.find("\"" + key + "\":");
    return at == std::string::npos ? 0 : std::stoull(line.substr(at + key.size() + 3));
}

/// Which shard each connection is on, by the client's port.
std::map<std::string, std::uint64_t> owners(const std::string& json) {
    std::map<std::string, std::uint64_t> all;
    std::istringstream lines(json);
    for (std::string line; std::getline(lines, line);) {
        const std::size_t at = line.find("\"remote\":\"192.0.2.1:");
        if (at == std::string::npos) continue;
        const std::string port = line.substr(at + 20, line.find('"', at + 20) - at - 20);
        expect(line.find("\"shard\":") != std::string::npos, "its shard: " + line);
        expect(all.emplace(port, number_behind("shard", line)).second, "told once: " + line);
    }
    return all;
}

constexpr auto request = "GET / HTTP/1.1\r\nHost: tapir\r\n\r\n";

} // namespace

TEST_CASE("shards: both accept, each connection stays where it is, and few frames are handed over") {
    const temporary_directory root;
    root.write("index.html", "shared out\n");
    on_each_tap_path([&](const std::string& io) {
        const auto server = serve(root, io, {"--shards", "2"});
        constexpr int count = 100;
        std::vector<kernel_socket> clients;
        for (int i = 0; i < count; ++i) clients.push_back(kernel_socket::connected("192.0.2.2", 80));
        const auto at_first = owners(tapstat({"--json"}).out);
        expect(at_first.size() == count, "all are told: " + std::to_string(at_first.size()));
        std::map<std::uint64_t, int> each;
        for (const auto& [port, shard] : at_first) ++each[shard];
        expect(each.size() == 2 && each[0] >= 25 && each[1] >= 25,
               "both accept: " + std::to_string(each[0]) + " and " + std::to_string(each[1]));
        for (int round = 0; round < 20; ++round) {
            for (const kernel_socket& c : clients) c.write(request);
            for (const kernel_socket& c : clients) {
                expect(c.read_head().starts_with("HTTP/1.1 200"), "served");
                expect(c.read_exactly(11) == "shared out\n", "its page");
            }
        }
        expect(owners(tapstat({"--json"}).out) == at_first, "none has changed its shard");
        expect(lines_with("ESTABLISHED", tapstat({"-nap"}).out) == count, "as netstat tells it");
        const finished sums = tapstat({"-s"});
        expect(lines_with("tcp:", sums.out) == 1, "one sum for all shards: " + sums.out);
        expect(counter_in_tapstat("segments_in") >= 21 * count, sums.out);
        expect(counter_in_tapstat("resets_out") == 0, "no segment went astray");
        const std::uint64_t in = counter_in_tapstat("frames_in");
        const std::uint64_t over = counter_in_tapstat("handed_over");
        expect(counter_in_tapstat("handover_full") == 0, "there was room");
        expect(over > 0, "some come by the wrong queue: the first of half of the flows");
        // The SYN, and by chance the handshake's ACK or the first request; then the kernel knows the queue.
        expect(over <= 3 * count && in >= 20 * count,
               std::to_string(over) + " of " + std::to_string(in) + " handed over");
        clients.clear();
        server->signal(SIGINT);
        expect(server->wait(seconds(10)) == 0, "ends in order: " + server->err());
        expect(server->err().find("served 2000 requests on 100 connections") != std::string::npos,
               server->err());
    });
}

TEST_CASE("shards: 20 MB arrive intact by each; ping, and a port where nobody listens") {
    const temporary_directory root;
    const std::string sent = root.write_noise("large", 20'000'000);
    on_tap([&] {
        const auto server = serve(root, "automatic", {"--shards", "3"});
        std::vector<std::unique_ptr<process>> clients;
        for (int i = 0; i < 6; ++i)
            clients.push_back(std::make_unique<process>(
                std::vector<std::string>{"curl", "-sS", "--max-time", "40", "http://192.0.2.2/large"}));
        for (const auto& c : clients) {
            expect(c->wait(seconds(50)) == 0, c->err());
            expect(same_content(sent, c->out_fd()), "as it was sent");
        }
        const finished pings = run({"ping", "-c", "3", "-i", "0.2", "-W", "5", "-s", "4000", "192.0.2.2"});
        expect(pings.status == 0 && pings.out.find(" 0% packet loss") != std::string::npos &&
                   pings.out.find("DUP") == std::string::npos,
               pings.all());
        const finished refused = run({"curl", "-sS", "--max-time", "5", "http://192.0.2.2:81/"});
        expect(refused.status == 7, "refused: " + refused.all());
        server->signal(SIGTERM);
        expect(server->wait(seconds(10)) == 0, "ends in order: " + server->err());
    });
}
