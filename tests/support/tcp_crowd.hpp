// One TCP at 192.0.2.1, listening on port 80, and many scripted peers at 192.0.2.2, told apart by their
// ports. For what only several connections together show. Sequence numbers count from each side's SYN.
//
//     tcp_crowd crowd;
//     auto a = crowd.establish(5001);
//     crowd.in(5001, {.flags = ACK, .seq = 1, .ack = 1, .text = "hello"});
//     CHECK(crowd.out(5001) == ...);
#pragma once

#include <map>
#include <memory>
#include <utility>

#include "tests/support/tcp_lab.hpp"

namespace tapir::test {

class tcp_crowd : public tcp::output_sink {
  public:
    explicit tcp_crowd(const tcp::config& c = tcp_lab::plain(), const tcp::connection_options& o = {},
                       std::uint64_t seed = 3)
        : wheel(1ns, instant(100s)), now(100s), stack(c, siphash_key{1, 2}, random(seed), pool, wheel) {
        tcp::listen_options l;
        l.accepted = o;
        listening = std::move(*stack.listen({tcp_lab::here(), 80}, l, now));
    }

    buffer_pool pool;
    timer_wheel wheel;
    instant now;
    tcp::stack stack;
    std::unique_ptr<tcp::listening_endpoint> listening;

    std::uint16_t mtu = 1500;

    tcp::path way() const {
        return {tcp_lab::here(), tcp_lab::there(),
                ip::pseudo_header_sum(tcp_lab::here(), tcp_lab::there(), ip::protocol::tcp), mtu};
    }

    void in(std::uint16_t port, const seg& literal) {
        tcp::segment s;
        s.header.source_port = port;
        s.header.destination_port = 80;
        s.header.seq = tcp::seq(tcp_lab::peer_isn + literal.seq);
        s.header.flags = literal.flags;
        if (has(literal.flags, ACK)) s.header.ack = isn_[port] + literal.ack;
        s.header.window = literal.window.value_or(65535);
        if (literal.options) s.header.options = *literal.options;
        const std::size_t size = s.header.size() + literal.text.size();
        buffer b = pool.allocate(size);
        copy_bytes(b.span().subspan(s.header.size()), as_bytes(literal.text));
        s.payload = chunk(b, s.header.size(), literal.text.size());
        s.arrived = now;
        stack.receive(way(), s, now);
    }
    std::unique_ptr<tcp::endpoint> establish(std::uint16_t port,
                                             const tcp::options& syn = tcp_lab::default_options()) {
        in(port, {.flags = SYN, .options = syn});
        flush();
        in(port, {.flags = ACK, .seq = 1, .ack = 1});
        flush();
        sent_[port].clear();
        auto e = listening->accept();
        REQUIRE(e != nullptr);
        return e;
    }

    void flush() { stack.flush(now, *this); }
    /// What that peer was sent since the last call.
    segs out(std::uint16_t port) {
        flush();
        return std::exchange(sent_[port], {});
    }
    void wait(duration d) {
        const instant end = now + d;
        flush();
        while (wheel.next() <= end) {
            now = std::max(now, wheel.next());
            wheel.advance(now);
            flush();
        }
        now = end;
        wheel.advance(now);
        flush();
    }
    const tcp::counters& counted() const { return stack.counted(); }
    tcp::seq isn(std::uint16_t port) { return isn_[port]; } ///< ours

    bool ready() override { return true; }
    std::size_t max_payload() override { return 1460; }
    void emit(const tcp::path&, const tcp::outgoing_segment& s) override {
        const std::uint16_t port = s.header.destination_port;
        if (s.header.syn()) isn_[port] = s.header.seq;
        seg o;
        o.flags = s.header.flags;
        o.seq = s.header.seq - isn_[port];
        if (s.header.has_ack()) o.ack = s.header.ack - tcp::seq(tcp_lab::peer_isn);
        for (const bytes part : s.payload) o.text += as_text(part);
        o.window = s.header.window;
        o.options = s.header.options;
        sent_[port].push_back(std::move(o));
    }

  private:
    std::map<std::uint16_t, tcp::seq> isn_;
    std::map<std::uint16_t, segs> sent_;
};

} // namespace tapir::test
