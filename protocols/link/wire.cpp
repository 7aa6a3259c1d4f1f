#include <tapir/protocols/link/offload.hpp>
#include <tapir/protocols/link/wire.hpp>

#include <algorithm>
#include <cassert>
#include <utility>

namespace tapir {

wire::wire(reactor& on, wire_config config)
    : reactor_(on), config_(config), left_(*this, right_), right_(*this, left_) {}

wire::~wire() = default;

void wire::set_carrier(bool up) {
    if (std::exchange(carrier_, up) == up) return;
    left_.carrier_changed(up);
    right_.carrier_changed(up);
}

link_capabilities wire::end::capabilities() const {
    const bool offloads = wire_.config_.segmentation;
    return {.mtu = wire_.config_.mtu, .checksum = offloads, .segmentation = offloads};
}

bool wire::end::carries(const frame& f) const {
    const link_capabilities can = capabilities();
    assert((can.segmentation || finished(f.meta)) && "a plain wire completes nothing");
    return largest_packet(f) <= can.mtu && f.size() <= std::max(max_large_frame, can.max_frame());
}

void wire::end::send(frame&& f) {
    if (!carries(f)) {
        ++counters_.dropped_too_big;
        return;
    }
    if (!wire_.carrier_) {
        ++counters_.dropped_no_carrier;
        return;
    }
    if (!ready()) {
        was_full_ = true;
        ++counters_.dropped_full;
        return;
    }
    ++counters_.frames_out;
    counters_.bytes_out += f.size();
    if (f.meta.gso_type != segmentation::none) {
        ++counters_.large_out;
        counters_.segments_out += segments_in(f);
    }
    under_way_.push_back({wire_.reactor_.now() + wire_.config_.latency, std::move(f).owned(wire_.pool_)});
    was_full_ = !ready();
    if (under_way_.size() == 1) schedule();
}

// Without latency the end of a turn delivers, not a timer: that costs no tick of the timer's resolution.
void wire::end::schedule() {
    if (wire_.config_.latency > duration::zero()) {
        wire_.reactor_.timers().arm(*this, under_way_.front().due);
    } else {
        wire_.reactor_.at_turn_end(*this);
    }
}

void wire::end::deliver(instant now) {
    // Receivers may send, even back into this queue: what they add waits for the next turn.
    for (std::size_t n = under_way_.size(); n > 0 && !under_way_.empty() && under_way_.front().due <= now;
         --n) {
        frame f = std::move(under_way_.front().content);
        under_way_.pop_front();
        peer_.arrive(std::move(f), now);
    }
    if (!under_way_.empty()) schedule();
    if (was_full_ && ready()) {
        was_full_ = false;
        if (receiver_ != nullptr) receiver_->writable();
    }
}

void wire::end::arrive(frame&& f, instant now) {
    ++counters_.frames_in;
    counters_.bytes_in += f.size();
    if (f.meta.gso_type != segmentation::none) {
        ++counters_.large_in;
        counters_.segments_in += segments_in(f);
    }
    f.arrived = now;
    if (receiver_ != nullptr) receiver_->receive(std::move(f));
}

void wire::end::carrier_changed(bool up) {
    if (!up) {
        counters_.dropped_no_carrier += under_way_.size();
        under_way_.clear();
    }
    if (receiver_ != nullptr) receiver_->carrier(up);
}

} // namespace tapir
