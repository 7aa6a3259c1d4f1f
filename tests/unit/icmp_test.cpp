#include <tapir/protocols/icmp/message.hpp>
#include <tapir/protocols/icmp/responder.hpp>
#include <tapir/protocols/ip/checksum.hpp>

#include <doctest/doctest.h>

#include <array>
#include <variant>
#include <vector>

#include "tests/hex.hpp"

using namespace tapir;
using icmp::drop;
using icmp::error_kind;
using icmp::message;
using icmp::suppressed;
using icmp::unreachable_code;
using tapir::test::hex;
using tapir::test::same;

namespace {

const ip::address own = ip::address::v4(192, 0, 2, 2);
const ip::address peer = ip::address::v4(192, 0, 2, 1);
const ip::address router = ip::address::v4(192, 0, 2, 254);
const ip::address remote = ip::address::v4(203, 0, 113, 9);

std::vector<std::byte> bytes_of(const message& m) {
    std::vector<std::byte> b(m.size());
    m.emit(b);
    return b;
}

std::vector<std::byte> datagram(ipv4::header h, bytes payload) {
    h.payload_size = payload.size();
    std::vector<std::byte> b(ipv4::header::size + payload.size());
    h.emit(b);
    copy_bytes(mutable_bytes(b).subspan(ipv4::header::size), payload);
    return b;
}

/// The start of a segment of ours, 192.0.2.2:80 -> 203.0.113.9:40000, sequence number 0x01020304.
std::vector<std::byte> own_segment() {
    return datagram({.protocol = ip::protocol::tcp, .source = own, .destination = remote},
                    hex("0050 9c40 01020304 00000000 5010 0000 0000 0000"));
}

/// A responder and the datagrams that reach it.
struct host {
    explicit host(const icmp::responder_config& config = {}) : icmp(config) {}

    icmp::responder::outcome receive(const message& m, ip::address from = peer, ip::address to = own,
                                     bool broadcast = false) {
        return receive(bytes_of(m), from, to, broadcast);
    }
    icmp::responder::outcome receive(const std::vector<std::byte>& payload, ip::address from = peer,
                                     ip::address to = own, bool broadcast = false) {
        last = datagram(
            {.type_of_service = 0x2b, .protocol = ip::protocol::icmp, .source = from, .destination = to},
            payload);
        return icmp.on_datagram({.packet = *ipv4::view::parse(last), .broadcast = broadcast});
    }
    /// The message has no effect, for this reason alone.
    bool ignores(drop reason, const std::vector<std::byte>& payload, bool broadcast = false) {
        auto expected = icmp.count().dropped;
        ++expected[reason];
        const auto outcome = receive(payload, peer, own, broadcast);
        return std::holds_alternative<std::monostate>(outcome) && icmp.count().dropped == expected;
    }
    bool ignores(drop reason, const message& m, bool broadcast = false) {
        return ignores(reason, bytes_of(m), broadcast);
    }

    icmp::responder icmp;
    std::vector<std::byte> last;
};

struct refused_datagram {
    refused_datagram(ipv4::header h, bytes payload) : storage(datagram(h, payload)) {}
    ipv4::datagram get(bool broadcast = false) const {
        return {.packet = *ipv4::view::parse(storage), .broadcast = broadcast};
    }
    std::vector<std::byte> storage;
};

const ipv4::header udp_to_us{
    .dont_fragment = false, .protocol = ip::protocol::udp, .source = peer, .destination = own};

} // namespace

TEST_CASE("an echo request is written as RFC 792 draws it, and read back") {
    const auto data = hex("6162 63"); // odd
    const auto m = message::echo_request(0x1234, 7, data);
    const auto b = bytes_of(m);
    CHECK(same(bytes(b).first(2), hex("0800")));
    CHECK(same(bytes(b).subspan(4), hex("1234 0007 616263")));
    CHECK(ip::ones_complement_sum(b) == 0xffff);
    const auto v = icmp::view::parse(b);
    REQUIRE(v);
    CHECK(v->type() == icmp::type::echo_request);
    CHECK(v->identifier() == 0x1234);
    CHECK(v->sequence() == 7);
    CHECK(same(v->body(), data));
    CHECK(bytes_of(message::of(*v)) == b);
}

