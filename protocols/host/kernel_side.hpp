// The kernel's end of a TAP: a network device that needs an address and must be up before anything arrives.
//
//     auto opened = co_await tapir::open_tap(tapir::tap_config("tapir0"));
//     auto set = tapir::configure_kernel_side("tapir0", ip::prefix(ip::address::v4(192, 0, 2, 1), 24));
//
// Done with rtnetlink, without other programs. Its MTU and queue length are the TAP's (tap_config).
#pragma once

#include <tapir/framework/error.hpp>
#include <tapir/protocols/ip/address.hpp>

#include <string>

namespace tapir {

/// Gives the kernel's side of `device` that address and network, and sets it up. An address that it has
/// already is left as it is. Blocks for microseconds. Needs CAP_NET_ADMIN: EPERM without it; ENODEV when
/// there is no such device.
result<> configure_kernel_side(const std::string& device, ip::prefix address);

/// Sets the kernel's side of `device` up or down.
result<> set_kernel_side_up(const std::string& device, bool up);

} // namespace tapir
