// A tcp_lab whose peer knows ECN, or does not, and with whom a connection is made.
//
//     ecn_lab lab;
//     lab.established();
//     lab.write(segments(10));
//     CHECK(capable(lab.out()) == 10);
//     lab.ack(1001, ECE);
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "tests/support/tcp_lab.hpp"

namespace tapir::test {

inline constexpr auto ECT = ip::ecn::ect0;
inline constexpr auto CE = ip::ecn::ce;
inline constexpr auto not_ect = ip::ecn::not_ect;

inline tcp::connection_options willing(bool ecn = true,
                                       tcp::connection_options o = tcp_lab::plain().connections) {
    o.ecn = ecn;
    return o;
}

inline std::string segments(std::size_t n) {
    return std::string(n * 1000, 'd');
}

struct ecn_lab : tcp_lab {
    explicit ecn_lab(const tcp::config& c = plain()) : tcp_lab(c) {}

    void listens(bool ecn = true) {
        tcp::listen_options l;
        l.accepted = willing(ecn);
        listen(80, l);
    }
    /// Passive; the round trip took 10 ms. Segments have 1000 bytes, the first window ten of them.
    void established(bool ecn = true, std::uint16_t window = 65535) {
        listens();
        in({.flags = ecn ? SYN | ECE | CWR : SYN, .window = window, .options = syn_options()});
        out();
        wait(10ms);
        in({.flags = ACK, .seq = 1, .ack = 1, .options = reply()});
        out();
        e = listening->accept();
        REQUIRE(e != nullptr);
        REQUIRE(e->info().ecn == ecn);
    }
    tcp::options syn_options() {
        tcp::options o = default_options();
        const tcp::config& c = stack.configuration();
        o.sack_permitted = c.use_sack;
        if (c.use_timestamps) {
            o.ts = tcp::timestamps{++clock_, 0};
            o.mss = std::uint16_t{1012};
        }
        return o;
    }
    tcp::options reply() { return echo(timestamp_of_last_segment()); }
    tcp::options echo(std::uint32_t of) {
        tcp::options o;
        if (stack.configuration().use_timestamps) o.ts = tcp::timestamps{++clock_, of};
        return o;
    }
    tcp::options sack(std::uint32_t begin, std::uint32_t end) { return holding({{begin, end}}, reply()); }
    void ack(std::uint32_t number, tcp::flags more = tcp::flags::none) {
        in({.flags = ACK | more, .seq = 1, .ack = number, .options = reply()});
    }
    tcp::info info() const { return e->info(); }

  private:
    std::uint32_t clock_ = 1000;
};

inline std::size_t with_flag(const segs& list, tcp::flags f) {
    return static_cast<std::size_t>(
        std::ranges::count_if(list, [&](const seg& s) { return has(s.flags, f); }));
}
inline std::size_t capable(const segs& list) {
    return static_cast<std::size_t>(std::ranges::count_if(list, [](const seg& s) { return s.ecn == ECT; }));
}

} // namespace tapir::test
