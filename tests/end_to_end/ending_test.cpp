// How a server ends: in order at Ctrl-C, at once at the second, and without any order at SIGKILL; and that
// nothing of it is in the way of the next.
#include <doctest/doctest.h>

#include <chrono>
#include <csignal>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/kernel_socket.hpp"
#include "tests/support/on_tap.hpp"
#include "tests/support/process.hpp"

using namespace tapir::test;

namespace {

using clock_type = std::chrono::steady_clock;

/// A client that has its response's head, however long a busy machine takes for that.
std::unique_ptr<process> downloading(const std::string& rate) {
    auto client = std::make_unique<process>(
        std::vector<std::string>{"curl", "-sSv", "--limit-rate", rate, "http://192.0.2.2/large"});
    expect(client->says("< HTTP/1.1 200 OK"), "the download begins: " + client->err());
    return client;
}

/// A page from a server that has just been started.
void expect_served(const std::string& when) {
    const finished f = run({"curl", "-sS", "--max-time", "5", "http://192.0.2.2/"});
    expect(f.out == "served\n", when + ": " + f.all());
}

} // namespace

TEST_CASE("ending: Ctrl-C lets a download come to its end, and removes the TAP") {
    const temporary_directory root;
    const std::string sent = root.write_noise("large", 3'000'000);
    on_each_tap_path([&](const std::string& io) {
        const auto server = serve(root, io);
        const auto client = downloading("3M");
        server->signal(SIGINT);
        expect(client->wait() == 0, "the download ends well: " + client->err());
        expect(same_content(sent, client->out_fd()), "and is whole");
        expect(server->wait(seconds(5)) == 0, "and so does the server: " + server->err());
        expect(!device_exists("tapir0"), "the TAP is gone");
    });
}

TEST_CASE("ending: Ctrl-C during a download that would take for ever ends within a few seconds") {
    const temporary_directory root;
    root.write_noise("large", 50'000'000);
    on_each_tap_path([&](const std::string& io) {
        const auto server = serve(root, io);
        const auto idle = kernel_socket::connected("192.0.2.2", 80);
        const auto client = downloading("20k");
        const auto start = clock_type::now();
        server->signal(SIGINT);
        expect(idle.read_to_end().empty(), "a connection without a request is closed");
        expect(clock_type::now() - start < std::chrono::seconds(2), "and that at once");
        expect(server->wait(seconds(8)) == 0, "the server ends: " + server->err());
        expect(!device_exists("tapir0"), "the TAP is gone");
    });
}

TEST_CASE("ending: a second Ctrl-C ends at once") {
    const temporary_directory root;
    root.write_noise("large", 50'000'000);
    on_tap([&] {
        const auto server = serve(root);
        const auto client = downloading("20k");
        server->signal(SIGINT);
        expect(server->says("once more to end at once"), server->err());
        const auto start = clock_type::now();
        server->signal(SIGINT);
        expect(server->wait(seconds(5)) == 0, "the server ends: " + server->err());
        expect(clock_type::now() - start < std::chrono::milliseconds(1500), "before its first deadline");
        expect(!device_exists("tapir0"), "the TAP is gone");
    });
}

TEST_CASE("ending: after SIGKILL the next server serves at once on the same TAP") {
    const temporary_directory root;
    root.write("index.html", "served\n");
    root.write_noise("large", 50'000'000);
    on_each_tap_path([&](const std::string& io) {
        for (int i = 0; i < 3; ++i) {
            const auto server = serve(root, io);
            expect_served("after " + std::to_string(i) + " kills");
            const auto download = downloading("1M");
            server->signal(SIGKILL);
            expect(server->wait() == 128 + SIGKILL, "killed in the middle of a download");
        }
        const auto server = serve(root, io);
        expect_served("after the last");
    });
}

TEST_CASE(
    "ending: a TAP that root has made stays, is served again after SIGKILL, and old connections are reset") {
    const temporary_directory root;
    root.write("index.html", "served\n");
    on_each_tap_path([&](const std::string& io) {
        std::vector<std::string> make{"ip", "tuntap", "add", "mode", "tap", "name", "tapir0"};
        if (shards() > 1) make.emplace_back("multi_queue");
        const finished made = run(make);
        expect(made.status == 0, made.all());
        auto server = serve(root, io);
        const auto client = kernel_socket::connected("192.0.2.2", 80);
        client.write("GET / HTTP/1.1\r\n"); // a request that never ends
        expect_served("at first");
        server->signal(SIGKILL);
        expect(server->wait() == 128 + SIGKILL, "killed");
        expect(device_exists("tapir0"), "the TAP stays");
        server = serve(root, io);
        expect_served("again");
        client.write("Host: tapir\r\n\r\n");
        std::string outcome;
        try {
            outcome = client.read_to_end();
        } catch (const std::exception& e) {
            outcome = e.what();
        }
        expect(outcome == "recv: Connection reset by peer", "the new server knows nothing of it: " + outcome);
        server->signal(SIGINT);
        expect(server->wait(seconds(5)) == 0, server->err());
        expect(device_exists("tapir0"), "and the TAP still stays");
    });
}
