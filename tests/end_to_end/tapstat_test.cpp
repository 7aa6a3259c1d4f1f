// tapstat beside a server on a TAP: what it shows, and to whom.
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/framework/uring_backend.hpp>
#include <tapir/protocols/control/socket.hpp>
#include <tapir/protocols/ethernet/header.hpp>
#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/ipv4/header.hpp>
#include <tapir/protocols/tcp/header.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <grp.h>
#include <string>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include "tests/support/kernel_socket.hpp"
#include "tests/support/on_tap.hpp"
#include "tests/support/packet_socket.hpp"
#include "tests/support/process.hpp"
#include "tests/support/tapstat.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

/// A SYN of 192.0.2.99, where nobody is: its SYN|ACK is never answered.
std::vector<std::byte> stray_syn(bytes ethernet_of_server) {
    tcp::header syn;
    syn.source_port = 4321;
    syn.destination_port = 80;
    syn.flags = tcp::flags::syn;
    syn.window = 1000;
    ipv4::header ip;
    ip.protocol = ip::protocol::tcp;
    ip.source = ip::address::v4(192, 0, 2, 99);
    ip.destination = ip::address::v4(192, 0, 2, 2);
    ip.payload_size = syn.size();
    ethernet::header eth;
    eth.destination = ethernet::mac_address::load(ethernet_of_server, 6); // who sent that frame
    eth.source = ethernet::mac_address(2, 0, 0, 0, 0, 99);
    eth.type = ethernet::ether_type::ipv4;
    std::vector<std::byte> frame(ethernet::header::size + ipv4::header::size + syn.size());
    const mutable_bytes all(frame);
    eth.emit(all);
    ip.emit(all.subspan(ethernet::header::size));
    const std::vector<bytes> no_payload;
    tcp::emit(all.subspan(ethernet::header::size + ipv4::header::size), syn,
              ip::pseudo_header_sum(ip.source, ip.destination, ip::protocol::tcp), no_payload);
    return frame;
}

int connect_to(const std::string& path) {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un at{};
    at.sun_family = AF_UNIX;
    std::strncpy(at.sun_path, path.c_str(), sizeof at.sun_path - 1);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0) return fd;
    const int error = errno;
    ::close(fd);
    errno = error;
    return -1;
}

/// What somebody else, user 65534, gets at a socket: "connect: Permission denied", or what it is answered.
std::string as_nobody(const std::string& path) {
    std::array<int, 2> pipe_ends{};
    expect(::pipe(pipe_ends.data()) == 0, "pipe");
    const pid_t child = ::fork();
    if (child == 0) {
        std::string told;
        if (::setgroups(0, nullptr) != 0 || ::setgid(65534) != 0 || ::setuid(65534) != 0) {
            told = "cannot be another user";
        } else if (const int fd = connect_to(path); fd < 0) {
            told = std::string("connect: ") + std::strerror(errno);
        } else {
            std::array<char, 512> room;
            (void)!::write(fd, "listeners\n", 10);
            for (ssize_t n; (n = ::read(fd, room.data(), room.size())) > 0;)
                told.append(room.data(), static_cast<std::size_t>(n));
        }
        (void)!::write(pipe_ends[1], told.data(), told.size());
        ::_exit(0);
    }
    ::close(pipe_ends[1]);
    std::string told;
    std::array<char, 512> room;
    for (ssize_t n; (n = ::read(pipe_ends[0], room.data(), room.size())) > 0;)
        told.append(room.data(), static_cast<std::size_t>(n));
    ::close(pipe_ends[0]);
    ::waitpid(child, nullptr, 0);
    return told;
}

template <class F>
void on_reactor(F body) {
    reactor r(make_uring_backend());
    r.run(body());
}

} // namespace

