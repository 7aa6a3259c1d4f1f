#include <tapir/protocols/tcp/sack.hpp>

namespace tapir::tcp {

std::size_t sack_ranges::first_reaching(seq s) const {
    std::size_t low = 0;
    std::size_t high = ranges_.size();
    while (low < high) {
        const std::size_t middle = (low + high) / 2;
        if (ranges_[middle].end < s)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool sack_ranges::touches(seq begin, seq end) const {
    const std::size_t i = first_reaching(begin);
    return i < ranges_.size() && ranges_[i].begin <= end;
}

void sack_ranges::received(seq begin, seq end) {
    const std::size_t i = first_reaching(begin);
    if (i == ranges_.size() || ranges_[i].begin > end) {
        ranges_.insert(i, range{begin, end, ++stamp_});
        return;
    }
    range& joined = ranges_[i];
    joined.begin = earlier(joined.begin, begin);
    joined.end = later(joined.end, end);
    joined.stamp = ++stamp_;
    while (i + 1 < ranges_.size() && ranges_[i + 1].begin <= ranges_[i].end) {
        ranges_[i].end = later(ranges_[i].end, ranges_[i + 1].end);
        ranges_.erase(i + 1);
    }
}

void sack_ranges::duplicate(seq begin, seq end, std::size_t bound) {
    if (duplicates_.size() < bound) duplicates_.push_back(sack_block{begin, end});
}

void sack_ranges::delivered(seq next) {
    while (!ranges_.empty() && ranges_.front().end <= next) ranges_.pop_front();
    if (!ranges_.empty()) ranges_.front().begin = later(ranges_.front().begin, next);
}

std::size_t sack_ranges::report(std::span<sack_block> blocks) {
    std::size_t used = 0;
    std::size_t named = ranges_.size(); // the range that a duplicate was part of
    if (!duplicates_.empty() && !blocks.empty()) {
        const sack_block twice = duplicates_.pop_front();
        blocks[used++] = twice;
        // The second block is the range that has it. [RFC 2883 4, (4)]
        for (std::size_t i = 0; i < ranges_.size() && used < blocks.size(); ++i) {
            if (!ranges_[i].contains(twice)) continue;
            named = i;
            blocks[used++] = sack_block{ranges_[i].begin, ranges_[i].end};
            break;
        }
    }
    // Stamps are told apart by age, which does not wrap.
    std::uint32_t age = 0; // of the youngest that may follow
    while (used < blocks.size()) {
        const range* newest = nullptr;
        for (std::size_t i = 0; i < ranges_.size(); ++i) {
            const range& r = ranges_[i];
            if (i == named || stamp_ - r.stamp < age) continue;
            if (newest == nullptr || stamp_ - r.stamp < stamp_ - newest->stamp) newest = &r;
        }
        if (newest == nullptr) break;
        blocks[used++] = sack_block{newest->begin, newest->end};
        age = stamp_ - newest->stamp + 1;
    }
    return used;
}

sack_meaning meaning_of(const sack_block& b, seq una, seq max, std::uint32_t window) {
    if (b.end <= b.begin) return sack_meaning::invalid;
    // By distance: a block beyond half a circle is not before what it is far behind.
    const std::uint32_t outstanding = max - una;
    if (b.begin - una < outstanding && b.end - una <= outstanding) return sack_meaning::held;
    // A duplicate lies below what is acknowledged, and no farther back than anything can be under way.
    const std::uint32_t back = una - b.begin;
    return back <= window && b.end - b.begin <= back ? sack_meaning::duplicate : sack_meaning::invalid;
}

} // namespace tapir::tcp
