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

bool reassembly::touches(seq begin, std::uint32_t length) const {
    const std::size_t i = first_behind(begin - 1);
    return i < pieces_.size() && pieces_[i].begin <= begin + length;
}

bool reassembly::insert(seq begin, chunk payload, buffer_pool& pool) {
    bool kept = false;
    while (!payload.empty()) {
        const std::size_t i = first_behind(begin);
        if (i < pieces_.size() && pieces_[i].begin <= begin) { // these bytes are held already
            const std::uint32_t known = pieces_[i].end() - begin;
            if (known >= payload.size()) break;
            payload.drop_front(known);
            begin += known;
            continue;
        }
        std::size_t n = payload.size();
        if (i < pieces_.size()) n = std::min<std::size_t>(n, pieces_[i].begin - begin);
        place(i, piece{begin, payload.slice(0, n)}, pool);
        kept = true;
        payload.drop_front(n);
        begin += static_cast<std::uint32_t>(n);
    }
    return kept;
}

void reassembly::place(std::size_t i, piece p, buffer_pool& pool) {
    const bool adjoins_front = i > 0 && pieces_[i - 1].end() == p.begin;
    const bool adjoins_behind = i < pieces_.size() && pieces_[i].begin == p.end();
    ranges_ = ranges_ + 1 - (adjoins_front ? 1 : 0) - (adjoins_behind ? 1 : 0);
    const std::size_t n = p.payload.size();
    size_ += static_cast<std::uint32_t>(n);
    if (n * 2 < p.payload.true_size()) p.payload = chunk(pool.copy_of(p.payload.data()), 0, n);
    pieces_.insert(i, std::move(p));
    if (adjoins_behind) join_small(i, pool);
    if (adjoins_front) join_small(i - 1, pool);
}

// Piece i and the next, which adjoins it, become one if both are small.
void reassembly::join_small(std::size_t i, buffer_pool& pool) {
    const bytes front = pieces_[i].payload.data();
    const bytes behind = pieces_[i + 1].payload.data();
    const std::size_t size = front.size() + behind.size();
    if (size > largest_joined) return;
    buffer joined = pool.allocate(size);
    copy_bytes(joined.span(), front);
    copy_bytes(joined.span().subspan(front.size()), behind);
    pieces_[i].payload = chunk(std::move(joined), 0, size);
    pieces_.erase(i + 1);
}

chunk reassembly::take(seq next) {
    while (!pieces_.empty() && pieces_.front().begin <= next) {
        piece first = pieces_.pop_front();
        size_ -= static_cast<std::uint32_t>(first.payload.size());
        if (pieces_.empty() || pieces_.front().begin != first.end()) --ranges_;
        if (first.end() <= next) continue;
        first.payload.drop_front(next - first.begin);
        return std::move(first.payload);
    }
    return {};
}

void reassembly::clear() {
    pieces_.clear();
    size_ = 0;
    ranges_ = 0;
}

} // namespace tapir::tcp
