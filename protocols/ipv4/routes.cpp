#include <tapir/protocols/ipv4/routes.hpp>

#include <algorithm>
#include <cstdint>

namespace tapir::ipv4 {

namespace {

std::uint32_t top_octet(ip::address a) {
    return a.v4_value() >> 24;
}

/// Neither 0/8 nor 127/8 nor 224/4 nor 240/4. [RFC 1122 3.2.1.3]
bool is_host_address(ip::address a) {
    return a.is_v4() && top_octet(a) != 0 && top_octet(a) != 127 && top_octet(a) < 224;
}

ip::prefix network_of(ip::prefix p) {
    return {ip::address::v4(p.addr.v4_value() & p.mask()), p.length};
}

bool has_broadcast(ip::prefix p) {
    return p.length < 31; // [RFC 3021 2.1]: both addresses of a /31 are hosts
}

} // namespace

void routes::insert(const route& r) {
    const auto shorter = std::ranges::find_if(
        routes_, [&](const route& other) { return other.destination.length < r.destination.length; });
    routes_.insert(shorter, r);
}

result<> routes::add_address(ip::prefix own) {
    if (own.length > 32 || !is_host_address(own.addr)) return errc::invalid_argument;
    const bool is_network_itself = network_of(own).addr == own.addr;
    if (has_broadcast(own) && (own.broadcast() == own.addr || is_network_itself))
        return errc::invalid_argument;
    if (is_own(own.addr)) return errc::address_in_use;
    addresses_.push_back(own);
    insert({.destination = network_of(own), .gateway = std::nullopt, .source = own.addr});
    return {};
}

result<> routes::add(ip::prefix destination, ip::address gateway) {
    if (destination.length > 32 || !destination.addr.is_v4()) return errc::invalid_argument;
    const route* link = connected(gateway);
    if (link == nullptr || is_own(gateway) || is_broadcast(gateway)) return errc::invalid_argument;
    const route r{.destination = network_of(destination), .gateway = gateway, .source = link->source};
    remove(destination);
    insert(r);
    return {};
}

bool routes::remove(ip::prefix destination) {
    return std::erase_if(routes_, [&](const route& r) {
               return r.gateway && r.destination == network_of(destination);
           }) != 0;
}

const route* routes::connected(ip::address a) const {
    const auto found = std::ranges::find_if(
        routes_, [&](const route& r) { return !r.gateway && r.destination.contains(a); });
    return found == routes_.end() ? nullptr : &*found;
}

std::optional<hop> routes::lookup(ip::address destination) const {
    if (!destination.is_v4()) return std::nullopt;
    // Groups and the limited broadcast stay on the link, whatever the routes say.
    if (destination.is_multicast() || destination.is_broadcast()) {
        if (addresses_.empty()) return std::nullopt;
        return hop{.next_hop = destination, .source = addresses_.front().addr};
    }
    if (!is_host_address(destination)) return std::nullopt;
    for (const route& r : routes_)
        if (r.destination.contains(destination))
            return hop{.next_hop = r.gateway.value_or(destination), .source = r.source};
    return std::nullopt;
}

bool routes::is_own(ip::address a) const {
    return std::ranges::any_of(addresses_, [&](const ip::prefix& p) { return p.addr == a; });
}

bool routes::is_broadcast(ip::address a) const {
    return a.is_broadcast() || std::ranges::any_of(addresses_, [&](const ip::prefix& p) {
               return has_broadcast(p) && p.broadcast() == a;
           });
}

} // namespace tapir::ipv4