TEST_CASE("an echo request is answered with its own data, from the address that was asked") {
    host h; // [RFC 1122 3.2.2.6]
    const auto data = hex("0001020304050607 08");
    const auto outcome = h.receive(message::echo_request(99, 3, data));
    const auto* reply = std::get_if<icmp::outgoing>(&outcome);
    REQUIRE(reply != nullptr);
    std::vector<std::byte> out(reply->size());
    reply->emit(out);

    const auto ip = ipv4::view::parse(out);
    REQUIRE(ip);
    CHECK(ip->source() == own);
    CHECK(ip->destination() == peer);
    CHECK(ip->protocol() == ip::protocol::icmp);
    CHECK(ip->ttl() == 64);
    CHECK(ip->dscp() == 0x2b >> 2); // the request's class of service, but not its ECN
    CHECK(ip->ecn() == ip::ecn::not_ect);
    const auto m = icmp::view::parse(ip->payload());
    REQUIRE(m);
    CHECK(m->type() == icmp::type::echo_reply);
    CHECK(m->identifier() == 99);
    CHECK(m->sequence() == 3);
    CHECK(same(m->body(), data));
    CHECK(h.icmp.count().echo_replies_sent == 1);
}

TEST_CASE("an empty and a large echo request are answered") {
    host h;
    for (const std::size_t n : {0u, 1u, 1472u, 65507u}) {
        const std::vector<std::byte> data(n, std::byte{0x5a});
        const auto outcome = h.receive(message::echo_request(1, 1, data));
        REQUIRE(std::holds_alternative<icmp::outgoing>(outcome));
        CHECK(std::get<icmp::outgoing>(outcome).size() == 28 + n);
    }
}

TEST_CASE("messages without effect are counted by reason") {
    host h;
    const auto quote = own_segment();
    const auto request = bytes_of(message::echo_request(1, 1, {}));
    CHECK(h.ignores(drop::too_short, hex("0800 f7ff 0000 00")));
    CHECK(h.ignores(drop::too_short, hex("")));
    auto corrupt = request;
    store_u8(corrupt, 6, 0xff);
    CHECK(h.ignores(drop::bad_checksum, corrupt));
    CHECK(h.ignores(drop::to_broadcast, request, true));
    CHECK(
        h.ignores(drop::to_broadcast, message::destination_unreachable(unreachable_code::host, quote), true));
    CHECK(h.ignores(drop::echo_reply, message::echo_reply(1, 1, {})));
    CHECK(h.ignores(drop::source_quench,
                    message{.type = icmp::type::source_quench, .body = quote})); // [RFC 6633 3]
    CHECK(h.ignores(drop::redirect, message{.type = icmp::type::redirect, .body = quote}));
    CHECK(h.ignores(drop::unknown_type, message{.type = icmp::type::timestamp_request}));
    CHECK(h.ignores(drop::unknown_type, message{.type = static_cast<icmp::type>(200)})); // [RFC 1122 3.2.2]
    CHECK(h.ignores(drop::unknown_code,
                    message{.type = icmp::type::destination_unreachable, .code = 16, .body = quote}));
    CHECK(
        h.ignores(drop::unknown_code, message{.type = icmp::type::time_exceeded, .code = 2, .body = quote}));
    CHECK(h.icmp.count().received == 12);
    CHECK(h.icmp.count().dropped.total() == 12);
    CHECK(h.icmp.count().errors_received.total() == 0);
}

TEST_CASE("a received error says which connection it is about") {
    host h;
    const auto quote = own_segment();
    const auto outcome =
        h.receive(message::destination_unreachable(unreachable_code::host, bytes(quote).first(28)), router);
    const auto* error = std::get_if<icmp::received_error>(&outcome);
    REQUIRE(error != nullptr);
    CHECK(*error == icmp::received_error{.kind = error_kind::host_unreachable,
                                         .reporter = router,
                                         .protocol = ip::protocol::tcp,
                                         .local = {own, 80},
                                         .remote = {remote, 40000},
                                         .sequence = 0x01020304,
                                         .next_hop_mtu = 0,
                                         .total_length = 40});
    CHECK(h.icmp.count().errors_received[error_kind::host_unreachable] == 1);
}

TEST_CASE("fragmentation needed carries the next hop's MTU, other errors do not") { // [RFC 1191 4]
    host h;
    const auto quote = own_segment();
    const auto outcome = h.receive(
        message::destination_unreachable(unreachable_code::fragmentation_needed, quote, 1400), router);
    REQUIRE(std::holds_alternative<icmp::received_error>(outcome));
    CHECK(std::get<icmp::received_error>(outcome).kind == error_kind::fragmentation_needed);
    CHECK(std::get<icmp::received_error>(outcome).next_hop_mtu == 1400);
    const auto other =
        h.receive(message::destination_unreachable(unreachable_code::host, quote, 1400), router);
    CHECK(std::get<icmp::received_error>(other).next_hop_mtu == 0);
}

