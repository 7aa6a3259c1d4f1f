#include <tapir/protocols/link/tap_device.hpp>
#include <tapir/protocols/link/tap_error.hpp>
#include <tapir/protocols/link/tap_netlink.hpp>
#include <tapir/protocols/link/vnet_header.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <optional>
#include <span>
#include <string_view>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

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

/// All that the kernel tells of a network device (IFLA_*).
result<std::vector<std::byte>> attributes_of(const std::string& name) {
    const result<unsigned> index = device_index(name);
    if (!index) return index.error();
    netlink_request r(RTM_GETLINK);
    ifinfomsg about{};
    about.ifi_family = AF_UNSPEC;
    about.ifi_index = static_cast<int>(*index);
    r.body(about);
    auto told = r.ask();
    if (!told) return told.error();
    told->erase(told->begin(),
                told->begin() + static_cast<std::ptrdiff_t>(std::min(told->size(), sizeof about)));
    return told;
}

} // namespace

// A device that outlives its users keeps what the last one asked of it: each says what it wants anew.
result<tap_device> tap_device::open(const std::string& name, bool offload, tap_queue queue) {
    if (!device_name(name)) return make_error_code(tap_errc::bad_name);
    // Looked at first: opening one more would cost its user frames.
    if (queue == tap_queue::first && open_queues(name).value_or(0) != 0)
        return make_error_code(tap_errc::busy);
    if (offload) {
        auto able = attach(name, true, queue);
        // Not the other way while it is busy: it may be free by then.
        if (able ? able->offloads_ : able.error() == tap_errc::busy) return able;
    }
    return attach(name, false, queue);
}

result<tap_device> tap_device::attach(const std::string& name, bool offload, tap_queue queue) {
    const int fd = ::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return opening_error(errno);
    tap_device device(fd, name);
    ifreq r = request_for(name);
    r.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | (offload ? IFF_VNET_HDR : 0) |
                                     (queue != tap_queue::only ? IFF_MULTI_QUEUE : 0));
    if (::ioctl(fd, TUNSETIFF, &r) < 0) return attaching_error(errno);
    if (queue == tap_queue::first && open_queues(name).value_or(1) != 1)
        return make_error_code(tap_errc::busy);
    if (!offload) {
        (void)::ioctl(fd, TUNSETOFFLOAD, 0UL);
        return device;
    }
    int header = static_cast<int>(vnet_header::size);
    int little_endian = 1;
    const unsigned long taken = TUN_F_CSUM | TUN_F_TSO4; // no TSO_ECN: a segment with CWR comes alone
    device.offloads_ = ::ioctl(fd, TUNSETVNETHDRSZ, &header) == 0 &&
                       ::ioctl(fd, TUNSETVNETLE, &little_endian) == 0 &&
                       ::ioctl(fd, TUNSETOFFLOAD, taken) == 0;
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

result<std::size_t> tap_device::open_queues(const std::string& name) {
    const auto told = attributes_of(name);
    if (!told) return told.error();
    std::optional<bytes> found = find_attribute(*told, IFLA_LINKINFO);
    if (found) found = find_attribute(*found, IFLA_INFO_DATA);
    if (found) found = find_attribute(*found, IFLA_TUN_NUM_QUEUES);
    std::uint32_t number = 0;
    if (!found || found->size() != sizeof number) return errc::not_supported;
    std::memcpy(&number, found->data(), sizeof number);
    return number;
}

std::optional<tap_device::station> tap_device::takes_big(const std::string& name) {
    constexpr std::uint16_t gso_ipv4_max_size = 63; // IFLA_GSO_IPV4_MAX_SIZE; headers older than 6.3 lack it
    const auto told = attributes_of(name);
    if (!told || !find_attribute(*told, gso_ipv4_max_size)) return std::nullopt;
    const auto own = find_attribute(*told, IFLA_ADDRESS);
    station address;
    if (!own || own->size() != address.size()) return std::nullopt;
    std::ranges::copy(*own, address.begin());
    return address;
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
    return set_link(IFLA_TXQLEN, value);
}

result<> tap_device::set_gso_max_size(std::size_t value) {
    return set_link(IFLA_GSO_MAX_SIZE, value);
}

result<> tap_device::set_link(std::uint16_t attribute, std::size_t value) {
    const result<unsigned> index = device_index(name_);
    if (!index) return index.error();
    netlink_request r(RTM_NEWLINK);
    ifinfomsg about{};
    about.ifi_family = AF_UNSPEC;
    about.ifi_index = static_cast<int>(*index);
    r.body(about);
    const auto number = static_cast<std::uint32_t>(value);
    r.attribute(attribute, std::as_bytes(std::span(&number, 1)));
    return r.perform();
}

} // namespace tapir
