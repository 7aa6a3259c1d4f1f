#include <tapir/protocols/icmp/responder.hpp>

#include <algorithm>
#include <cassert>
#include <expected>

namespace tapir::icmp {

namespace {

// [RFC 1122 3.2.2.1], [RFC 1812 5.2.7.1]
std::optional<error_kind> kind_of_unreachable(std::uint8_t code) {
    switch (static_cast<unreachable_code>(code)) {
    case unreachable_code::network:
    case unreachable_code::network_unknown:
    case unreachable_code::network_type_of_service: return error_kind::network_unreachable;
    case unreachable_code::host:
    case unreachable_code::host_unknown:
    case unreachable_code::source_isolated:
    case unreachable_code::host_type_of_service: return error_kind::host_unreachable;
    case unreachable_code::protocol: return error_kind::protocol_unreachable;
    case unreachable_code::port: return error_kind::port_unreachable;
    case unreachable_code::fragmentation_needed: return error_kind::fragmentation_needed;
    case unreachable_code::source_route_failed: return error_kind::source_route_failed;
    case unreachable_code::network_prohibited:
    case unreachable_code::host_prohibited:
    case unreachable_code::communication_prohibited:
    case unreachable_code::host_precedence_violation:
    case unreachable_code::precedence_cutoff: return error_kind::prohibited;
    }
    return std::nullopt;
}

std::optional<error_kind> kind_of(const view& v) {
    switch (v.type()) {
    case type::destination_unreachable: return kind_of_unreachable(v.code());
    case type::time_exceeded:
        if (v.code() > 1) return std::nullopt;
        return v.code() == 0 ? error_kind::ttl_exceeded : error_kind::reassembly_timed_out;
    case type::parameter_problem: return error_kind::parameter_problem; // [RFC 1122 3.2.2.5]: any code
    default: return std::nullopt;
    }
}

bool is_one_host(ip::address a) {
    const std::uint32_t top = a.v4_value() >> 24;
    return top != 0 && top != 127 && top < 224;
}

} // namespace

std::string_view to_string(error_kind kind) {
    switch (kind) {
    case error_kind::network_unreachable: return "network unreachable";
    case error_kind::host_unreachable: return "host unreachable";
    case error_kind::protocol_unreachable: return "protocol unreachable";
    case error_kind::port_unreachable: return "port unreachable";
    case error_kind::fragmentation_needed: return "fragmentation needed";
    case error_kind::source_route_failed: return "source route failed";
    case error_kind::prohibited: return "prohibited";
    case error_kind::ttl_exceeded: return "time to live exceeded";
    case error_kind::reassembly_timed_out: return "reassembly timed out";
    case error_kind::parameter_problem: return "parameter problem";
    }
    return "unknown";
}

std::string_view to_string(drop reason) {
    switch (reason) {
    case drop::too_short: return "message too short";
    case drop::bad_checksum: return "bad checksum";
    case drop::to_broadcast: return "to a broadcast address";
    case drop::unknown_type: return "unknown type";
    case drop::unknown_code: return "unknown code";
    case drop::bad_quote: return "malformed quoted datagram";
    case drop::foreign_quote: return "quoted datagram is not ours";
    case drop::source_quench: return "source quench";
    case drop::redirect: return "redirect";
    case drop::echo_reply: return "echo reply";
    }
    return "unknown";
}

std::string_view to_string(suppressed reason) {
    switch (reason) {
    case suppressed::about_error: return "about an ICMP error";
    case suppressed::about_group: return "about a broadcast or multicast";
    case suppressed::about_fragment: return "about a later fragment";
    case suppressed::about_source: return "about an impossible source";
    case suppressed::rate_limited: return "rate limit";
    }
    return "unknown";
}

void outgoing::emit(mutable_bytes out) const {
    header.emit(out);
    message.emit(out.subspan(ipv4::header::size));
}

responder::responder(const responder_config& config)
    : config_(config), bucket_(config.errors_per_second, config.error_burst) {
    // [RFC 1122 3.2.2]: room for at least a header with all its options and eight bytes.
    assert(config.max_error_size >= ipv4::header::size + message::header_size + 60 + 8);
}

responder::outcome responder::ignore(drop reason) {
    ++count_.dropped[reason];
    return std::monostate();
}

std::optional<outgoing> responder::suppress(suppressed reason) {
    ++count_.errors_suppressed[reason];
    return std::nullopt;
}

outgoing responder::answer(const ipv4::view& to, std::uint8_t type_of_service, const message& m) const {
    return {.header = {.type_of_service = type_of_service,
                       .dont_fragment = false, // nothing here would hear that it was too large
                       .ttl = config_.ttl,
                       .protocol = ip::protocol::icmp,
                       .source = to.destination(),
                       .destination = to.source(),
                       .payload_size = m.size()},
            .message = m};
}

responder::outcome responder::on_datagram(const ipv4::datagram& d) {
    assert(d.packet.protocol() == ip::protocol::icmp);
    ++count_.received;
    const auto v = view::parse(d.packet.payload());
    if (!v) return ignore(v.error() == malformed::too_short ? drop::too_short : drop::bad_checksum);
    switch (v->type()) {
    case type::echo_request: {
        // [RFC 1122 3.2.2.6]: answered from the address that was asked, with the data that came; one request
        // to a broadcast address must not draw answers from a whole network.
        if (d.broadcast || d.packet.destination().is_multicast()) return ignore(drop::to_broadcast);
        ++count_.echo_replies_sent;
        const auto tos = static_cast<std::uint8_t>(d.packet.dscp() << 2); // ECN is not the sender's to set
        return answer(d.packet, tos, message::echo_reply(v->identifier(), v->sequence(), v->body()));
    }
    case type::destination_unreachable:
    case type::time_exceeded:
    case type::parameter_problem: return on_error(*v, d);
    case type::echo_reply: return ignore(drop::echo_reply);
    case type::source_quench: return ignore(drop::source_quench);
    case type::redirect: return ignore(drop::redirect);
    case type::timestamp_request:
    case type::timestamp_reply: break;
    }
    return ignore(drop::unknown_type);
}

responder::outcome responder::on_error(const view& v, const ipv4::datagram& d) {
    if (d.broadcast || d.packet.destination().is_multicast()) return ignore(drop::to_broadcast);
    const auto kind = kind_of(v);
    if (!kind) return ignore(drop::unknown_code);
    const auto about = parse_quoted(v.body());
    if (!about) return ignore(drop::bad_quote);
    if (about->source.addr != d.packet.destination()) return ignore(drop::foreign_quote);
    ++count_.errors_received[*kind];
    return received_error{.kind = *kind,
                          .reporter = d.packet.source(),
                          .protocol = about->protocol,
                          .local = about->source,
                          .remote = about->destination,
                          .sequence = about->sequence,
                          .next_hop_mtu =
                              *kind == error_kind::fragmentation_needed ? v.next_hop_mtu() : std::uint16_t{0},
                          .total_length = about->total_length};
}

std::optional<outgoing> responder::unreachable(const ipv4::datagram& about, unreachable_code code,
                                               instant now) {
    return error(about, message::destination_unreachable(code, {}), now);
}

// [RFC 1122 3.2.2], [RFC 1812 4.3.2.7]
std::optional<outgoing> responder::error(const ipv4::datagram& about, const message& m, instant now,
                                         std::optional<ip::address> own) {
    const ipv4::view& original = about.packet;
    if (about.broadcast || original.destination().is_multicast()) return suppress(suppressed::about_group);
    if (original.fragment_offset() != 0) return suppress(suppressed::about_fragment);
    if (!is_one_host(original.source())) return suppress(suppressed::about_source);
    if (original.protocol() == ip::protocol::icmp) {
        const bytes inner = original.payload();
        if (inner.empty() || !is_query(static_cast<type>(load_u8(inner, 0))))
            return suppress(suppressed::about_error);
    }
    if (!bucket_.take(now)) return suppress(suppressed::rate_limited);

    const std::size_t room = config_.max_error_size - ipv4::header::size - message::header_size;
    message quoting = m;
    quoting.body = original.datagram().first(std::min(original.datagram().size(), room));
    ++count_.errors_sent;
    // [RFC 1812 4.3.2.5]: precedence 6, "internetwork control".
    constexpr std::uint8_t internetwork_control = 0xc0;
    outgoing e = answer(original, internetwork_control, quoting);
    if (own) e.header.source = *own;
    return e;
}

} // namespace tapir::icmp
