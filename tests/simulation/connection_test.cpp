// What the calls of a connection promise: one reader and one writer, errors that are told apart, halves, the
// report of the last bytes.

#include <tapir/framework/log.hpp>

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "tests/simulation/pair.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

struct logged_warnings {
    logged_warnings() {
        log::set_sink([this](log::level at, std::string_view line) {
            if (at == log::level::warn) text += std::string(line) + "\n";
        });
    }
    ~logged_warnings() { log::set_sink({}); }
    std::string text;
};

task<> read_once(tcp::connection* c, std::error_code* error) {
    std::array<std::byte, 16> buffer;
    const auto n = co_await c->read(buffer);
    *error = n ? std::error_code() : n.error();
}
task<> write_all(tcp::connection* c, bytes data, std::error_code* error) {
    const auto r = co_await c->write(data);
    *error = r.error();
}

task<> expect_text(tcp::connection* c, std::string_view text) {
    std::string got;
    std::array<std::byte, 1000> buffer;
    while (got.size() < text.size()) {
        const auto n = co_await c->read(buffer);
        REQUIRE(n);
        REQUIRE(*n != 0);
        got += as_text(std::span(buffer).first(*n));
    }
    CHECK(got == text);
}

constexpr duration a_while = 100ms; // for everything under way to arrive

} // namespace

TEST_CASE("connection: a second reader or writer is told that the place is taken") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        const std::vector<std::byte> data(2'000'000);
        std::error_code read_error = errc::busy;
        std::error_code write_error = errc::busy;
        auto body = [&](scope& s) -> task<> {
            s.spawn(read_once, &p.client, &read_error);
            s.spawn(write_all, &p.client, bytes(data), &write_error);
            (void)co_await sleep_for(a_while);
            std::array<std::byte, 16> buffer;
            CHECK((co_await p.client.read(buffer)).error() == errc::busy);
            CHECK((co_await p.client.read()).error() == errc::busy);
            CHECK((co_await p.client.write("x")).error() == errc::busy);
            // What ends the stream may not overtake what still waits for room.
            CHECK((co_await p.client.finish()).error() == errc::busy);
            CHECK((co_await p.client.close()).error() == errc::busy);
            CHECK(p.client.state() == tcp::state::established);
            // Both that wait are still in their places.
            CHECK(co_await p.server.write("y"));
            std::size_t total = 0;
            std::vector<std::byte> sink(100'000);
            while (total < data.size()) {
                const auto n = co_await p.server.read(sink);
                REQUIRE(n);
                total += *n;
            }
            CHECK(total == data.size());
        };
        co_await with_scope(body);
        CHECK(!read_error);
        CHECK(!write_error);
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("connection: an empty span to read into is a mistake, never the end of the stream") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        CHECK((co_await p.client.read(mutable_bytes())).error() == errc::invalid_argument);
        CHECK(co_await p.client.write(bytes())); // nothing to say is said at once
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("connection: a moved-from handle answers closed, whatever it is asked") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        tcp::connection moved = std::move(p.client);
        tcp::connection& gone = p.client;
        std::array<std::byte, 16> buffer;
        tcp::transition_cursor cursor;
        CHECK(!gone);
        CHECK((co_await gone.read(buffer)).error() == errc::closed);
        CHECK((co_await gone.read()).error() == errc::closed);
        CHECK((co_await gone.write("x")).error() == errc::closed);
        CHECK((co_await gone.flush()).error() == errc::closed);
        CHECK((co_await gone.finish()).error() == errc::closed);
        CHECK((co_await gone.close()).error() == errc::closed);
        CHECK((co_await gone.until(tcp::state::established)).error() == errc::closed);
        CHECK((co_await gone.next_transition(cursor)).error() == errc::closed);
        CHECK((co_await gone.peer_finished()).error() == errc::closed);
        CHECK(gone.state() == tcp::state::closed);
        CHECK(gone.error() == errc::closed);
        CHECK(gone.readable() == 0);
        CHECK(!gone.at_end());
        CHECK(gone.ended());
        CHECK(gone.transitions().empty());
        gone.abort();
        CHECK(moved.state() == tcp::state::established);
        p.client = std::move(moved);
        CHECK(co_await p.client.write("still the same"));
        co_await expect_text(&p.server, "still the same");
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("connection: write after finish says finished, reading goes on") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        CHECK(co_await p.client.finish());
        CHECK((co_await p.client.write("x")).error() == errc::finished);
        CHECK(co_await p.server.write("answer"));
        co_await expect_text(&p.client, "answer");
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("connection: after a RST what had come is read first, then the error") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        CHECK(co_await p.server.write("last words"));
        CHECK(co_await p.server.flush());
        p.server.abort();
        (void)co_await sleep_for(a_while);
        CHECK(p.client.state() == tcp::state::closed);
        CHECK(p.client.error() == errc::reset);
        co_await expect_text(&p.client, "last words");
        std::array<std::byte, 16> buffer;
        CHECK((co_await p.client.read(buffer)).error() == errc::reset);
        CHECK((co_await p.client.write("x")).error() == errc::reset);
        CHECK((co_await p.client.flush()).error() == errc::reset);
        CHECK((co_await p.server.read(buffer)).error() == errc::aborted);
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("connection: dropping an open one resets it, and the log says where it was opened and used last") {
    const logged_warnings warnings;
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        CHECK(co_await p.client.write("x"));
        (void)co_await sleep_for(a_while);
        p.client = tcp::connection();
        (void)co_await sleep_for(a_while);
        CHECK(w.conversation().sent_by(side::client, "RST") == 1);
        CHECK(p.server.error() == errc::reset);
    };
    between_two_hosts(quiet_path(), scenario);
    CHECK(warnings.text.find("192.0.2.2:80 in ESTABLISHED was dropped without close()") != std::string::npos);
    const std::size_t opened = warnings.text.find("opened at ");
    const std::size_t used = warnings.text.find("last used at ");
    REQUIRE(opened != std::string::npos);
    REQUIRE(used != std::string::npos);
    CHECK(warnings.text.substr(opened, used - opened).find("pair.cpp:") != std::string::npos);
    CHECK(warnings.text.substr(used).find("connection_test.cpp:") != std::string::npos);
    CHECK(warnings.text.find('\n') == warnings.text.size() - 1); // only this one
}

