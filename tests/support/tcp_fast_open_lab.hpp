// Fast Open between two whole TCPs, or with a scripted peer who has a cookie.
//
//     tcp_world w;
//     w.server_listens(80, offered());
//     get_cookie(w);
//     w.connect(80, wanted(), 0, as_bytes("hello"));      // goes with the SYN
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "tests/support/tcp_lab.hpp"
#include "tests/support/tcp_world.hpp"

namespace tapir::test {

inline tcp::connection_options wanted() {
    tcp::connection_options o;
    o.fast_open = true;
    return o;
}
inline tcp::listen_options offered() {
    tcp::listen_options o;
    o.fast_open = true;
    return o;
}

/// A connection for one request, that comes with the SYN or soon after.
inline void visit(tcp_world& w, std::uint16_t port = 80, duration within = std::chrono::milliseconds(100)) {
    w.connect(port, wanted(), 0, as_bytes("hello"));
    w.run_for(within);
    INFO(w.ladder_text());
    CHECK(read(w.accept()) == "hello");
    w.run_for(std::chrono::milliseconds(100));
    w.drop_users();
    w.run_for(std::chrono::milliseconds(100));
}

/// The client has a cookie, and no connection.
inline void get_cookie(tcp_world& w) {
    w.connect(80, wanted());
    w.run_for(std::chrono::milliseconds(100));
    w.accept();
    REQUIRE(w.c().state() == tcp::state::established);
    w.drop_users();
    w.run_for(std::chrono::milliseconds(100));
    w.forget();
}

/// A server that a scripted peer knows a cookie of.
struct cookie_lab : tcp_lab {
    explicit cookie_lab(const tcp::config& c = plain(), const tcp::listen_options& o = offered())
        : tcp_lab(c) {
        listen(80, o);
        tcp::options ask = default_options();
        ask.fast_open.emplace();
        in({.flags = SYN, .options = ask});
        const segs answer = out();
        REQUIRE(answer.size() == 1);
        REQUIRE(answer[0].options->fast_open);
        cookie = *answer[0].options->fast_open;
        REQUIRE(cookie.size == 8);
        in({.flags = RST, .seq = 1});
        out();
        CHECK(stack.half_open() == 0);
    }
    tcp::options with_cookie(tcp::options o = default_options()) const {
        o.fast_open = cookie;
        return o;
    }
    /// `text` comes with a good cookie, and `e` is what that opens.
    void opened_by(const std::string& text, tcp::flags more = tcp::flags::none) {
        in({.flags = SYN | more, .text = text, .options = with_cookie()});
        e = listening->accept();
        REQUIRE(e);
    }
    tcp::fast_open_cookie cookie;
};

/// A client that knows a cookie of a scripted server.
struct client_lab : tcp_lab {
    client_lab() {
        connect(wanted());
        CHECK(out().size() == 1);
        tcp::options gives = default_options();
        gives.fast_open.emplace();
        gives.fast_open->size = 8;
        in({.flags = SYN | ACK, .ack = 1, .options = gives});
        out();
        e.reset();
        out();
        connect_with("hello");
        CHECK(out() == segs{{.flags = SYN, .text = "hello"}});
    }
    void connect_with(std::string_view text) {
        e = std::move(*stack.connect(way(), peer_port, ++our_port, wanted(), now, as_bytes(text)));
    }
};

} // namespace tapir::test
