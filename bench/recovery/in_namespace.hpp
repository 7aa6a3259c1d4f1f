// A visit to another network namespace, by the name that `ip netns` gave it: devices that are opened
// meanwhile are that namespace's, and stay so. Only the calling thread goes there.
#pragma once

#include <cerrno>
#include <fcntl.h>
#include <sched.h>
#include <string>
#include <system_error>
#include <unistd.h>

namespace bench {

class in_namespace {
  public:
    /// Throws std::system_error when there is no such namespace, or we may not enter it.
    explicit in_namespace(const std::string& name) : home_(open("/proc/thread-self/ns/net")) {
        const int there = open("/run/netns/" + name);
        const int entered = ::setns(there, CLONE_NEWNET);
        const int error = errno;
        ::close(there);
        if (entered != 0) {
            ::close(home_);
            throw std::system_error(error, std::system_category(), "cannot enter the namespace " + name);
        }
    }
    in_namespace(const in_namespace&) = delete;
    in_namespace& operator=(const in_namespace&) = delete;
    ~in_namespace() {
        (void)::setns(home_, CLONE_NEWNET); // it was ours a moment ago
        ::close(home_);
    }

  private:
    static int open(const std::string& path) {
        const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
        if (fd < 0) throw std::system_error(errno, std::system_category(), path);
        return fd;
    }
    int home_;
};

} // namespace bench
