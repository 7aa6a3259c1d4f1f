// A whole conversation: the input is a script of a hostile peer's segments, of calls and of passing time, all
// near what is valid. Whatever it is, no table outgrows its bound, no event is illegal, no timer stays behind
// and no memory is left.
#include <tapir/framework/buffer.hpp>
#include <tapir/framework/random.hpp>
#include <tapir/framework/timer_wheel.hpp>
#include <tapir/protocols/tcp/stack.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "tests/fuzz/must.hpp"

using namespace tapir;
using fuzz::must;

extern "C" const int tapir_fuzz_bounded_runs = 40'000;

namespace {

struct script {
    const std::uint8_t* at;
    const std::uint8_t* end;
    bool done() const { return at == end; }
    std::uint8_t u8() { return done() ? std::uint8_t{0} : *at++; }
    std::uint32_t u32() {
        std::uint32_t v = 0;
        for (int i = 0; i < 4; ++i) v = (v << 8) | u8();
        return v;
    }
    /// Mostly near zero, sometimes anywhere.
    std::uint32_t offset() {
        const std::uint8_t kind = u8();
        if (kind < 200) return static_cast<std::uint32_t>(static_cast<std::int32_t>(kind % 16) - 4);
        return kind < 240 ? std::uint32_t{u8()} * 500 : u32();
    }
};

struct world final : tcp::output_sink, tcp::trace_sink {
    buffer_pool pool;
    timer_wheel wheel{std::chrono::microseconds(1), instant(std::chrono::seconds(1))};
    instant now{std::chrono::seconds(1)};
    std::unique_ptr<tcp::stack> stack;
    std::unique_ptr<tcp::listening_endpoint> listener;
    std::vector<std::unique_ptr<tcp::endpoint>> users;
    tcp::header last_out;
    tcp::fast_open_cookie cookie; ///< the last that we have given
    std::size_t emitted = 0;

    static tcp::config limits() {
        tcp::config c;
        c.connections.ecn = true;
        c.max_half_open = 8;
        c.max_time_wait = 4;
        c.max_connections = 8;
        c.max_replies = 16;
        c.max_out_of_order_ranges = 8;
        c.max_fast_opening = 3;
        c.max_fast_open_servers = 2;
        c.dormant_after = std::chrono::milliseconds(1);
        return c;
    }
    world() {
        stack =
            std::make_unique<tcp::stack>(limits(), siphash_key{1, 2}, tapir::random(3), pool, wheel, this);
        tcp::listen_options o;
        o.backlog = 3;
        o.fast_open = true;
        o.accepted.receive_buffer = 20000;
        o.accepted.send_buffer = 20000;
        o.accepted.ecn = true;
        o.accepted.path_mtu = tcp::mtu_probing::always;
        listener = std::move(*stack->listen({here(), 80}, o, now));
    }
    static ip::address here() { return ip::address::v4(192, 0, 2, 1); }
    static tcp::path way() { return {here(), ip::address::v4(192, 0, 2, 2), 0}; }

    bool ready() override { return true; }
    std::size_t max_payload() override { return 4000; }
    void emit(const tcp::path&, const tcp::outgoing_segment& s) override {
        must(++emitted < 100000);
        must(s.header.options.size() <= 40);
        // What may be marked is data, and no SYN. [RFC 3168 6.1.1, 6.1.4]
        must(s.ecn == ip::ecn::not_ect || (s.ecn == ip::ecn::ect0 && s.payload_size != 0 && !s.header.syn()));
        must(!has(s.header.flags, tcp::flags::cwr) || s.header.syn() || s.ecn == ip::ecn::ect0);
        last_out = s.header;
        if (s.header.options.fast_open && s.header.has_ack()) cookie = *s.header.options.fast_open;
        std::size_t size = 0;
        for (const bytes part : s.payload) size += part.size();
        must(size == s.payload_size);
    }
    void state_changed(const tcp::flow_key&, const tcp::edge& e) override {
        bool known = false;
        for (const tcp::arc& a : tcp::arcs)
            known = known || (a.from == e.from && a.cause == e.cause && a.to == e.to);
        must(known);
    }

