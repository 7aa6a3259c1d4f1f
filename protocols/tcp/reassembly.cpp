#include <tapir/protocols/tcp/reassembly.hpp>

#include <algorithm>
#include <utility>

namespace tapir::tcp {

namespace {
/// Neighbours that together are no larger are joined: of two that adjoin, one is then always more than half
/// of this, and no segment of ordinary size is ever copied.
constexpr std::size_t largest_joined = 2048;
} // namespace

std::size_t reassembly::first_behind(seq s) const {
    std::size_t low = 0;
    std::size_t high = pieces_.size();
    while (low < high) {
        const std::size_t middle = (low + high) / 2;
        if (pieces_[middle].end() <= s)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

reassembly::outcome reassembly::insert(seq begin, chunk payload, buffer_pool& pool) {
    outcome result;
    if (!payload.empty()) sack_.received(begin, begin + static_cast<std::uint32_t>(payload.size()));
    while (!payload.empty()) {
        const std::size_t i = first_behind(begin);
        if (i < pieces_.size() && pieces_[i].begin <= begin) { // these bytes are held already
            const auto known =
                static_cast<std::uint32_t>(std::min<std::size_t>(pieces_[i].end() - begin, payload.size()));
            if (result.known_begin == result.known_end) result.known_begin = result.known_end = begin;
            if (result.known_end == begin) result.known_end = begin + known;
            payload.drop_front(known);
            begin += known;
            continue;
        }
        std::size_t n = payload.size();
        if (i < pieces_.size()) n = std::min<std::size_t>(n, pieces_[i].begin - begin);
        place(i, piece{begin, payload.slice(0, n)}, pool);
        result.kept = true;
        payload.drop_front(n);
        begin += static_cast<std::uint32_t>(n);
    }
    return result;
}

void reassembly::place(std::size_t i, piece p, buffer_pool& pool) {
    const bool adjoins_front = i > 0 && pieces_[i - 1].end() == p.begin;
    const bool adjoins_behind = i < pieces_.size() && pieces_[i].begin == p.end();
    const std::size_t n = p.payload.size();
    size_ += static_cast<std::uint32_t>(n);
    if (n * 2 < p.payload.true_size()) p.payload = chunk(pool.copy_of(p.payload.data()), 0, n);
    true_size_ += static_cast<std::uint32_t>(p.payload.true_size());
    pieces_.insert(i, std::move(p));
    if (adjoins_behind) join_small(i, pool);
    if (adjoins_front) join_small(i - 1, pool);
}

// Piece i and the next, which adjoins it, become one if both are small.
void reassembly::join_small(std::size_t i, buffer_pool& pool) {
    const chunk& front = pieces_[i].payload;
    const chunk& behind = pieces_[i + 1].payload;
    const std::size_t size = front.size() + behind.size();
    if (size > largest_joined) return;
    buffer joined = pool.allocate(size);
    copy_bytes(joined.span(), front.data());
    copy_bytes(joined.span().subspan(front.size()), behind.data());
    true_size_ += static_cast<std::uint32_t>(joined.capacity());
    true_size_ -= static_cast<std::uint32_t>(front.true_size() + behind.true_size());
    pieces_[i].payload = chunk(std::move(joined), 0, size);
    pieces_.erase(i + 1);
}

chunk reassembly::take(seq next) {
    while (!pieces_.empty() && pieces_.front().begin <= next) {
        piece first = pieces_.pop_front();
        size_ -= static_cast<std::uint32_t>(first.payload.size());
        true_size_ -= static_cast<std::uint32_t>(first.payload.true_size());
        sack_.delivered(first.end());
        if (first.end() <= next) continue;
        first.payload.drop_front(next - first.begin);
        return std::move(first.payload);
    }
    return {};
}

void reassembly::clear() {
    pieces_.clear();
    sack_.forget_ranges();
    size_ = true_size_ = 0;
}

} // namespace tapir::tcp
