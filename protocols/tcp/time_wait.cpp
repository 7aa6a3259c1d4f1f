#include <tapir/protocols/tcp/time_wait.hpp>

#include <algorithm>
#include <cassert>
#include <cstddef>

namespace tapir::tcp {

void time_wait_table::link(std::uint32_t i) {
    assert(last_ == none || entries_[last_].expires <= entries_[i].expires);
    entries_[i].previous = last_;
    entries_[i].next = none;
    (last_ == none ? first_ : entries_[last_].next) = i;
    last_ = i;
}

void time_wait_table::unlink(std::uint32_t i) {
    const time_wait_entry& e = entries_[i];
    (e.previous == none ? first_ : entries_[e.previous].next) = e.next;
    (e.next == none ? last_ : entries_[e.next].previous) = e.previous;
}

std::uint32_t time_wait_table::insert(const time_wait_entry& entry) {
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
    entries_[i].used = 1;
    link(i);
    ++size_;
    return i;
}

void time_wait_table::erase(std::uint32_t i) {
    assert(entries_[i].used != 0);
    unlink(i);
    entries_[i] = time_wait_entry{};
    entries_[i].next = free_;
    free_ = i;
    --size_;
}

void time_wait_table::restart(std::uint32_t i, instant expires) {
    unlink(i);
    entries_[i].expires = expires;
    link(i);
}

} // namespace tapir::tcp
