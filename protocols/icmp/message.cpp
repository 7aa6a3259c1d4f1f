#include <tapir/protocols/icmp/message.hpp>
#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/ipv4/header.hpp>

namespace tapir::icmp {

namespace {

std::uint32_t echo_words(std::uint16_t identifier, std::uint16_t sequence) {
    return (std::uint32_t{identifier} << 16) | sequence;
}

} // namespace

std::expected<view, malformed> view::parse(bytes payload) {
    if (payload.size() < message::header_size) return std::unexpected(malformed::too_short);
    if (ip::ones_complement_sum(payload) != 0xffff) return std::unexpected(malformed::bad_checksum);
    return view(payload);
}

message message::of(const view& v) {
    return {.type = v.type(), .code = v.code(), .rest = v.rest(), .body = v.body()};
}

message message::echo_request(std::uint16_t identifier, std::uint16_t sequence, bytes body) {
    return {.type = type::echo_request, .code = 0, .rest = echo_words(identifier, sequence), .body = body};
}

message message::echo_reply(std::uint16_t identifier, std::uint16_t sequence, bytes body) {
    return {.type = type::echo_reply, .code = 0, .rest = echo_words(identifier, sequence), .body = body};
}

message message::destination_unreachable(unreachable_code code, bytes quoted, std::uint16_t next_hop_mtu) {
    return {.type = type::destination_unreachable,
            .code = static_cast<std::uint8_t>(code),
            .rest = next_hop_mtu,
            .body = quoted};
}

message message::time_exceeded(time_exceeded_code code, bytes quoted) {
    return {.type = type::time_exceeded, .code = static_cast<std::uint8_t>(code), .rest = 0, .body = quoted};
}

message message::parameter_problem(std::uint8_t pointer, bytes quoted) {
    return {.type = type::parameter_problem, .code = 0, .rest = std::uint32_t{pointer} << 24, .body = quoted};
}

void message::emit(mutable_bytes out) const {
    store_u8(out, 0, static_cast<std::uint8_t>(type));
    store_u8(out, 1, code);
    store_be16(out, 2, 0);
    store_be32(out, 4, rest);
    copy_bytes(out.subspan(header_size), body);
    store_be16(out, 2, static_cast<std::uint16_t>(~ip::ones_complement_sum(out.first(size()))));
}

bool is_query(type t) {
    switch (t) {
    case type::echo_reply:
    case type::echo_request:
    case type::timestamp_request:
    case type::timestamp_reply: return true;
    case type::destination_unreachable:
    case type::source_quench:
    case type::redirect:
    case type::time_exceeded:
    case type::parameter_problem: break;
    }
    return false;
}

std::optional<quoted> parse_quoted(bytes body) {
    const auto original = ipv4::view::parse_quoted(body);
    // [RFC 792]: the header and the first 64 bits of the data.
    if (!original || original->payload().size() < 8 || original->fragment_offset() != 0) return std::nullopt;
    quoted q{.protocol = original->protocol(),
             .source = {original->source(), 0},
             .destination = {original->destination(), 0},
             .sequence = 0,
             .total_length = original->total_length()};
    const bytes transport = original->payload();
    if (q.protocol == ip::protocol::tcp || q.protocol == ip::protocol::udp) {
        q.source.port = load_be16(transport, 0);
        q.destination.port = load_be16(transport, 2);
    }
    if (q.protocol == ip::protocol::tcp) q.sequence = load_be32(transport, 4);
    return q;
}

} // namespace tapir::icmp
