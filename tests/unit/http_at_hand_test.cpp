// HTTP over a transport that tells what is at hand: nothing is awaited that need not be, and each request is
// read from its own begin.
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/sim_backend.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/protocols/http/server.hpp>
#include <tapir/protocols/http/transport.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace tapir::test {
namespace {
using namespace std::chrono_literals;

struct ends {
    std::string in; ///< what the client has sent, and the server not read
    bool finished = false;
    std::string out;
};

class at_hand_transport final : public http::transport {
  public:
    explicit at_hand_transport(ends& e) : ends_(e) {}
    std::size_t try_read(mutable_bytes to) override {
        const std::size_t n = std::min(to.size(), ends_.in.size());
        copy_bytes(to, as_bytes(std::string_view(ends_.in).substr(0, n)));
        ends_.in.erase(0, n);
        return n;
    }
    http::at_hand input() override {
        if (!ends_.in.empty()) return http::at_hand::bytes;
        return ends_.finished ? http::at_hand::end : http::at_hand::nothing;
    }
    task<result<>> until_readable() override {
        while (input() == http::at_hand::nothing) {
            const result<> slept = co_await sleep_for(1ms);
            if (!slept) co_return slept.error();
        }
        co_return result<>();
    }
    task<result<std::size_t>> read(mutable_bytes to) override {
        const result<> here = co_await until_readable();
        if (!here) co_return here.error();
        co_return try_read(to);
    }
    std::size_t try_write(bytes from) override {
        ends_.out += as_text(from);
        return from.size();
    }
    task<result<>> write(bytes from) override {
        (void)try_write(from);
        co_return result<>();
    }
    task<result<>> finish() override { co_return result<>(); }
    task<result<close_report>> close(instant) override { co_return close_report{}; }
    bool ended() override { return ends_.finished; }
    bool begin_finish() override { return true; }
    void abort() override {}

  private:
    ends& ends_;
};

/// What was asked for by requests of which each comes while the one before is answered, piece by piece.
std::vector<std::string> asked(const std::vector<std::vector<std::string>>& requests) {
    ends wire;
    std::vector<std::string> targets;
    reactor loop(make_sim_backend());
    http::server_control control;
    http::server_config config;
    config.idle_time = 5s;
    const http::handler answer = [&](const http::request& r) -> task<http::response> {
        targets.emplace_back(r.target);
        (void)co_await sleep_for(10ms);
        co_return http::response(200, "text/plain", "x");
    };
    const auto body = [&](scope& s) -> task<> {
        control.connection_began();
        s.spawn(http::serve_connection, std::unique_ptr<http::transport>(new at_hand_transport(wire)),
                &answer, &config, &control);
        for (const auto& pieces : requests) {
            for (const std::string& piece : pieces) {
                wire.in += piece;
                (void)co_await sleep_for(5ms);
            }
        }
        (void)co_await sleep_for(1s);
        wire.finished = true;
    };
    loop.run(with_scope(body));
    std::size_t fine = 0;
    for (std::size_t at = 0; (at = wire.out.find("HTTP/1.1 200", at)) != std::string::npos; ++at) ++fine;
    CHECK(fine == requests.size());
    return targets;
}

std::string get(std::string_view target) {
    return "GET " + std::string(target) + " HTTP/1.1\r\nHost: a\r\n\r\n";
}

using targets = std::vector<std::string>;

TEST_CASE("http: a request that comes while another is answered is read from its begin") {
    CHECK(asked({{get("/a")}, {get("/longer-than-the-first")}}) == targets{"/a", "/longer-than-the-first"});
    CHECK(asked({{get("/a")}, {get("/b")}}) == targets{"/a", "/b"});
    CHECK(asked({{get("/the-first-is-longer")}, {get("/b")}}) == targets{"/the-first-is-longer", "/b"});
    CHECK(asked({{get("/a")}, {"GE", "T /in-pieces HT", "TP/1.1\r\nHost: a\r\n\r\n"}, {get("/c")}}) ==
          targets{"/a", "/in-pieces", "/c"});
}

} // namespace
} // namespace tapir::test
