#include <tapir/protocols/link/tap_device.hpp>
#include <tapir/protocols/link/tap_error.hpp>
#include <tapir/protocols/link/tap_netlink.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <span>
#include <string_view>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace tapir {
namespace {

bool device_name(std::string_view name) {
    return !name.empty() && name.size() < IFNAMSIZ && name != "." && name != ".." &&
           std::ranges::none_of(name, [](char c) { return c == '/' || c == ':' || c == '%' || c <= ' '; });
}

ifreq request_for(std::string_view name) {
    ifreq r{};
    std::ranges::copy(name, r.ifr_name); // shorter than IFNAMSIZ
    return r;
}

std::error_code opening_error(int error) {
    switch (error) {
    case ENOENT:
    case ENODEV:
    case ENXIO: return tap_errc::no_tun;
    case EACCES:
    case EPERM: return tap_errc::no_access;
    default: return errno_code(error);
    }
}

std::error_code attaching_error(int error) {
    switch (error) {
    case EPERM: return tap_errc::no_right;
    case EBUSY: return tap_errc::busy;
    case EINVAL: return tap_errc::not_a_tap;
    default: return errno_code(error);
    }
}

/// One question about a network device, by name, to whichever socket may ask it.
result<> ask(unsigned long what, ifreq& r) {
    const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return errno_code(errno);
    const int outcome = ::ioctl(fd, what, &r);
    const int error = errno;
    ::close(fd);
    if (outcome < 0) return errno_code(error);
    return {};
}

} // namespace

result<tap_device> tap_device::open(const std::string& name) {
    if (!device_name(name)) return make_error_code(tap_errc::bad_name);
    const int fd = ::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return opening_error(errno);
    tap_device device(fd, name);
    ifreq r = request_for(name);
    r.ifr_flags = IFF_TAP | IFF_NO_PI;
    if (::ioctl(fd, TUNSETIFF, &r) < 0) return attaching_error(errno);
    return device;
}

tap_device::~tap_device() {
    if (fd_ >= 0) ::close(fd_);
}

result<std::size_t> tap_device::mtu() const {
    ifreq r = request_for(name_);
    if (auto asked = ask(SIOCGIFMTU, r); !asked) return asked.error();
    return static_cast<std::size_t>(r.ifr_mtu);
}

result<std::size_t> tap_device::txqueuelen() const {
    ifreq r = request_for(name_);
    if (auto asked = ask(SIOCGIFTXQLEN, r); !asked) return asked.error();
    return static_cast<std::size_t>(r.ifr_qlen);
}

result<bool> tap_device::up() const {
    ifreq r = request_for(name_);
    if (auto asked = ask(SIOCGIFFLAGS, r); !asked) return asked.error();
    return (r.ifr_flags & IFF_UP) != 0;
}

result<> tap_device::set_mtu(std::size_t value) {
    ifreq r = request_for(name_);
    r.ifr_mtu = static_cast<int>(value);
    return ask(SIOCSIFMTU, r);
}

// Through rtnetlink: the older ioctl asks for a right over the whole system, not over this network namespace.
result<> tap_device::set_txqueuelen(std::size_t value) {
    const result<unsigned> index = device_index(name_);
    if (!index) return index.error();
    netlink_request r(RTM_NEWLINK);
    ifinfomsg about{};
    about.ifi_family = AF_UNSPEC;
    about.ifi_index = static_cast<int>(*index);
    r.body(about);
    const auto length = static_cast<std::uint32_t>(value);
    r.attribute(IFLA_TXQLEN, std::as_bytes(std::span(&length, 1)));
    return r.perform();
}

} // namespace tapir
