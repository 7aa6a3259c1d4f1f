#include <tapir/protocols/ethernet/header.hpp>

namespace tapir::ethernet {

std::expected<view, malformed> view::parse(bytes frame) {
    if (frame.size() < header::size) return std::unexpected(malformed::too_short);
    // [RFC 1122 2.3.3]: RFC 894 encapsulation is what every host must take; IEEE 802's is optional.
    if (load_be16(frame, 12) < first_ether_type) return std::unexpected(malformed::length_field);
    return view(frame);
}

header header::of(const view& v) {
    return {.destination = v.destination(), .source = v.source(), .type = v.type()};
}

void header::emit(mutable_bytes out) const {
    destination.store(out, 0);
    source.store(out, 6);
    store_be16(out, 12, static_cast<std::uint16_t>(type));
}

} // namespace tapir::ethernet
