#include <tapir/framework/bytes.hpp>
#include <tapir/protocols/host/kernel_side.hpp>
#include <tapir/protocols/link/tap_netlink.hpp>

#include <array>
#include <cstddef>
#include <linux/rtnetlink.h>
#include <net/if.h>

namespace tapir {
namespace {

result<> set_up(unsigned index, bool up) {
    netlink_request r(RTM_NEWLINK);
    ifinfomsg about{};
    about.ifi_family = AF_UNSPEC;
    about.ifi_index = static_cast<int>(index);
    about.ifi_flags = up ? unsigned{IFF_UP} : 0u;
    about.ifi_change = IFF_UP;
    r.body(about);
    return r.perform();
}

std::array<std::byte, 4> wire_form(ip::address a) {
    std::array<std::byte, 4> b{};
    store_be32(b, 0, a.v4_value());
    return b;
}

result<> set_address(unsigned index, ip::prefix address) {
    netlink_request r(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
    ifaddrmsg about{};
    about.ifa_family = AF_INET;
    about.ifa_prefixlen = static_cast<unsigned char>(address.length);
    about.ifa_index = index;
    r.body(about);
    r.attribute(IFA_LOCAL, wire_form(address.addr));
    r.attribute(IFA_ADDRESS, wire_form(address.addr));
    r.attribute(IFA_BROADCAST, wire_form(address.broadcast()));
    return r.perform();
}

} // namespace

result<> configure_kernel_side(const std::string& device, ip::prefix address) {
    if (!address.addr.is_v4() || address.length > 32) return errc::invalid_argument;
    const result<unsigned> index = device_index(device);
    if (!index) return index.error();
    if (auto set = set_address(*index, address); !set) return set.error();
    return set_up(*index, true);
}

result<> set_kernel_side_up(const std::string& device, bool up) {
    const result<unsigned> index = device_index(device);
    if (!index) return index.error();
    return set_up(*index, up);
}

} // namespace tapir
