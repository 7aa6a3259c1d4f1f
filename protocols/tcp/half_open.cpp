#include <tapir/protocols/tcp/half_open.hpp>

#include <algorithm>
#include <bit>
#include <utility>

namespace tapir::tcp {

half_open_table::half_open_table(std::uint32_t bound, duration initial, duration longest,
                                 hash_of_entry hash_of)
    : entry_table(bound, std::move(hash_of)), initial_(initial), longest_(longest) {}

duration half_open_table::wait_after(std::size_t retransmits) const {
    duration wait = initial_;
    for (std::size_t i = 0; i < retransmits && wait < longest_; ++i) wait *= 2;
    return std::min(wait, longest_);
}

void half_open_table::link(std::uint32_t i) {
    half_open_entry& e = (*this)[i];
    queue& q = queues_[e.retransmits];
    e.previous = q.last;
    e.next = none;
    (q.last == none ? q.first : (*this)[q.last].next) = i;
    q.last = i;
    waiting_ |= 1u << e.retransmits;
}

void half_open_table::unlink(std::uint32_t i) {
    const half_open_entry& e = (*this)[i];
    queue& q = queues_[e.retransmits];
    (e.previous == none ? q.first : (*this)[e.previous].next) = e.next;
    (e.next == none ? q.last : (*this)[e.next].previous) = e.previous;
    if (q.first == none) waiting_ &= ~(1u << e.retransmits);
}

std::uint32_t half_open_table::insert(const half_open_entry& entry, std::uint64_t hash) {
    const std::uint32_t i = take(entry, hash);
    (*this)[i].retransmits = 0;
    link(i);
    return i;
}

void half_open_table::erase(std::uint32_t i, std::uint64_t hash) {
    unlink(i);
    give_back(i, hash);
}

void half_open_table::retransmitted(std::uint32_t i, instant now) {
    unlink(i);
    half_open_entry& e = (*this)[i];
    if (e.retransmits < max_retries) e.retransmits = (e.retransmits + 1) & 15;
    e.sent(e.arrived(), now);
    link(i);
}

std::uint32_t half_open_table::due(instant now) const {
    for (std::size_t n = 0; n < queues_.size(); ++n) {
        const std::uint32_t i = queues_[n].first;
        if (i != none && (*this)[i].last_sent.at() + wait_after(n) <= now) return i;
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
    for (std::uint32_t rest = waiting_; rest != 0; rest &= rest - 1) {
        const auto n = static_cast<std::size_t>(std::countr_zero(rest));
        earliest = std::min(earliest, (*this)[queues_[n].first].last_sent.at() + wait_after(n));
    }
    return earliest;
}

} // namespace tapir::tcp
