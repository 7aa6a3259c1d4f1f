// Any bytes as a UDP datagram, and any sequence of datagrams, sockets, calls and ICMP errors for the table of
// ports: its bounds hold, every datagram that came is counted once, and no buffer stays behind.
#include <tapir/framework/buffer.hpp>
#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/udp/header.hpp>
#include <tapir/protocols/udp/stack.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "tests/fuzz/must.hpp"
#include "tests/hex.hpp"

using namespace tapir;
using fuzz::must;

namespace {

const ip::address own = ip::address::v4(192, 0, 2, 2);
const ip::address second = ip::address::v4(192, 0, 2, 3);
const ip::address peer = ip::address::v4(192, 0, 2, 1);
const std::uint16_t sum = ip::pseudo_header_sum(peer, own, ip::protocol::udp);

void round_trip(bytes datagram) {
    const auto v = udp::view::parse(datagram);
    if (!v) return;
    must(v->length() <= datagram.size());
    must(v->payload().size() + udp::header::size == v->length());
    std::vector<std::byte> again(v->length());
    copy_bytes(mutable_bytes(again).subspan(udp::header::size), v->payload());
    udp::header h;
    h.source_port = v->source_port();
    h.destination_port = v->destination_port();
    h.emit(again, sum, v->payload());
    must(udp::view::parse(again)->checksum_ok(sum));
    must(udp::view::parse(again)->checksum() != 0);
    must(test::same(bytes(again).first(6), datagram.first(6)));
    // Whoever made a checksum made this one, but that zero and all ones are the same sum.
    if (v->checksum() != 0 && v->checksum_ok(sum)) must(test::same(again, datagram.first(v->length())));
}

struct driver final : udp::output_sink, udp::binding_observer {
    driver() : stack(config(), tapir::random(1), pool, *this) {}

    static udp::config config() {
        udp::config c;
        c.max_sockets = 4;
        c.max_queued_bytes = 4096;
        c.max_sent_per_turn = 3;
        c.first_ephemeral_port = 6; // few, so that they meet what was bound by number
        c.last_ephemeral_port = 9;
        return c;
    }
    static udp::socket_options options(std::uint8_t x) {
        udp::socket_options o;
        o.receive_datagrams = 1 + x % 8u;
        o.receive_bytes = 256u * (1 + x % 16u);
        o.broadcast = (x & 1) != 0;
        o.report_errors = (x & 2) != 0;
        return o;
    }
    static ip::endpoint at(std::uint8_t x) {
        return ip::endpoint((x & 1) != 0 ? peer : own, static_cast<std::uint16_t>(x % 8u));
    }

    // output_sink
    bool ready() override { return link_ready; }
    result<udp::route> route_to(const ip::address& to) override {
        if (to == own) return errc::network_unreachable;
        udp::route r;
        r.source = own;
        r.max_payload = 600;
        return r;
    }
    bool is_own(const ip::address& a) override { return a == own || a == second; }
    void emit(const udp::outgoing& d) override {
        must(is_own(d.source) && d.header.destination_port != 0);
        must(d.payload.size() <= 600);
        must(link_ready);
        ++sent_this_turn;
        must(sent_this_turn <= config().max_sent_per_turn);
    }
    void want_flush() override {}
    // binding_observer
    void changed(udp::binding&) override {}
    void may_send(udp::binding& b) override {
        const auto sent = b.send(as_bytes("waited"), ip::endpoint(peer, 9));
        must(sent && *sent);
    }

    udp::binding* some(std::uint8_t x) {
        return sockets.empty() ? nullptr : sockets[x % sockets.size()].get();
    }

