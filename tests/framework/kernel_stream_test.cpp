// The cases of our own TCP's API, on the kernel's sockets: AF_UNIX in the abstract namespace, and TCP on
// 127.0.0.1 inside a network namespace of the test's own.

#include <tapir/framework/kernel_stream.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/sim_backend.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/framework/uring_backend.hpp>
#include <tapir/framework/when_all.hpp>

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <net/if.h>
#include <optional>
#include <sched.h>
#include <string>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "tests/skip.hpp"

using namespace tapir;

namespace {

kernel::address at(std::string_view text) {
    const auto parsed = kernel::address::parse(text);
    REQUIRE_MESSAGE(parsed, std::string(text));
    return *parsed;
}

/// This thread, in a network namespace of its own whose only interface is lo; back where it was at the end.
class own_network {
  public:
    own_network() {
        before_ = ::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
        if (before_ < 0 || ::unshare(CLONE_NEWNET) != 0) return;
        inside_ = true;
        const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        ifreq lo{};
        std::strcpy(lo.ifr_name, "lo");
        lo.ifr_flags = IFF_UP | IFF_RUNNING;
        ::ioctl(fd, SIOCSIFFLAGS, &lo);
        ::close(fd);
    }
    own_network(const own_network&) = delete;
    own_network& operator=(const own_network&) = delete;
    ~own_network() {
        if (inside_) ::setns(before_, CLONE_NEWNET);
        if (before_ >= 0) ::close(before_);
    }
    bool inside() const { return inside_; }

  private:
    int before_ = -1;
    bool inside_ = false;
};

std::string abstract_name() {
    static int next = 0;
    return "unix:@tapir-test-" + std::to_string(::getpid()) + "-" + std::to_string(++next);
}

/// Test(reactor&, address to listen at), over both families.
template <class Test>
void over_both(Test test) {
    SUBCASE("AF_UNIX") {
        reactor r(make_uring_backend());
        test(r, at(abstract_name()));
    }
    SUBCASE("AF_UNIX, an operation for each call") {
        uring_config plain;
        plain.multishot_sockets = false;
        reactor r(make_uring_backend(plain));
        test(r, at(abstract_name()));
    }
    SUBCASE("TCP") {
        const own_network net;
        if (!net.inside()) return test::skip("needs the right to make a network namespace");
        reactor r(make_uring_backend());
        test(r, at("127.0.0.1:0"));
    }
}

template <class Test>
void over_tcp(Test test) {
    const own_network net;
    if (!net.inside()) return test::skip("needs the right to make a network namespace");
    reactor r(make_uring_backend());
    test(r, at("127.0.0.1:0"));
}

struct two_ends {
    two_ends(kernel::stream c, kernel::stream s) : client(std::move(c)), server(std::move(s)) {}
    kernel::stream client;
    kernel::stream server;
};

task<two_ends> connected(kernel::address where) {
    auto listener = kernel::listen(where);
    REQUIRE(listener);
    auto client = co_await kernel::connect(listener->local());
    REQUIRE(client);
    auto server = co_await listener->accept();
    REQUIRE(server);
    co_return two_ends(std::move(*client), std::move(*server));
}

task<result<std::string>> read_text(kernel::stream* s) {
    std::array<std::byte, 256> memory{};
    const auto n = co_await s->read(memory);
    if (!n) co_return n.error();
    co_return std::string(as_text(std::span(memory).first(*n)));
}

task<result<std::string>> read_all(kernel::stream* s) {
    std::string all;
    for (;;) {
        const auto part = co_await read_text(s);
        if (!part) co_return part.error();
        if (part->empty()) co_return all;
        all += *part;
    }
}

} // namespace

TEST_CASE("kernel::address parses what it prints, and nothing else") {
    for (const char* text :
         {"127.0.0.1:80", "0.0.0.0:0", "255.255.255.255:65535", "unix:/run/a", "unix:@name"})
        CHECK(at(text).to_string() == text);
    for (const char* text : {"", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:8x",
                             "1.2.3:80", "localhost:80", "unix:", "unix:@", "127.0.0.1:-1", " 127.0.0.1:80"})
        CHECK_FALSE(kernel::address::parse(text));
    CHECK_FALSE(kernel::address::parse("unix:" + std::string(108, 'x')));
    CHECK(kernel::address::parse("unix:" + std::string(107, 'x')));
    CHECK(at("127.0.0.1:80") == kernel::address::ipv4({127, 0, 0, 1}, 80));
    CHECK_FALSE(at("127.0.0.1:80") == at("127.0.0.1:81"));
    CHECK(at("unix:/run/a").path() == "/run/a");
    CHECK(at("unix:@a").path().empty());
    CHECK(at("10.0.0.1:443").port() == 443);
}

