// ./run http as its users meet it: the server on a TAP, the kernel and its programs as clients.
#include <doctest/doctest.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/kernel_socket.hpp"
#include "tests/support/on_tap.hpp"
#include "tests/support/process.hpp"

using namespace tapir::test;

namespace {

const std::string base = "http://192.0.2.2/";

/// Asks the server to end in order, and wants it to have done so.
void end_in_order(process& server) {
    server.signal(SIGINT);
    expect(server.wait(seconds(10)) == 0, "ends in order: " + server.err());
}

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

/// Three digits after "HTTP/1.1 ".
std::string status_of(const std::string& answer) {
    return answer.starts_with("HTTP/1.1 ") ? answer.substr(9, 3) : "none: " + answer.substr(0, 40);
}

std::string body_of(const std::string& answer) {
    const std::size_t end = answer.find("\r\n\r\n");
    return end == std::string::npos ? std::string() : answer.substr(end + 4);
}

} // namespace

TEST_CASE("http_server: curl gets a page") {
    const temporary_directory root;
    root.write("index.html", "<p>It is served.</p>\n");
    on_each_tap_path([&](const std::string& io) {
        const auto server = serve(root, io);
        const finished page = run({"curl", "-sS", "-i", base});
        expect(page.status == 0 && status_of(page.out) == "200", page.all());
        expect(body_of(page.out) == "<p>It is served.</p>\n", "the page: " + page.out);
        expect(has(page.out, "Content-Type: text/html"), "its type: " + page.out);
        expect(has(page.out, "Date: "), "its date: " + page.out);
        const finished missing = run({"curl", "-sS", "-i", base + "missing"});
        expect(status_of(missing.out) == "404", missing.all());
        const finished outside = run({"curl", "-sS", "-i", "--path-as-is", base + "../../etc/passwd"});
        expect(status_of(outside.out)[0] == '4', outside.all());
        end_in_order(*server);
    });
}

TEST_CASE("http_server: 100 MB arrive intact") {
    const temporary_directory root;
    const temporary_directory client;
    const std::string sent = root.write_noise("large", 100'000'000);
    on_each_tap_path([&](const std::string& io) {
        const auto server = serve(root, io);
        const std::string got = client.file("got-" + io);
        const finished f = run({"curl", "-sS", "-o", got, base + "large"}, seconds(50));
        expect(f.status == 0, f.all());
        expect(same_content(sent, got), "as it was sent");
        end_in_order(*server);
    });
}

TEST_CASE("http_server: downloads that run at the same time all arrive intact") {
    const temporary_directory root;
    const std::string sent = root.write_noise("large", 5'000'000);
    on_tap([&] {
        const auto server = serve(root);
        std::vector<std::unique_ptr<process>> clients;
        for (int i = 0; i < 12; ++i)
            clients.push_back(std::make_unique<process>(
                std::vector<std::string>{"curl", "-sS", "--max-time", "40", base + "large"}));
        for (const auto& c : clients) {
            expect(c->wait(seconds(50)) == 0, c->err());
            expect(same_content(sent, c->out_fd()), "as it was sent");
        }
        end_in_order(*server);
    });
}

TEST_CASE("http_server: 10,000 requests by ab, with and without keep-alive, and no error") {
    const temporary_directory root;
    root.write("index.html", "a small page\n");
    on_each_tap_path(
        [&](const std::string& io) {
            const auto server = serve(root, io);
            for (const bool keep_alive : {false, true}) {
                std::vector<std::string> ab{"ab", "-q", "-n", "10000", "-c", "64", base};
                if (keep_alive) ab.insert(ab.begin() + 1, "-k");
                const finished f = run(ab, seconds(50));
                expect(f.status == 0, f.all());
                expect(has(f.out, "Complete requests:      10000\n"), f.out);
                expect(has(f.out, "Failed requests:        0\n") && !has(f.out, "Non-2xx"), f.out);
                expect(!keep_alive || has(f.out, "Keep-Alive requests:    10000\n"), f.out);
            }
            end_in_order(*server);
            expect(has(server->err(), "served 2000"), "and the server has counted them: " + server->err());
        },
        120);
}

