#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/udp/header.hpp>

#include <cassert>

namespace tapir::udp {

std::expected<view, malformed> view::parse(bytes datagram) {
    if (datagram.size() < header::size) return std::unexpected(malformed::too_short);
    const std::size_t length = load_be16(datagram, 4);
    if (length < header::size || length > datagram.size()) return std::unexpected(malformed::bad_length);
    return view(datagram.first(length));
}

bool view::checksum_ok(std::uint16_t pseudo_header_sum) const {
    if (checksum() == 0) return true;
    ip::checksum sum(pseudo_header_sum);
    sum.add_u16(static_cast<std::uint16_t>(datagram_.size()));
    sum.add(datagram_);
    return sum.valid();
}

void header::emit(mutable_bytes out, std::uint16_t pseudo_header_sum, bytes payload) const {
    assert(payload.size() <= max_payload);
    const auto length = static_cast<std::uint16_t>(size + payload.size());
    store_be16(out, 0, source_port);
    store_be16(out, 2, destination_port);
    store_be16(out, 4, length);
    store_be16(out, 6, 0);
    ip::checksum sum(pseudo_header_sum);
    sum.add_u16(length);
    sum.add(out.first(size));
    sum.add(payload);
    store_be16(out, 6, sum.value() == 0 ? std::uint16_t{0xffff} : sum.value());
}

} // namespace tapir::udp
