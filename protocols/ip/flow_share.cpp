#include <tapir/framework/bytes.hpp>
#include <tapir/protocols/ip/flow_share.hpp>

#include <array>
#include <span>

namespace tapir::ip {

std::uint32_t flow_share::owner(const endpoint& local, const endpoint& remote) const {
    std::array<std::byte, 36> flow{};
    const std::span all(flow);
    copy_bytes(all, std::as_bytes(std::span(local.addr.octets())));
    copy_bytes(all.subspan(16), std::as_bytes(std::span(remote.addr.octets())));
    store_be16(all, 32, local.port);
    store_be16(all, 34, remote.port);
    return static_cast<std::uint32_t>(siphash(key_, flow) % count_);
}

} // namespace tapir::ip
