// What a program tells the kernel about its network devices (rtnetlink), instead of running `ip`.
//
//     netlink_request r(RTM_NEWADDR, NLM_F_CREATE);
//     r.body(ifaddrmsg{...});
//     r.attribute(IFA_LOCAL, address);
//     result<> done = r.perform();
#pragma once

#include <tapir/framework/bytes.hpp>
#include <tapir/framework/error.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

namespace tapir {

/// One request, built front to back; numbers are in host byte order.
class netlink_request {
  public:
    /// `type` is an RTM_*, `flags` NLM_F_* beyond those that every request has.
    explicit netlink_request(std::uint16_t type, std::uint16_t flags = 0);

    /// The fixed part that the type prescribes. Attributes follow it; all together is at most 256 bytes.
    template <class Body>
        requires std::is_trivially_copyable_v<Body>
    void body(const Body& b) {
        append(&b, sizeof b);
    }
    void attribute(std::uint16_t type, bytes value);

    /// Sends it and takes the kernel's answer, which is there when the send has returned. The error is the
    /// system's.
    result<> perform();
    /// The same of a question: what stands in the answer behind the netlink header, the fixed part first.
    result<std::vector<std::byte>> ask();

  private:
    void append(const void* what, std::size_t size);
    int exchange(int fd, std::vector<std::byte>* answer);
    int perform(std::vector<std::byte>* answer);

    std::array<std::byte, 256> message_{};
    std::size_t used_ = 0;
};

/// The value of the first attribute of that type.
std::optional<bytes> find_attribute(bytes attributes, std::uint16_t type);

/// The number that the kernel knows a network device by; ENODEV when there is none of that name.
result<unsigned> device_index(const std::string& name);

} // namespace tapir
