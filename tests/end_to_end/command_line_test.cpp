// What somebody reads who has mistyped something, or whose system lacks something: one clear sentence, exit
// status 1, and never a crash.
#include <doctest/doctest.h>

#include <csignal>
#include <string>
#include <unistd.h>
#include <vector>

#include "tests/skip.hpp"
#include "tests/support/on_tap.hpp"
#include "tests/support/process.hpp"

using namespace tapir::test;

namespace {

/// Wants exit status 1, nothing on standard output, and one line on standard error that contains `sentence`.
void expect_refused(std::vector<std::string> arguments, const std::string& sentence) {
    std::string line;
    for (const std::string& a : arguments) line += a + ' ';
    const finished f = run(std::move(arguments), seconds(10));
    expect(f.status == 1 && f.out.empty(), line + "-> " + f.all());
    expect(f.err.find('\n') == f.err.size() - 1, line + "-> one line: " + f.err);
    expect(f.err.find(sentence) != std::string::npos, line + "-> '" + sentence + "' in: " + f.err);
}

void expect_refused(const std::string& option, const std::string& value, const std::string& sentence) {
    expect_refused({sample("http_server"), option, value}, sentence);
}

finished script(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), TAPIR_SOURCE_DIR "/run");
    return run(std::move(arguments));
}

} // namespace

TEST_CASE("command line: a root that cannot be served") {
    const temporary_directory root;
    root.write("file", "");
    on_tap([&] {
        expect_refused("--root", "/does/not/exist", "--root '/does/not/exist' cannot be served: ");
        expect_refused("--root", root.file("file"), "Not a directory");
        expect(!device_exists("tapir0"), "no TAP is left behind");
    });
}

TEST_CASE("command line: addresses that are none, or that no host can have") {
    on_tap([] {
        for (const std::string text : {"garbage", "", "192.0.2.2", "192.0.2.2/", "192.0.2.2/33",
                                       "192.0.2.2/-1", "192.0.2.256/24", "2001:db8::1/64"})
            expect_refused("--address", text,
                           "--address '" + text + "' is not an IPv4 address with its prefix");
        for (const std::string unfit :
             {"192.0.2.0/24", "192.0.2.255/24", "224.0.0.1/24", "127.0.0.1/8", "0.0.0.0/0"})
            expect_refused("--address", unfit, "--address " + unfit + ": no host can have that address");
        expect_refused("--address", "192.0.2.2/32", "the kernel cannot have 192.0.2.3 beside 192.0.2.2/32");
        expect_refused("--peer", "garbage", "--peer 'garbage' is not an IPv4 address");
        for (const std::string unfit : {"10.0.0.1", "192.0.2.2", "192.0.2.255"})
            expect_refused("--peer", unfit, "the kernel cannot have " + unfit + " beside 192.0.2.2/24");
        expect_refused({sample("echo"), "--stack", "kernel", "--address", "garbage"},
                       "'garbage' is not an IP address");
        expect_refused({sample("echo"), "--stack", "kernel", "--address", "192.0.2.7"},
                       "not an address of this host");
        expect(!device_exists("tapir0"), "no TAP is left behind");
    });
}

TEST_CASE("command line: other addresses than the usual ones serve as well") {
    const temporary_directory root;
    root.write("index.html", "served\n");
    on_tap([&] {
        for (const std::string address : {"10.1.2.3/8", "198.51.100.6/30", "192.0.2.2/31", "192.0.2.1/24"}) {
            const std::string own = address.substr(0, address.find('/'));
            const auto server = start({sample("http_server"), "--root", root.path(), "--address", address,
                                       "--tap", "fifteen_letters", "--port", "8080"},
                                      "at http://" + own + ":8080/");
            const finished f = run({"curl", "-sS", "--max-time", "5", "http://" + own + ":8080/"});
            expect(f.out == "served\n", address + ": " + f.all());
        }
    });
}

TEST_CASE("command line: device names that are none, or another's") {
    on_tap([] {
        for (const std::string name : {"", "sixteen_letters_", "a/b", "tap%d", "a b"})
            expect_refused("--tap", name, "that is no name for a network device");
        expect_refused("--tap", "lo", "a network device that is no plain TAP has that name already");
    });
}

