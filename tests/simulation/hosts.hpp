// Short names for tests that put hosts together by hand.
#pragma once

#include <tapir/protocols/ethernet/header.hpp>
#include <tapir/protocols/host/host.hpp>
#include <tapir/protocols/ip/address.hpp>

#include <cstdint>
#include <string>
#include <utility>

namespace tapir::test {

inline ip::address a(const char* text) {
    return ip::parse_address(text).value();
}
inline ip::prefix p(const char* text) {
    return ip::parse_prefix(text).value();
}
inline ethernet::mac_address mac(std::uint8_t last) {
    return {2, 0, 0, 0, 0, last};
}
inline host_config named(std::string name, bool forwarding = false) {
    host_config c;
    c.name = std::move(name);
    c.forwarding = forwarding;
    return c;
}

} // namespace tapir::test
