#include <tapir/protocols/ipv4/path_mtu.hpp>

#include <algorithm>
#include <array>

namespace tapir::ipv4 {

std::optional<std::uint16_t> path_mtu::estimate(std::uint16_t told, std::size_t quoted_length) {
    if (told != 0) return told < quoted_length ? std::optional(told) : std::nullopt;
    // [RFC 1191 7.1]
    constexpr std::array<std::uint16_t, 11> plateaus = {65535, 32000, 17914, 8166, 4352, 2002,
                                                        1492,  1006,  508,   296,  68};
    const auto below =
        std::ranges::find_if(plateaus, [&](std::uint16_t plateau) { return plateau < quoted_length; });
    return below == plateaus.end() ? std::nullopt : std::optional(*below);
}

void path_mtu::learn(const ip::address& destination, std::uint16_t mtu, instant now) {
    const std::uint16_t lowest = std::max(mtu, config_.min_mtu);
    const auto known = table_.find(destination.v4_value());
    const bool valid = known != table_.end() && now < known->second.expires;
    const bool may_fragment = mtu < config_.min_mtu || (valid && known->second.may_fragment);
    if (valid && known->second.mtu <= lowest && known->second.may_fragment == may_fragment) return;
    if (known == table_.end()) make_room(now);
    ++count_.lowered;
    if (mtu < config_.min_mtu) ++count_.below_minimum;
    table_[destination.v4_value()] = {.mtu = valid ? std::min(known->second.mtu, lowest) : lowest,
                                      .may_fragment = may_fragment,
                                      .expires = after(now, config_.lifetime)};
}

void path_mtu::make_room(instant now) {
    if (table_.size() < config_.max_destinations) return;
    std::erase_if(table_, [&](const auto& e) { return e.second.expires <= now; });
    if (table_.size() < config_.max_destinations) return;
    ++count_.evicted;
    table_.erase(std::ranges::min_element(table_, {}, [](const auto& e) { return e.second.expires; }));
}

path_mtu::path path_mtu::learnt(const ip::address& destination, path of_link, instant now) const {
    const auto known = table_.find(destination.v4_value());
    if (known == table_.end() || known->second.expires <= now) return of_link;
    path p = of_link;
    p.mtu = std::min(of_link.mtu, known->second.mtu);
    p.may_fragment = of_link.may_fragment || known->second.may_fragment;
    return p;
}

} // namespace tapir::ipv4
