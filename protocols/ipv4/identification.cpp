#include <tapir/protocols/ipv4/identification.hpp>

namespace tapir::ipv4 {

std::uint16_t identification::next(const ip::address& source, const ip::address& destination, ip::protocol p,
                                   random& r) {
    std::array<std::byte, 9> pair{};
    store_be32(pair, 0, source.v4_value());
    store_be32(pair, 4, destination.v4_value());
    store_u8(pair, 8, static_cast<std::uint8_t>(p));
    const std::uint64_t h = siphash(secret_, pair);
    std::uint16_t& counter = counters_[(h >> 16) % counters_.size()];
    counter = static_cast<std::uint16_t>(counter + 1 + r.below(4));
    return static_cast<std::uint16_t>((h + counter) * stride_ + first_);
}

} // namespace tapir::ipv4