TEST_CASE("kernel streams: until_readable() waits for bytes or the end, and takes nothing") {
    over_both([](reactor& r, kernel::address where) {
        const auto story = [](kernel::address here) -> task<> {
            two_ends ends = co_await connected(here);
            const auto early = co_await with_timeout(20ms, ends.server.until_readable());
            CHECK(early.error() == errc::deadline_exceeded);
            CHECK(co_await ends.client.write("x"));
            CHECK(co_await ends.server.until_readable());
            CHECK(co_await ends.server.until_readable());
            CHECK((co_await read_text(&ends.server)).value() == "x");
            CHECK(co_await ends.client.finish());
            CHECK(co_await ends.server.until_readable());
        };
        r.run(story(where));
        CHECK(r.io().uring()->in_flight() == 0);
    });
}

TEST_CASE("kernel streams: bytes arrive, 0 is the end of stream, and data flows after a half-close") {
    over_both([](reactor& r, kernel::address where) {
        const auto story = [](kernel::address here) -> task<> {
            two_ends ends = co_await connected(here);
            CHECK(ends.client.remote() == ends.server.local());
            CHECK(co_await ends.client.write("question"));
            const auto question = co_await read_text(&ends.server);
            CHECK(question.value() == "question");
            CHECK(co_await ends.client.finish());
            const auto end = co_await read_text(&ends.server);
            CHECK(end.value() == "");
            // The client has closed, the server has not.
            CHECK(co_await ends.server.write("answer"));
            CHECK(co_await ends.server.finish());
            const auto answer = co_await read_all(&ends.client);
            CHECK(answer.value() == "answer");
            const auto late = co_await ends.client.write("more");
            CHECK(late.error() == errc::finished);
            const auto closed = co_await ends.client.close();
            REQUIRE(closed);
            CHECK(closed->how == ending::orderly);
            CHECK(closed->unacked == 0);
            const auto other = co_await ends.server.close();
            REQUIRE(other);
            CHECK(other->how == ending::orderly);
            const auto after = co_await read_text(&ends.server);
            CHECK(after.error() == errc::closed);
        };
        r.run(story(where));
        CHECK(r.io().uring()->in_flight() == 0);
    });
}

