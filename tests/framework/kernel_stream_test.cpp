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
#include <optional>
#include <string>
#include <sys/socket.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "tests/framework/kernel_ends.hpp"

using namespace tapir;
using namespace tapir::test;

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
