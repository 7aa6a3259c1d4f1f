// One TCP at 192.0.2.1 and a scripted peer at 192.0.2.2. The test writes the peer's segments as literals and
// compares what comes back with literals. Sequence numbers count from each side's SYN, so that 1 is the first
// byte of either stream.
//
//     tcp_lab lab;
//     lab.listen(80);
//     lab.in({.flags = SYN});
//     CHECK(lab.out() == segs{{.flags = SYN | ACK, .ack = 1}});
//
// `window`, `options`, `ecn` and `at` (milliseconds since the lab opened) are compared only where a literal
// sets them.
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/bytes.hpp>
#include <tapir/framework/random.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/framework/timer_wheel.hpp>
#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/tcp/stack.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/support/tcp_read.hpp"

namespace tapir::test {

inline constexpr auto FIN = tcp::flags::fin;
inline constexpr auto SYN = tcp::flags::syn;
inline constexpr auto RST = tcp::flags::rst;
inline constexpr auto PSH = tcp::flags::psh;
inline constexpr auto ACK = tcp::flags::ack;
inline constexpr auto ECE = tcp::flags::ece;
inline constexpr auto CWR = tcp::flags::cwr;

struct seg {
    tcp::flags flags = tcp::flags::none; ///< PSH is not compared
    std::uint32_t seq = 0;
    std::uint32_t ack = 0;
    std::string text = "";
    std::optional<std::uint16_t> window = std::nullopt;
    std::optional<tcp::options> options = std::nullopt;
    std::optional<long> at = std::nullopt;
    std::optional<ip::ecn> ecn = std::nullopt;
    std::uint16_t piece = 0; ///< of the peer's: what each packet had, when the link has put several together

    bool operator==(const seg& o) const {
        const auto plain = [](tcp::flags f) {
            return static_cast<unsigned>(f) & ~static_cast<unsigned>(tcp::flags::psh);
        };
        const auto agree = [](const auto& a, const auto& b) { return !a || !b || *a == *b; };
        return plain(flags) == plain(o.flags) && seq == o.seq && ack == o.ack && text == o.text &&
               agree(window, o.window) && agree(options, o.options) && agree(at, o.at) && agree(ecn, o.ecn);
    }
};
using segs = std::vector<seg>;
/// Of a stream: first byte, and one past the last.
using blocks = std::vector<std::pair<std::uint32_t, std::uint32_t>>;

inline std::string to_string(const seg& s) {
    std::string text = tcp::to_string(s.flags) + " seq=" + std::to_string(s.seq);
    if (has(s.flags, ACK)) text += " ack=" + std::to_string(s.ack);
    if (s.window) text += " win=" + std::to_string(*s.window);
    if (s.text.size() > 20)
        text += " len=" + std::to_string(s.text.size());
    else if (!s.text.empty())
        text += " \"" + s.text + '"';
    if (s.at) text += " @" + std::to_string(*s.at) + "ms";
    if (s.ecn && *s.ecn != ip::ecn::not_ect) text += *s.ecn == ip::ecn::ce ? " CE" : " ECT";
    return text;
}

class tcp_lab : public tcp::output_sink {
  public:
    static constexpr std::uint32_t peer_isn = 0xffffff00; ///< near the wrap, always
    static constexpr std::uint16_t peer_port = 5000;

    /// Options are off, so that literals stay short; tests about them turn them on.
    static tcp::config plain() {
        tcp::config c;
        c.use_timestamps = false;
        c.use_window_scale = false;
        c.use_sack = false;
        c.connections.congestion = tcp::congestion_algorithm::new_reno;
        c.connections.paced = false;
        c.rtt_floor = 1ms; // so that the RTO is its minimum
        return c;
    }

    explicit tcp_lab(const tcp::config& c = plain(), instant opens = instant(100s),
                     tcp::trace_sink* trace = nullptr)
        : opened(opens), wheel(1ns, opens), now(opens),
          stack(c, siphash_key{1, 2}, random(3), pool, wheel, trace) {}

    buffer_pool pool;
    instant opened;
    timer_wheel wheel;
    instant now;
    tcp::stack stack;
    std::unique_ptr<tcp::listening_endpoint> listening;
    std::unique_ptr<tcp::endpoint> e;
    std::uint16_t our_port = 80;
    bool accepts_output = true;
    std::uint16_t mtu = 1500;
    std::uint16_t link_mtu = 0; ///< 0: that of the path
    std::size_t most = 1460;    ///< payload that the link takes

    static ip::address here() { return ip::address::v4(192, 0, 2, 1); }
    static ip::address there() { return ip::address::v4(192, 0, 2, 2); }
    tcp::path way() const {
        tcp::path p(here(), there(), ip::pseudo_header_sum(here(), there(), ip::protocol::tcp), mtu);
        if (link_mtu != 0) p.link_mtu = link_mtu;
        return p;
    }

    // --- the two ways to a connection ---
    void listen(std::uint16_t port = 80, const tcp::listen_options& o = {}) {
        listening = std::move(*stack.listen({here(), port}, o, now));
        our_port = port;
    }
    void connect(const tcp::connection_options& o = {}) {
        our_port = 40000;
        e = std::move(*stack.connect(way(), peer_port, our_port, o, now));
    }
    /// Passive open, the handshake done and forgotten; the round trip took 10 ms.
    void establish(const tcp::connection_options& o = plain().connections, std::uint16_t window = 65535,
                   const tcp::options& syn_options = default_options()) {
        tcp::listen_options l;
        l.accepted = o;
        listen(80, l);
        in({.flags = SYN, .window = window, .options = syn_options});
        out();
        wait(10ms);
        in({.flags = ACK, .seq = 1, .ack = 1, .window = window, .options = reply_options(syn_options)});
        out();
        e = listening->accept();
        REQUIRE(e != nullptr);
        REQUIRE(e->state() == tcp::state::established);
    }
    static tcp::options default_options() {
        tcp::options o;
        o.mss = std::uint16_t{1000};
        return o;
    }