TEST_CASE("every code of the errors has its kind") { // [RFC 1122 3.2.2.1] [RFC 1812 5.2.7.1]
    host h;
    const auto quote = own_segment();
    const auto kind_of = [&](const message& m) {
        const auto outcome = h.receive(m, router);
        REQUIRE(std::holds_alternative<icmp::received_error>(outcome));
        return std::get<icmp::received_error>(outcome).kind;
    };
    const std::array<error_kind, 16> expected{
        error_kind::network_unreachable, error_kind::host_unreachable,     error_kind::protocol_unreachable,
        error_kind::port_unreachable,    error_kind::fragmentation_needed, error_kind::source_route_failed,
        error_kind::network_unreachable, error_kind::host_unreachable,     error_kind::host_unreachable,
        error_kind::prohibited,          error_kind::prohibited,           error_kind::network_unreachable,
        error_kind::host_unreachable,    error_kind::prohibited,           error_kind::prohibited,
        error_kind::prohibited};
    for (std::uint8_t code = 0; code < expected.size(); ++code) {
        CAPTURE(code);
        CHECK(kind_of({.type = icmp::type::destination_unreachable, .code = code, .body = quote}) ==
              expected[code]);
    }
    CHECK(kind_of(message::time_exceeded(icmp::time_exceeded_code::ttl, quote)) == error_kind::ttl_exceeded);
    CHECK(kind_of(message::time_exceeded(icmp::time_exceeded_code::reassembly, quote)) ==
          error_kind::reassembly_timed_out);
    CHECK(kind_of(message::parameter_problem(20, quote)) == error_kind::parameter_problem);
    CHECK(h.icmp.count().errors_received.total() == 19);
}

TEST_CASE("an error whose quote is cut, malformed or not ours is dropped") {
    host h;
    const auto about = [](bytes quote) {
        return message::destination_unreachable(unreachable_code::port, quote);
    };
    const auto quote = own_segment();
    CHECK(h.ignores(drop::bad_quote, about({})));
    CHECK(h.ignores(drop::bad_quote, about(bytes(quote).first(19))));
    CHECK(h.ignores(drop::bad_quote, about(bytes(quote).first(27)))); // seven bytes of TCP
    auto v6 = quote;
    store_u8(v6, 0, 0x65);
    CHECK(h.ignores(drop::bad_quote, about(v6)));
    auto later_fragment = quote;
    store_be16(later_fragment, 6, 5);
    CHECK(h.ignores(drop::bad_quote, about(later_fragment)));
    auto options_everywhere = quote;
    store_u8(options_everywhere, 0, 0x4f);
    CHECK(h.ignores(drop::bad_quote, about(options_everywhere)));
    const auto foreign = datagram({.protocol = ip::protocol::tcp, .source = remote, .destination = own},
                                  hex("0050 9c40 01020304"));
    CHECK(h.ignores(drop::foreign_quote, about(foreign)));
}

TEST_CASE("a quote of UDP has ports but no sequence number, one of ICMP neither") {
    const auto udp = datagram({.protocol = ip::protocol::udp, .source = own, .destination = remote},
                              hex("0035 9c40 0008 ffff"));
    CHECK(icmp::parse_quoted(udp) == icmp::quoted{.protocol = ip::protocol::udp,
                                                  .source = {own, 53},
                                                  .destination = {remote, 40000},
                                                  .sequence = 0,
                                                  .total_length = 28});
    const auto ping = datagram({.protocol = ip::protocol::icmp, .source = own, .destination = remote},
                               hex("0800 f7fe 0001 0000"));
    CHECK(icmp::parse_quoted(ping) == icmp::quoted{.protocol = ip::protocol::icmp,
                                                   .source = {own, 0},
                                                   .destination = {remote, 0},
                                                   .sequence = 0,
                                                   .total_length = 28});
}

TEST_CASE("an error about a datagram for somebody else comes from the address the router names") {
    host h; // [RFC 1812 4.3.2.4]
    auto onwards = udp_to_us;
    onwards.destination = remote;
    const refused_datagram d(onwards, hex("0035 9c40 0008 ffff"));
    const auto e =
        h.icmp.error(d.get(), message::time_exceeded(icmp::time_exceeded_code::ttl, {}), instant(1s), own);
    REQUIRE(e);
    CHECK(e->header.source == own);
    CHECK(e->header.destination == peer);
    CHECK(!e->header.dont_fragment);
    CHECK(same(e->message.body, d.storage));
}

TEST_CASE("an error we send quotes the datagram, as much as keeps it within 576 bytes") {
    host h; // [RFC 1812 4.3.2.3]
    const std::vector<std::byte> payload(1000, std::byte{0x77});
    const refused_datagram d(udp_to_us, payload);
    const auto error = h.icmp.unreachable(d.get(), unreachable_code::port, instant{});
    REQUIRE(error);
    CHECK(error->size() == 576);
    std::vector<std::byte> out(error->size());
    error->emit(out);
    const auto ip = ipv4::view::parse(out);
    REQUIRE(ip);
    CHECK(ip->source() == own);
    CHECK(ip->destination() == peer);
    CHECK(ip->type_of_service() == 0xc0); // [RFC 1812 4.3.2.5]
    const auto m = icmp::view::parse(ip->payload());
    REQUIRE(m);
    CHECK(m->type() == icmp::type::destination_unreachable);
    CHECK(m->code() == 3);
    CHECK(m->rest() == 0);
    CHECK(same(m->body(), bytes(d.storage).first(548)));

    const refused_datagram small(udp_to_us, hex("0001 0002 0008 0000"));
    CHECK(h.icmp.unreachable(small.get(), unreachable_code::port, instant{})->size() == 20 + 8 + 28);
    CHECK(h.icmp.count().errors_sent == 2);
}

