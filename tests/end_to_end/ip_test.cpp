// IPv4 against the kernel's: fragments both ways over a real TAP, and the router between two networks.
#include <doctest/doctest.h>

#include <csignal>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/on_tap.hpp"
#include "tests/support/process.hpp"
#include "tests/support/tap_cable.hpp"

using namespace tapir::test;

namespace {

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

finished ping(const std::string& to, std::vector<std::string> more) {
    std::vector<std::string> arguments{"ping", "-n", "-i", "0.2", "-W", "10"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    arguments.push_back(to);
    return run(std::move(arguments));
}

/// The kernel at 192.0.2.1 on the router's left, and on its right a tapir host, 198.51.100.7, which serves
/// `root` from a network namespace of its own.
struct routed_network {
    routed_network(const temporary_directory& root, const std::string& io,
                   std::vector<std::string> impairment = {}) {
        std::vector<std::string> arguments{sample("router"),
                                           "--right-kernel",
                                           "none",
                                           "--tap-io",
                                           io,
                                           "--tap-offload",
                                           "off"}; // the cable does not cut
        arguments.insert(arguments.end(), impairment.begin(), impairment.end());
        router = start(std::move(arguments), "routing between");
        server = start({"unshare", "-n", sample("http_server"), "--root", root.path(), "--tap", "tapir9",
                        "--address", "198.51.100.7/24", "--peer", "198.51.100.2", "--tap-io", io,
                        "--tap-offload", "off"},
                       "serving");
        // The sample gave the kernel beside it the gateway's address, which the router has: take it away.
        const finished flushed = run({"nsenter", "-t", std::to_string(server->pid()), "-n", "ip", "address",
                                      "flush", "dev", "tapir9"});
        expect(flushed.status == 0, flushed.all());
        cable = std::make_unique<tap_cable>("tapir1", server->pid(), "tapir9");
        const finished routed = run({"ip", "route", "add", "198.51.100.0/24", "via", "192.0.2.2"});
        expect(routed.status == 0, routed.all());
    }
    void ends_in_order() {
        cable.reset();
        for (process* p : {server.get(), router.get()}) {
            p->signal(SIGINT);
            expect(p->wait(seconds(10)) == 0, "ends in order: " + p->err());
        }
        expect(has(router->err() + router->out(), "forwarded"), router->err());
    }
    std::unique_ptr<process> router;
    std::unique_ptr<process> server;
    std::unique_ptr<tap_cable> cable;
};

} // namespace

TEST_CASE("ip: an 8,000-byte ping is fragmented and reassembled both ways over a real TAP") {
    on_each_tap_path([](const std::string& io) {
        const auto host = start({sample("echo"), "--tap-io", io}, "echo on");
        // ping compares what comes back with what it sent.
        for (const std::string size : {"8000", "65507"}) {
            const finished f = ping("192.0.2.2", {"-c", "3", "-s", size});
            expect(f.status == 0 && has(f.out, " 3 received") && !has(f.out, "wrong data"), f.all());
        }
    });
}

TEST_CASE("router: a kernel on one side fetches a page from a tapir host on the other") {
    const temporary_directory root;
    const temporary_directory client;
    root.write("index.html", "from the other side\n");
    const std::string large = root.write_noise("large", 3'000'000);
    on_each_tap_path([&](const std::string& io) {
        routed_network network(root, io);
        const finished page = run({"curl", "-sS", "--max-time", "20", "http://198.51.100.7/"});
        expect(page.out == "from the other side\n", page.all());
        const std::string got = client.file("got-" + io);
        const finished f =
            run({"curl", "-sS", "--max-time", "25", "-o", got, "http://198.51.100.7/large"}, seconds(30));
        expect(f.status == 0 && same_content(large, got), f.all());
        const finished whole = ping("198.51.100.7", {"-c", "2", "-s", "8000"});
        expect(whole.status == 0, "fragments pass, too: " + whole.all());
        // The router is one hop on the way, and says so.
        const finished hop = ping("198.51.100.7", {"-c", "1", "-t", "1", "-W", "2"});
        expect(has(hop.out, "192.0.2.2") && has(hop.out, "Time to live exceeded"), hop.all());
        const finished nowhere = run({"ip", "route", "add", "203.0.113.0/24", "via", "192.0.2.2"});
        expect(nowhere.status == 0, nowhere.all());
        const finished lost = ping("203.0.113.1", {"-c", "1", "-W", "2"});
        expect(has(lost.out, "Net Unreachable"), lost.all());
        network.ends_in_order();
    });
}

TEST_CASE("router: over a bad network the page arrives all the same") {
    const temporary_directory root;
    root.write("index.html", std::string(100'000, 'x'));
    on_tap([&] {
        routed_network network(root, "automatic",
                               {"--loss", "2", "--delay", "20", "--jitter", "5", "--duplicate", "2"});
        expect(has(network.router->out(), "over a bad network"), network.router->out());
        const finished page = run({"curl", "-sS", "--max-time", "40", "http://198.51.100.7/"}, seconds(45));
        expect(page.out == std::string(100'000, 'x'), "the page, after " + page.err);
        network.ends_in_order();
    });
}

TEST_CASE("router: what cannot be is refused before anything is touched") {
    on_tap([] {
        const auto refused = [](std::vector<std::string> options, const std::string& why) {
            std::vector<std::string> arguments{sample("router")};
            arguments.insert(arguments.end(), options.begin(), options.end());
            const finished f = run(arguments, seconds(10));
            expect(f.status == 1 && has(f.all(), why), f.all());
        };
        refused({"--left-address", "garbage"}, "'garbage' is not an IPv4 address with its prefix");
        refused({"--right-address", "198.51.100.255/24"}, "--right-address 198.51.100.255/24: ");
        refused({"--right-address", "192.0.2.2/24"}, "address in use");
        expect(!device_exists("tapir0") && !device_exists("tapir1"), "no TAP is left behind");
        refused({"--left-kernel", "none", "--right-kernel", "elsewhere"}, "'elsewhere' is neither");
        refused({"--left-kernel", "none", "--right-kernel", "none", "--left-gateway", "203.0.113.1"},
                "no neighbour in 192.0.2.2/24");
    });
}
