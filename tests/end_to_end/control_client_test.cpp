// Whom tapstat asks, and what it takes for an answer: sockets of others, and programs that mean it no good.
#include <tapir/framework/kernel_stream.hpp>
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/framework/uring_backend.hpp>
#include <tapir/protocols/control/client.hpp>
#include <tapir/protocols/control/socket.hpp>

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include "tests/skip.hpp"
#include "tests/support/process.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

constexpr uid_t nobody = 65534;
constexpr uid_t stranger = 65533;

control::request everything() {
    control::request r;
    r.connections = true;
    return r;
}

using answer = std::expected<void, control::ask_failure>;

/// What somebody at `listener` who says `pieces`, one in each `pause`, and then nothing, makes of one
/// request.
struct conversation {
    conversation(std::vector<std::string> p, duration d) : pieces(std::move(p)), pause(d) {}
    std::vector<std::string> pieces;
    duration pause;
    control::ask_limits limits;
    std::optional<uid_t> owner;
    std::vector<std::string> lines;
};

task<> say(kernel::listener* at, const conversation* c) {
    auto peer = co_await at->accept();
    if (!peer) co_return;
    for (const std::string& piece : c->pieces) {
        if (!co_await sleep_for(c->pause)) co_return;
        if (!co_await peer->write(piece)) co_return;
    }
    (void)co_await sleep_for(1h); // until the test ends it
}

answer held(conversation& c) {
    const temporary_directory place;
    reactor r(make_uring_backend());
    std::optional<answer> got;
    const control::row_handler each = [&](const control::row&, std::string_view line) {
        c.lines.emplace_back(line);
    };
    const std::string path = place.file("fake.sock");
    auto body = [&](scope& s) -> task<> {
        auto listener = kernel::listen(*kernel::address::parse("unix:" + path), 4, 0600);
        REQUIRE(listener);
        s.spawn(say, &*listener, &c);
        got.emplace(co_await control::ask(path, everything(), each, c.limits, c.owner));
        s.request_stop();
        co_await s.join();
    };
    r.run(with_scope(body));
    return *got;
}

/// A socket at `path` that is `owner`'s, where a process of `listener`'s listens.
class socket_of {
  public:
    socket_of(const std::string& path, uid_t owner, uid_t listener) {
        fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const auto at = kernel::address::parse("unix:" + path);
        REQUIRE(at);
        REQUIRE(::bind(fd_, at->data(), at->size()) == 0);
        if (owner != ::geteuid()) REQUIRE(::chown(path.c_str(), owner, owner) == 0);
        const uid_t us = ::geteuid();
        if (listener != us) REQUIRE(::seteuid(listener) == 0); // who listens is whom SO_PEERCRED names
        const int listens = ::listen(fd_, 4);
        if (listener != us) REQUIRE(::seteuid(us) == 0);
        REQUIRE(listens == 0);
    }
    socket_of(const socket_of&) = delete;
    socket_of& operator=(const socket_of&) = delete;
    ~socket_of() { ::close(fd_); }

  private:
    int fd_ = -1;
};

/// Makes `directory` the only one that is searched, and back.
class searched {
  public:
    explicit searched(const std::string& directory) { ::setenv("TAPIR_RUNTIME_DIR", directory.c_str(), 1); }
    searched(const searched&) = delete;
    searched& operator=(const searched&) = delete;
    ~searched() { ::unsetenv("TAPIR_RUNTIME_DIR"); }
};

std::vector<std::string> names_found() {
    std::vector<std::string> names;
    for (const control::found_socket& s : control::find_sockets())
        names.push_back(s.path.substr(s.path.rfind('/') + 1));
    return names;
}

} // namespace

TEST_CASE("control client: what the other side says is an error reaches no terminal as it came") {
    conversation c({R"({"type":"error","error":"\u001b]0;x\u0007 )"
                    "\xc2\x9b\x7f\"}\n"},
                   0ms);
    const answer a = held(c);
    REQUIRE_FALSE(a);
    CHECK(a.error().problem == control::ask_problem::refused);
    CHECK(a.error().text.ends_with(": ?]0;x? ???"));
}