TEST_CASE("tapstat: a hanging client is ESTABLISHED, a SYN whose answer nobody answers is SYN_RECV") {
    const temporary_directory root;
    on_tap([&] {
        const auto server = serve(root, "automatic", {"--shards", "1"}); // one listener
        const std::string whose = std::to_string(server->pid()) + "/http_server";
        packet_socket kernels_side("tapir0", ETH_P_IP);
        const auto client = kernel_socket::connected("192.0.2.2", 80);
        client.write("GET / HTTP/1.1\r\n"); // and no more
        const auto seen = kernels_side.received();
        expect(!seen.empty(), "the server's SYN|ACK was seen");
        kernels_side.send(stray_syn(seen.front()));

        finished all;
        for (int i = 0; i < 100 && grep("SYN_RECV", all.out).empty(); ++i) all = tapstat({"-nap"});
        expect(all.status == 0, all.all());
        expect(grep("SYN_RECV", all.out) ==
                   "tcp        0      0 192.0.2.2:80            192.0.2.99:4321         SYN_RECV    " +
                       whose + "\n",
               all.out);
        const std::string established = grep("ESTABLISHED", all.out);
        expect(established.starts_with("tcp        0      0 192.0.2.2:80            192.0.2.1:") &&
                   established.ends_with(" ESTABLISHED " + whose + "\n"),
               all.out);
        const std::string listening = grep("LISTEN", all.out);
        expect(listening.starts_with(
                   "tcp        0   1024 192.0.2.2:80            0.0.0.0:*               LISTEN      " +
                   whose + " ") &&
                   listening.ends_with(" accept 0/1024 half-open 1/1024\n"),
               all.out);

        expect(grep("LISTEN", tapstat({"-n"}).out).empty(), "without -a no listeners");
        expect(grep("ESTABLISHED", tapstat({"-ln"}).out).empty(), "with -l nothing else");
        expect(grep("http_server", tapstat({"-ne"}).out).empty(), "no program without -p");
        expect(grep("opened", tapstat({"-ne"}).out).find(" by task ") != std::string::npos, "whose");
        expect(grep("passive_opens", tapstat({"-s"}).out) == "    1 passive_opens\n", "counters");
        const std::string json = tapstat({"--json", "--pid", std::to_string(server->pid())}).out;
        expect(
            grep("\"state\":\"SYN_RECEIVED\"", json).starts_with("{\"pid\":" + std::to_string(server->pid())),
            json);
        const finished other = tapstat({"--pid", "1"});
        expect(other.status == 1 && other.err.find("process id 1") != std::string::npos, other.all());
    });
}

TEST_CASE("tapstat: nobody but root and the program's own user is told anything") {
    const temporary_directory root;
    const temporary_directory place;
    on_tap([&] {
        const std::string path = place.file("control.sock");
        const auto server = serve(root, "automatic", {"--control", path});
        struct stat s{};
        expect(::stat(path.c_str(), &s) == 0 && (s.st_mode & 0777) == 0600, "owner only");
        expect(tapstat({"-al", "--control", path}).out.find(" LISTEN ") != std::string::npos,
               "the owner asks");
        ::chmod(place.path().c_str(), 0755);
        const std::string kept_out = as_nobody(path);
        if (kept_out == "cannot be another user") throw lacking(kept_out);
        expect(kept_out == "connect: Permission denied", kept_out);
        ::chmod(path.c_str(), 0666); // somebody careless
        const std::string refused = as_nobody(path);
        expect(refused.starts_with("{\"type\":\"error\",\"error\":\"refused: user 65534 is neither root nor"),
               refused);
        expect(grep("refused", tapstat({"-s"}).out + tapstat({"-s", "--control", path}).out) ==
                   "    1 refused\n",
               "and it was counted");
    });
}

