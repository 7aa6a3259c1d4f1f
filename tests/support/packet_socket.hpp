// The kernel's side of a TAP, frame by frame (AF_PACKET).
#pragma once

#include <tapir/framework/bytes.hpp>

#include <arpa/inet.h>
#include <array>
#include <cstddef>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

#include "tests/support/netns.hpp"

namespace tapir::test {

class packet_socket {
  public:
    /// Sees frames of one EtherType only, so that the kernel's own chatter does not count.
    packet_socket(const std::string& device, std::uint16_t type)
        : fd_(::socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(type))) {
        expect(fd_ >= 0, "AF_PACKET socket");
        sockaddr_ll to{};
        to.sll_family = AF_PACKET;
        to.sll_protocol = htons(type);
        to.sll_ifindex = static_cast<int>(::if_nametoindex(device.c_str()));
        expect(::bind(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0, "bind to " + device);
    }
    packet_socket(const packet_socket&) = delete;
    packet_socket& operator=(const packet_socket&) = delete;
    ~packet_socket() { ::close(fd_); }

    void send(bytes frame) {
        expect(::send(fd_, frame.data(), frame.size(), 0) == static_cast<ssize_t>(frame.size()),
               "the kernel takes a frame");
    }
    /// Every frame that came in since the last call; what was sent from here is left out. The socket holds no
    /// more than some eighty full frames meanwhile.
    std::vector<std::vector<std::byte>> received() {
        std::vector<std::vector<std::byte>> all;
        std::array<std::byte, 70'000> room;
        sockaddr_ll from{};
        socklen_t size = sizeof from;
        for (ssize_t n; (n = ::recvfrom(fd_, room.data(), room.size(), 0, reinterpret_cast<sockaddr*>(&from),
                                        &size)) >= 0;)
            if (from.sll_pkttype != PACKET_OUTGOING)
                all.emplace_back(room.begin(), room.begin() + static_cast<std::ptrdiff_t>(n));
        return all;
    }

  private:
    int fd_;
};

} // namespace tapir::test
