// The identification by which the fragments of one datagram find each other. It must not repeat to one
// destination while older fragments may still be under way, and a counter shared by all destinations would
// let a stranger count what this host sends, and scan others through it (RFC 7739 4, RFC 6864 4.3). So each
// pair of addresses and protocol has its own start, under a secret, and one of many counters, which moves by
// small random steps. A datagram that cannot be fragmented needs none (RFC 6864 4.1).
#pragma once

#include <tapir/framework/random.hpp>
#include <tapir/framework/siphash.hpp>
#include <tapir/protocols/ip/address.hpp>
#include <tapir/protocols/ip/flow_share.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace tapir::ipv4 {

class identification {
  public:
    /// Hosts that are one on the network never use the same number: modulo their count, rounded up to a power
    /// of two, each has its own.
    explicit identification(const siphash_key& secret, const ip::flow_share& share = {})
        : secret_(secret), stride_(std::bit_ceil(share.count())), first_(share.number()) {}

    /// For the next datagram between these two. The steps are 1 to 4, so that no number comes back within
    /// 16,384 datagrams of a pair that has its counter for itself; divided by the number of hosts.
    std::uint16_t next(const ip::address& source, const ip::address& destination, ip::protocol p, random& r);

  private:
    siphash_key secret_;
    std::uint32_t stride_;
    std::uint32_t first_;
    /// Pairs share a counter when their hashes say so; to predict one, an observer would have to share it and
    /// know the secret start. 4 KiB.
    std::array<std::uint16_t, 2048> counters_{};
};

} // namespace tapir::ipv4