TEST_CASE("tapstat: two programs are both shown, those that have ended are not, and nobody is an error") {
    on_tap([&] {
        const finished none = tapstat({"-an"});
        expect(none.status == 1 && none.out.empty(), none.all());
        expect(none.err.find("no running tapir program was found; looked into ") != std::string::npos,
               none.err);
        {
            const auto one = start({sample("echo")}, "echo on");
            const auto two = start({sample("half_close"), "--tap", "tapir1", "--address", "198.51.100.2/24"},
                                   "counting lines on");
            const auto hidden =
                start({sample("echo"), "--no-control", "--tap", "tapir2", "--address", "203.0.113.2/24"},
                      "echo on");
            const finished all = tapstat({"-anp"});
            expect(grep("LISTEN", all.out).find("/echo ") != std::string::npos, all.all());
            expect(grep("LISTEN", all.out).find("/half_close ") != std::string::npos, all.all());
            expect(all.out.find("203.0.113.2") == std::string::npos, all.out);
            one->signal(SIGKILL); // and leaves its socket behind
            expect(one->wait(seconds(10)).has_value(), "killed");
            const std::string socket =
                std::string(::getenv("TAPIR_RUNTIME_DIR")) + "/" + std::to_string(one->pid()) + ".sock";
            for (int fd; (fd = connect_to(socket)) >= 0;
                 ::close(fd)) { // until the kernel has closed all it had
            }
            expect(errno == ECONNREFUSED, std::strerror(errno));
            const finished left = tapstat({"-anp"});
            expect(left.status == 0 && left.out.find("/echo ") == std::string::npos, left.all());
            two->signal(SIGTERM); // in order: its socket goes with it
            expect(two->wait(seconds(10)) == 0, two->err());
        }
        const auto next = start({sample("echo"), "--tap", "tapir3"}, "echo on");
        const std::string directory = ::getenv("TAPIR_RUNTIME_DIR");
        const finished kept = run({"ls", directory});
        expect(kept.out == std::to_string(next->pid()) + ".sock\n", "who starts clears up: " + kept.out);
    });
}

TEST_CASE("control socket: a dead process's is replaced, a live one's and a plain file are not") {
    const temporary_directory place;
    const std::string path = place.file("control.sock");
    const int left_behind = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un at{};
    at.sun_family = AF_UNIX;
    std::strncpy(at.sun_path, path.c_str(), sizeof at.sun_path - 1);
    REQUIRE(::bind(left_behind, reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0);
    ::close(left_behind);
    place.write("file.sock", "not a socket");
    auto body = [&]() -> task<> {
        auto first = co_await control::open_socket(path);
        REQUIRE_MESSAGE(first, first.error());
        auto second = co_await control::open_socket(path);
        REQUIRE_FALSE(second);
        CHECK(second.error() == path + ": another process answers there already");
        const auto file = co_await control::open_socket(place.file("file.sock"));
        REQUIRE_FALSE(file);
        CHECK(file.error() == place.file("file.sock") + ": exists, and is no socket");
        const auto nowhere = co_await control::open_socket(place.file("none/control.sock"));
        REQUIRE_FALSE(nowhere);
        CHECK(nowhere.error() == place.file("none") + ": No such file or directory");
        const auto too_long = co_await control::open_socket(place.file(std::string(100, 'x')));
        REQUIRE_FALSE(too_long);
        CHECK(too_long.error().find("is no path of a control socket") != std::string::npos);
        first->close();
        CHECK(::access(path.c_str(), F_OK) != 0); // gone with its process
        auto third = co_await control::open_socket(path);
        CHECK(third);
    };
    on_reactor(body);
}

TEST_CASE("control socket: directories that others own or may write to are not used") {
    const temporary_directory place;
    const std::string own = place.file("own");
    const auto with = [&](const std::string& directory) {
        ::setenv("TAPIR_RUNTIME_DIR", directory.c_str(), 1);
        return control::default_path();
    };
    const auto made = with(own);
    REQUIRE_MESSAGE(made, made.error());
    CHECK(*made == own + "/" + std::to_string(::getpid()) + ".sock");
    struct stat s{};
    REQUIRE(::stat(own.c_str(), &s) == 0);
    CHECK((s.st_mode & 0777) == 0700);
    ::chmod(own.c_str(), 0755);
    CHECK(with(own).error().find(own + ": is open to other users") != std::string::npos);
    ::chmod(own.c_str(), 0700);
    CHECK(with(own));
    const std::string link = place.file("link");
    REQUIRE(::symlink(own.c_str(), link.c_str()) == 0);
    CHECK(with(link).error().find(link + ": is no directory") != std::string::npos);
    CHECK(with(place.write("file", "")).error().find("is no directory") != std::string::npos);
    if (::geteuid() == 0) {
        REQUIRE(::chown(own.c_str(), 65534, 65534) == 0);
        CHECK(with(own).error().find("belongs to user 65534") != std::string::npos);
    }
    ::unsetenv("TAPIR_RUNTIME_DIR");
}
