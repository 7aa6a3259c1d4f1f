#include <tapir/protocols/tcp/range_set.hpp>

namespace tapir::tcp {

range_set::ranges::const_iterator range_set::first_behind(seq s) const {
    auto at = ranges_.upper_bound(s);
    if (at != ranges_.begin() && std::prev(at)->second > s) --at;
    return at;
}

std::optional<byte_range> range_set::find(seq s) const {
    const auto at = first_behind(s);
    if (at == ranges_.end() || at->first > s) return std::nullopt;
    return byte_range{at->first, at->second};
}

bool range_set::touches(seq begin, seq end) const {
    auto at = ranges_.upper_bound(end);
    return at != ranges_.begin() && std::prev(at)->second >= begin;
}

void range_set::add(seq begin, seq end) {
    if (begin >= end) return;
    auto at = ranges_.upper_bound(begin);
    if (at != ranges_.begin() && std::prev(at)->second >= begin) --at;
    while (at != ranges_.end() && at->first <= end) { // those it touches become part of it
        begin = earlier(begin, at->first);
        end = later(end, at->second);
        bytes_ -= at->second - at->first;
        at = ranges_.erase(at);
    }
    ranges_.emplace_hint(at, begin, end);
    bytes_ += end - begin;
}

std::uint32_t range_set::remove(seq begin, seq end) {
    const std::uint32_t before = bytes_;
    for (auto at = first_behind(begin); at != ranges_.end() && at->first < end;) {
        const byte_range r{at->first, at->second};
        at = ranges_.erase(at);
        bytes_ -= r.size();
        add(r.begin, earlier(r.end, begin));
        if (r.end <= end) continue;
        add(end, r.end);
        break;
    }
    return before - bytes_;
}

void range_set::drop_below(seq s) {
    if (!ranges_.empty() && ranges_.begin()->first < s) remove(ranges_.begin()->first, s);
}

} // namespace tapir::tcp
