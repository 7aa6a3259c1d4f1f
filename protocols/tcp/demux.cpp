#include <tapir/protocols/tcp/demux.hpp>

#include <cassert>
#include <utility>

namespace tapir::tcp {

flow_ref demux::slot::ref() const {
    const auto kind = static_cast<flow_kind>(packed & 3);
    if (kind != flow_kind::connection) return {kind, static_cast<std::uint32_t>(packed >> 2)};
    return flow_ref(reinterpret_cast<endpoint*>(static_cast<std::uintptr_t>(packed & ~std::uint64_t{3})));
}

std::uint64_t demux::pack(flow_ref ref) {
    const auto kind = static_cast<std::uint64_t>(ref.kind);
    if (ref.kind != flow_kind::connection) return std::uint64_t{ref.index} << 2 | kind;
    const std::uint64_t address = reinterpret_cast<std::uintptr_t>(ref.connection);
    assert((address & 3) == 0);
    return address | kind;
}

void demux::insert(std::uint64_t hash, flow_ref ref) {
    assert(ref);
    const std::size_t capacity = slots_ == nullptr ? 0 : mask_ + 1;
    if ((count_ + 1) * 4 > capacity * 3) grow();
    std::size_t at = hash & mask_;
    while (!slots_[at].empty()) at = (at + 1) & mask_;
    slots_[at].hash = hash;
    slots_[at].packed = pack(ref);
    ++count_;
}

// Closes the gap by moving back every entry that may stand nearer to its home: no tombstones, so that a flood
// of short connections leaves no trace in the probe lengths.
void demux::erase(std::uint64_t hash, flow_ref ref) {
    assert(count_ != 0);
    std::size_t hole = hash & mask_;
    const std::uint64_t packed = pack(ref);
    while (slots_[hole].packed != packed) {
        assert(!slots_[hole].empty());
        hole = (hole + 1) & mask_;
    }
    for (std::size_t at = (hole + 1) & mask_; !slots_[at].empty(); at = (at + 1) & mask_) {
        const std::size_t home = slots_[at].hash & mask_;
        if (((at - home) & mask_) >= ((at - hole) & mask_)) {
            slots_[hole] = slots_[at];
            hole = at;
        }
    }
    slots_[hole] = slot{};
    --count_;
}

void demux::grow() {
    const std::size_t old_capacity = slots_ == nullptr ? 0 : mask_ + 1;
    const std::size_t capacity = old_capacity == 0 ? 16 : old_capacity * 2;
    auto old = std::exchange(slots_, std::make_unique<slot[]>(capacity));
    mask_ = capacity - 1;
    for (std::size_t i = 0; i < old_capacity; ++i) {
        if (old[i].empty()) continue;
        std::size_t at = old[i].hash & mask_;
        while (!slots_[at].empty()) at = (at + 1) & mask_;
        slots_[at] = old[i];
    }
}

} // namespace tapir::tcp
