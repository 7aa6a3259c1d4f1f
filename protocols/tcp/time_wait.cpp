#include <tapir/protocols/tcp/time_wait.hpp>

#include <cassert>

namespace tapir::tcp {

void time_wait_table::link(std::uint32_t i) {
    assert(last_ == none || (*this)[last_].expires.at() <= (*this)[i].expires.at());
    (*this)[i].previous = last_;
    (*this)[i].next = none;
    (last_ == none ? first_ : (*this)[last_].next) = i;
    last_ = i;
}

void time_wait_table::unlink(std::uint32_t i) {
    const time_wait_entry& e = (*this)[i];
    (e.previous == none ? first_ : (*this)[e.previous].next) = e.next;
    (e.next == none ? last_ : (*this)[e.next].previous) = e.previous;
}

std::uint32_t time_wait_table::insert(const time_wait_entry& entry, std::uint64_t hash) {
    const std::uint32_t i = take(entry, hash);
    link(i);
    return i;
}

void time_wait_table::erase(std::uint32_t i, std::uint64_t hash) {
    unlink(i);
    give_back(i, hash);
}

void time_wait_table::restart(std::uint32_t i, instant expires) {
    unlink(i);
    (*this)[i].expires = expires;
    link(i);
}

} // namespace tapir::tcp
