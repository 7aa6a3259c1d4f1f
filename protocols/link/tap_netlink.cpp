#include <tapir/protocols/link/tap_netlink.hpp>

#include <algorithm>
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
    if (const int error = perform(nullptr); error != 0) return errno_code(error);
    return {};
}

result<std::vector<std::byte>> netlink_request::ask() {
    std::vector<std::byte> answer;
    if (const int error = perform(&answer); error != 0) return errno_code(error);
    return answer;
}

int netlink_request::perform(std::vector<std::byte>* answer) {
    const int fd = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0) return errno;
    const int error = exchange(fd, answer);
    ::close(fd);
    return error;
}

int netlink_request::exchange(int fd, std::vector<std::byte>* told) {
    nlmsghdr header{};
    std::memcpy(&header, message_.data(), sizeof header);
    header.nlmsg_len = static_cast<std::uint32_t>(used_);
    std::memcpy(message_.data(), &header, sizeof header);
    if (::send(fd, message_.data(), used_, 0) < 0) return errno;

    std::array<std::byte, 16 * 1024> answer{};
    const ssize_t n = ::recv(fd, answer.data(), answer.size(), 0);
    if (n < 0) return errno;
    nlmsgerr outcome{};
    if (static_cast<std::size_t>(n) < NLMSG_HDRLEN + sizeof outcome.error) return EPROTO;
    std::memcpy(&header, answer.data(), sizeof header);
    if (told != nullptr &&
        header.nlmsg_type != NLMSG_ERROR) { // an acknowledgement follows, which tells no more
        told->assign(answer.begin() + NLMSG_HDRLEN, answer.begin() + n);
        return 0;
    }
    std::memcpy(&outcome.error, answer.data() + NLMSG_HDRLEN, sizeof outcome.error);
    return header.nlmsg_type == NLMSG_ERROR ? -outcome.error : EPROTO; // 0 is the acknowledgement
}

std::optional<bytes> find_attribute(bytes attributes, std::uint16_t type) {
    rtattr a{};
    while (attributes.size() >= sizeof a) {
        std::memcpy(&a, attributes.data(), sizeof a);
        if (a.rta_len < sizeof a || a.rta_len > attributes.size()) break;
        if ((a.rta_type & NLA_TYPE_MASK) == type)
            return attributes.subspan(RTA_LENGTH(0), a.rta_len - RTA_LENGTH(0));
        attributes = attributes.subspan(std::min<std::size_t>(RTA_ALIGN(a.rta_len), attributes.size()));
    }
    return std::nullopt;
}

result<unsigned> device_index(const std::string& name) {
    const unsigned index = ::if_nametoindex(name.c_str());
    if (index == 0) return errno_code(errno);
    return index;
}

} // namespace tapir