TEST_CASE("no error is sent about what must not cause one") { // [RFC 1122 3.2.2] [RFC 1812 4.3.2.7]
    host h;
    const auto eight = hex("0001 0002 0008 0000");
    const auto silent = [&](suppressed reason, const refused_datagram& d, bool broadcast = false) {
        auto expected = h.icmp.count().errors_suppressed;
        ++expected[reason];
        return !h.icmp.unreachable(d.get(broadcast), unreachable_code::port, instant{}) &&
               h.icmp.count().errors_suppressed == expected;
    };
    const auto with = [&](auto change) {
        ipv4::header header = udp_to_us;
        change(header);
        return refused_datagram(header, eight);
    };
    CHECK(silent(suppressed::about_group, refused_datagram(udp_to_us, eight), true));
    CHECK(silent(suppressed::about_group,
                 with([](ipv4::header& x) { x.destination = ip::address::v4(224, 0, 0, 1); })));
    CHECK(silent(suppressed::about_fragment, with([](ipv4::header& x) { x.fragment_offset = 8; })));
    for (const auto source : {ip::address(), ip::address::v4(127, 0, 0, 1), ip::address::v4(224, 0, 0, 1),
                              ip::address::v4(255, 255, 255, 255)})
        CHECK(silent(suppressed::about_source, with([&](ipv4::header& x) { x.source = source; })));

    ipv4::header icmp_header = udp_to_us;
    icmp_header.protocol = ip::protocol::icmp;
    const auto quote = own_segment();
    CHECK(silent(suppressed::about_error,
                 {icmp_header, bytes_of(message::destination_unreachable(unreachable_code::host, quote))}));
    CHECK(silent(suppressed::about_error,
                 {icmp_header, bytes_of(message::time_exceeded(icmp::time_exceeded_code::ttl, quote))}));
    CHECK(silent(suppressed::about_error,
                 {icmp_header, bytes_of(message{.type = static_cast<icmp::type>(77)})}));
    CHECK(silent(suppressed::about_error, {icmp_header, {}}));
    CHECK(h.icmp.count().errors_sent == 0);

    // what may cause one: a first fragment, and an ICMP question
    CHECK(h.icmp.unreachable(with([](ipv4::header& x) { x.more_fragments = true; }).get(),
                             unreachable_code::port, instant{}));
    CHECK(h.icmp.unreachable(refused_datagram(icmp_header, bytes_of(message::echo_request(1, 1, {}))).get(),
                             unreachable_code::host, instant{}));
}

TEST_CASE(
    "errors are limited to a rate with a burst, and silence fills the bucket again") { // [RFC 1812 4.3.2.8]
    icmp::responder_config config;
    config.errors_per_second = 10;
    config.error_burst = 3;
    host h(config);
    const refused_datagram d(udp_to_us, hex("0001 0002 0008 0000"));
    instant now{1h};
    const auto sent = [&](int attempts) {
        int n = 0;
        for (int i = 0; i < attempts; ++i)
            n += h.icmp.unreachable(d.get(), unreachable_code::port, now) ? 1 : 0;
        return n;
    };
    CHECK(sent(10) == 3);
    now += 99ms;
    CHECK(sent(10) == 0);
    now += 1ms;
    CHECK(sent(10) == 1);
    now += 200ms;
    CHECK(sent(10) == 2);
    now += 1h;
    CHECK(sent(10) == 3);
    CHECK(h.icmp.count().errors_suppressed[suppressed::rate_limited] == 41);
    CHECK(h.icmp.count().errors_sent == 9);
}

TEST_CASE("other errors follow the same rules") {
    host h;
    const refused_datagram d(udp_to_us, hex("0001 0002 0008 0000"));
    const auto error = h.icmp.error(d.get(), message::parameter_problem(21, {}), instant{});
    REQUIRE(error);
    std::vector<std::byte> out(error->size());
    error->emit(out);
    const auto m = icmp::view::parse(ipv4::view::parse(out)->payload());
    REQUIRE(m);
    CHECK(m->type() == icmp::type::parameter_problem);
    CHECK(m->pointer() == 21);
    CHECK(!h.icmp.error(d.get(true), message::parameter_problem(21, {}), instant{}));
}
