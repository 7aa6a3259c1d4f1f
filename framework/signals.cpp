#include <tapir/framework/io_await.hpp>
#include <tapir/framework/signals.hpp>

#include <cerrno>
#include <poll.h>
#include <sys/signalfd.h>
#include <system_error>
#include <unistd.h>

namespace tapir {

namespace {

struct claim {
    explicit claim(bool& flag) : taken(flag) { taken = true; }
    claim(const claim&) = delete;
    claim& operator=(const claim&) = delete;
    ~claim() { taken = false; }
    bool& taken;
};

} // namespace

void signal_set::add(int number) {
    if (::sigaddset(&wanted_, number) != 0)
        throw std::system_error(errno, std::system_category(), "not a signal");
}

void signal_set::begin() {
    fd_ = ::signalfd(-1, &wanted_, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd_ < 0) throw std::system_error(errno, std::system_category(), "signalfd");
    ::pthread_sigmask(SIG_BLOCK, &wanted_, &before_);
}

signal_set::~signal_set() {
    ::close(fd_);
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

// Polled by the ring but read here: a signal may be directed at this very thread, and a read that the kernel
// hands to one of its workers would not see it.
task<result<int>> signal_set::next() {
    if (waiting_) co_return errc::busy;
    const claim one(waiting_);
    for (;;) {
        signalfd_siginfo info{};
        if (::read(fd_, &info, sizeof info) == sizeof info) co_return static_cast<int>(info.ssi_signo);
        if (errno != EAGAIN && errno != EINTR) co_return errno_code(errno);
        const auto ready = co_await io::poll(fd_, POLLIN);
        if (!ready && ready.error() == errno_code(EOPNOTSUPP)) co_return errc::not_supported;
        if (!ready) co_return ready.error();
    }
}

} // namespace tapir
