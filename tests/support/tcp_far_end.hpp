// A receiver at the other end of a path that takes 5 ms each way and does to each segment what the test says:
// lose it, hold it back, let others overtake it. It acknowledges every segment, with SACK and timestamps if
// the lab's configuration has them.
//
//     far_end lab(with_sack());
//     lab.fate = [](const sending& s) { return s.begin == 1001 && s.copy == 1 ? lost() : arrives(); };
//     lab.write_segments(10);
//     lab.run(100ms);
//     CHECK(lab.again() == numbers{1001});
#pragma once

#include <tapir/protocols/tcp/sack.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "tests/support/tcp_lab.hpp"

namespace tapir::test {

using numbers = std::vector<std::uint32_t>;

/// One segment of data that went out.
struct sending {
    std::uint32_t begin = 0;
    std::uint32_t end = 0;
    long at = 0;  ///< ms since the first write
    int copy = 0; ///< it begins for the n-th time
};

struct fate_of {
    bool lost = false;
    duration later{0}; ///< than the path takes
    int behind = 0;    ///< so many segments that went out after it
};
inline fate_of arrives() {
    return {};
}
inline fate_of lost() {
    return {true, 0ms, 0};
}
inline fate_of held_back(duration d) {
    return {false, d, 0};
}
inline fate_of overtaken_by(int segments) {
    return {false, 0ms, segments};
}

struct far_end : tcp_lab {
    static constexpr duration one_way = 5ms; ///< the handshake of the lab takes 10 ms as well
    static constexpr std::uint32_t segment = 1000;

    /// `segments`: bytes of the peer's largest.
    explicit far_end(const tcp::config& c = with_sack(), std::uint16_t segments = segment) : tcp_lab(c) {
        tcp::options syn = default_options();
        syn.mss = segments;
        syn.sack_permitted = c.use_sack;
        if (c.use_timestamps) {
            syn.ts = tcp::timestamps{1, 0};
            syn.mss = static_cast<std::uint16_t>(segments + 12); // segments of so many bytes all the same
        }
        establish(c.connections, 65535, syn);
        start = ms();
    }

    std::function<fate_of(const sending&)> fate = [](const sending&) { return arrives(); };
    std::function<bool(long)> ack_lost = [](long) { return false; }; ///< by when it is sent
    std::vector<sending> sent;
    std::uint16_t window = 65535;
    std::uint32_t rcv_nxt = 1;
    bool batches = false; ///< what ACKs of the same instant let out goes behind the last of them
    long start = 0;

    void write_segments(std::size_t n) { REQUIRE(write(std::string(n * segment, 'd')) == n * segment); }
    long clock() const { return ms() - start; }
    bool flushed() const { return e->flushed(); }
    tcp::info info() const { return e->info(); }

    /// Millisecond by millisecond; `each` looks on.
    void run(duration d, const std::function<void()>& each = nullptr) {
        for (const instant end = now + d; now < end;) {
            take();
            if (each) each();
            wait(1ms);
            take();
            pass();
        }
        take();
    }
    /// Until all is acknowledged, but no longer than `limit`; says how long it took.
    duration run_until_flushed(duration limit = 10s) {
        const instant from = now;
        take();
        while (!flushed() && now - from < limit) run(1ms);
        return now - from;
    }

    /// What went out more than once, each time, by where it begins.
    numbers again() const {
        numbers n;
        for (const sending& s : sent)
            if (s.copy > 1) n.push_back(s.begin);
        return n;
    }
    std::uint32_t bytes_sent() const {
        std::uint32_t n = 0;
        for (const sending& s : sent) n += s.end - s.begin;
        return n;
    }
    /// When a segment that begins there went out, for the n-th time; -1: it did not.
    long when(std::uint32_t begin, int copy = 1) const {
        for (const sending& s : sent)
            if (s.begin == begin && s.copy == copy) return s.at;
        return -1;
    }

  private:
    using rank = std::pair<instant, long>;
    struct arrival {
        std::uint32_t begin;
        std::uint32_t end;
        std::uint32_t stamp;
    };

    void take() {
        for (const seg& s : out()) {
            if (s.text.empty()) continue;
            sending one;
            one.begin = s.seq;
            one.end = s.seq + static_cast<std::uint32_t>(s.text.size());
            one.at = *s.at - start;
            one.copy = ++copies_[s.seq];
            sent.push_back(one);
            const fate_of f = fate(one);
            if (f.lost) continue;
            const std::uint32_t stamp = s.options->ts ? s.options->ts->value : 0;
            under_way_.emplace(
                rank(opened + *s.at * 1ms + one_way + f.later, order_ + 10 * f.behind + (f.behind ? 5 : 0)),
                arrival{one.begin, one.end, stamp});
            order_ += 10;
        }
    }

    void pass() {
        while (!under_way_.empty() && under_way_.begin()->first.first <= now) {
            const arrival a = under_way_.begin()->second;
            under_way_.erase(under_way_.begin());
            received(a);
        }
        while (!acks_.empty() && acks_.begin()->first <= now) {
            const seg s = acks_.begin()->second;
            acks_.erase(acks_.begin());
            in(s);
            if (!batches) take();
        }
        take();
    }

    void received(const arrival& a) {
        const auto at = [&](std::uint32_t n) { return isn() + n; };
        if (a.begin <= last_ack_ && a.stamp != 0) recent_ = a.stamp; // [RFC 7323 4.3]
        bool known = true;
        held_.resize(std::max<std::size_t>(held_.size(), a.end));
        for (std::uint32_t i = a.begin; i < a.end; ++i) {
            known = known && held_[i];
            held_[i] = true;
        }
        if (known)
            ranges_.duplicate(at(a.begin), at(a.end), 64);
        else
            ranges_.received(at(a.begin), at(a.end));
        while (rcv_nxt < held_.size() && held_[rcv_nxt]) ++rcv_nxt;
        ranges_.delivered(at(rcv_nxt));
        last_ack_ = rcv_nxt;
        seg s{.flags = ACK, .seq = 1, .ack = rcv_nxt, .window = window};
        s.options = tcp::options{};
        const tcp::config& c = stack.configuration();
        if (c.use_timestamps) s.options->ts = tcp::timestamps{static_cast<std::uint32_t>(ms()), recent_};
        if (c.use_sack) {
            const std::size_t room = c.use_timestamps ? 3 : 4;
            s.options->sack_count =
                static_cast<std::uint8_t>(ranges_.report(std::span(s.options->sack).first(room)));
        }
        if (!ack_lost(clock())) acks_.emplace(now + one_way, s);
    }

    std::map<std::uint32_t, int> copies_;
    std::multimap<rank, arrival> under_way_;
    std::multimap<instant, seg> acks_;
    std::vector<bool> held_;
    tcp::sack_ranges ranges_;
    std::uint32_t last_ack_ = 1;
    std::uint32_t recent_ = 0;
    long order_ = 0;
};

} // namespace tapir::test