TEST_CASE("connection: closing in order needs no log") {
    const logged_warnings warnings;
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        (void)p.client.finish();
        (void)co_await p.server.close();
        (void)co_await p.client.close();
        p.client = tcp::connection();
        p.server = tcp::connection();
    };
    between_two_hosts(quiet_path(), scenario);
    CHECK(warnings.text == "");
}

// --- close() and its report
// ---------------------------------------------------------------------------------

TEST_CASE("close: an orderly end reports that nothing was lost, without waiting for 2 MSL") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        CHECK(co_await p.client.write("all of it"));
        auto serve = [](tcp::connection* c) -> task<> {
            co_await expect_text(c, "all of it");
            (void)co_await c->close();
        };
        auto body = [&](scope& s) -> task<> {
            s.spawn(serve, &p.server);
            const instant began = w.on().now();
            const auto report = co_await p.client.close();
            REQUIRE(report);
            CHECK(report->how == ending::orderly);
            CHECK(report->unsent == 0);
            CHECK(report->unacked == 0);
            CHECK(report->unread == 0);
            CHECK(p.client.state() == tcp::state::time_wait);
            CHECK(w.on().now() - began < 100ms);
        };
        co_await with_scope(body);
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("close: unread bytes make it a RST, and are counted") { // [RFC 2525 2.17]
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        CHECK(co_await p.server.write("nobody reads this"));
        (void)co_await sleep_for(a_while);
        const auto report = co_await p.client.close();
        REQUIRE(report);
        CHECK(report->how == ending::unread_data);
        CHECK(report->unread == 17);
        (void)co_await sleep_for(a_while);
        CHECK(w.conversation().sent_by(side::client, "RST") == 1);
        CHECK(p.server.error() == errc::reset);
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("close: data that comes later makes it a RST as well") { // [RFC 9293 3.6.1 SHLD-3]
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        std::optional<close_report> report;
        auto close = [](tcp::connection* c, std::optional<close_report>* into) -> task<> {
            const auto r = co_await c->close();
            if (r) *into = *r;
        };
        auto body = [&](scope& s) -> task<> {
            s.spawn(close, &p.client, &report);
            (void)co_await sleep_for(a_while);
            CHECK(!report);
            CHECK(co_await p.server.write("too late"));
        };
        co_await with_scope(body);
        REQUIRE(report);
        CHECK(report->how == ending::data_after_close);
        CHECK(report->unread == 8);
        (void)co_await sleep_for(a_while);
        CHECK(p.server.error() == errc::reset);
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("close: at its deadline it becomes an abort, and tells what was not sent and not acknowledged") {
    world::options o = quiet_path();
    o.client.connections.send_buffer = 100'000;
    auto scenario = [](world& w, pair& p) -> task<> {
        tcp::listen_options small;
        small.accepted.receive_buffer = 20'000;
        co_await p.open(w, small);
        const std::vector<std::byte> data(60'000);
        CHECK(co_await p.client.write(data)); // queued; the server reads nothing
        (void)co_await sleep_for(1s);
        cut(w);
        const instant began = w.on().now();
        const auto report = co_await p.client.close(began + 3s);
        REQUIRE(report);
        CHECK(report->how == ending::close_timeout);
        CHECK(w.on().now() - began < 3100ms);
        CHECK(report->unsent + report->unacked == 40'000); // the window's worth was acknowledged
        CHECK(report->unacked <= 1);                       // at most a window probe
        CHECK(p.client.error() == errc::aborted);
    };
    between_two_hosts(o, scenario);
}

TEST_CASE("close: a waiting reader learns of it") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        std::error_code error;
        auto body = [&](scope& s) -> task<> {
            s.spawn(read_once, &p.client, &error);
            (void)co_await sleep_for(a_while);
            (void)p.client.close();
        };
        co_await with_scope(body);
        CHECK(error == errc::closed);
    };
    between_two_hosts(quiet_path(), scenario);
}

// --- connect
// ------------------------------------------------------------------------------------------------

TEST_CASE("connect: refused, host unreachable, network unreachable and timed out are told apart") {
    auto scenario = [](world& w, pair&) -> task<> {
        CHECK((co_await w.client().connect(w.server_at(9))).error() == errc::refused);

        instant began = w.on().now();
        const ip::endpoint nobody(ip::address::v4(192, 0, 2, 77), 80); // no answer to ARP
        CHECK((co_await w.client().connect(nobody)).error() == errc::host_unreachable);
        CHECK(w.on().now() - began <= 4s);

        began = w.on().now();
        const ip::endpoint elsewhere(ip::address::v4(198, 51, 100, 1), 80); // no route
        CHECK((co_await w.client().connect(elsewhere)).error() == errc::network_unreachable);
        CHECK(w.on().now() == began);

        const ip::endpoint broadcast(ip::address::v4(192, 0, 2, 255), 80);
        CHECK((co_await w.client().connect(broadcast)).error() == errc::invalid_argument);
        CHECK((co_await w.client().connect(w.server_at(0))).error() == errc::invalid_argument);

        // Everything to the server's address is lost but ARP: a black hole.
        const auto is_ipv4 = [](bytes f) { return f.size() > 14 && load_be16(f, 12) == 0x0800; };
        w.path().when(direction::out, is_ipv4, fault_kind::loss, 1'000'000);
        began = w.on().now();
        tcp::connection_options patient;
        patient.connect_timeout = 20s;
        CHECK((co_await w.client().connect(w.server_at(80), patient)).error() == errc::timed_out);
        CHECK(w.on().now() - began == 20s);
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("listen: a port is taken once, only on an address of ours, and free again when closed") {
    auto scenario = [](world& w, pair&) -> task<> {
        auto first = w.server().listen(w.server_at(80));
        REQUIRE(first);
        CHECK(w.server().listen(w.server_at(80)).error() == errc::address_in_use);
        CHECK(w.server().listen(w.client_at(80)).error() == errc::address_unavailable);
        first->close();
        CHECK((co_await first->accept()).error() == errc::closed);
        CHECK(w.server().listen(w.server_at(80)));
        tcp::listener moved = std::move(*first);
        CHECK((co_await first->accept()).error() == errc::closed);
        auto any = w.server().listen(ip::endpoint(ip::address(), 0));
        REQUIRE(any);
        CHECK(any->local().port >= 49152);
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("accept: a second waiter is told that the place is taken; close() wakes the first") {
    auto scenario = [](world& w, pair&) -> task<> {
        auto listening = w.server().listen(w.server_at(80));
        REQUIRE(listening);
        std::error_code error;
        auto wait = [](tcp::listener* a, std::error_code* e) -> task<> {
            const auto c = co_await a->accept();
            *e = c ? std::error_code() : c.error();
        };
        auto body = [&](scope& s) -> task<> {
            s.spawn(wait, &*listening, &error);
            (void)co_await sleep_for(a_while);
            CHECK((co_await listening->accept()).error() == errc::busy);
            listening->close();
        };
        co_await with_scope(body);
        CHECK(error == errc::closed);
    };
    between_two_hosts(quiet_path(), scenario);
}

// --- split
// --------------------------------------------------------------------------------------------------

TEST_CASE("split: the two halves work in two coroutines, and end in order by themselves when dropped") {
    const logged_warnings warnings;
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        static constexpr std::size_t total = 500'000;
        auto send = [](tcp::write_half out) -> task<> {
            const std::vector<std::byte> data(total, std::byte{1});
            CHECK(co_await out.write(data));
            CHECK(co_await out.finish());
        };
        auto receive = [](tcp::read_half in) -> task<> {
            std::size_t got = 0;
            std::vector<std::byte> buffer(10'000);
            for (;;) {
                const auto n = co_await in.read(buffer);
                REQUIRE(n);
                if (*n == 0) break;
                got += *n;
            }
            CHECK(got == total);
        };
        auto [in, out] = std::move(p.client).split();
        CHECK(!p.client);
        auto [server_in, server_out] = std::move(p.server).split();
        auto body = [&](scope& s) -> task<> {
            s.spawn(send, std::move(out));
            s.spawn(receive, std::move(in));
            s.spawn(send, std::move(server_out));
            s.spawn(receive, std::move(server_in));
            co_return;
        };
        co_await with_scope(body);
        CHECK(w.conversation().sent_by(side::client, "RST") == 0);
        CHECK(w.conversation().sent_by(side::server, "RST") == 0);
    };
    between_two_hosts(quiet_path(), scenario);
    CHECK(warnings.text == "");
}

TEST_CASE("split: both halves dropped after finish() live on until the peer has finished too") {
    const logged_warnings warnings;
    for (const bool reader_first : {false, true}) {
        auto scenario = [&](world& w, pair& p) -> task<> {
            co_await p.open(w);
            {
                auto [in, out] = std::move(p.client).split();
                CHECK(co_await out.write("all of it"));
                (void)out.finish();
                if (reader_first) {
                    in = tcp::read_half();
                    out = tcp::write_half();
                } else {
                    out = tcp::write_half();
                    in = tcp::read_half();
                }
            }
            CHECK(w.client().tcp().connections() == 1);
            co_await expect_text(&p.server, "all of it");
            (void)co_await sleep_for(a_while);
            const auto closed = co_await p.server.close();
            REQUIRE(closed);
            CHECK(closed->how == ending::orderly);
            CHECK(w.client().tcp().connections() == 0);
            CHECK(w.conversation().sent_by(side::client, "RST") == 0);
        };
        between_two_hosts(quiet_path(), scenario);
    }
    CHECK(warnings.text == "");
}

TEST_CASE("split: an orphan's host may stop, and the orphan goes with it") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        {
            auto [in, out] = std::move(p.client).split();
            (void)out.finish();
        }
        (void)co_await sleep_for(a_while);
        CHECK(w.client().tcp().connections() == 1);
        w.client().stop();
        (void)co_await sleep_for(a_while);
        CHECK(p.server.error() == errc::reset);
    };
    between_two_hosts(quiet_path(), scenario);
}

TEST_CASE("split: dropping the write half before finish() aborts; the reader is told") {
    const logged_warnings warnings;
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        auto [in, out] = std::move(p.client).split();
        out = tcp::write_half();
        std::array<std::byte, 16> buffer;
        CHECK((co_await in.read(buffer)).error() == errc::aborted);
        (void)co_await sleep_for(a_while);
        CHECK(w.conversation().sent_by(side::client, "RST") == 1);
        CHECK(p.server.error() == errc::reset);
    };
    between_two_hosts(quiet_path(), scenario);
    CHECK(warnings.text.find("was dropped without close()") != std::string::npos);
}

TEST_CASE("split: dropping the read half discards what came; data that comes later draws a RST") {
    for (const bool more_comes : {false, true}) {
        auto scenario = [&](world& w, pair& p) -> task<> {
            co_await p.open(w);
            CHECK(co_await p.server.write("discarded"));
            (void)co_await sleep_for(a_while);
            auto [in, out] = std::move(p.client).split();
            CHECK(in.readable() == 9);
            in = tcp::read_half();
            (void)co_await sleep_for(a_while);
            CHECK(w.conversation().sent_by(side::client, "RST") == 0);
            if (more_comes) {
                CHECK(co_await p.server.write("unwanted"));
                (void)co_await sleep_for(a_while);
                CHECK(w.conversation().sent_by(side::client, "RST") == 1);
                CHECK(p.server.error() == errc::reset);
                CHECK((co_await out.write("x")).error() == errc::aborted);
            } else { // writing goes on
                CHECK(co_await out.write("still talking"));
                co_await expect_text(&p.server, "still talking");
                (void)out.finish();
                (void)co_await p.server.close();
            }
        };
        between_two_hosts(quiet_path(), scenario);
    }
}

TEST_CASE("split: whoever reads when the read half is dropped learns of it") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        auto [in, out] = std::move(p.client).split();
        std::error_code read_error;
        const auto read = [&](tcp::read_half* from) -> task<> {
            std::array<std::byte, 16> buffer;
            const auto n = co_await with_timeout(
                10s, [](tcp::read_half* h, mutable_bytes to) -> task<result<std::size_t>> {
                    co_return co_await h->read(to);
                }(from, buffer));
            read_error = n ? std::error_code() : n.error();
        };
        auto body = [&](scope& s) -> task<> {
            s.spawn(read, &in);
            (void)co_await sleep_for(a_while);
            in = tcp::read_half();
        };
        co_await with_scope(body);
        CHECK(read_error == errc::closed);
        (void)out.finish();
        (void)co_await p.server.close();
    };
    between_two_hosts(quiet_path(), scenario);
}

// [RFC 9293 3.6] leaves it open how long a peer may stay silent in FIN_WAIT_2.
TEST_CASE("split: an orphan whose peer never finishes ends at the close timeout") {
    for (const bool dropped_in_fin_wait_2 : {false, true}) {
        auto scenario = [&](world& w, pair& p) -> task<> {
            co_await p.open(w);
            {
                auto [in, out] = std::move(p.client).split();
                if (dropped_in_fin_wait_2)
                    CHECK(co_await out.finish());
                else
                    (void)out.finish();
            }
            (void)co_await sleep_for(59s);
            CHECK(w.client().tcp().connections() == 1);
            (void)co_await sleep_for(2s);
            CHECK(w.client().tcp().connections() == 0);
            CHECK(p.server.error() == errc::reset);
        };
        between_two_hosts(quiet_path(), scenario);
    }
}

// --- many small things
// --------------------------------------------------------------------------------------

TEST_CASE("connection: peer_finished() is done when the FIN has come, read or not") {
    auto scenario = [](world& w, pair& p) -> task<> {
        co_await p.open(w);
        CHECK(co_await p.server.write("before the end"));
        (void)p.server.finish();
        CHECK(co_await p.client.peer_finished());
        CHECK(p.client.readable() == 14);
        CHECK(p.client.state() == tcp::state::close_wait);
        co_await expect_text(&p.client, "before the end");
        std::array<std::byte, 16> buffer;
        const auto end = co_await p.client.read(buffer);
        REQUIRE(end);
        CHECK(*end == 0);
        const auto again = co_await p.client.read(); // and stays so
        REQUIRE(again);
        CHECK(again->empty());
    };
    between_two_hosts(quiet_path(), scenario);
}
