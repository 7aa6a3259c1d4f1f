#include <tapir/protocols/ethernet/header.hpp>
#include <tapir/protocols/host/shard_link.hpp>
#include <tapir/protocols/host/steering.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <type_traits>
#include <utility>

namespace tapir {

namespace {

/// In front of a frame on its way between shards.
struct label {
    instant arrived;
    offload meta;
};
static_assert(std::is_trivially_copyable_v<label>);

bool to_own_station(bytes frame) {
    constexpr std::size_t mac = 6;
    return frame.size() >= ethernet::header::size &&
           std::ranges::equal(frame.first(mac), frame.subspan(mac, mac));
}

} // namespace

shard_link::shard_link(reactor& on, link& queue, const ip::flow_share& share,
                       std::shared_ptr<crossing> others)
    : middleware(queue), reactor_(on), share_(share), others_(std::move(others)) {
    others_->open(share_.number(), on, [this](bytes record) { take_over(record); });
}

shard_link::~shard_link() {
    others_->close(share_.number());
}

link_counters shard_link::counters() const {
    link_counters all = below().counters();
    all.handed_over = counted_.handed_over;
    all.given_to_all = counted_.given_to_all;
    all.taken_over = counted_.taken_over;
    all.handover_full = counted_.handover_full;
    return all;
}

void shard_link::receive(frame&& f) {
    const steered where = steer(f.data(), share_);
    if (where.to == steered::kind::one && where.host != share_.number()) {
        ++counted_.handed_over;
        return hand_over(f, where.host);
    }
    if (where.to == steered::kind::all) {
        ++counted_.given_to_all;
        for (std::uint32_t other = 0; other < share_.count(); ++other)
            if (other != share_.number()) hand_over(f, other);
    }
    pass_up(std::move(f));
}

void shard_link::send(frame&& f) {
    if (!to_own_station(f.data())) return below().send(std::move(f));
    const steered where = steer(f.data(), share_);
    if (where.to != steered::kind::one || where.host == share_.number()) return;
    ++counted_.handed_over;
    hand_over(f, where.host);
}

void shard_link::hand_over(const frame& f, std::uint32_t to) {
    const label l{f.arrived, f.meta};
    const std::array parts{std::as_bytes(std::span(&l, 1)), f.data()};
    if (!others_->put(share_.number(), to, parts)) ++counted_.handover_full;
}

void shard_link::take_over(bytes record) {
    label l;
    std::memcpy(&l, record.data(), sizeof l);
    const bytes content = record.subspan(sizeof l);
    constexpr std::size_t room = 16; // as a tap's copy: for a virtio-net header, when it is forwarded
    frame f(pool_.allocate(room + content.size()), room);
    copy_bytes(f.push_back(content.size()), content);
    f.arrived = std::min(l.arrived, reactor_.now()); // the other's clock may be a turn ahead
    f.meta = l.meta;
    ++counted_.taken_over;
    pass_up(std::move(f));
}

} // namespace tapir
