#include <tapir/protocols/ipv4/routes.hpp>

#include <algorithm>
#include <cstdint>
#include <limits>

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

bool is_last_of(const ip::prefix& p, const ip::address& a) {
    return a.is_v4() && a.v4_value() == (p.addr.v4_value() | ~p.mask());
}

} // namespace

void routes::insert(const route& r) {
    changed();
    const auto shorter = std::ranges::find_if(
        routes_, [&](const route& other) { return other.destination.length < r.destination.length; });
    routes_.insert(shorter, r);
}

result<> routes::add_address(ip::prefix own, std::size_t link) {
    if (own.length > 32 || !is_host_address(own.addr)) return errc::invalid_argument;
    const bool is_network_itself = network_of(own).addr == own.addr;
    if (has_broadcast(own) && (own.broadcast() == own.addr || is_network_itself))
        return errc::invalid_argument;
    if (is_own(own.addr)) return errc::address_in_use;
    addresses_.push_back({.prefix = own, .link = link});
    if (has_broadcast(own)) broadcasts_.push_back(own.broadcast().v4_value());
    insert({.destination = network_of(own), .gateway = std::nullopt, .source = own.addr, .link = link});
    return {};
}

result<> routes::remove_address(ip::address own) {
    const auto found =
        std::ranges::find_if(addresses_, [&](const own_address& o) { return o.prefix.addr == own; });
    if (found == addresses_.end()) return errc::address_unavailable;
    changed();
    const own_address gone = *found;
    addresses_.erase(found);
    if (has_broadcast(gone.prefix))
        broadcasts_.erase(std::ranges::find(broadcasts_, gone.prefix.broadcast().v4_value()));
    const auto heir = std::ranges::find_if(addresses_, [&](const own_address& o) {
        return o.link == gone.link && network_of(o.prefix) == network_of(gone.prefix);
    });
    std::erase_if(routes_, [&](route& r) {
        if (r.source != own || r.link != gone.link) return false;
        const bool own_network = !r.gateway && r.destination == network_of(gone.prefix);
        if (own_network || heir == addresses_.end()) return true; // the heir has its own for that network
        r.source = heir->prefix.addr;
        return false;
    });
    return {};
}

result<> routes::add(ip::prefix destination, ip::address gateway) {
    if (destination.length > 32 || !destination.addr.is_v4()) return errc::invalid_argument;
    const route* way = connected(gateway);
    if (way == nullptr || is_own(gateway) || is_broadcast(gateway)) return errc::invalid_argument;
    const route r{
        .destination = network_of(destination), .gateway = gateway, .source = way->source, .link = way->link};
    std::erase_if(routes_, [&](const route& old) { // insert() forgets what was looked up
        return old.gateway && old.destination == r.destination && old.link == r.link;
    });
    insert(r);
    return {};
}

result<> routes::add_on_link(ip::prefix destination, std::size_t link) {
    const auto ours = std::ranges::find(addresses_, link, &own_address::link);
    if (destination.length > 32 || !destination.addr.is_v4() || ours == addresses_.end())
        return errc::invalid_argument;
    insert({.destination = network_of(destination),
            .gateway = std::nullopt,
            .source = ours->prefix.addr,
            .link = link});
    return {};
}

bool routes::remove(ip::prefix destination) {
    const auto comes_with_an_address = [&](const route& r) {
        return !r.gateway && std::ranges::any_of(addresses_, [&](const own_address& o) {
            return o.prefix.addr == r.source && network_of(o.prefix) == r.destination;
        });
    };
    changed();
    return std::erase_if(routes_, [&](const route& r) {
               return r.destination == network_of(destination) && !comes_with_an_address(r);
           }) != 0;
}

const route* routes::connected(ip::address a) const {
    const auto found = std::ranges::find_if(
        routes_, [&](const route& r) { return !r.gateway && r.destination.contains(a); });
    return found == routes_.end() ? nullptr : &*found;
}

void routes::ask(const question& q) const {
    latest_.emplace(q, find(q));
}

std::optional<hop> routes::find(const question& asked) const {
    const auto& [destination, from] = asked;
    if (!destination.is_v4()) return std::nullopt;
    constexpr std::size_t any = std::numeric_limits<std::size_t>::max();
    const std::size_t link = from ? link_of(*from).value_or(any) : any;
    // Groups and the limited broadcast stay on the link, whatever the routes say.
    if (destination.is_multicast() || destination.is_broadcast()) {
        const auto ours = std::ranges::find_if(
            addresses_, [&](const own_address& o) { return link == any || o.link == link; });
        if (ours == addresses_.end()) return std::nullopt;
        return hop{.next_hop = destination, .source = ours->prefix.addr, .link = ours->link};
    }
    if (!is_host_address(destination)) return std::nullopt;
    const route* best = nullptr;
    for (const route& r : routes_) {
        if (best != nullptr && r.destination.length < best->destination.length) break;
        if (!r.destination.contains(destination)) continue;
        if (best == nullptr || (r.link == link && best->link != link)) best = &r;
    }
    if (best == nullptr) return std::nullopt;
    return hop{.next_hop = best->gateway.value_or(destination), .source = best->source, .link = best->link};
}

std::optional<std::size_t> routes::link_of(ip::address own) const {
    const auto found =
        std::ranges::find_if(addresses_, [&](const own_address& o) { return o.prefix.addr == own; });
    return found == addresses_.end() ? std::nullopt : std::optional(found->link);
}

bool routes::is_broadcast(ip::address a, std::size_t link) const {
    return a.is_broadcast() || std::ranges::any_of(addresses_, [&](const own_address& o) {
               return o.link == link && has_broadcast(o.prefix) && is_last_of(o.prefix, a);
           });
}

} // namespace tapir::ipv4
