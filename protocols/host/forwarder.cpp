#include <tapir/protocols/host/forwarder.hpp>
#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/link/offload.hpp>

#include <algorithm>
#include <cassert>
#include <utility>

namespace tapir {

namespace {

// The TTL is the upper half of a word of the header's sum. [RFC 1624 3]: HC' = ~(~HC + ~m + m').
void decrement_ttl(mutable_bytes header) {
    const std::uint16_t before = load_be16(header, 8);
    const auto later = static_cast<std::uint16_t>(before - 0x100);
    const auto sum = static_cast<std::uint16_t>(~load_be16(header, 10));
    const auto without = static_cast<std::uint16_t>(~before);
    store_be16(header, 8, later);
    store_be16(header, 10, static_cast<std::uint16_t>(~ip::fold(std::uint64_t{sum} + without + later)));
}

} // namespace

std::optional<icmp::message> forwarder::forward(frame&& f, const ipv4::datagram& d) {
    assert(d.transit);
    const std::size_t size = d.packet.datagram().size();
    if (d.packet.ttl() <= 1) { // [RFC 1812 5.3.1]
        ++count_.ttl_exceeded;
        return icmp::message::time_exceeded(icmp::time_exceeded_code::ttl, {});
    }
    const auto way = out_.route(d.packet.destination());
    if (!way) { // [RFC 1812 5.2.7.1]
        ++count_.no_route;
        return icmp::message::destination_unreachable(icmp::unreachable_code::network, {});
    }
    const std::size_t mtu = out_.link_mtu(way->link);
    // A large segment is cut to its own size behind us: it fits if its pieces do.
    if (largest_packet(f.meta, size) > mtu && d.packet.dont_fragment()) { // [RFC 1191 4]
        ++count_.fragmentation_needed;
        return icmp::message::destination_unreachable(
            icmp::unreachable_code::fragmentation_needed, {},
            static_cast<std::uint16_t>(std::min<std::size_t>(mtu, 65535)));
    }
    f.drop_back(f.size() - size); // padding
    decrement_ttl(f.mutable_data());
    ++count_.forwarded;
    (void)out_.send_packet(std::move(f), *way); // it fits or may be cut
    return std::nullopt;
}

} // namespace tapir
