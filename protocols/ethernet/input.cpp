#include <tapir/protocols/ethernet/input.hpp>

namespace tapir::ethernet {

std::string_view to_string(drop reason) {
    switch (reason) {
    case drop::too_short: return "frame too short";
    case drop::length_field: return "IEEE 802.3 length field";
    case drop::bad_source: return "bad source address";
    case drop::not_ours: return "not for this station";
    }
    return "unknown";
}

std::unexpected<drop> input::refuse(drop reason) {
    ++count_.dropped[reason];
    return std::unexpected(reason);
}

std::expected<view, drop> input::accept(bytes frame) {
    ++count_.received;
    const auto v = view::parse(frame);
    if (!v) return refuse(v.error() == malformed::too_short ? drop::too_short : drop::length_field);
    if (!v->source().is_station()) return refuse(drop::bad_source);
    const mac_address to = v->destination();
    if (to != own_ && !to.is_multicast()) return refuse(drop::not_ours);
    return *v;
}

} // namespace tapir::ethernet
