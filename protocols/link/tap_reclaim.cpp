#include <tapir/framework/log.hpp>
#include <tapir/protocols/link/tap_reclaim.hpp>

#include <cerrno>
#include <netinet/in.h>
#include <string>
#include <sys/socket.h>
#include <system_error>
#include <unistd.h>

namespace tapir {
namespace {

/// Larger than an acknowledgement with all options, and its virtio-net header.
constexpr std::size_t least_with_data = 128;

/// A socket that sends to itself; -1, with errno, when it could not.
int to_itself() {
    const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    auto* const address = reinterpret_cast<sockaddr*>(&at);
    if (::bind(fd, address, size) == 0 && ::getsockname(fd, address, &size) == 0 &&
        ::connect(fd, address, size) == 0)
        return fd;
    const int why = errno;
    ::close(fd);
    errno = why;
    return -1;
}

void no_datagrams(int error) {
    log::debug("no datagrams to 127.0.0.1 (" + std::system_category().message(error) +
               "): the kernel will interrupt to have its buffers freed");
}

} // namespace

tap_reclaim::datagram::datagram(tap_reclaim& r)
    : io_operation(kind::send,
                   [](io_operation& op, const completion& c) {
                       auto& self = static_cast<datagram&>(op);
                       self.owner.sent(self, c);
                   }),
      owner(r) {
    flags = MSG_DONTWAIT;
}

tap_reclaim::tap_reclaim(backend& io, std::uint32_t frames, std::size_t in_flight) : io_(io), every_(frames) {
    if (every_ == 0) return;
    for (std::size_t i = 0; i < in_flight / every_ + 1; ++i) idle_.push_back(datagrams_.emplace_back(*this));
    fd_ = to_itself();
    if (fd_ < 0) {
        no_datagrams(errno);
        every_ = 0;
    }
}

tap_reclaim::~tap_reclaim() {
    for (datagram& d : datagrams_) io_.retire(d);
    if (fd_ >= 0) ::close(fd_);
}

void tap_reclaim::submitted(std::size_t size) {
    if (every_ == 0 || size < least_with_data || ++frames_ < every_ || idle_.empty()) return;
    frames_ = 0;
    datagram& d = idle_.pop_front();
    d.fd = fd_;
    io_.submit(d);
}

void tap_reclaim::sent(datagram& d, const io_operation::completion& c) {
    idle_.push_back(d);
    if (c.result >= 0) {
        (void)::recv(fd_, nullptr, 0, MSG_DONTWAIT); // it is empty, and has done its work
    } else if (c.result != -EAGAIN && c.result != -ENOBUFS && c.result != -ENOMEM && every_ != 0) {
        every_ = 0; // 127.0.0.1 was taken away, or a filter minds
        no_datagrams(-c.result);
    }
}

} // namespace tapir
