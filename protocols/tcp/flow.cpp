#include <tapir/framework/bytes.hpp>
#include <tapir/protocols/tcp/flow.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <span>

namespace tapir::tcp {

std::string flow_key::to_string() const {
    return local_endpoint().to_string() + " <- " + remote_endpoint().to_string();
}

std::uint64_t hash_flow(const siphash_key& secret, const flow_key& flow, hash_purpose purpose) {
    if (flow.local.is_v4() && flow.remote.is_v4()) { // the same in a third, of a length that no other has
        const std::uint64_t addresses =
            std::uint64_t{std::byteswap(flow.remote.v4_value())} << 32 | std::byteswap(flow.local.v4_value());
        const std::uint32_t ports =
            std::uint32_t{std::byteswap(flow.remote_port)} << 16 | std::byteswap(flow.local_port);
        return siphash(secret, addresses, std::uint64_t{static_cast<std::uint8_t>(purpose)} << 32 | ports, 5);
    }
    std::array<std::byte, 37> message{};
    const std::span all(message);
    copy_bytes(all, std::as_bytes(std::span(flow.local.octets())));
    copy_bytes(all.subspan(16), std::as_bytes(std::span(flow.remote.octets())));
    store_be16(all, 32, flow.local_port);
    store_be16(all, 34, flow.remote_port);
    store_u8(all, 36, static_cast<std::uint8_t>(purpose));
    return siphash(secret, message);
}

} // namespace tapir::tcp
