#include <tapir/protocols/ipv4/input.hpp>
#include <tapir/protocols/ipv4/options.hpp>

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

/// 0/8, 127/8 and 240/4 with the limited broadcast.
bool is_martian(ip::address a) {
    const std::uint32_t top = a.v4_value() >> 24;
    return top == 0 || top == 127 || top >= 240;
}

bool is_link_local(ip::address a) {
    return a.v4_value() >> 16 == 0xa9fe;
}

std::expected<datagram, drop> judged(const view& v, bool to_link_group, const routes& local, std::size_t link,
                                     bool forwarding) {
    // Source routes are refused: they let a stranger borrow somebody's address and read the answers [RFC 7126
    // 4.3, 4.4].
    if (v.header_size() != header::size) {
        switch (check_options(v.options())) {
        case options_are::malformed: return std::unexpected(drop::bad_options);
        case options_are::source_routed: return std::unexpected(drop::source_routed);
        case options_are::fine: break;
        }
    }

    // [RFC 1122 3.2.1.3]: a source must be the address of one host.
    const ip::address source = v.source();
    if (is_martian(source) || source.is_multicast() || local.is_broadcast(source))
        return std::unexpected(drop::bad_source);
    if (local.is_own(source)) return std::unexpected(drop::own_source);

    const ip::address destination = v.destination();
    if (!to_link_group && local.is_own(destination)) return datagram{.packet = v}; // nearly all there is
    if (local.is_broadcast(destination, link)) return datagram{.packet = v, .broadcast = true};
    if (local.is_broadcast(destination)) return std::unexpected(drop::directed_broadcast);
    if (is_martian(destination)) return std::unexpected(drop::bad_destination);
    if (destination.is_multicast()) return std::unexpected(drop::not_joined);
    const bool ours = local.is_own(destination);
    if (!ours && !forwarding) return std::unexpected(drop::not_ours);
    if (to_link_group) return std::unexpected(drop::link_broadcast); // [RFC 1122 3.3.6] [RFC 1812 5.3.4]
    if (!ours && (is_link_local(source) || is_link_local(destination)))
        return std::unexpected(drop::link_local);
    // Cut again its pieces would wrap around to the front. What is for us reassembly refuses.
    if (!ours && v.header_size() + v.fragment_offset() + v.payload().size() > header::max_total_length)
        return std::unexpected(drop::too_long);
    // A TTL of 0 or 1 is no reason here [RFC 1122 3.2.1.7].
    return datagram{.packet = v, .transit = !ours};
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
    case drop::directed_broadcast: return "broadcast of another link";
    case drop::link_local: return "link-local in transit";
    case drop::too_long: return "fragment in transit that ends past the largest datagram";
    }
    return "unknown";
}

std::expected<datagram, drop> input::accept(bytes payload, bool to_link_group, const routes& local,
                                            std::size_t link) {
    ++count_.received;
    const auto v = view::parse(payload);
    const bool plain = v && !to_link_group && v->header_size() == header::size;
    if (plain && usual_ == way{&local, local.version(), v->source(), v->destination()}) {
        ++count_.accepted;
        return datagram{.packet = *v};
    }
    auto d = v ? judged(*v, to_link_group, local, link, forwarding_)
               : std::expected<datagram, drop>(std::unexpected(reason_of(v.error())));
    if (d)
        ++count_.accepted;
    else
        ++count_.dropped[d.error()];
    if (plain && d && !d->broadcast && !d->transit)
        usual_ = {&local, local.version(), v->source(), v->destination()};
    return d;
}

} // namespace tapir::ipv4
