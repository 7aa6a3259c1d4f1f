#include <tapir/protocols/tcp/half_open.hpp>

#include <algorithm>
#include <cassert>

namespace tapir::tcp {

half_open_table::half_open_table(std::uint32_t bound, duration initial, duration longest)
    : bound_(bound), initial_(initial), longest_(longest) {}

duration half_open_table::wait_after(std::size_t retransmits) const {
    duration wait = initial_;
    for (std::size_t i = 0; i < retransmits && wait < longest_; ++i) wait *= 2;
    return std::min(wait, longest_);
}

void half_open_table::link(std::uint32_t i) {
    half_open_entry& e = entries_[i];
    queue& q = queues_[e.retransmits];
    e.previous = q.last;
    e.next = none;
    (q.last == none ? q.first : entries_[q.last].next) = i;
    q.last = i;
}

void half_open_table::unlink(std::uint32_t i) {
    const half_open_entry& e = entries_[i];
    queue& q = queues_[e.retransmits];
    (e.previous == none ? q.first : entries_[e.previous].next) = e.next;
    (e.next == none ? q.last : entries_[e.next].previous) = e.previous;
}

std::uint32_t half_open_table::insert(const half_open_entry& entry) {
    assert(!full());
    std::uint32_t i = free_;
    if (i == none) {
        i = static_cast<std::uint32_t>(entries_.size());
        if (entries_.size() == entries_.capacity()) // doubles, but not past the bound
            entries_.reserve(std::min<std::size_t>(bound_, std::max<std::size_t>(16, 2 * entries_.size())));
        entries_.push_back(entry);
    } else {
        free_ = entries_[i].next;
        entries_[i] = entry;
    }
    entries_[i].used = true;
    entries_[i].retransmits = 0;
    link(i);
    ++size_;
    return i;
}

void half_open_table::erase(std::uint32_t i) {
    assert(entries_[i].used);
    unlink(i);
    entries_[i] = half_open_entry{};
    entries_[i].next = free_;
    free_ = i;
    --size_;
}

void half_open_table::retransmitted(std::uint32_t i, instant now) {
    unlink(i);
    half_open_entry& e = entries_[i];
    if (e.retransmits < max_retries) ++e.retransmits;
    const auto after = std::chrono::duration_cast<std::chrono::microseconds>(now - e.arrived).count();
    e.sent_after_us = static_cast<std::uint32_t>(std::clamp<std::int64_t>(after, 0, UINT32_MAX));
    // Beyond 71 minutes, where round trips take an hour, the origin moves: a time of sending that stood still
    // would make all further retransmissions due at once.
    if (after > UINT32_MAX) {
        e.arrived = now;
        e.sent_after_us = 0;
    }
    link(i);
}

std::uint32_t half_open_table::due(instant now) const {
    for (std::size_t n = 0; n < queues_.size(); ++n) {
        const std::uint32_t i = queues_[n].first;
        if (i != none && entries_[i].last_sent() + wait_after(n) <= now) return i;
    }
    return none;
}

std::uint32_t half_open_table::stalest() const {
    for (auto q = queues_.rbegin(); q != queues_.rend(); ++q)
        if (q->first != none) return q->first;
    return none;
}

instant half_open_table::next_deadline() const {
    instant earliest = never;
    for (std::size_t n = 0; n < queues_.size(); ++n)
        if (queues_[n].first != none)
            earliest = std::min(earliest, entries_[queues_[n].first].last_sent() + wait_after(n));
    return earliest;
}

} // namespace tapir::tcp
