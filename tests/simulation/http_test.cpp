// HTTP between two hosts over bad networks: keep-alive, pipelining, half-close, streamed bodies and a
// graceful stop. Every page is computed from its path, so that client and server agree on each byte.

#include <tapir/framework/scope.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/protocols/http/client.hpp>
#include <tapir/protocols/http/server.hpp>
#include <tapir/protocols/http/static_files.hpp>

#include <doctest/doctest.h>

#include <charconv>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <unistd.h>
#include <vector>

#include "tests/simulation/seeds.hpp"
#include "tests/simulation/world.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

constexpr std::uint16_t port = 80;

// --- the site: /text/1000, /stream/1000 and /chunked/1000 are pages of 1000 bytes
// ---------------------------

char letter(std::size_t at, std::size_t size) {
    return static_cast<char>('!' + (at * 31 + size + at / 97) % 90);
}

std::string page(std::size_t size) {
    std::string text(size, ' ');
    for (std::size_t i = 0; i < size; ++i) text[i] = letter(i, size);
    return text;
}

/// Made while it is sent, in uneven pieces.
class page_source final : public http::body_source {
  public:
    page_source(std::size_t size, bool tells_length) : size_(size), tells_length_(tells_length) {}

    task<result<std::size_t>> read(mutable_bytes to) override {
        if (at_ % 3 == 1) (void)co_await sleep_for(3ms);
        const std::size_t n = std::min({size_ - at_, to.size(), std::size_t{1} + at_ % 7001});
        for (std::size_t i = 0; i < n; ++i) to[i] = static_cast<std::byte>(letter(at_ + i, size_));
        at_ += n;
        co_return n;
    }
    std::optional<std::uint64_t> length() const override {
        if (!tells_length_) return std::nullopt;
        return size_;
    }

  private:
    std::size_t size_;
    std::size_t at_ = 0;
    bool tells_length_;
};

std::size_t size_of(std::string_view path) {
    const std::string_view digits = path.substr(path.rfind('/') + 1);
    std::size_t size = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), size);
    return size;
}

task<http::response> site(const http::request& r) {
    const std::string_view path = r.path();
    const std::size_t size = size_of(path);
    if (path.starts_with("/text/")) co_return http::response(200, "text/plain", page(size));
    http::response out(200);
    if (path.starts_with("/shared/"))
        out.set_body(std::make_shared<const std::string>(page(size)));
    else if (path.starts_with("/stream/"))
        out.set_body(std::unique_ptr<http::body_source>(new page_source(size, true)));
    else if (path.starts_with("/chunked/"))
        out.set_body(std::unique_ptr<http::body_source>(new page_source(size, false)));
    else
        co_return http::error_response(404);
    co_return out;
}

// --- the visits
// ---------------------------------------------------------------------------------------------

enum class visit_style : std::uint8_t {
    keep_alive,  ///< several requests on one connection, of all kinds of pages
    pipelined,   ///< all requests at once, then all answers
    half_closed, ///< the FIN right behind the request; the whole answer comes all the same
    stopped,     ///< the server is told to stop while it answers
};
constexpr std::uint32_t styles = 4;

struct visit {
    visit_style style{};
    std::uint64_t requests = 0;
    topology* in = nullptr;
    void fail(const std::string& what) { in->fail(what); }
    bool well() const { return in->wrong().empty(); }
};

/// What the network may cost must not look like a lazy peer.
constexpr duration patience = 10min;

http::client_config patient_client(bool keep_alive) {
    http::client_config c;
    c.header_time = c.idle_time = patience;
    c.keep_alive = keep_alive;
    return c;
}

task<result<tcp::connection>> connect(world* w) {
    // A lost ARP request can make the next hop look silent: then try again.
    result<tcp::connection> c = errc::cancelled;
    for (int attempt = 0; attempt < 20 && !c; ++attempt) c = co_await w->client().connect(w->server_at(port));
    co_return c;
}

task<> end_in_order(tcp::connection* c, visit* v) {
    const auto closed = co_await c->close();
    if (!closed)
        v->fail("close: " + closed.error().message());
    else if (closed->how != ending::orderly)
        v->fail("the connection ended by: " + std::string(name(closed->how)));
}

std::size_t random_size(world* w) {
    return w->rng().below(w->rng().below(4) == 0 ? 150'000 : 5'000);
}

task<> get(tcp::connection* c, std::string target, bool keep_alive, visit* v) {
    std::string got;
    auto sink = [&](bytes piece) -> result<> {
        got += as_text(piece);
        return {};
    };
    const auto head = co_await http::get(*c, "server.example", target, sink, patient_client(keep_alive));
    ++v->requests;
    if (!head)
        v->fail(target + ": " + head.error().message());
    else if (head->status != 200)
        v->fail(target + ": status " + std::to_string(head->status));
    else if (head->persists != keep_alive && v->style != visit_style::stopped)
        v->fail(target + (keep_alive ? ": not kept alive" : ": kept alive"));
    if (got != page(size_of(target))) v->fail(target + ": other bytes than the server has");
}