    // Four bytes are one step.
    void step(bytes b) {
        const std::uint8_t x = load_u8(b, 1);
        const std::uint8_t y = load_u8(b, 2);
        const std::uint8_t z = load_u8(b, 3);
        udp::binding* s = some(y);
        switch (load_u8(b, 0) % 9) {
        case 0:
            if (auto made =
                    stack.bind(ip::endpoint((y & 1) != 0 ? own : ip::address(), x % 10u), options(z))) {
                (*made)->set_observer(this);
                sockets.push_back(std::move(*made));
            }
            break;
        case 1:
            if (s != nullptr) sockets.erase(sockets.begin() + y % static_cast<int>(sockets.size()));
            break;
        case 2: arrives(std::size_t{x} * 4, y, z); break;
        case 3:
            if (s != nullptr && s->waiting() > 0) {
                std::vector<std::byte> room(z);
                const auto got = s->receive(room);
                must(got.size <= room.size());
                if (s->peer()) must(got.from == *s->peer());
            }
            break;
        case 4:
            if (s != nullptr) {
                const std::vector<std::byte> payload(std::size_t{x} * 3);
                const auto sent = s->send(payload, at(z));
                if (sent && !*sent) must(!link_ready || sent_this_turn > 0);
            }
            break;
        case 5: stack.icmp_error(errc::refused, ip::endpoint(own, x % 10u), at(z)); break;
        case 6:
            if (s != nullptr && s->take_failure()) must(s->peer() || s->options().report_errors);
            if (s != nullptr) (void)s->take_error();
            break;
        case 7:
            if (s != nullptr) (void)s->connect(at(z));
            break;
        case 8:
            link_ready = (x & 1) != 0;
            sent_this_turn = 0;
            stack.flush();
            break;
        }
        check();
    }

    void arrives(std::size_t size, std::uint8_t y, std::uint8_t z) {
        std::vector<std::byte> d(udp::header::size + size);
        udp::header h;
        h.source_port = z % 8u;
        h.destination_port = y % 10u;
        h.emit(d, sum, bytes(d).subspan(udp::header::size));
        udp::arrival a;
        a.source = peer;
        a.destination = own;
        a.to_group = (y & 0x40) != 0;
        ++given;
        if (stack.receive(a, chunk(pool.copy_of(d), 0, d.size())) == udp::outcome::no_port) must(!a.to_group);
    }

    void check() {
        std::size_t bytes_held = 0;
        std::size_t waiting = 0;
        for (const auto& s : sockets) {
            must(s->waiting() <= s->options().receive_datagrams);
            must(s->queued_bytes() <= s->options().receive_bytes);
            must((s->waiting() == 0) == (s->queued_bytes() == 0));
            bytes_held += s->queued_bytes();
            waiting += s->waiting();
        }
        must(bytes_held == stack.queued_bytes());
        must(bytes_held <= config().max_queued_bytes);
        must(pool.live_bytes() <= bytes_held);
        must(stack.sockets() == sockets.size() && sockets.size() <= config().max_sockets);
        const auto& n = stack.counted();
        must(n.datagrams_in == given);
        // Each was dropped, or was received, or still waits; those dropped from a queue had been queued.
        const auto late = n.queued - n.received - waiting;
        must(given == n.queued + n.dropped.total() - late);
    }

    buffer_pool pool;
    udp::stack stack;
    bool link_ready = true;
    std::size_t sent_this_turn = 0;
    std::uint64_t given = 0;
    std::vector<std::unique_ptr<udp::binding>> sockets;
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const bytes input = std::as_bytes(std::span(data, size));
    round_trip(input);
    if (size >= udp::header::size) { // a length that fits, so that the rest is reached more often
        auto mended = test::to_vector(input);
        store_be16(mended, 4, static_cast<std::uint16_t>(std::min<std::size_t>(size, 65535)));
        round_trip(mended);
    }
    driver d;
    {
        udp::arrival a;
        a.source = peer;
        a.destination = own;
        ++d.given;
        (void)d.stack.receive(a, chunk(d.pool.copy_of(input), 0, size));
    }
    for (bytes rest = input; rest.size() >= 4; rest = rest.subspan(4)) d.step(rest.first(4));
    d.stack.stop();
    must(d.stack.queued_bytes() == 0);
    must(d.pool.live_blocks() == 0);
    return 0;
}