    void segment(script& in) {
        tcp::segment s;
        s.arrived = now;
        s.header.flags = static_cast<tcp::flags>(in.u8());
        s.header.source_port = static_cast<std::uint16_t>(1000 + in.u8() % 4);
        s.header.destination_port = in.u8() < 200 ? std::uint16_t{80} : last_out.source_port;
        if (s.header.destination_port == 0) s.header.destination_port = 80;
        s.header.seq = last_out.ack + in.offset();
        s.header.ack = last_out.seq + in.offset();
        s.header.window = static_cast<std::uint16_t>(in.u8() * 257);
        const std::uint8_t options = in.u8();
        s.ecn = static_cast<ip::ecn>(options >> 6);
        if ((options & 1) != 0) s.header.options.ts = tcp::timestamps{in.u32(), in.u32()};
        if ((options & 2) != 0) s.header.options.mss = static_cast<std::uint16_t>(in.u8() * 8);
        if ((options & 4) != 0) s.header.options.window_scale = in.u8();
        if ((options & 16) != 0) s.header.options.fast_open = cookie;
        if ((options & 32) != 0) s.header.options.fast_open.emplace().size = (options & 64) != 0 ? 0 : 16;
        const std::size_t length = (options & 8) != 0 ? in.u8() * 8u : in.u8() % 4u;
        buffer b = pool.allocate(length);
        std::fill(b.span().begin(), b.span().end(), std::byte{1});
        s.payload = chunk(b, 0, length);
        if (length > 8) s.piece = s.header.window % 512; // at times in several packets
        stack->receive(way(), s, now);
    }

    void call(script& in) {
        const std::uint8_t what = in.u8();
        if (what % 16 == 15) {
            tcp::connection_options o = stack->configuration().connections;
            o.path_mtu = static_cast<tcp::mtu_probing>(what / 16 % 3);
            o.fast_open = (what & 64) != 0;
            const std::array<std::byte, 2000> first{};
            auto e = stack->connect(way(), static_cast<std::uint16_t>(1000 + what % 4), 0, o, now,
                                    std::span(first).first((what & 128) != 0 ? first.size() : 0));
            if (e) users.push_back(std::move(*e));
            return;
        }
        if (what % 16 == 14) {
            if (auto e = listener->accept()) users.push_back(std::move(e));
            return;
        }
        if (users.empty()) return;
        tcp::endpoint& e = *users[in.u8() % users.size()];
        std::array<std::byte, 700> block{};
        switch (what % 16) {
        case 0: e.finish(now); break;
        case 1: e.close(now); break;
        case 2: e.abort(now); break;
        case 3: e.stop_reading(now); break;
        case 4: users.erase(users.begin() + (what / 16) % static_cast<int>(users.size())); break;
        case 5: e.set_no_delay(true); break;
        case 6:
        case 7:
        case 8: must(e.write(block) <= block.size()); break;
        case 9: static_cast<void>(e.info()); break;
        default: e.read(std::span(block).first(1 + what)); break;
        }
    }

    void pass(duration d) {
        const instant until = now + d;
        for (int rounds = 0; wheel.next() <= until && rounds < 2000; ++rounds) {
            now = std::max(now, wheel.next());
            wheel.advance(now);
            stack->flush(now, *this);
        }
        now = until;
    }

    void check() {
        must(stack->connections() <= 8);
        must(stack->half_open() <= 8);
        must(stack->time_waits() <= 4);
        for (const auto& e : users) {
            must(e->readable() <= 20000 + (1u << 18));
            must(e->edges().size() <= tcp::path_of_states::longest);
        }
    }
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    world w;
    script in{data, data + std::min<std::size_t>(size, 4000)};
    while (!in.done()) {
        const std::uint8_t kind = in.u8();
        if (kind < 150)
            w.segment(in);
        else if (kind < 210)
            w.call(in);
        else if (kind < 230)
            w.pass(std::chrono::milliseconds(in.u8() * 8));
        else
            w.stack->flush(w.now, w);
        w.check();
    }
    w.emitted = 0;
    w.pass(std::chrono::hours(1));
    w.stack->stop(w.now);
    w.stack->flush(w.now, w);
    w.users.clear();
    w.listener.reset();
    w.stack.reset();
    must(w.wheel.armed() == 0);
    must(w.pool.live_blocks() == 0);
    return 0;
}
