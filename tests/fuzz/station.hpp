// A live host for fuzz targets, in virtual time, and the only other station on its wire: frames that the
// input has made go in with right checksums, and whatever comes back must be well-formed.
//
//     fuzz::station s(config);
//     s.run([&]() -> task<> { s.send_segment(header, payload); co_await s.pass(10ms); ... });
//
// The host answers at 192.0.2.2, the station is 192.0.2.1 and has answered the host's ARP request.
#pragma once

#include <tapir/framework/log.hpp>
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/sim_backend.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/framework/task.hpp>
#include <tapir/protocols/arp/packet.hpp>
#include <tapir/protocols/ethernet/header.hpp>
#include <tapir/protocols/host/host.hpp>
#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/ipv4/header.hpp>
#include <tapir/protocols/link/wire.hpp>
#include <tapir/protocols/tcp/header.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "tests/fuzz/must.hpp"

namespace tapir::fuzz {

/// Reads numbers from the input; zeros behind its end.
struct script {
    const std::uint8_t* at;
    const std::uint8_t* end;
    bool done() const { return at == end; }
    std::uint8_t u8() { return done() ? std::uint8_t{0} : *at++; }
    std::uint16_t u16() {
        const unsigned high = u8();
        return static_cast<std::uint16_t>(high << 8 | u8());
    }
    std::uint32_t u32() {
        const std::uint32_t high = u16();
        return high << 16 | u16();
    }
};

class station final : private frame_receiver, private tcp::trace_sink {
  public:
    static constexpr std::uint16_t port = 5000;

    explicit station(const tcp::config& limits)
        : loop_(make_sim_backend()), wire_(loop_),
          host_(std::make_unique<tapir::host>(loop_, configured(limits))) {
        log::set_sink([](log::level, std::string_view) {});
        wire_.right().attach(this);
        must(host_->add_interface(wire_.left(), own_mac(), ip::prefix(here(), 24)).has_value());
    }
    station(const station&) = delete;
    station& operator=(const station&) = delete;
    ~station() {
        host_.reset();
        wire_.right().attach(nullptr);
    }

    static ip::address here() { return ip::address::v4(192, 0, 2, 2); }
    static ip::address there() { return ip::address::v4(192, 0, 2, 1); }

    tapir::host& host() { return *host_; }
    tapir::reactor& on() { return loop_; }

    /// Runs `body`, and then lets the host stop: nothing may be left of it.
    template <class F>
    void run(F body) {
        auto all = [&]() -> task<> {
            introduce();
            co_await pass(1ms);
            co_await body();
            host_->stop();
            co_await pass(1ms);
        };
        loop_.run(all());
        must(host_->tcp().connections() == 0 && host_->tcp().half_open() == 0);
        must(host_->tcp().time_waits() == 0);
    }

    task<> pass(duration d) { (void)co_await sleep_for(d); }

    /// The segment as it stands, but for its checksum.
    void send_segment(const tcp::header& h, bytes payload, ip::ecn ecn = ip::ecn::not_ect) {
        const std::size_t size = h.size();
        buffer b = pool_.allocate(size + payload.size());
        const mutable_bytes all = b.span().first(size + payload.size());
        copy_bytes(all.subspan(size), payload);
        const std::array parts = {payload};
        tcp::emit(all.first(size), h, ip::pseudo_header_sum(there(), here(), ip::protocol::tcp), parts);
        send_packet({}, all, ecn);
    }
    /// An IPv4 datagram of protocol TCP with these options (cut to 40 bytes, padded to words).
    void send_packet(bytes options, bytes payload, ip::ecn ecn = ip::ecn::not_ect) {
        options = options.first(std::min<std::size_t>(options.size(), 40));
        const std::size_t words = (options.size() + 3) / 4;
        const std::size_t header = ipv4::header::size + 4 * words;
        frame f(pool_.allocate(128 + payload.size()), 96);
        copy_bytes(f.push_back(payload.size()), payload);
        mutable_bytes ip = f.push_front(header);
        ipv4::header h;
        h.type_of_service = static_cast<std::uint8_t>(ecn);
        h.protocol = ip::protocol::tcp;
        h.source = there();
        h.destination = here();
        h.payload_size = payload.size();
        h.emit(ip.first(ipv4::header::size));
        std::ranges::fill(ip.subspan(ipv4::header::size), std::byte{0});
        copy_bytes(ip.subspan(ipv4::header::size), options);
        store_u8(ip, 0, static_cast<std::uint8_t>(0x45 + words));
        store_be16(ip, 2, static_cast<std::uint16_t>(header + payload.size()));
        store_be16(ip, 10, 0);
        store_be16(ip, 10, static_cast<std::uint16_t>(~ip::ones_complement_sum(bytes(ip).first(header))));
        send(std::move(f), ethernet::ether_type::ipv4);
        ++sent_;
    }