task<> keep_alive(tcp::connection* c, visit* v, world* w) {
    constexpr std::array kinds = {"/text/", "/shared/", "/stream/", "/chunked/"};
    const std::uint32_t n = 1 + w->rng().below(6);
    for (std::uint32_t i = 0; i < n && v->well(); ++i) {
        // One draw to a statement: compilers differ in the order of operands.
        std::string target = kinds[w->rng().below(kinds.size())];
        target += std::to_string(random_size(w));
        co_await get(c, target, i + 1 < n, v);
        if (w->rng().below(3) == 0) (void)co_await sleep_for(duration(w->rng().below(500'000'000)));
    }
}

/// Answers with a Content-Length, one after the other, as they stand on the wire.
std::string bodies_of(std::string_view wire, std::size_t* answers) {
    std::string bodies;
    *answers = 0;
    while (!wire.empty()) {
        const std::size_t end = wire.find("\r\n\r\n");
        const std::size_t field = wire.find("Content-Length: ");
        if (!wire.starts_with("HTTP/1.1 200 ") || end == std::string_view::npos || field > end) break;
        std::size_t size = 0;
        std::from_chars(wire.data() + field + 16, wire.data() + end, size);
        if (wire.size() < end + 4 + size) break;
        bodies += wire.substr(end + 4, size);
        wire.remove_prefix(end + 4 + size);
        ++*answers;
    }
    return bodies;
}

/// Requests for several pages in one write; with `finish_too` the FIN follows at once.
task<> pipelined(tcp::connection* c, bool finish_too, visit* v, world* w) {
    std::string requests;
    std::string expected;
    const std::size_t n = finish_too ? 1 : 2 + w->rng().below(8);
    for (std::size_t i = 0; i < n; ++i) {
        const std::size_t size = finish_too ? random_size(w) * 2 : random_size(w);
        requests += (i % 2 == 0 ? "GET /text/" : "GET /stream/") + std::to_string(size) +
                    " HTTP/1.1\r\nHost: server.example\r\n" +
                    (i + 1 == n && !finish_too ? "Connection: close\r\n" : "") + "\r\n";
        expected += page(size);
    }
    v->requests += n;
    const auto written = co_await c->write(requests);
    if (!written) v->fail("write: " + written.error().message());
    if (finish_too) (void)c->finish();

    std::string got;
    std::vector<std::byte> buffer(16 * 1024);
    for (;;) {
        const auto size = co_await c->read(buffer);
        if (!size) v->fail("read: " + size.error().message());
        if (!size || *size == 0) break;
        got += as_text(std::span(buffer).first(*size));
    }
    std::size_t answers = 0;
    if (bodies_of(got, &answers) != expected) v->fail("other bytes than the server has");
    if (answers != n) v->fail(std::to_string(answers) + " answers to " + std::to_string(n) + " requests");
}

/// Stops the server when the first of the body has come.
task<> stopped(tcp::connection* c, http::server_control* control, visit* v, world* w) {
    const std::size_t size = 100'000 + random_size(w);
    std::string got;
    auto sink = [&](bytes piece) -> result<> {
        if (got.empty()) control->stop(w->on().now() + patience);
        got += as_text(piece);
        return {};
    };
    const std::string target = "/stream/" + std::to_string(size);
    const auto head = co_await http::get(*c, "server.example", target, sink, patient_client(true));
    ++v->requests;
    if (!head) v->fail(target + ": " + head.error().message());
    if (got != page(size)) v->fail(target + ": other bytes than the server has");
    std::array<std::byte, 1> more;
    const auto end = co_await c->read(more);
    if (!end || *end != 0) v->fail("the server did not close what was idle");
}

task<> visit_once(visit* v, http::server_control* control, world* w) {
    auto c = co_await connect(w);
    if (!c) {
        v->fail("connect: " + c.error().message());
        co_return;
    }
    switch (v->style) {
    case visit_style::keep_alive: co_await keep_alive(&*c, v, w); break;
    case visit_style::pipelined: co_await pipelined(&*c, false, v, w); break;
    case visit_style::half_closed: co_await pipelined(&*c, true, v, w); break;
    case visit_style::stopped: co_await stopped(&*c, control, v, w); break;
    }
    if (v->well())
        co_await end_in_order(&*c, v);
    else
        c->abort();
}

http::server_config patient_server() {
    http::server_config c;
    c.header_time = c.idle_time = c.body_time = c.send_time = c.linger_time = patience;
    return c;
}