TEST_CASE("control client: lines are handed on in printable ASCII") {
    conversation c({"{\"type\":\"new\",\"name\":\"\xc2\x9b\x7f\"}\n{\"type\":\"end\",\"rows\":1}\n"}, 0ms);
    CHECK(held(c));
    CHECK(c.lines == std::vector<std::string>{R"({"type":"new","name":"\u009b\u007f"})"});
}

TEST_CASE("control client: an answer that trickles in for ever is ended, however little silence there is") {
    conversation c(std::vector<std::string>(100'000, " "), 1ms);
    c.limits.total = 100ms;
    c.limits.silence = 1h;
    const answer a = held(c);
    REQUIRE_FALSE(a);
    CHECK(a.error().problem == control::ask_problem::broken);
    CHECK(a.error().text.ends_with("fake.sock: the answer has no end after 100 ms"));
}

TEST_CASE("control client: a program that says nothing is not waited for for ever") {
    conversation c({R"({"type":"process",)"}, 0ms);
    c.limits.silence = 50ms;
    const answer a = held(c);
    REQUIRE_FALSE(a);
    CHECK(a.error().problem == control::ask_problem::broken);
    CHECK(a.error().text.ends_with("fake.sock: nothing has come for 50 ms"));
}

TEST_CASE("control client: an answer of somebody else than the socket's owner or root is not listened to") {
    conversation end({"{\"type\":\"end\",\"rows\":0}\n"}, 0ms);
    end.owner = ::geteuid();
    CHECK(held(end));
    end.owner = stranger;
    if (::geteuid() == 0) {
        CHECK(held(end)); // root may answer for everybody
    } else {
        const answer a = held(end);
        REQUIRE_FALSE(a);
        CHECK(a.error().problem == control::ask_problem::refused);
    }
}

TEST_CASE("control client: root asks nobody at a user's socket but that user") {
    if (::geteuid() != 0) return skip("only root can listen as two users");
    const temporary_directory place;
    const std::string path = place.file("1.sock");
    const socket_of impostor(path, stranger, nobody);
    reactor r(make_uring_backend());
    const auto ask = [&](uid_t owner) -> task<> {
        control::ask_limits limits;
        limits.silence = 10ms;
        const control::row_handler none = [](const control::row&, std::string_view) {};
        const answer a = co_await control::ask(path, everything(), none, limits, owner);
        REQUIRE_FALSE(a);
        if (owner == nobody) { // is asked, and does not answer
            CHECK(a.error().problem == control::ask_problem::broken);
        } else {
            CHECK(a.error().problem == control::ask_problem::refused);
            CHECK(a.error().text ==
                  path + ": user 65534's process listens there, not user " + std::to_string(owner) + "'s");
        }
    };
    r.run(ask(stranger));
    r.run(ask(0));
    r.run(ask(nobody));
}

TEST_CASE("control client: in a directory of sockets what is none of the right owner's is passed over") {
    const temporary_directory place;
    const searched only(place.path());
    const uid_t us = ::geteuid();
    ::chmod(place.path().c_str(), 0700);
    const socket_of ours(place.file("1.sock"), us, us);
    const socket_of other_name(place.file("2.socket"), us, us);
    place.write("3.sock", "a file");
    REQUIRE(::symlink(place.file("1.sock").c_str(), place.file("4.sock").c_str()) == 0);
    REQUIRE(::mkdir(place.file("5.sock").c_str(), 0700) == 0);
    CHECK(names_found() == std::vector<std::string>{"1.sock"});
    CHECK(control::find_sockets().at(0).owner == us);
    if (us != 0) return skip("only root can give sockets to others");
    const socket_of strangers(place.file("6.sock"), stranger, us);
    const socket_of nobodys(place.file("7.sock"), nobody, us);
    CHECK(names_found() == std::vector<std::string>{"1.sock"});
    REQUIRE(::chown(place.path().c_str(), nobody, nobody) == 0);
    CHECK(names_found() == std::vector<std::string>{"1.sock", "7.sock"});
    CHECK(control::find_sockets().at(1).owner == nobody);
}
