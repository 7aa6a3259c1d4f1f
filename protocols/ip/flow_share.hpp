// Several hosts that are one on the network, each on a thread of its own, share out the flows: whose a flow
// is follows from its addresses and ports alone, so all of them give the same answer without asking each
// other, and it never changes.
//
//     ip::flow_share mine(key, 0, 2);                     // the first of two; all have the same key
//     if (!mine.owns(local, remote)) ... mine.owner(local, remote) has it ...
//
// The key keeps strangers from choosing ports so that all their connections meet in one thread.
#pragma once

#include <tapir/framework/siphash.hpp>
#include <tapir/protocols/ip/address.hpp>

#include <cassert>
#include <cstdint>

namespace tapir::ip {

class flow_share {
  public:
    /// One host that has everything.
    flow_share() = default;
    /// `number` counts from 0.
    flow_share(const siphash_key& key, std::uint32_t number, std::uint32_t count)
        : key_(key), number_(number), count_(count) {
        assert(number < count);
    }

    std::uint32_t number() const { return number_; }
    std::uint32_t count() const { return count_; }
    bool is_all() const { return count_ == 1; }

    /// Who has the TCP connection between these two, ours first.
    std::uint32_t owner(const endpoint& local, const endpoint& remote) const;
    bool owns(const endpoint& local, const endpoint& remote) const {
        return is_all() || owner(local, remote) == number_;
    }
    /// Who has a UDP port of ours: one socket talks to many, so the remote end has no say.
    std::uint32_t owner(std::uint16_t local_port) const { return local_port % count_; }
    bool owns(std::uint16_t local_port) const { return owner(local_port) == number_; }

  private:
    siphash_key key_;
    std::uint32_t number_ = 0;
    std::uint32_t count_ = 1;
};

} // namespace tapir::ip
