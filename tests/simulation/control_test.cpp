// The control socket in virtual time: two hosts, connections in many states, and somebody who asks the server
// about them over a stream in memory.
#include <tapir/framework/sleep.hpp>
#include <tapir/framework/when_all.hpp>
#include <tapir/protocols/control/columns.hpp>
#include <tapir/protocols/control/json.hpp>
#include <tapir/protocols/control/server.hpp>
#include <tapir/protocols/ip/checksum.hpp>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/simulation/pair.hpp"
#include "tests/support/pipe_stream.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

/// A server's control socket, and what asks it.
struct desk {
    explicit desk(host& h) : of(h) { config.program = "server"; }

    host& of;
    control::config config;
    control::counters counters;
    pipe_listener door;

    /// Serves while `questions` run.
    template <class F>
    task<> open(F questions) {
        auto serve = [this]() -> task<> { (void)co_await control::serve(door, of, config, counters); };
        auto body = [&](scope& s) -> task<> {
            s.spawn(serve);
            co_await questions();
            s.request_stop();
        };
        co_await with_scope(body);
    }

    /// Everything that one request is answered.
    task<std::string> ask(std::string request) {
        pipe_stream c = door.connect();
        (void)co_await c.write(std::string_view(request));
        if (!request.contains('\n')) (void)co_await c.finish();
        std::string all;
        std::array<std::byte, 65536> piece;
        for (;;) {
            const auto n = co_await c.read(piece);
            if (!n || *n == 0) co_return all;
            all += as_text(bytes(piece).first(*n));
        }
    }
};

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    for (std::size_t at = 0, end; (end = text.find('\n', at)) != std::string::npos; at = end + 1)
        lines.push_back(text.substr(at, end - at));
    return lines;
}

/// An answer as tapstat would print it.
std::string shown(const std::string& answer, const control::column_options& o = {}) {
    std::string text = "\n";
    control::process_row of;
    for (const std::string& line : lines_of(answer)) {
        const auto r = control::parse_row(line);
        REQUIRE_MESSAGE(r, line);
        if (const auto* p = std::get_if<control::process_row>(&*r)) of = *p;
        if (const auto* t = std::get_if<control::tcp_row>(&*r)) text += columns_of(*t, of, o);
        if (const auto* u = std::get_if<control::udp_row>(&*r)) text += columns_of(*u, of, o);
        if (const auto* e = std::get_if<control::error_row>(&*r)) text += "error: " + e->error + "\n";
    }
    return text;
}

/// A SYN from a station that never answers.
void stray_syn(host& to, std::uint16_t port) {
    tcp::segment s;
    s.header.flags = tcp::flags::syn;
    s.header.source_port = 7777;
    s.header.destination_port = port;
    s.header.window = 1000;
    s.header.options.mss = std::uint16_t{1460};
    const auto here = ip::address::v4(192, 0, 2, 2);
    const auto there = ip::address::v4(192, 0, 2, 77);
    const tcp::path way(here, there, ip::pseudo_header_sum(here, there, ip::protocol::tcp));
    to.tcp().receive(way, s, to.on().now());
}

} // namespace

