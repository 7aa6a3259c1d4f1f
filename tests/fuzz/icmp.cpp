// Any bytes as an ICMP message, as they come and once more with a right checksum, and what the responder
// makes of it: it never answers an error, and never with more than it was sent.
#include <tapir/protocols/icmp/message.hpp>
#include <tapir/protocols/icmp/responder.hpp>
#include <tapir/protocols/ip/checksum.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "tests/fuzz/must.hpp"
#include "tests/hex.hpp"

using namespace tapir;
using fuzz::must;

namespace {

const ip::address own = ip::address::v4(192, 0, 2, 2);
const ip::address peer = ip::address::v4(192, 0, 2, 1);

void well_formed(const icmp::outgoing& out) {
    std::vector<std::byte> b(out.size());
    out.emit(b);
    const auto ip = ipv4::view::parse(b);
    must(ip.has_value() && ip->source() == own && ip->destination() == peer);
    must(icmp::view::parse(ip->payload()).has_value());
}

void respond(bytes payload) {
    std::vector<std::byte> b(ipv4::header::size + payload.size());
    ipv4::header{
        .protocol = ip::protocol::icmp, .source = peer, .destination = own, .payload_size = payload.size()}
        .emit(b);
    copy_bytes(mutable_bytes(b).subspan(ipv4::header::size), payload);
    const ipv4::datagram d{.packet = *ipv4::view::parse(b), .broadcast = false};

    icmp::responder responder(icmp::responder_config{});
    const auto outcome = responder.on_datagram(d);
    const auto& count = responder.count();
    must(count.received == 1);
    must(count.echo_replies_sent + count.dropped.total() + count.errors_received.total() == 1);
    const auto* answer = std::get_if<icmp::outgoing>(&outcome);
    if (answer != nullptr) {
        must(load_u8(payload, 0) == static_cast<std::uint8_t>(icmp::type::echo_request));
        must(answer->size() == b.size());
        well_formed(*answer);
    }
    if (const auto* e = std::get_if<icmp::received_error>(&outcome)) {
        must(answer == nullptr && e->local.addr == own && e->reporter == peer);
        must(!icmp::to_string(e->kind).empty());
    }
    const auto error = responder.unreachable(d, icmp::unreachable_code::port, instant{});
    must(error.has_value() == (count.errors_sent == 1));
    if (error) {
        must(icmp::is_query(static_cast<icmp::type>(load_u8(payload, 0))));
        must(error->size() <= 576);
        well_formed(*error);
    }
}

void parse(bytes payload) {
    if (const auto q = icmp::parse_quoted(payload))
        must(q->source.addr.is_v4() && q->destination.addr.is_v4());
    const auto v = icmp::view::parse(payload);
    if (!v) return;
    const auto m = icmp::message::of(*v);
    std::vector<std::byte> again(m.size());
    m.emit(again);
    const auto w = icmp::view::parse(again);
    must(w.has_value() && w->type() == v->type() && w->code() == v->code() && w->rest() == v->rest());
    must(test::same(w->body(), v->body()));
    must(v->rest() == (std::uint32_t{v->identifier()} << 16 | v->sequence()));
    must(v->next_hop_mtu() == v->sequence() && v->pointer() == v->identifier() >> 8);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const bytes payload =
        std::as_bytes(std::span(data, std::min(size, ipv4::header::max_total_length - ipv4::header::size)));
    parse(payload);
    respond(payload);
    if (payload.size() < icmp::message::header_size) return 0;
    auto mended = test::to_vector(payload);
    const auto sign = [&] {
        store_be16(mended, 2, 0);
        store_be16(mended, 2, static_cast<std::uint16_t>(~ip::ones_complement_sum(mended)));
    };
    sign();
    parse(mended);
    respond(mended);

    constexpr std::uint8_t types[] = {0, 3, 4, 5, 8, 11, 12, 13};
    store_u8(mended, 0, types[load_u8(payload, 0) % std::size(types)]);
    if (mended.size() >= 28) { // and a quote that might be ours
        store_u8(mended, 8, static_cast<std::uint8_t>(0x45 + load_u8(payload, 8) % 2));
        store_be32(mended, 20, own.v4_value());
    }
    sign();
    parse(mended);
    respond(mended);
    return 0;
}
