#include <tapir/protocols/link/tap_netlink.hpp>

#include <cassert>
#include <cerrno>
#include <cstring>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

namespace tapir {

netlink_request::netlink_request(std::uint16_t type, std::uint16_t flags) {
    nlmsghdr header{};
    header.nlmsg_type = type;
    header.nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
    append(&header, sizeof header);
}

void netlink_request::append(const void* what, std::size_t size) {
    assert(used_ + NLMSG_ALIGN(size) <= message_.size());
    std::memcpy(message_.data() + used_, what, size);
    used_ += NLMSG_ALIGN(size);
}

void netlink_request::attribute(std::uint16_t type, bytes value) {
    rtattr a{};
    a.rta_type = type;
    a.rta_len = static_cast<std::uint16_t>(RTA_LENGTH(value.size()));
    append(&a, sizeof a);
    append(value.data(), value.size());
}

result<> netlink_request::perform() {
    const int fd = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0) return errno_code(errno);
    const int error = exchange(fd);
    ::close(fd);
    if (error != 0) return errno_code(error);
    return {};
}

int netlink_request::exchange(int fd) {
    nlmsghdr header{};
    std::memcpy(&header, message_.data(), sizeof header);
    header.nlmsg_len = static_cast<std::uint32_t>(used_);
    std::memcpy(message_.data(), &header, sizeof header);
    if (::send(fd, message_.data(), used_, 0) < 0) return errno;

    std::array<std::byte, 1024> answer{};
    const ssize_t n = ::recv(fd, answer.data(), answer.size(), 0);
    if (n < 0) return errno;
    nlmsgerr outcome{};
    if (static_cast<std::size_t>(n) < NLMSG_HDRLEN + sizeof outcome.error) return EPROTO;
    std::memcpy(&header, answer.data(), sizeof header);
    std::memcpy(&outcome.error, answer.data() + NLMSG_HDRLEN, sizeof outcome.error);
    return header.nlmsg_type == NLMSG_ERROR ? -outcome.error : EPROTO; // 0 is the acknowledgement
}

result<unsigned> device_index(const std::string& name) {
    const unsigned index = ::if_nametoindex(name.c_str());
    if (index == 0) return errno_code(errno);
    return index;
}

} // namespace tapir
