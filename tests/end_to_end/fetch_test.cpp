// tapir as the client: fetch against servers of the kernel, and against everything that is none.
#include <doctest/doctest.h>

#include <chrono>
#include <string>
#include <vector>

#include "tests/support/kernel_socket.hpp"
#include "tests/support/on_tap.hpp"
#include "tests/support/process.hpp"

using namespace tapir::test;

namespace {

std::vector<std::string> fetch(const std::string& server, const std::string& io,
                               const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments{sample("fetch"), "--tap-io", io, server};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
}

/// fetch has no TAP of its own before it runs: to listen on 192.0.2.1 a server needs the address earlier.
void add_server_address() {
    const finished f = run({"ip", "address", "add", "192.0.2.1/32", "dev", "lo"});
    expect(f.status == 0, f.all());
}

/// Answers one request with `head`, an empty line and `body`, and ends; the request is returned.
std::string answer_one(const kernel_socket& listener, const std::string& head, const std::string& body) {
    const kernel_socket peer = listener.accept();
    const std::string request = peer.read_head();
    peer.write(head + "\r\n\r\n");
    peer.write(body);
    return request;
}

struct refusal {
    std::string said;
    std::chrono::duration<double> after{};
};

/// fetch must fail with status 1, nothing on standard output and one line on standard error.
refusal refused(std::vector<std::string> arguments) {
    const auto start = std::chrono::steady_clock::now();
    const finished f = run(std::move(arguments));
    if (f.err.find("READ_MULTISHOT") != std::string::npos) throw lacking(f.err);
    expect(f.status == 1 && f.out.empty(), f.all());
    expect(f.err.find('\n') == f.err.size() - 1, "one line: " + f.err);
    return {f.err, std::chrono::steady_clock::now() - start};
}

void expect_said(const refusal& r, const std::string& part) {
    expect(r.said.find(part) != std::string::npos, "'" + part + "' in: " + r.said);
}

} // namespace

TEST_CASE("fetch: reads a page from a server of the kernel's") {
    on_each_tap_path([](const std::string& io) {
        add_server_address();
        const auto listener = kernel_socket::listening("192.0.2.1", 8000);
        process client(fetch("192.0.2.1:8000", io, {"/page?x=1"}));
        const std::string request = answer_one(listener, "HTTP/1.1 200 OK\r\nContent-Length: 6", "a page");
        expect(client.wait() == 0, client.err());
        expect(client.out() == "a page", client.out());
        expect(request.starts_with("GET /page?x=1 HTTP/1.1\r\n"), request);
        expect(request.find("Host: 192.0.2.1:8000\r\n") != std::string::npos, request);
    });
}

TEST_CASE("fetch: reads 30 MB intact, and a page that ends with its connection") {
    const temporary_directory root;
    const std::string sent = root.write_noise("large", 30'000'000);
    on_each_tap_path([&](const std::string& io) {
        add_server_address();
        process server(
            {"python3", "-m", "http.server", "--bind", "192.0.2.1", "--directory", root.path(), "8000"});
        for (int i = 0;; ++i) {
            expect(i < 1000 && server.running(), "the server starts: " + server.err());
            try {
                (void)kernel_socket::connected("192.0.2.1", 8000);
                break;
            } catch (const std::exception&) {
                (void)server.wait(seconds(0.01));
            }
        }
        process client(fetch("192.0.2.1:8000", io, {"/large"}));
        expect(client.wait(seconds(30)) == 0, client.err());
        expect(same_content(sent, client.out_fd()), "as it was sent");

        const auto listener = kernel_socket::listening("192.0.2.1", 8001);
        process other(fetch("192.0.2.1:8001", io));
        answer_one(listener, "HTTP/1.0 200 OK", "until the end");
        expect(other.wait() == 0 && other.out() == "until the end", other.out() + other.err());
    });
}

TEST_CASE("fetch: the server's 404 is an error, and a body that is cut short too") {
    on_tap([] {
        add_server_address();
        const auto listener = kernel_socket::listening("192.0.2.1", 8000);
        process missing(fetch("192.0.2.1:8000", "automatic"));
        answer_one(listener, "HTTP/1.1 404 Not Found\r\nContent-Length: 0", "");
        expect(missing.wait() == 1, missing.err());
        expect(missing.err().find("answered 404") != std::string::npos, missing.err());

        process cut(fetch("192.0.2.1:8000", "automatic"));
        answer_one(listener, "HTTP/1.1 200 OK\r\nContent-Length: 600", "a beginning");
        expect(cut.wait() == 1, cut.err());
        expect(cut.err().find("cannot get / from 192.0.2.1:8000: ") != std::string::npos, cut.err());
    });
}

TEST_CASE("fetch: a port where nobody listens refuses") {
    on_each_tap_path([](const std::string& io) {
        const refusal r = refused(fetch("192.0.2.1:9", io));
        expect_said(r, "cannot connect to 192.0.2.1:9: connection refused");
        expect(r.after < std::chrono::seconds(2), "at once");
    });
}

TEST_CASE("fetch: a server that resets is told apart from one that ends") {
    on_tap([] {
        add_server_address();
        const auto listener = kernel_socket::listening("192.0.2.1", 8000);
        process client(fetch("192.0.2.1:8000", "automatic"));
        {
            const kernel_socket peer = listener.accept();
            (void)peer.read_head();
            peer.reset_on_close();
        }
        expect(client.wait() == 1, client.err());
        expect(client.err().find("connection reset by peer") != std::string::npos, client.err());
    });
}

TEST_CASE("fetch: a neighbour that is not there is an unreachable host, within seconds") {
    on_each_tap_path([](const std::string& io) {
        const refusal r = refused(fetch("192.0.2.77:80", io));
        expect_said(r, "cannot connect to 192.0.2.77:80: host unreachable");
        expect(r.after < std::chrono::seconds(8), "once ARP has given up");
    });
}

TEST_CASE("fetch: what a router says about a network and a host becomes the error") {
    on_each_tap_path([](const std::string& io) {
        expect(run({"sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"}).status == 0, "the kernel routes");
        const refusal network = refused(fetch("198.51.100.1:80", io)); // and has no way there
        expect_said(network, "cannot connect to 198.51.100.1:80: network unreachable");
        expect(network.after < std::chrono::seconds(2), "at once");
        expect(run({"ip", "route", "add", "unreachable", "203.0.113.0/24"}).status == 0, "a route");
        const refusal host = refused(fetch("203.0.113.1:80", io));
        expect_said(host, "cannot connect to 203.0.113.1:80: host unreachable");
        expect(host.after < std::chrono::seconds(2), "at once");
    });
}

TEST_CASE("fetch: a peer that says nothing is given up when the time is over, no sooner") {
    on_each_tap_path([](const std::string& io) {
        // Without forwarding the kernel drops what is not for itself, without a word.
        const refusal r = refused(fetch("198.51.100.1:80", io, {"--timeout", "3"}));
        expect_said(r, "cannot connect to 198.51.100.1:80: deadline exceeded");
        expect(r.after >= std::chrono::seconds(3) && r.after < std::chrono::seconds(6),
               "after three seconds");
    });
}

TEST_CASE("fetch: what is no server's address is said to be none") {
    on_tap([] {
        for (const std::string bad :
             {"192.0.2.1", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:65536", "example:80", ":80"})
            expect_said(refused(fetch(bad, "automatic")), "'" + bad + "' is not an IPv4 address with a port");
    });
}
