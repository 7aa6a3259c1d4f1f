// Where a socket of the kernel listens or connects to: IPv4, or a path of this machine.
//
//     auto a = tapir::kernel::address::parse("127.0.0.1:8080");
//     auto b = tapir::kernel::address::parse("unix:/run/app.sock");      // "unix:@name": the abstract
//     namespace
#pragma once

#include <tapir/framework/error.hpp>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <sys/socket.h>

namespace tapir::kernel {

class address {
  public:
    /// No address: that of an unnamed AF_UNIX socket prints as "unix:".
    address() = default;
    static address ipv4(std::array<std::uint8_t, 4> octets, std::uint16_t port);
    /// errc::invalid_argument when it is none of the forms above (a path holds at most 107 bytes).
    static result<address> parse(std::string_view text);
    /// As getsockname() and the like give it; other families become "no address".
    static address from(const sockaddr_storage& raw, socklen_t size);

    int family() const { return raw_.ss_family; }
    bool is_unix() const { return family() == AF_UNIX; }
    /// 0 for AF_UNIX.
    std::uint16_t port() const;
    /// The path of a socket in the file system; empty for all others.
    std::string path() const;
    std::string to_string() const;

    const sockaddr* data() const { return reinterpret_cast<const sockaddr*>(&raw_); }
    socklen_t size() const { return size_; }
    bool operator==(const address& other) const;

  private:
    sockaddr_storage raw_{};
    socklen_t size_ = 0;
};

} // namespace tapir::kernel