TEST_CASE("http_server: wrk keeps 64 connections busy without an error") {
    const temporary_directory root;
    root.write("index.html", "a small page\n");
    on_each_tap_path([&](const std::string& io) {
        const auto server = serve(root, io);
        const finished f = run({"wrk", "-t", "1", "-c", "64", "-d", "2s", "http://192.0.2.2:80/"});
        expect(f.status == 0 && has(f.out, "requests in"), f.all());
        expect(!has(f.out, "Socket errors") && !has(f.out, "Non-2xx"), f.out);
        end_in_order(*server);
    });
}

TEST_CASE("http_server: 500 connections at once, and each gets its answer") {
    const temporary_directory root;
    root.write("index.html", "for each\n");
    on_each_tap_path([&](const std::string& io) {
        const auto server = serve(root, io);
        constexpr int count = 500;
        std::vector<kernel_socket> clients;
        for (int i = 0; i < count; ++i) clients.push_back(kernel_socket::connecting("192.0.2.2", 80));
        const auto established = [&] {
            int n = 0;
            for (const kernel_socket& c : clients) n += c.established() ? 1 : 0;
            return n;
        };
        for (int i = 0; i < 1000 && established() < count; ++i)
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        expect(established() == count, "established at once: " + std::to_string(established()));
        for (const kernel_socket& c : clients) c.write("GET / HTTP/1.1\r\nHost: tapir\r\n\r\n");
        for (const kernel_socket& c : clients) {
            const std::string head = c.read_head();
            expect(status_of(head) == "200", head);
            expect(c.read_exactly(9) == "for each\n", "its page");
        }
        expect(established() == count, "and all are kept alive");
        clients.clear();
        end_in_order(*server);
        expect(has(server->err(), "served 500 requests on 500 connections"), server->err());
    });
}

TEST_CASE("http_server: ping answers") {
    const temporary_directory root;
    on_each_tap_path([&](const std::string& io) {
        const auto server = serve(root, io);
        const finished small = run({"ping", "-c", "5", "-i", "0.2", "-W", "5", "192.0.2.2"});
        expect(small.status == 0 && has(small.out, " 0% packet loss"), small.all());
        const finished full =
            run({"ping", "-c", "3", "-i", "0.2", "-W", "5", "-M", "do", "-s", "1472", "192.0.2.2"});
        expect(full.status == 0 && has(full.out, " 0% packet loss"), full.all());
        const finished other = run({"ping", "-c", "1", "-W", "1", "192.0.2.3"});
        expect(other.status == 1, "nobody else answers: " + other.all());
        end_in_order(*server);
    });
}

TEST_CASE("http_server: a client that half-closes after its request gets its whole answer") {
    const temporary_directory root;
    const temporary_directory client;
    const std::string sent = root.write_noise("large", 5'000'000);
    on_each_tap_path([&](const std::string& io) {
        const auto server = serve(root, io);
        const auto c = kernel_socket::connected("192.0.2.2", 80);
        c.write("GET /large HTTP/1.1\r\nHost: tapir\r\n\r\n");
        c.finish();
        expect(status_of(c.read_head()) == "200", "the head");
        const std::string got = client.write("got-" + io, c.read_to_end());
        expect(same_content(sent, got), "as it was sent");
        end_in_order(*server);
    });
}

TEST_CASE("http_server: a client that resets in the middle of its answer harms nobody else") {
    const temporary_directory root;
    root.write_noise("large", 5'000'000);
    root.write("index.html", "still here\n");
    on_each_tap_path([&](const std::string& io) {
        const auto server = serve(root, io);
        for (int i = 0; i < 20; ++i) {
            const auto c = kernel_socket::connected("192.0.2.2", 80);
            c.write("GET /large HTTP/1.1\r\nHost: tapir\r\n\r\n");
            expect(c.read_exactly(1000).size() == 1000, "its beginning");
            c.reset_on_close();
        }
        expect(run({"curl", "-sS", base}).out == "still here\n", "the next one is served");
        end_in_order(*server);
    });
}