    /// What the host said last, and where it stands by that.
    struct heard {
        std::uint16_t port = 80; ///< the host's
        tcp::seq snd_una;        ///< before the first byte of the last burst
        tcp::seq snd_nxt;
        tcp::seq rcv_nxt;
        std::uint32_t window = 0;
        std::uint32_t timestamp = 0;
        std::size_t segments = 0;
        bool reset = false;
    };
    heard& said() { return heard_; }
    std::uint64_t sent() const { return sent_; }

  private:
    static ethernet::mac_address own_mac() { return {2, 0, 0, 0, 0, 2}; }
    static ethernet::mac_address peer_mac() { return {2, 0, 0, 0, 0, 1}; }

    host_config configured(const tcp::config& limits) {
        host_config c;
        c.tcp = limits;
        c.secret = siphash_key{1, 2};
        c.trace = this;
        return c;
    }

    void send(frame f, ethernet::ether_type type) {
        ethernet::header h;
        h.destination = own_mac();
        h.source = peer_mac();
        h.type = type;
        h.emit(f.push_front(ethernet::header::size));
        wire_.right().send(std::move(f));
    }

    /// An ARP request for the host: it will know us without asking.
    void introduce() {
        arp::packet p;
        p.op = arp::operation::request;
        p.sender_mac = peer_mac();
        p.sender_ip = there();
        p.target_ip = here();
        frame f(pool_.allocate(128), 64);
        p.emit(f.push_back(arp::packet::size));
        send(std::move(f), ethernet::ether_type::arp);
    }

    void receive(frame&& f) override {
        const auto eth = ethernet::view::parse(f.data());
        must(eth.has_value());
        if (eth->type() != ethernet::ether_type::ipv4) return;
        const auto packet = ipv4::view::parse(eth->payload());
        must(packet.has_value() && packet->source() == here());
        if (packet->protocol() != ip::protocol::tcp) return;
        must(packet->destination() == there());
        must(tcp::checksum_ok(packet->payload(), ip::pseudo_header_sum(here(), there(), ip::protocol::tcp)));
        const auto segment = tcp::parse(packet->payload());
        must(segment.has_value() && !segment->header.options.malformed);
        const tcp::header& h = segment->header;
        ++heard_.segments;
        heard_.port = h.source_port;
        heard_.reset = h.rst();
        if (h.rst()) return;
        const auto length = static_cast<std::uint32_t>(packet->payload().size() - segment->size) +
                            (h.syn() ? 1u : 0u) + (h.fin() ? 1u : 0u);
        if (h.syn()) heard_.snd_una = h.seq;
        heard_.snd_nxt = h.seq + length;
        if (h.has_ack()) heard_.rcv_nxt = h.ack;
        heard_.window = h.window;
        if (h.options.ts) heard_.timestamp = h.options.ts->value;
    }

    void state_changed(const tcp::flow_key&, const tcp::edge& e) override {
        const auto legal = [&](const tcp::arc& a) {
            return a.from == e.from && a.cause == e.cause && a.to == e.to;
        };
        must(std::ranges::any_of(tcp::arcs, legal));
    }

    reactor loop_;
    buffer_pool pool_;
    wire wire_;
    heard heard_;
    std::uint64_t sent_ = 0;
    std::unique_ptr<tapir::host> host_;
};

} // namespace tapir::fuzz