TEST_CASE("control: connections in many states, listeners with both queues, UDP, as tapstat prints them") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w, tcp::listen_options(), 1001); // ESTABLISHED, five bytes that nobody reads
        (void)co_await p.client.write("hello");
        std::vector<pair> others(3);
        for (std::size_t i = 0; i < others.size(); ++i) {
            auto connected = co_await w.client().connect(w.server_at(80), tcp::connection_options(),
                                                         static_cast<std::uint16_t>(1002 + i));
            auto accepted = co_await p.listener.accept();
            others[i].client = std::move(*connected);
            others[i].server = std::move(*accepted);
        }
        // 1002: the client has finished, the server has not.
        (void)co_await others[0].client.finish();
        // 1003: the other way round.
        (void)co_await others[1].server.finish();
        // 1004: the server closed first, and then the client.
        auto close_server = [&]() -> task<> { (void)co_await others[2].server.close(); };
        auto close_client = [&]() -> task<> {
            (void)co_await others[2].client.peer_finished();
            (void)co_await others[2].client.close();
        };
        (void)co_await when_all(close_server(), close_client());
        // 1005: established, nobody has accepted it; 7777: half-open for a second.
        auto waiting = co_await w.client().connect(w.server_at(80), tcp::connection_options(), 1005);
        (void)co_await sleep_for(100ms);
        stray_syn(w.server(), 80);
        // Nobody is at 192.0.2.88.
        auto attempt = [&]() -> task<result<>> {
            const ip::endpoint nobody(ip::address::v4(192, 0, 2, 88), 9);
            const auto c = co_await w.server().connect(nobody, tcp::connection_options(), 2000);
            if (!c) co_return c.error();
            co_return result<>();
        };
        auto udp = w.server().bind_udp(ip::endpoint({}, 53));
        desk d(w.server());
        std::string answer;
        auto questions = [&]() -> task<> {
            (void)co_await sleep_for(500ms);
            answer = co_await d.ask("listeners half_open connections time_wait udp\n");
        };
        auto asked = [&]() -> task<> { co_await d.open(questions); };
        auto trying = [&]() -> task<> { (void)co_await with_timeout(800ms, attempt()); };
        (void)co_await when_all(asked(), trying());
        control::column_options o;
        o.timers = true;
        CHECK(shown(answer, o) == R"(
tcp        1   1024 192.0.2.2:80            0.0.0.0:*               LISTEN      off (0.00/0/0) accept 1/1024 half-open 1/1024
tcp        0      0 192.0.2.2:80            192.0.2.77:7777         SYN_RECV    on (0.50/0/0)
tcp        5      0 192.0.2.2:80            192.0.2.1:1001          ESTABLISHED off (0.00/0/0)
tcp        0      0 192.0.2.2:80            192.0.2.1:1002          CLOSE_WAIT  off (0.00/0/0)
tcp        0      0 192.0.2.2:80            192.0.2.1:1003          FIN_WAIT2   off (0.00/0/0)
tcp        0      0 192.0.2.2:80            192.0.2.1:1005          ESTABLISHED off (0.00/0/0)
tcp        0      0 192.0.2.2:2000          192.0.2.88:9            SYN_SENT    on (0.50/0/0)
tcp        0      0 192.0.2.2:80            192.0.2.1:1004          TIME_WAIT   timewait (59.37/0/0)
udp        0      0 0.0.0.0:53              0.0.0.0:*
)");
        REQUIRE(waiting);
        waiting->abort();
        for (pair& other : others) {
            other.client.abort();
            other.server.abort();
        }
        (void)co_await sleep_for(60s); // TIME_WAIT, and the half-open one is given up
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("control: who has forgotten a connection in CLOSE_WAIT, since when, and where it was used last") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        (void)co_await p.client.finish();
        std::array<std::byte, 16> room;
        (void)co_await p.server.read(room); // the peer's FIN; and then nothing
        const int line = __LINE__ - 1;
        (void)co_await sleep_for(200s);
        desk d(w.server());
        std::string answer;
        auto questions = [&]() -> task<> { answer = co_await d.ask("connections owner info\n"); };
        co_await d.open(questions);
        const auto rows = lines_of(answer);
        REQUIRE(rows.size() == 3);
        const auto row = std::get<control::tcp_row>(*control::parse_row(rows[1]));
        CHECK(row.state == "CLOSE_WAIT");
        CHECK(row.state_ago_us == 200'010'000); // the FIN came 10 ms before its acknowledgement arrived
        REQUIRE(row.owner);
        CHECK(row.owner->last_call_at.ends_with("control_test.cpp:" + std::to_string(line)));
        CHECK(row.owner->opened_at.find("pair.cpp:") != std::string::npos);
        CHECK(row.owner->last_call_ago_us == 200'000'000);
        CHECK(row.owner->task != 0);
        REQUIRE(row.info);
        CHECK(row.info->send_mss == 1448);
        CHECK(row.info->path_mtu == 1500);
        CHECK(row.info->send_memory == 0);
        CHECK(!row.info->orphan);
        CHECK(std::get<control::end_row>(*control::parse_row(rows[2])).rows == 1);
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE(
    "control: a connection that closes in the background is told as an orphan, with the memory it keeps") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        {
            auto [in, out] = std::move(p.client).split();
            const std::string text(20'000, 'x');
            CHECK(co_await out.write(text));
            (void)out.finish();
        } // and its acknowledgement takes 20 ms
        desk d(w.client());
        std::string answer;
        auto questions = [&]() -> task<> { answer = co_await d.ask("connections owner info\n"); };
        co_await d.open(questions);
        const auto rows = lines_of(answer);
        REQUIRE(rows.size() == 3);
        const auto row = std::get<control::tcp_row>(*control::parse_row(rows[1]));
        REQUIRE(row.info);
        CHECK(row.info->orphan);
        CHECK(row.send_q > 0);
        CHECK(row.info->send_memory >= row.send_q);
        control::column_options o;
        o.info = true;
        CHECK(shown(answer, o).find(" orphan") != std::string::npos);
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("control: counters of every layer, by name") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        desk d(w.server());
        std::string answer;
        auto questions = [&]() -> task<> { answer = co_await d.ask("counters\n"); };
        co_await d.open(questions);
        std::map<std::string, control::named_counts> layers;
        for (const std::string& line : lines_of(answer)) {
            const auto r = control::parse_row(line);
            REQUIRE_MESSAGE(r, line);
            if (const auto* c = std::get_if<control::counters_row>(&*r)) {
                layers[c->layer] = c->values;
                const bool of_interface = c->interface == "192.0.2.2/24";
                CHECK(of_interface == c->interface.has_value());
            }
        }
        for (const char* layer : {"tcp", "udp", "host", "ipv4", "icmp", "interface", "arp", "ethernet",
                                  "link", "reactor", "control"})
            CHECK_MESSAGE(layers.contains(layer), layer);
        const auto value = [&](const char* layer, const std::string& name) {
            for (const auto& [known, n] : layers[layer])
                if (known == name) return n;
            FAIL("no counter " << layer << " " << name);
            return std::uint64_t{0};
        };
        CHECK(value("tcp", "passive_opens") == 1);
        CHECK(value("tcp", "segments_in") == w.server().tcp().counted().segments_in);
        CHECK(value("ipv4", "dropped.bad_header_checksum") == 0);
        CHECK(value("reactor", "spins") == 0); // virtual time
        CHECK(value("control", "clients") == 1);
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE(
    "control: a hundred thousand connections are told in pieces, and others have their turns between them") {
    constexpr std::size_t many = 100'000;
    world::options o = quiet_path();
    o.server.max_connections = many;
    world w(1, o);
    const auto here = ip::address::v4(192, 0, 2, 2);
    std::vector<std::unique_ptr<tcp::endpoint>> held;
    auto scenario = [&]() -> task<> {
        for (std::size_t i = 0; i < many; ++i) {
            const auto there = ip::address::v4(0x0a000000u + static_cast<std::uint32_t>(i));
            held.push_back(
                std::move(*w.server().tcp().connect(tcp::path(here, there, 0), 80, 1000, {}, w.on().now())));
        }
        desk d(w.server());
        bool done = false;
        std::size_t turns = 0;
        auto somebody_else = [&]() -> task<> {
            while (!done) {
                ++turns;
                (void)co_await sleep_for(duration(0));
            }
        };
        std::size_t rows = 0;
        std::string last;
        auto questions = [&]() -> task<> {
            pipe_stream c = d.door.connect();
            (void)co_await c.write("connections\n");
            std::array<std::byte, 65536> piece;
            for (;;) {
                const auto n = co_await c.read(piece);
                if (!n || *n == 0) break;
                const auto text = as_text(bytes(piece).first(*n));
                rows += static_cast<std::size_t>(std::ranges::count(text, '\n'));
                last = (last + std::string(text));
                if (last.size() > 100) last.erase(0, last.size() - 100);
            }
            done = true;
        };
        auto asked = [&]() -> task<> { co_await d.open(questions); };
        (void)co_await when_all(asked(), somebody_else());
        CHECK(rows == many + 2);
        CHECK(last.ends_with("{\"type\":\"end\",\"rows\":100000}\n"));
        CHECK(turns >= many / d.config.rows_per_piece);
        CHECK(d.counters.rows == many);
    };
    w.run(scenario());
    held.clear();
    CHECK(w.quiet() == "");
}

TEST_CASE("control: what exists from the first piece to the last is told once, whatever comes and goes") {
    auto scenario = [](world& w, pair&) -> task<> {
        const auto here = ip::address::v4(192, 0, 2, 2);
        const auto open = [&](std::uint16_t port) {
            const tcp::path way(here, ip::address::v4(192, 0, 2, 99), 0);
            return std::move(*w.server().tcp().connect(way, 80, port, {}, w.on().now()));
        };
        std::vector<std::unique_ptr<tcp::endpoint>> held;
        for (std::uint16_t port = 1; port <= 10; ++port) held.push_back(open(port));
        control::request what;
        what.connections = true;
        const control::counters none;
        control::report r(w.server(), none, what, control::process_row());
        std::string text;
        CHECK(r.append(text, 4, 100)); // the process, then 1, 2, 3
        held[3].reset();               // who came next
        held[4].reset();
        held[0].reset(); // told already
        held[9].reset(); // the last
        held.push_back(open(11));
        while (r.append(text, 1, 100)) {
        }
        std::vector<std::string> ports;
        for (const std::string& line : lines_of(text)) {
            const auto row = control::parse_row(line);
            if (const auto* t = std::get_if<control::tcp_row>(&*row))
                ports.push_back(t->local.substr(t->local.find(':') + 1));
        }
        CHECK(ports == std::vector<std::string>{"1", "2", "3", "6", "7", "8", "9", "11"});

        control::report cut(w.server(), none, what, control::process_row());
        std::string rest;
        CHECK(cut.append(rest, 3, 100));
        w.server().stop(); // and with it every connection
        rest.clear();
        CHECK_FALSE(cut.append(rest, 100, 100));
        CHECK(rest == "{\"type\":\"end\",\"rows\":2}\n");
        co_return;
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("control: malformed requests are answered in words, counted, and harm nothing") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        desk d(w.server());
        std::vector<std::string> answers;
        auto questions = [&]() -> task<> {
            const std::vector<std::string> malformed{
                "GET / HTTP/1.1\r\n\r\n", "\n", std::string(100'000, 'x') + "\n", std::string("\0\xff\n", 3)};
            for (const std::string& request : malformed) {
                auto answer = co_await d.ask(request);
                answers.push_back(shown(answer));
            }
            const std::vector<std::string> good{"listeners", "listeners\nand more\n"};
            for (const std::string& request : good) {
                auto answer = co_await d.ask(request);
                answers.push_back(shown(answer));
            }
        };
        co_await d.open(questions);
        REQUIRE(answers.size() == 6);
        CHECK(answers[0].starts_with("\nerror: 'GET' is no word of a request; these are: listeners "));
        CHECK(answers[1].starts_with("\nerror: nothing was asked for"));
        CHECK(answers[2] == "\nerror: a request is at most 256 bytes; this one is longer\n");
        CHECK(answers[3].starts_with("\nerror: '"));
        CHECK(answers[4].find(" LISTEN ") != std::string::npos);
        CHECK(answers[5] == answers[4]);
        CHECK(d.counters.malformed == 4);
        CHECK(d.counters.requests == 2);
        CHECK(d.counters.clients == 6);
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("control: clients that say nothing, or do not read, lose their place after a while; others wait") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        desk d(w.server());
        d.config.max_clients = 2;
        std::string answer;
        duration answered{};
        auto questions = [&]() -> task<> {
            const instant begin = w.on().now();
            pipe_stream silent = d.door.connect();
            pipe_options narrow;
            narrow.capacity = 10;
            pipe_stream deaf = d.door.connect(narrow);
            (void)co_await deaf.write("counters\n");
            answer = co_await d.ask("listeners\n");
            answered = w.on().now() - begin;
            pipe_stream gone = d.door.connect();
            (void)co_await gone.write("counters\n");
            gone.abort();
            pipe_stream mute = d.door.connect(); // looks whether somebody is there
            (void)co_await mute.finish();
            (void)co_await sleep_for(d.config.answer_time);
        };
        co_await d.open(questions);
        CHECK(shown(answer).find(" LISTEN ") != std::string::npos);
        // As soon as the silent one had to go.
        CHECK(answered >= d.config.request_time);
        CHECK(answered < d.config.request_time + 1ms);
        CHECK(d.counters.request_timeouts == 1);
        CHECK(d.counters.answer_timeouts == 1);
        CHECK(d.counters.lost == 1);
        CHECK(d.counters.malformed == 0);
    };
    between_two_hosts(quiet_path(), scenario);
}
