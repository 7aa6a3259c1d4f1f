#include <tapir/protocols/link/tap_error.hpp>

#include <string>

namespace tapir {
namespace {

class category final : public std::error_category {
  public:
    const char* name() const noexcept override { return "tap"; }

    std::string message(int value) const override {
        switch (static_cast<tap_errc>(value)) {
        case tap_errc::no_tun:
            return "this system has no /dev/net/tun: load the driver with `modprobe tun`, or give the "
                   "container the device (`--device /dev/net/tun`)";
        case tap_errc::no_access:
            return "/dev/net/tun is not open to this user: run as root, or open it with `chmod 0666 "
                   "/dev/net/tun`";
        case tap_errc::no_right:
            return "the kernel does not let this process make or use that TAP: run as root (CAP_NET_ADMIN), "
                   "in a network namespace of your own (`unshare -Urn`), or let root make it for you with "
                   "`ip "
                   "tuntap add mode tap user $USER name ...`";
        case tap_errc::busy: return "another process holds that TAP: end it, or choose another name";
        case tap_errc::bad_name:
            return "that is no name for a network device: use 1 to 15 characters, without '/', ':', '%' or "
                   "spaces";
        case tap_errc::not_a_tap:
            return "a network device that is no plain TAP has that name already, or a TAP with one queue in "
                   "place of several (`multi_queue`): choose another, or remove it with `ip link del`";
        case tap_errc::no_multishot:
            return "this kernel cannot read a TAP with io_uring's READ_MULTISHOT: use the poll path (Linux "
                   "6.7 "
                   "or newer has both)";
        }
        return "unknown TAP error";
    }

    std::error_condition default_error_condition(int value) const noexcept override {
        switch (static_cast<tap_errc>(value)) {
        case tap_errc::no_tun: return std::errc::no_such_device;
        case tap_errc::no_access: return std::errc::permission_denied;
        case tap_errc::no_right: return std::errc::operation_not_permitted;
        case tap_errc::busy: return std::errc::device_or_resource_busy;
        case tap_errc::bad_name:
        case tap_errc::not_a_tap: return std::errc::invalid_argument;
        case tap_errc::no_multishot: return std::errc::operation_not_supported;
        }
        return {value, *this};
    }
};

} // namespace

const std::error_category& tap_category() noexcept {
    static const category instance;
    return instance;
}

} // namespace tapir