    /// What the peer sends.
    void in(const seg& literal) {
        tcp::segment s;
        s.header.source_port = peer_port;
        s.header.destination_port = our_port;
        s.header.seq = tcp::seq(peer_isn + literal.seq);
        s.header.flags = literal.flags;
        if (has(literal.flags, ACK)) s.header.ack = isn_ + literal.ack;
        s.header.window = literal.window.value_or(last_window_);
        last_window_ = s.header.window;
        if (literal.options) s.header.options = *literal.options;
        const std::size_t size = s.header.size() + literal.text.size();
        buffer b = pool.allocate(size);
        copy_bytes(b.span().subspan(s.header.size()), as_bytes(literal.text));
        const std::array parts = {as_bytes(literal.text)};
        tcp::emit(b.span().first(s.header.size()), s.header, way().pseudo_header_sum, parts);
        stack.receive(way(), chunk(b, 0, size), tcp::checksum_known::no, now, now,
                      literal.ecn.value_or(ip::ecn::not_ect), literal.piece);
    }

    /// What we have sent since the last call.
    segs out() {
        stack.flush(now, *this);
        return std::exchange(sent_, {});
    }
    /// The same while more has come than we were given yet.
    segs out_while_input_waits() {
        stack.flush(now, *this, true);
        return std::exchange(sent_, {});
    }
    /// Time passes; what is due is done and sent.
    void wait(duration d) {
        const instant end = now + d;
        stack.flush(now, *this);
        while (wheel.next() <= end) {
            now = std::max(now, wheel.next());
            wheel.advance(now);
            stack.flush(now, *this);
        }
        now = end;
        wheel.advance(now);
        stack.flush(now, *this);
    }
    long ms() const { return static_cast<long>((now - opened) / 1ms); }

    /// The peer's options that say what it holds of our stream. [RFC 2018 3]
    tcp::options holding(const blocks& held, tcp::options o = {}) const {
        for (const auto& [begin, end] : held) o.sack[o.sack_count++] = {isn_ + begin, isn_ + end};
        return o;
    }
    /// A router, or the peer, says something about our segment at `about`. Whether that is believed.
    bool icmp(tcp::icmp_kind kind, std::uint32_t about, std::uint16_t next_hop_mtu = 0) {
        std::array<std::byte, 8> quoted{};
        store_be16(quoted, 0, our_port);
        store_be16(quoted, 2, peer_port);
        store_be32(quoted, 4, (isn_ + about).value());
        return stack.icmp_error(kind, here(), there(), quoted, next_hop_mtu, now);
    }

    std::string read() { return test::read(*e); }
    std::size_t write(std::string_view text) { return e->write(as_bytes(text)); }
    const tcp::counters& counted() const { return stack.counted(); }
    tcp::seq isn() const { return isn_; } ///< ours
    std::uint32_t timestamp_of_last_segment() const { return last_ts_; }

    // --- output_sink ---
    bool ready() override { return accepts_output; }
    std::size_t max_payload() override { return most; }
    void emit(const tcp::path& to, const tcp::outgoing_segment& s) override {
        REQUIRE(to.remote == there());
        REQUIRE(s.header.source_port == our_port);
        if (s.header.syn()) isn_ = s.header.seq;
        seg o;
        o.flags = s.header.flags;
        o.seq = s.header.seq - isn_;
        if (s.header.has_ack()) o.ack = s.header.ack - tcp::seq(peer_isn);
        for (const bytes part : s.payload) o.text += as_text(part);
        REQUIRE(o.text.size() == s.payload_size);
        o.window = s.header.window;
        o.options = s.header.options;
        o.at = ms();
        o.ecn = s.ecn;
        if (s.header.options.ts) last_ts_ = s.header.options.ts->value;
        if (s.header.rst() && !s.header.has_ack() && isn_ == tcp::seq(0)) o.seq = s.header.seq.value();
        sent_.push_back(std::move(o));
    }

  private:
    tcp::options reply_options(const tcp::options& syn) const {
        tcp::options o;
        if (syn.ts && stack.configuration().use_timestamps) o.ts = tcp::timestamps{syn.ts->value, last_ts_};
        return o;
    }

    tcp::seq isn_;
    std::uint16_t last_window_ = 65535;
    std::uint32_t last_ts_ = 0;
    segs sent_;
};

/// Of an end that may use SACK, else plain.
inline tcp::config with_sack(bool timestamps = false) {
    tcp::config c = tcp_lab::plain();
    c.use_sack = true;
    c.use_timestamps = timestamps;
    return c;
}
/// Of the SYN of such a peer.
inline tcp::options permitting_sack() {
    tcp::options o = tcp_lab::default_options();
    o.sack_permitted = true;
    return o;
}

} // namespace tapir::test

template <>
struct doctest::StringMaker<tapir::test::segs> {
    static String convert(const tapir::test::segs& list) {
        std::string text = "{";
        for (const auto& s : list) text += "\n    " + tapir::test::to_string(s);
        return (text + " }").c_str();
    }
};
