// A cable between two network devices, each in a network namespace of its own, as a bridge would be where
// there is none: what one device receives is sent out of the other, by a thread.
//
//     test::tap_cable cable("tapir1", server.pid(), "tapir9");    // ours, and one in that process's network
#pragma once

#include <chrono>
#include <exception>
#include <fcntl.h>
#include <memory>
#include <sched.h>
#include <string>
#include <sys/types.h>
#include <thread>

#include "tests/support/netns.hpp"
#include "tests/support/packet_socket.hpp"

namespace tapir::test {

/// This thread is in the network of another process until the end of the block.
class in_network_of {
  public:
    explicit in_network_of(pid_t other) : home_(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) {
        const std::string path = "/proc/" + std::to_string(other) + "/ns/net";
        const int there = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
        const bool entered = home_ >= 0 && there >= 0 && ::setns(there, CLONE_NEWNET) == 0;
        if (there >= 0) ::close(there);
        expect(entered, "entering the network of process " + std::to_string(other));
    }
    in_network_of(const in_network_of&) = delete;
    in_network_of& operator=(const in_network_of&) = delete;
    ~in_network_of() {
        if (::setns(home_, CLONE_NEWNET) != 0) std::terminate(); // everything after would run elsewhere
        ::close(home_);
    }

  private:
    int home_;
};

class tap_cable {
  public:
    tap_cable(const std::string& ours, pid_t other, const std::string& theirs)
        : here_(std::make_unique<packet_socket>(ours, ETH_P_ALL)), there_(opened_in(other, theirs)),
          thread_([this](std::stop_token stop) { carry(stop); }) {}

  private:
    static std::unique_ptr<packet_socket> opened_in(pid_t other, const std::string& device) {
        const in_network_of there(other);
        return std::make_unique<packet_socket>(device, ETH_P_ALL);
    }
    void carry(std::stop_token stop) {
        while (!stop.stop_requested()) {
            const bool some = carry(*here_, *there_);
            if (!carry(*there_, *here_) && !some) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    }
    static bool carry(packet_socket& from, packet_socket& to) {
        const auto frames = from.received();
        for (const auto& frame : frames) {
            try {
                to.send(frame);
            } catch (const std::exception&) { // a full queue loses frames, as any cable's end does
            }
        }
        return !frames.empty();
    }

    std::unique_ptr<packet_socket> here_;
    std::unique_ptr<packet_socket> there_;
    std::jthread thread_;
};

} // namespace tapir::test
