// A host that is split over threads. Each thread, a *shard*, has a reactor, a queue of the link and a whole
// tapir::host with the same addresses and the same MAC: tables, timers, buffers, limits and counters of its
// own. This element stands between a shard's queue and its host, and sees to it that a frame reaches the
// shard whose it is (steering.hpp), whatever queue it came by: it passes up what is its own, hands over what
// is another's through a ring between the two threads, and counts both.
//
//     auto others = std::make_shared<tapir::crossing>(2, tapir::shard_link::ring_size);
//     // and on each of two threads:
//     ip::flow_share mine(key, number, 2);                        // the same key on both
//     tapir::shard_link way(reactor, queue, mine, others);
//     host_config config;
//     config.share = mine;
//     tapir::host host(reactor, config);
//     host.add_interface(way, mac, address);
//
// So a flow stays on one shard from its first segment to its last, and nothing on its way is shared with
// other threads. The kernel sends what belongs to a flow to the queue that the flow's owner wrote to last: on
// a TAP few frames but the first of each flow are handed over.
//
// Listeners listen on every shard, at a port that is named. connect() and port 0 of UDP pick ports of the
// shard's own flows. A UDP socket is bound on the shard that has its port: port % shards. Budgets, rate
// limits, neighbours and path MTUs are each shard's, and what is started or announced is so once by each.
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/crossing.hpp>
#include <tapir/framework/reactor.hpp>
#include <tapir/protocols/ip/flow_share.hpp>
#include <tapir/protocols/link/middleware.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>

namespace tapir {

class shard_link final : public middleware {
  public:
    /// Between each two shards, in bytes: sixteen segments of 64 KiB, or 700 full packets, more than a flow
    /// sends before its queue is known. What finds it full is lost as in any queue.
    static constexpr std::size_t ring_size = std::size_t{1} << 20;

    /// `others` has a member for each shard, and is for one link alone. The reactor must outlive whoever puts
    /// something there.
    shard_link(reactor& on, link& queue, const ip::flow_share& share, std::shared_ptr<crossing> others);
    ~shard_link() override;

    link_capabilities capabilities() const override { return below().capabilities(); }
    link_counters counters() const override;
    /// What the host sends to its own station is for another shard: a datagram whose fragments came here.
    void send(frame&& f) override;

  private:
    void receive(frame&& f) override;
    void hand_over(const frame& f, std::uint32_t to);
    void take_over(bytes record);

    reactor& reactor_;
    ip::flow_share share_;
    std::shared_ptr<crossing> others_;
    buffer_pool pool_;
    link_counters counted_; ///< handed over and taken over
};

} // namespace tapir