TEST_CASE("kernel streams: megabytes pass both ways at once, against back-pressure") {
    over_both([](reactor& r, kernel::address where) {
        constexpr std::size_t total = 4'000'000;
        const auto send = [](kernel::stream* s, unsigned seed) -> task<std::size_t> {
            std::vector<std::byte> memory(total);
            for (std::size_t i = 0; i < total; ++i) memory[i] = static_cast<std::byte>((i * 31 + seed) >> 3);
            const auto written = co_await s->write(bytes(memory));
            CHECK(written);
            CHECK(co_await s->finish());
            co_return written.taken();
        };
        const auto receive = [](kernel::stream* s, unsigned seed) -> task<std::size_t> {
            std::vector<std::byte> memory(100'000);
            std::size_t at_byte = 0;
            for (;;) {
                const auto n = co_await s->read(memory);
                REQUIRE(n);
                if (*n == 0) co_return at_byte;
                for (std::size_t i = 0; i < *n; ++i, ++at_byte)
                    if (memory[i] != static_cast<std::byte>((at_byte * 31 + seed) >> 3)) co_return 0;
            }
        };
        const auto story = [&](kernel::address here) -> task<> {
            two_ends ends = co_await connected(here);
            const auto [a, b, c, d] = co_await when_all(send(&ends.client, 1), send(&ends.server, 2),
                                                        receive(&ends.server, 1), receive(&ends.client, 2));
            CHECK(a == total);
            CHECK(b == total);
            CHECK(c == total);
            CHECK(d == total);
        };
        r.run(story(where));
    });
}

TEST_CASE("kernel streams: one reader and one writer; an empty span is no question") {
    over_both([](reactor& r, kernel::address where) {
        const auto reader = [](kernel::stream* s, std::vector<std::error_code>* to) -> task<> {
            const auto n = co_await read_text(s);
            to->push_back(n ? std::error_code() : n.error());
        };
        const auto story = [&](kernel::address here) -> task<> {
            two_ends ends = co_await connected(here);
            std::vector<std::error_code> seen;
            const auto empty = co_await ends.client.read(mutable_bytes());
            CHECK(empty.error() == errc::invalid_argument);
            const auto body = [&](scope& s) -> task<> {
                s.spawn(reader, &ends.client, &seen);
                s.spawn(reader, &ends.client, &seen);
                (void)co_await sleep_for(2ms);
                const auto close = co_await ends.client.close();
                CHECK(close.error() == errc::busy);
                CHECK(co_await ends.server.write("x"));
            };
            co_await with_scope(body);
            REQUIRE(seen.size() == 2);
            CHECK(seen[0] == errc::busy);
            CHECK(seen[1] == std::error_code());
        };
        r.run(story(where));
    });
}

TEST_CASE("kernel streams: a moved-from handle answers closed, and has no address") {
    over_both([](reactor& r, kernel::address where) {
        const auto story = [](kernel::address here) -> task<> {
            auto listener = kernel::listen(here);
            REQUIRE(listener);
            auto client = co_await kernel::connect(listener->local());
            REQUIRE(client);
            const kernel::listener taken = std::move(*listener);
            CHECK(listener->local() == kernel::address());
            listener->close();
            CHECK((co_await listener->accept()).error() == errc::closed);

            kernel::stream& moved = *client;
            const kernel::stream open = std::move(moved);
            CHECK(moved.local() == kernel::address());
            CHECK(moved.remote() == kernel::address());
            CHECK((co_await read_text(&moved)).error() == errc::closed);
            CHECK((co_await moved.write("x")).error() == errc::closed);
            CHECK((co_await moved.finish()).error() == errc::closed);
            CHECK((co_await moved.close()).error() == errc::closed);
            moved.abort();
        };
        r.run(story(where));
    });
}

TEST_CASE("kernel streams: a stopped read ends with errc::cancelled and the stream lives on") {
    over_both([](reactor& r, kernel::address where) {
        const auto story = [](kernel::address here) -> task<> {
            two_ends ends = co_await connected(here);
            const auto late = co_await with_timeout(5ms, read_text(&ends.client));
            CHECK(late.error() == errc::deadline_exceeded);
            CHECK(co_await ends.server.write("still here"));
            const auto text = co_await read_text(&ends.client);
            CHECK(text.value() == "still here");
        };
        r.run(story(where));
    });
}

TEST_CASE("kernel streams: a stopped write tells how many bytes were taken") {
    over_both([](reactor& r, kernel::address where) {
        const auto writer = [](kernel::stream* s, std::optional<write_result>* to) -> task<> {
            const std::vector<std::byte> memory(64'000'000);
            to->emplace(co_await s->write(bytes(memory)));
        };
        const auto story = [&](kernel::address here) -> task<> {
            two_ends ends = co_await connected(here);
            std::optional<write_result> outcome;
            const auto body = [&](scope& s) -> task<> {
                s.spawn(writer, &ends.client, &outcome);
                (void)co_await sleep_for(20ms);
                s.request_stop();
            };
            co_await with_scope(body);
            REQUIRE(outcome);
            CHECK(outcome->error() == errc::cancelled);
            CHECK(outcome->taken() > 0);
            CHECK(outcome->taken() < 64'000'000);
            ends.client.abort();
        };
        r.run(story(where));
    });
}

TEST_CASE("kernel streams: abort() resets, and whoever waits resumes with errc::aborted") {
    over_tcp([](reactor& r, kernel::address where) {
        const auto reader = [](kernel::stream* s, std::error_code* to) -> task<> {
            const auto n = co_await read_text(s);
            if (!n) *to = n.error();
        };
        const auto story = [&](kernel::address here) -> task<> {
            two_ends ends = co_await connected(here);
            std::error_code local;
            std::error_code remote;
            const auto body = [&](scope& s) -> task<> {
                s.spawn(reader, &ends.client, &local);
                s.spawn(reader, &ends.server, &remote);
                (void)co_await sleep_for(2ms);
                ends.client.abort();
            };
            co_await with_scope(body);
            CHECK(local == errc::aborted);
            CHECK(remote == errc::reset);
            const auto after = co_await ends.client.write("x");
            CHECK(after.error() == errc::aborted);
            const auto wrote = co_await ends.server.write("into the void"); // EPIPE, and no SIGPIPE
            CHECK(wrote.error() == errc::reset);
            const auto closed = co_await ends.server.close();
            REQUIRE(closed);
            CHECK(closed->how == ending::reset);
        };
        r.run(story(where));
    });
}

TEST_CASE("kernel streams: a handle that goes away open resets the connection") {
    over_tcp([](reactor& r, kernel::address where) {
        const auto story = [](kernel::address here) -> task<> {
            std::optional<two_ends> ends(co_await connected(here));
            kernel::stream server = std::move(ends->server);
            ends.reset();
            const auto n = co_await read_text(&server);
            CHECK(n.error() == errc::reset);
        };
        r.run(story(where));
    });
}

TEST_CASE("kernel streams: close() with unread data resets and says how much") {
    over_tcp([](reactor& r, kernel::address where) {
        const auto story = [](kernel::address here) -> task<> {
            two_ends ends = co_await connected(here);
            CHECK(co_await ends.client.write("unread"));
            (void)co_await sleep_for(2ms);
            const auto closed = co_await ends.server.close(); // [RFC 2525 2.17]
            REQUIRE(closed);
            CHECK(closed->how == ending::unread_data);
            CHECK(closed->unread == 6);
            const auto n = co_await read_text(&ends.client);
            CHECK(n.error() == errc::reset);
        };
        r.run(story(where));
    });
}

TEST_CASE("kernel streams: data that comes after close() resets; a silent peer meets the deadline") {
    over_tcp([](reactor& r, kernel::address where) {
        const auto talker = [](kernel::stream* s) -> task<> {
            (void)co_await sleep_for(5ms);
            CHECK(co_await s->write("too late"));
        };
        const auto story = [&](kernel::address here) -> task<> {
            {
                two_ends ends = co_await connected(here);
                const auto body = [&](scope& s) -> task<> {
                    s.spawn(talker, &ends.client);
                    const auto closed = co_await ends.server.close();
                    REQUIRE(closed);
                    CHECK(closed->how == ending::data_after_close); // [RFC 9293 3.6.1 SHLD-3]
                    CHECK(closed->unread == 8);
                };
                co_await with_scope(body);
                ends.client.abort();
            }
            two_ends ends = co_await connected(here);
            promise_base& self = co_await this_coroutine;
            const instant deadline = self.reactor().now() + 20ms;
            const auto closed = co_await ends.server.close(deadline);
            REQUIRE(closed);
            CHECK(closed->how == ending::close_timeout);
            CHECK(self.reactor().now() >= deadline);
            const auto text = co_await read_text(&ends.client); // our FIN, or already the RST behind it
            CHECK((!text || text->empty()));
        };
        r.run(story(where));
    });
}

TEST_CASE("kernel streams: a close that is stopped aborts") {
    over_tcp([](reactor& r, kernel::address where) {
        const auto closer = [](kernel::stream* s, std::error_code* to) -> task<> {
            const auto closed = co_await s->close();
            if (!closed) *to = closed.error();
        };
        const auto story = [&](kernel::address here) -> task<> {
            two_ends ends = co_await connected(here);
            std::error_code seen;
            const auto body = [&](scope& s) -> task<> {
                s.spawn(closer, &ends.server, &seen);
                (void)co_await sleep_for(5ms);
                s.request_stop();
            };
            co_await with_scope(body);
            CHECK(seen == errc::cancelled);
            const auto wrote = co_await ends.client.write("x");
            CHECK_FALSE(wrote);
        };
        r.run(story(where));
    });
}

TEST_CASE("kernel streams: refused, unreachable, in use and cancelled are told apart") {
    over_tcp([](reactor& r, kernel::address where) {
        const auto story = [](kernel::address here) -> task<> {
            const auto refused = co_await kernel::connect(at("127.0.0.1:9"));
            CHECK(refused.error() == errc::refused);
            const auto nowhere = co_await kernel::connect(at("192.0.2.1:9")); // no route in here
            CHECK(nowhere.error() == errc::network_unreachable);
            const auto no_path = co_await kernel::connect(at("unix:/nonexistent/socket"));
            CHECK(no_path.error() == errc::refused);
            const auto first = kernel::listen(here);
            REQUIRE(first);
            const auto second = kernel::listen(first->local());
            REQUIRE_FALSE(second);
            CHECK(second.error() == errc::address_in_use);
            const auto foreign = kernel::listen(at("192.0.2.1:80"));
            CHECK(foreign.error() == errc::address_unavailable);
        };
        r.run(story(where));
    });
}

TEST_CASE("kernel listener: close() and stop wake those who accept; a path is removed") {
    reactor r(make_uring_backend());
    const std::string path = "/tmp/tapir-listener-" + std::to_string(::getpid());
    std::vector<std::error_code> seen;
    const auto acceptor = [](kernel::listener* l, std::vector<std::error_code>* to) -> task<> {
        const auto c = co_await l->accept();
        if (!c) to->push_back(c.error());
    };
    const auto story = [&]() -> task<> {
        auto listener = kernel::listen(at("unix:" + path));
        REQUIRE(listener);
        CHECK(::access(path.c_str(), F_OK) == 0);
        const auto stopped = [&](scope& s) -> task<> {
            s.spawn(acceptor, &*listener, &seen);
            (void)co_await sleep_for(2ms);
            s.request_stop();
        };
        co_await with_scope(stopped);
        const auto closed = [&](scope& s) -> task<> {
            s.spawn(acceptor, &*listener, &seen);
            s.spawn(acceptor, &*listener, &seen);
            (void)co_await sleep_for(2ms);
            listener->close();
        };
        co_await with_scope(closed);
    };
    r.run(story());
    REQUIRE(seen.size() == 3);
    CHECK(seen[0] == errc::cancelled);
    CHECK(seen[1] == errc::closed);
    CHECK(seen[2] == errc::closed);
    CHECK(::access(path.c_str(), F_OK) != 0);
    CHECK(r.io().uring()->in_flight() == 0);
}

TEST_CASE("kernel listener: a path that a successor has bound anew stays when the predecessor closes") {
    reactor r(make_uring_backend());
    const std::string path = "/tmp/tapir-successor-" + std::to_string(::getpid());
    const auto body = [&]() -> task<> {
        auto before = kernel::listen(at("unix:" + path));
        REQUIRE(before);
        REQUIRE(::unlink(path.c_str()) == 0);
        auto after = kernel::listen(at("unix:" + path));
        REQUIRE(after);
        before->close();
        CHECK(::access(path.c_str(), F_OK) == 0);
        const auto client = co_await kernel::connect(at("unix:" + path));
        CHECK(client);
        after->close();
        CHECK(::access(path.c_str(), F_OK) != 0);
        // Nor does anything else go that has come to stand there.
        auto third = kernel::listen(at("unix:" + path));
        REQUIRE(third);
        REQUIRE(::unlink(path.c_str()) == 0);
        REQUIRE(::mkdir(path.c_str(), 0700) == 0);
        third->close();
        CHECK(::rmdir(path.c_str()) == 0);
    };
    r.run(body());
}

TEST_CASE("kernel listener: close() takes the path away before the socket is deaf") {
    // Who finds a path where nobody listens takes it for a dead process's and binds it anew: were the socket
    // deaf first, close() could take the successor's path away. Another thread looks for such a moment.
    const auto path_of = [](int round) {
        return "/tmp/tapir-order-" + std::to_string(::getpid()) + "-" + std::to_string(round);
    };
    std::atomic<int> listening = 0; ///< in which round; 0: not yet, or no more
    std::atomic<bool> over = false;
    std::atomic<int> deaf_with_a_path = 0;
    std::thread looker([&] {
        while (!over) {
            const int round = listening;
            if (round == 0) continue;
            const kernel::address where = at("unix:" + path_of(round));
            const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
            if (::connect(fd, where.data(), where.size()) != 0 && errno == ECONNREFUSED &&
                ::access(where.path().c_str(), F_OK) == 0)
                ++deaf_with_a_path;
            ::close(fd);
        }
    });
    for (int round = 1; round <= 1000; ++round) {
        auto listener = kernel::listen(at("unix:" + path_of(round)));
        listening = round;
        if (listener) listener->close();
        listening = 0;
    }
    over = true;
    looker.join();
    CHECK(deaf_with_a_path == 0);
}

TEST_CASE("kernel streams: in virtual time the kernel does not exist") {
    reactor r(make_sim_backend());
    const auto c = r.run(kernel::connect(at(abstract_name())));
    REQUIRE_FALSE(c);
    CHECK(c.error() == errc::not_supported);
}

TEST_CASE("kernel stream: the other end of an AF_UNIX connection is named by the kernel") {
    reactor r(make_uring_backend());
    auto body = [&]() -> task<> {
        auto listener = kernel::listen(at(abstract_name()));
        REQUIRE(listener);
        auto client = co_await kernel::connect(listener->local());
        auto server = co_await listener->accept();
        REQUIRE(client);
        REQUIRE(server);
        const auto who = server->peer();
        REQUIRE(who);
        CHECK(who->pid == ::getpid());
        CHECK(who->uid == ::geteuid());
        CHECK(who->gid == ::getegid());
        CHECK(client->peer()->pid == ::getpid());
        server->abort();
        CHECK(server->peer().error() == errc::closed);
    };
    r.run(body());
}

TEST_CASE("kernel stream: an AF_UNIX path has the mode that was asked for as soon as it is there") {
    reactor r(make_uring_backend());
    const std::string path = "/tmp/tapir-test-" + std::to_string(::getpid()) + ".sock";
    for (const mode_t mode : {0600u, 0660u}) {
        const mode_t umask_before = ::umask(0);
        {
            const auto listener = kernel::listen(at("unix:" + path), 1, mode);
            ::umask(umask_before);
            REQUIRE(listener);
            struct stat s{};
            REQUIRE(::stat(path.c_str(), &s) == 0);
            CHECK((s.st_mode & 0777) == mode);
        }
        CHECK(::access(path.c_str(), F_OK) != 0);
    }
}

// --- what stays in flight between calls ------------------------------------------------------------------

TEST_CASE("kernel::stream: who does not read holds little, makes the peer wait, and loses nothing") {
    for (const bool multishot : {true, false}) {
        CAPTURE(multishot);
        uring_config config;
        config.multishot_sockets = multishot;
        reactor r(make_uring_backend(config));
        const auto body = [&]() -> task<> {
            two_ends ends = co_await connected(at(abstract_name()));
            CHECK(co_await ends.client.write("x"));
            CHECK(co_await ends.server.until_readable()); // from now on it could go on by itself
            std::string all(2 << 20, '\0');
            for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<char>(i * 7 + (i >> 12));
            const auto write_some = [&]() -> task<result<>> {
                const write_result w = co_await ends.client.write(all);
                CHECK(w.error() == errc::cancelled);
                all.resize(w.taken());
                co_return result<>();
            };
            (void)co_await with_timeout(10ms, write_some());
            CHECK(all.size() < 1 << 20); // the kernel's buffer, and the little that is held here
            (void)co_await sleep_for(5ms);
            const auto read_them = [&]() -> task<std::string> {
                std::string got;
                std::array<std::byte, 3000> some{};
                while (got.size() < 1 + all.size()) {
                    const auto n = co_await ends.server.read(some);
                    if (!n || *n == 0) break;
                    got += as_text(std::span(some).first(*n));
                }
                co_return got;
            };
            CHECK(co_await read_them() == "x" + all);
            const auto ended = co_await with_timeout(2ms, read_text(&ends.server));
            CHECK(ended.error() == errc::deadline_exceeded);
            CHECK(co_await ends.client.write("and on"));
            CHECK(*co_await read_text(&ends.server) == "and on"); // what came for nobody is kept for the next
        };
        r.run(body());
    }
}

TEST_CASE("kernel::stream: more streams that wait than shared buffers, and each gets what is its own") {
    reactor r(make_uring_backend());
    const auto body = [&]() -> task<> {
        auto listener = kernel::listen(at(abstract_name()));
        REQUIRE(listener);
        std::vector<two_ends> all;
        for (int i = 0; i < 400; ++i) {
            auto client = co_await kernel::connect(listener->local());
            REQUIRE(client);
            auto server = co_await listener->accept();
            REQUIRE(server);
            all.emplace_back(std::move(*client), std::move(*server));
        }
        int right = 0;
        const auto serve = [&](int i) -> task<> {
            for (const char* round : {"a", "b"}) {
                const auto text = co_await read_text(&all[static_cast<std::size_t>(i)].server);
                right += text && *text == round + std::to_string(i) ? 1 : 0;
            }
        };
        const auto servers = [&](scope& s) -> task<> {
            for (int i = 0; i < 400; ++i) s.spawn(serve, i);
            (void)co_await sleep_for(1ms); // all wait
            for (const char* round : {"a", "b"}) {
                for (int i = 0; i < 400; ++i) {
                    const std::string text = round + std::to_string(i);
                    CHECK(co_await all[static_cast<std::size_t>(i)].client.write(text));
                }
                (void)co_await sleep_for(5ms);
            }
        };
        co_await with_scope(servers);
        CHECK(right == 800);
    };
    r.run(body());
}

TEST_CASE("kernel::stream: bytes that came before a reset are read before it is told, and told again") {
    over_tcp([](reactor& r, kernel::address where) {
        const auto body = [&]() -> task<> {
            two_ends ends = co_await connected(where);
            CHECK(co_await ends.client.write("first"));
            CHECK(co_await ends.server.until_readable());
            ends.client.abort();
            (void)co_await sleep_for(2ms);
            CHECK(*co_await read_text(&ends.server) == "first");
            for (int i = 0; i < 2; ++i) {
                const auto text = co_await read_text(&ends.server);
                CHECK(text.error() == errc::reset);
            }
            const write_result w = co_await ends.server.write("x");
            CHECK(w.error() == errc::reset);
        };
        r.run(body());
    });
}

TEST_CASE(
    "kernel::listener: connections wait to be accepted, many at a time, and are refused when it closes") {
    over_both([](reactor& r, kernel::address where) {
        const auto body = [&]() -> task<> {
            auto listener = kernel::listen(where);
            REQUIRE(listener);
            std::vector<kernel::stream> clients;
            const auto dial = [&](int n) -> task<> {
                for (int i = 0; i < n; ++i) {
                    auto client = co_await kernel::connect(listener->local());
                    REQUIRE(client);
                    clients.push_back(std::move(*client));
                }
            };
            co_await dial(1);
            std::vector<kernel::stream> accepted;
            const auto accept_some = [&](std::size_t upto) -> task<> {
                while (accepted.size() < upto) {
                    auto peer = co_await listener->accept();
                    REQUIRE(peer);
                    accepted.push_back(std::move(*peer));
                }
            };
            co_await accept_some(1);
            co_await dial(60); // nobody accepts meanwhile
            (void)co_await sleep_for(2ms);
            co_await accept_some(40);
            for (std::size_t i = 0; i < 40; ++i) {
                CHECK(co_await clients[i].write(std::to_string(i)));
                CHECK(*co_await read_text(&accepted[i]) == std::to_string(i)); // in their order
            }
            listener->close();
            const auto late = co_await listener->accept();
            CHECK(late.error() == errc::closed);
            {
                const kernel::listener gone = std::move(*listener);
            }
            for (std::size_t i = 40; i < clients.size(); ++i) {
                const auto text = co_await with_timeout(2s, read_text(&clients[i]));
                CHECK((text ? text->empty() : text.error() != errc::deadline_exceeded));
            }
        };
        r.run(body());
    });
}

TEST_CASE("kernel::stream: what is in flight ends with the reactor, whoever dies first") {
    std::optional<kernel::stream> survivor;
    std::optional<kernel::listener> listener;
    {
        reactor r(make_uring_backend());
        const auto body = [&]() -> task<> {
            listener.emplace(*kernel::listen(at(abstract_name())));
            auto client = co_await kernel::connect(listener->local());
            REQUIRE(client);
            auto server = co_await listener->accept();
            REQUIRE(server);
            CHECK(co_await client->write("x"));
            CHECK(co_await server->until_readable());
            survivor.emplace(std::move(*server));
        }; // the client is gone, and its receive has not been collected
        r.run(body());
    }
    CHECK(survivor->local() == listener->local());
}
