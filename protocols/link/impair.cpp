#include <tapir/protocols/link/ecn_field.hpp>
#include <tapir/protocols/link/impair.hpp>
#include <tapir/protocols/link/offload.hpp>

#include <algorithm>
#include <utility>

namespace tapir {
namespace {

struct bit_range {
    std::uint64_t first;
    std::uint64_t count;
    std::uint64_t at(std::uint64_t value) const {
        return value - first < count ? value : first + value % count; // below `first` the difference wraps
    }
};

// Which bits of a frame can be flipped so that its receiver is sure to notice. In an IPv4 packet all that its
// total length covers, except the first byte: another header length could pass a sum over other bytes. In
// anything else the EtherType; no known one differs from another in a single bit.
bit_range covered_bits(bytes f) {
    constexpr std::size_t ether_type = 12;
    constexpr std::size_t ip = 14;
    constexpr std::size_t ipv4_header = 20;
    if (f.size() < ip) return {0, f.size() * 8};
    if (f.size() < ip + ipv4_header || load_be16(f, ether_type) != 0x0800) return {ether_type * 8, 16};
    const std::size_t total = std::clamp<std::size_t>(load_be16(f, ip + 2), ipv4_header, f.size() - ip);
    return {(ip + 1) * 8, (total - 1) * 8};
}

duration draw_duration(random& rng, duration most) {
    if (most <= duration::zero()) return {};
    return duration(static_cast<std::int64_t>(rng.next() % (static_cast<std::uint64_t>(most.count()) + 1)));
}

// How long `size` bytes take at `rate` bytes per second, rounded up.
duration transmission_time(std::size_t size, std::uint64_t rate) {
    const std::uint64_t ns = std::uint64_t{size} * 1'000'000'000u;
    return duration(static_cast<std::int64_t>((ns + rate - 1) / rate));
}

} // namespace

impair::impair(reactor& on, link& below, impair_config config)
    : middleware(below), reactor_(on), max_held_(config.max_held), max_schedule_(config.max_schedule),
      random_(config.seed), out_(*this, direction::out, config.out, random_.fork()),
      in_(*this, direction::in, config.in, random_.fork()) {}

link_capabilities impair::capabilities() const {
    // A checksum that were completed below would cover up the corruption.
    link_capabilities c = below().capabilities();
    c.checksum = false;
    c.segmentation = false;
    return c;
}

void impair::when(direction d, std::function<bool(bytes)> matches, fault_kind kind, std::uint64_t times) {
    if (!replaying_) lane(d).rules.push_back({std::move(matches), kind, times});
}

void impair::replay(const fault_schedule& what) {
    replaying_ = true;
    for (lane_state* l : {&out_, &in_}) {
        l->script.clear();
        l->rules.clear();
    }
    for (const fault& f : what) lane(f.where).script.emplace(f.frame, f);
}

void impair::arrive(lane_state& l, frame&& f) {
    finish(std::move(f), pool_, [&](frame&& packet) { meet(l, std::move(packet)); });
}

void impair::meet(lane_state& l, frame&& f) {
    const std::uint64_t number = l.next_number++;
    ++l.counts.frames;
    const instant now = reactor_.now();
    for (const window& w : l.outages) {
        if (now < w.from || now >= w.until) continue;
        ++l.counts[fault_kind::outage];
        return;
    }
    if (l.how.mtu != 0 && f.size() > l.how.mtu + link_capabilities::ethernet_header) {
        ++l.counts[fault_kind::too_big];
        return;
    }
    if (!passes_ecn(l, f.data())) {
        ++l.counts[fault_kind::swallowed];
        return;
    }
    const verdict v = judge(l, number, f.data());
    record(l, number, v);
    if (v.lost) return;

    frame kept = std::move(f).owned(pool_);
    kept.meta = {}; // whoever verified it did so before us
    if (l.how.ecn == ecn_path::bleaches) set_ecn_field(kept.mutable_data(), 0);
    if (v.marked) set_ecn_field(kept.mutable_data(), 3);
    if (v.corrupted && kept.size() > 0) {
        std::byte& hit = kept.mutable_data()[v.bit / 8];
        hit ^= std::byte{1} << (v.bit % 8);
    }
    if (!v.duplicated) {
        enqueue(l, std::move(kept), v.extra, v.gap);
        return;
    }
    frame copy = kept.copy(pool_);
    enqueue(l, std::move(kept), v.extra, v.gap);
    enqueue(l, std::move(copy), v.extra + v.copy_after, 0);
}

bool impair::passes_ecn(lane_state& l, bytes content) {
    switch (l.how.ecn) {
    case ecn_path::keeps:
    case ecn_path::bleaches: break;
    case ecn_path::swallows_setup: return !asks_for_ecn(content);
    case ecn_path::swallows_ect: return ecn_field(content) == 0;
    }
    return true;
}

impair::verdict impair::judge(lane_state& l, std::uint64_t number, bytes content) {
    verdict v;
    if (!replaying_) {
        if (!l.spared || !l.spared(content)) draw(l, v, content);
        for (rule& r : l.rules) {
            if (r.times == 0 || !r.matches(content)) continue;
            --r.times;
            const std::uint64_t value = r.kind == fault_kind::corrupt ? l.rng.next() : 0;
            decide(l, v, fault(number, l.where, r.kind, value), content);
        }
    }
    const auto [first, last] = l.script.equal_range(number);
    for (auto at = first; at != last; ++at) decide(l, v, at->second, content);
    l.script.erase(first, last);
    return v;
}

void impair::draw(lane_state& l, verdict& v, bytes content) const {
    const impairment& how = l.how;
    const auto happens = [&l](std::uint32_t ppm) { return ppm != 0 && l.rng.chance_ppm(ppm); };
    v.lost = happens(how.loss_ppm);
    v.corrupted = happens(how.corrupt_ppm);
    if (v.corrupted) v.bit = covered_bits(content).at(l.rng.next());
    v.duplicated = happens(how.duplicate_ppm);
    if (v.duplicated) v.copy_after = draw_duration(l.rng, how.jitter);
    v.reordered = happens(how.reorder_ppm);
    if (v.reordered) v.gap = how.reorder_gap;
    v.extra = draw_duration(l.rng, how.jitter);
}

void impair::decide(lane_state& l, verdict& v, const fault& f, bytes content) const {
    const auto value = duration(static_cast<std::int64_t>(f.value));
    switch (f.kind) {
    case fault_kind::corrupt:
        v.corrupted = true;
        v.bit = content.empty() ? 0 : covered_bits(content).at(f.value);
        break;
    case fault_kind::duplicate:
        v.duplicated = true;
        v.copy_after = value;
        break;
    case fault_kind::reorder:
        v.reordered = true;
        v.gap = f.value != 0 ? f.value : l.how.reorder_gap;
        break;
    case fault_kind::jitter: v.extra = value; break;
    case fault_kind::mark: v.marked = ecn_field(content) != 0 && l.how.ecn != ecn_path::bleaches; break;
    case fault_kind::loss:
    case fault_kind::tail_drop:
    case fault_kind::too_big:
    case fault_kind::outage:
    case fault_kind::swallowed: v.lost = true; break;
    }
}

void impair::record(lane_state& l, std::uint64_t number, const verdict& v) {
    if (v.lost) { // nothing else can happen to it any more
        note(l, fault(number, l.where, fault_kind::loss));
        return;
    }
    if (v.corrupted) note(l, fault(number, l.where, fault_kind::corrupt, v.bit));
    if (v.duplicated)
        note(l,
             fault(number, l.where, fault_kind::duplicate, static_cast<std::uint64_t>(v.copy_after.count())));
    if (v.reordered) note(l, fault(number, l.where, fault_kind::reorder, v.gap));
    if (v.marked) note(l, fault(number, l.where, fault_kind::mark));
    if (v.extra > duration::zero())
        note(l, fault(number, l.where, fault_kind::jitter, static_cast<std::uint64_t>(v.extra.count())));
}

void impair::note(lane_state& l, const fault& f) {
    ++l.counts[f.kind];
    if (done_.size() < max_schedule_) {
        done_.push_back(f);
    } else {
        schedule_complete_ = false;
    }
}

void impair::enqueue(lane_state& l, frame&& f, duration extra, std::uint64_t gap) {
    const instant now = reactor_.now();
    instant due = now;
    if (l.how.rate != 0) {
        while (!l.queue.empty() && l.queue.front().leaves <= now) {
            l.queue_bytes -= l.queue.front().bytes;
            l.queue.pop_front();
        }
        if (!l.queue.empty() && l.queue_bytes + f.size() > l.how.queue) {
            ++l.counts[fault_kind::tail_drop];
            return;
        }
        l.busy_until = std::max(now, l.busy_until) + transmission_time(f.size(), l.how.rate);
        l.queue.push_back({l.busy_until, f.size()});
        l.queue_bytes += f.size();
        due = l.busy_until;
    }
    if ((l.how.rate != 0 ? l.queue_bytes : f.size()) > l.how.mark_above && ecn_field(f.data()) != 0) {
        ++l.counts[fault_kind::mark];
        set_ecn_field(f.mutable_data(), 3);
    }
    due += l.how.delay + extra;
    if (l.how.keep_order) due = std::max(due, l.last_due);
    l.last_due = std::max(due, l.last_due);

    const bool at_once = due <= now && (l.delayed.empty() || l.delayed.front().due > now);
    if (at_once) {
        pass(l, std::move(f), gap);
    } else if (l.delayed.size() >= max_held_) {
        ++l.counts[fault_kind::tail_drop];
    } else {
        l.delayed.push_back({due, l.next_order++, gap, std::move(f)});
        std::push_heap(l.delayed.begin(), l.delayed.end(), held::later);
        rearm(l);
    }
}

// A frame leaves the impairment, or waits at its door until others have gone first.
void impair::pass(lane_state& l, frame&& f, std::uint64_t gap) {
    if (gap == 0) {
        emit(l, std::move(f));
        overtake(l);
    } else if (l.held_back.size() >= max_held_) {
        ++l.counts[fault_kind::tail_drop];
    } else {
        l.held_back.push_back({reactor_.now() + l.how.reorder_hold, gap, std::move(f)});
        rearm(l);
    }
}

void impair::overtake(lane_state& l) {
    for (auto& o : l.held_back) --o.frames_to_go;
    for (std::size_t i = 0; i < l.held_back.size();) {
        if (l.held_back[i].frames_to_go != 0) {
            ++i;
            continue;
        }
        frame f = std::move(l.held_back[i].content);
        l.held_back.erase(l.held_back.begin() + static_cast<std::ptrdiff_t>(i));
        emit(l, std::move(f));
    }
}

void impair::emit(lane_state& l, frame&& f) {
    if (l.where == direction::out) {
        below().send(std::move(f));
    } else {
        f.arrived = reactor_.now();
        pass_up(std::move(f));
    }
}

void impair::release(lane_state& l, instant now) {
    while (!l.delayed.empty() && l.delayed.front().due <= now) {
        std::pop_heap(l.delayed.begin(), l.delayed.end(), held::later);
        held h = std::move(l.delayed.back());
        l.delayed.pop_back();
        pass(l, std::move(h.content), h.gap);
    }
    for (std::size_t i = 0; i < l.held_back.size();) {
        if (l.held_back[i].until > now) {
            ++i;
            continue;
        }
        frame f = std::move(l.held_back[i].content);
        l.held_back.erase(l.held_back.begin() + static_cast<std::ptrdiff_t>(i));
        emit(l, std::move(f));
    }
    rearm(l);
    if (l.where == direction::out) below().flush(now);
}

void impair::rearm(lane_state& l) {
    instant next = l.delayed.empty() ? never : l.delayed.front().due;
    for (const auto& o : l.held_back) next = std::min(next, o.until);
    if (next == never) {
        reactor_.timers().cancel(l);
    } else if (!l.armed() || l.deadline() != next) {
        reactor_.timers().arm(l, next);
    }
}

} // namespace tapir
