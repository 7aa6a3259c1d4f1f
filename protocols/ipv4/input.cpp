#include <tapir/protocols/ipv4/input.hpp>

#include <cstddef>
#include <optional>

namespace tapir::ipv4 {

namespace {

drop reason_of(malformed m) {
    switch (m) {
    case malformed::too_short: return drop::too_short;
    case malformed::bad_version: return drop::bad_version;
    case malformed::bad_header_length: return drop::bad_header_length;
    case malformed::bad_total_length: return drop::bad_total_length;
    case malformed::bad_checksum: break;
    }
    return drop::bad_checksum;
}

// Walks the options. What is unknown is skipped [RFC 1122 3.2.1.8]; source routes are refused, since they let
// a stranger borrow somebody's address and read the answers [RFC 7126 4.3, 4.4].
std::optional<drop> refused_option(bytes options) {
    constexpr std::uint8_t end_of_options = 0;
    constexpr std::uint8_t no_operation = 1;
    constexpr std::uint8_t loose_source_route = 131;
    constexpr std::uint8_t strict_source_route = 137;
    while (!options.empty()) {
        const std::uint8_t kind = load_u8(options, 0);
        if (kind == end_of_options) break;
        if (kind == no_operation) {
            options = options.subspan(1);
            continue;
        }
        if (options.size() < 2) return drop::bad_options;
        const std::size_t length = load_u8(options, 1);
        if (length < 2 || length > options.size()) return drop::bad_options;
        if (kind == loose_source_route || kind == strict_source_route) return drop::source_routed;
        options = options.subspan(length);
    }
    return std::nullopt;
}

/// 0/8, 127/8 and 240/4 with the limited broadcast.
bool is_martian(ip::address a) {
    const std::uint32_t top = a.v4_value() >> 24;
    return top == 0 || top == 127 || top >= 240;
}

std::optional<drop> refused(const view& v, bool to_link_group, const routes& local) {
    if (const auto bad = refused_option(v.options())) return bad;

    // [RFC 1122 3.2.1.3]: a source must be the address of one host.
    const ip::address source = v.source();
    if (is_martian(source) || source.is_multicast() || local.is_broadcast(source)) return drop::bad_source;
    if (local.is_own(source)) return drop::own_source;

    const ip::address destination = v.destination();
    const bool broadcast = local.is_broadcast(destination);
    if (!broadcast) {
        if (is_martian(destination)) return drop::bad_destination;
        if (destination.is_multicast()) return drop::not_joined;
        if (!local.is_own(destination)) return drop::not_ours;
        if (to_link_group) return drop::link_broadcast; // [RFC 1122 3.3.6]
    }
    if (v.is_fragment()) return drop::fragment;
    return std::nullopt; // a TTL of 0 or 1 is no reason [RFC 1122 3.2.1.7]
}

} // namespace

std::string_view to_string(drop reason) {
    switch (reason) {
    case drop::too_short: return "datagram too short";
    case drop::bad_version: return "not version 4";
    case drop::bad_header_length: return "bad header length";
    case drop::bad_total_length: return "bad total length";
    case drop::bad_checksum: return "bad header checksum";
    case drop::bad_options: return "malformed options";
    case drop::source_routed: return "source route";
    case drop::bad_source: return "impossible source address";
    case drop::own_source: return "our own address as source";
    case drop::bad_destination: return "impossible destination address";
    case drop::not_ours: return "not for this host";
    case drop::not_joined: return "group not joined";
    case drop::link_broadcast: return "unicast in a link-layer broadcast";
    case drop::fragment: return "fragment";
    }
    return "unknown";
}

std::expected<datagram, drop> input::accept(bytes payload, bool to_link_group, const routes& local) {
    ++count_.received;
    const auto v = view::parse(payload);
    const auto reason = v ? refused(*v, to_link_group, local) : std::optional(reason_of(v.error()));
    if (reason) {
        ++count_.dropped[*reason];
        return std::unexpected(*reason);
    }
    ++count_.accepted;
    return datagram{.packet = *v, .broadcast = local.is_broadcast(v->destination())};
}

} // namespace tapir::ipv4