task<> http_run(visit* v, http::handler pages, http::server_control* control, world* w) {
    tcp::listen_options options;
    options.accepted = w->server().tcp().configuration().connections;
    auto listening = w->server().listen(w->server_at(port), options);
    if (!listening) {
        v->fail("listen: " + listening.error().message());
        co_return;
    }
    auto serve = [&]() -> task<> {
        const auto served = co_await http::serve(*listening, pages, patient_server(), *control);
        if (!served) v->fail("serve: " + served.error().message());
    };
    auto visits = [&](scope& s) -> task<> {
        const std::uint32_t n = v->style == visit_style::stopped ? 1 : 1 + w->rng().below(3);
        for (std::uint32_t i = 0; i < n; ++i) s.spawn(visit_once, v, control, w);
        co_return;
    };
    auto body = [&](scope& s) -> task<> {
        s.spawn(serve);
        co_await with_scope(visits);
        control->stop(w->on().now() + patience);
    };
    co_await with_scope(body);
}

seed_outcome http_over_a_bad_network(const seed_run& run) {
    world w(run, network_of(run.seed));
    visit v;
    v.in = &w.net();
    http::server_control control;
    v.style = static_cast<visit_style>(w.rng().below(styles));
    w.run(http_run(&v, site, &control, &w));
    const http::server_counters& counted = control.counters();
    if (counted.requests != v.requests)
        v.fail("the server saw " + std::to_string(counted.requests) + " of " + std::to_string(v.requests) +
               " requests");
    if (counted.responses[2] != v.requests) v.fail("not every answer was 200");
    if (counted.lost != 0 || counted.aborted != 0) v.fail("a connection did not end in order");
    w.net().check_quiet();
    return w.net().outcome();
}

} // namespace

TEST_CASE("http over wires that lose, delay, reorder, duplicate and corrupt: every byte of every answer") {
    for_each_seed("http", seeds_per_run(), http_over_a_bad_network);
}

TEST_CASE("the same seed gives the same HTTP twice") {
    for (std::uint64_t seed = 1; seed <= 10; ++seed)
        CHECK(http_over_a_bad_network(seed_run(seed)).hash == http_over_a_bad_network(seed_run(seed)).hash);
}

TEST_CASE("the FIN is in the segment of the last response, and who stays behind it is cut off") {
    for (const bool closes : {true, false}) {
        CAPTURE(closes);
        world w(1, world::options());
        visit v;
        v.in = &w.net();
        http::server_control control;
        auto ask_once = [&](scope& s) -> task<> {
            auto listening = w.server().listen(w.server_at(port));
            REQUIRE(listening);
            auto serve = [&]() -> task<> {
                (void)co_await http::serve(*listening, site, patient_server(), control);
            };
            s.spawn(serve);
            auto c = co_await connect(&w);
            REQUIRE(c);
            co_await get(&*c, "/text/1000", false, &v);
            const instant answered = w.on().now();
            if (closes) co_await end_in_order(&*c, &v);
            while (control.connections() != 0) (void)co_await sleep_for(1s);
            const duration stayed = w.on().now() - answered;
            if (closes)
                CHECK(stayed <= 2s);
            else
                CHECK((stayed >= patience && stayed <= patience + 2s));
            control.stop(w.on().now());
        };
        w.run(with_scope(ask_once));
        // SYN|ACK; response and FIN; the ACK of the client's FIN, or the RST.
        CHECK(w.server().tcp().counted().segments_out == 3);
        CHECK(w.net().wrong() == "");
        CHECK(w.quiet() == "");
    }
}

TEST_CASE("files of a directory arrive whole over bad networks") {
    const std::filesystem::path root =
        std::filesystem::temp_directory_path() / ("tapir-simulation-" + std::to_string(getpid()));
    std::filesystem::create_directory(root);
    std::filesystem::create_directory(root / "text");
    const std::vector<std::size_t> sizes = {0, 1, 1460, 40'000, 300'000};
    for (const std::size_t size : sizes)
        std::ofstream(root / "text" / std::to_string(size), std::ios::binary) << page(size);
    const http::handler files = http::static_files(root.string());

    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
        CAPTURE(seed);
        world w(seed, network_of(seed));
        visit v;
        v.in = &w.net();
        http::server_control control;
        auto fetch_all = [&](scope& s) -> task<> {
            auto listening = w.server().listen(w.server_at(port));
            REQUIRE(listening);
            auto serve = [&]() -> task<> {
                (void)co_await http::serve(*listening, files, patient_server(), control);
            };
            s.spawn(serve);
            auto c = co_await connect(&w);
            REQUIRE(c);
            for (const std::size_t size : sizes)
                co_await get(&*c, "/text/" + std::to_string(size), size != sizes.back(), &v);
            co_await end_in_order(&*c, &v);
            control.stop(w.on().now() + patience);
            while (control.connections() != 0) (void)co_await sleep_for(1s);
        };
        w.run(with_scope(fetch_all));
        CHECK(w.net().wrong() == "");
        CHECK(w.quiet() == "");
    }
    std::filesystem::remove_all(root);
}
