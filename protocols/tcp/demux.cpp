#include <tapir/protocols/tcp/demux.hpp>

#include <cassert>
#include <utility>

namespace tapir::tcp {

void demux::insert(std::uint64_t hash, endpoint& connection) {
    if ((count_ + 1) * 4 > slots_.size() * 3) grow();
    std::size_t at = hash & mask_;
    while (slots_[at].connection != nullptr) at = (at + 1) & mask_;
    slots_[at] = {hash, &connection};
    ++count_;
}

// Closes the gap by moving back every entry that may stand nearer to its home: no tombstones, so that a flood
// of short connections leaves no trace in the probe lengths.
void demux::erase(std::uint64_t hash, const endpoint& connection) {
    assert(count_ != 0);
    std::size_t hole = hash & mask_;
    while (slots_[hole].connection != &connection) {
        assert(slots_[hole].connection != nullptr);
        hole = (hole + 1) & mask_;
    }
    for (std::size_t at = (hole + 1) & mask_; slots_[at].connection != nullptr; at = (at + 1) & mask_) {
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
    const std::size_t capacity = slots_.empty() ? 16 : slots_.size() * 2;
    const auto old = std::exchange(slots_, decltype(slots_)(capacity));
    mask_ = capacity - 1;
    for (const slot& s : old) {
        if (s.connection == nullptr) continue;
        std::size_t at = s.hash & mask_;
        while (slots_[at].connection != nullptr) at = (at + 1) & mask_;
        slots_[at] = s;
    }
}

} // namespace tapir::tcp