TEST_CASE("command line: a TAP that another process holds, and a port that another one has") {
    on_tap([] {
        {
            const auto split = start({sample("echo"), "--shards", "2", "--tap", "tapir1"}, "echo on");
            expect_refused({sample("half_close"), "--shards", "3", "--tap", "tapir1"},
                           "tapir1: another process holds that TAP");
            expect(split->running(), "and goes on");
        }
        const auto holder = start({sample("echo"), "--shards", "1"}, "echo on");
        expect_refused({sample("half_close")}, "tapir0: another process holds that TAP");
        expect_refused({sample("half_close"), "--shards", "2"}, "a TAP with one queue in place of several");
        const std::vector<std::string> on_loopback{sample("echo"), "--stack", "kernel", "--address",
                                                   "127.0.0.1"};
        const auto listener = start(on_loopback, "echo on");
        expect_refused(on_loopback, "cannot listen on port 7: address in use");
        holder->signal(SIGTERM);
        expect(holder->wait(seconds(5)) == 0, "SIGTERM ends it like Ctrl-C");
    });
}

TEST_CASE("command line: a capture file that cannot be written") {
    on_tap([] {
        expect_refused("--pcap", "/does/not/exist.pcap", "/does/not/exist.pcap: No such file or directory");
    });
}

TEST_CASE("command line: options that do not exist, and values out of range, point to --help") {
    for (const std::vector<std::string>& bad : {std::vector<std::string>{"--port", "0"},
                                                {"--port", "65536"},
                                                {"--port", "http"},
                                                {"--stack", "other"},
                                                {"--tap-io", "fast"},
                                                {"--no-such-option"},
                                                {"stray"}}) {
        std::vector<std::string> arguments{sample("http_server")};
        arguments.insert(arguments.end(), bad.begin(), bad.end());
        const finished f = run(arguments);
        INFO(bad[0], ": ", f.all());
        CHECK(f.status != 0);
        CHECK(f.status < 128); // no signal
        CHECK(f.err.find("--help") != std::string::npos);
    }
    for (const char* name : {"http_server", "echo", "half_close", "fetch"}) {
        const finished help = run({sample(name), "--help"});
        INFO(name, ": ", help.all());
        CHECK(help.status == 0);
        CHECK(help.out.find("--stack") != std::string::npos);
    }
}

TEST_CASE("command line: without a right to a TAP the remedy is told") {
    // An ordinary user in the network of everybody: nothing is made there, for nothing may be.
    const std::vector<std::string> as_nobody{"setpriv", "--reuid", "65534",
                                             "--regid", "65534",   "--clear-groups"};
    std::vector<std::string> arguments{sample("http_server"), "--root", "/", "--tap", "tapir_denied"};
    if (::geteuid() == 0) arguments.insert(arguments.begin(), as_nobody.begin(), as_nobody.end());
    const finished f = run(arguments, seconds(10));
    if (f.err.find("Permission denied") != std::string::npos && f.err.find("setpriv") != std::string::npos)
        return tapir::test::skip("this build is not open to other users");
    INFO(f.all());
    CHECK(f.status == 1);
    const bool told =
        f.err.find("run as root") != std::string::npos || f.err.find("/dev/net/tun") != std::string::npos;
    CHECK(told);
}

TEST_CASE("command line: ./run alone lists what there is, and knows what there is not") {
    const finished alone = script({});
    INFO(alone.all());
    CHECK(alone.status == 0);
    for (const char* word : {"http", "echo", "half_close", "fetch", "tests", "bench", "mutants", "fuzz"})
        CHECK(alone.out.find(word) != std::string::npos);
    CHECK(script({"--help"}).out == alone.out);
    for (const char* unknown : {"no_such_sample", "network", "../samples/echo", "--no-such-option"}) {
        const finished f = script({unknown});
        INFO(f.all());
        CHECK(f.status == 1);
        CHECK(f.err == "run: there is no '" + std::string(unknown) + "'; ./run alone lists what there is\n");
    }
}
