#include <tapir/framework/bytes.hpp>
#include <tapir/protocols/host/kernel_side.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <type_traits>
#include <unistd.h>

namespace tapir {
namespace {

/// One rtnetlink request, built front to back in host byte order.
class request {
  public:
    explicit request(std::uint16_t type, std::uint16_t flags) {
        header_.nlmsg_type = type;
        header_.nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
    }

    template <class Body>
    void body(const Body& b) {
        append(&b, sizeof b);
    }
    void attribute(std::uint16_t type, bytes value) {
        rtattr a{};
        a.rta_type = type;
        a.rta_len = static_cast<std::uint16_t>(RTA_LENGTH(value.size()));
        append(&a, sizeof a);
        append(value.data(), value.size());
    }

    /// Sends it and takes the kernel's answer, which comes before sendmsg() has returned.
    result<> perform() {
        const int fd = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
        if (fd < 0) return errno_code(errno);
        const int error = exchange(fd);
        ::close(fd);
        if (error != 0) return errno_code(error);
        return {};
    }

  private:
    void append(const void* what, std::size_t size) {
        std::memcpy(message_.data() + used_, what, size);
        used_ += NLMSG_ALIGN(size);
    }

    int exchange(int fd) {
        header_.nlmsg_len = static_cast<std::uint32_t>(used_);
        std::memcpy(message_.data(), &header_, sizeof header_);
        if (::send(fd, message_.data(), used_, 0) < 0) return errno;
        alignas(NLMSG_ALIGNTO) std::array<std::byte, 1024> answer{};
        const ssize_t n = ::recv(fd, answer.data(), answer.size(), 0);
        if (n < 0) return errno;
        nlmsghdr h{};
        nlmsgerr e{};
        if (static_cast<std::size_t>(n) < sizeof h + sizeof e.error) return EPROTO;
        std::memcpy(&h, answer.data(), sizeof h);
        std::memcpy(&e.error, answer.data() + NLMSG_HDRLEN, sizeof e.error);
        return h.nlmsg_type == NLMSG_ERROR ? -e.error : EPROTO; // 0 is the acknowledgement
    }

    nlmsghdr header_{};
    std::array<std::byte, 256> message_{};
    std::size_t used_ = NLMSG_ALIGN(sizeof(nlmsghdr));
};

result<unsigned> index_of(const std::string& device) {
    const unsigned index = ::if_nametoindex(device.c_str());
    if (index == 0) return errno_code(errno);
    return index;
}

result<> set_up(unsigned index, bool up) {
    request r(RTM_NEWLINK, 0);
    ifinfomsg about{};
    about.ifi_family = AF_UNSPEC;
    about.ifi_index = static_cast<int>(index);
    about.ifi_flags = up ? IFF_UP : 0u;
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
    request r(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
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
    const result<unsigned> index = index_of(device);
    if (!index) return index.error();
    if (auto set = set_address(*index, address); !set) return set.error();
    return set_up(*index, true);
}

result<> set_kernel_side_up(const std::string& device, bool up) {
    const result<unsigned> index = index_of(device);
    if (!index) return index.error();
    return set_up(*index, up);
}

} // namespace tapir
