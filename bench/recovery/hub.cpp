#include "bench/recovery/hub.hpp"

#include <algorithm>

using namespace tapir;

namespace bench {

link_capabilities hub::capabilities() const {
    link_capabilities all{.mtu = 65'535};
    for (const auto& p : ports_) all.mtu = std::min(all.mtu, p->below.capabilities().mtu);
    return all;
}

link_counters hub::counters() const {
    link_counters sum;
    for (const auto& p : ports_) {
        const link_counters one = p->below.counters();
        sum.frames_in += one.frames_in;
        sum.bytes_in += one.bytes_in;
        sum.frames_out += one.frames_out;
        sum.bytes_out += one.bytes_out;
        sum.dropped_full += one.dropped_full;
        sum.dropped_too_big += one.dropped_too_big;
        sum.dropped_no_carrier += one.dropped_no_carrier;
        sum.errors += one.errors;
    }
    return sum;
}

bool hub::ready() const {
    return std::ranges::all_of(ports_, [](const auto& p) { return p->below.ready(); });
}

void hub::received(std::size_t from, frame&& f) {
    constexpr std::size_t source = ethernet::mac_address::size;
    if (f.size() >= link_capabilities::ethernet_header)
        stations_[ethernet::mac_address::load(f.data(), source)] = from;
    ports_[from]->came.push_back(std::move(f));
    ++waiting_;
    if (ports_.size() == 1) {
        merge();
    } else if (!armed()) {
        on_.timers().arm(*this, on_.now());
    }
}

void hub::merge() {
    for (; waiting_ != 0; --waiting_) {
        std::uint32_t nth = chance_.below(static_cast<std::uint32_t>(waiting_));
        const auto from = std::ranges::find_if(ports_, [&nth](const auto& p) {
            if (nth < p->came.size()) return true;
            nth -= static_cast<std::uint32_t>(p->came.size());
            return false;
        });
        frame f = std::move((*from)->came.front());
        (*from)->came.pop_front();
        if (above_ != nullptr) above_->receive(std::move(f));
    }
}

void hub::send(frame&& f) {
    const auto known = f.size() < link_capabilities::ethernet_header
                           ? stations_.end()
                           : stations_.find(ethernet::mac_address::load(f.data(), 0));
    if (known != stations_.end()) {
        ports_[known->second]->below.send(std::move(f));
        return;
    }
    for (const auto& p : ports_) {
        frame same = f; // links that keep a shared frame copy it
        p->below.send(std::move(same));
    }
}

} // namespace bench
