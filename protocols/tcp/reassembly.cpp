#include <tapir/protocols/tcp/reassembly.hpp>

#include <utility>

namespace tapir::tcp {

bool reassembly::insert(seq begin, chunk payload, buffer_pool& pool) {
    bool kept = false;
    std::size_t i = 0;
    while (i < ranges_.size() && ranges_[i].end() <= begin) ++i;
    while (!payload.empty()) {
        if (i < ranges_.size() && ranges_[i].begin <= begin) { // these bytes are held already
            const std::uint32_t known = ranges_[i].end() - begin;
            if (known >= payload.size()) break;
            payload.drop_front(known);
            begin += known;
            ++i;
            continue;
        }
        std::size_t n = payload.size();
        if (i < ranges_.size()) n = std::min<std::size_t>(n, ranges_[i].begin - begin);
        chunk piece = payload.slice(0, n);
        if (piece.size() * 2 < piece.true_size()) piece = chunk(pool.copy_of(piece.data()), 0, n);
        ranges_.insert(i, range{begin, std::move(piece)});
        ++i;
        kept = true;
        size_ += static_cast<std::uint32_t>(n);
        payload.drop_front(n);
        begin += static_cast<std::uint32_t>(n);
    }
    return kept;
}

chunk reassembly::take(seq next) {
    while (!ranges_.empty() && ranges_.front().begin <= next) {
        range first = ranges_.pop_front();
        size_ -= static_cast<std::uint32_t>(first.payload.size());
        if (first.end() <= next) continue;
        first.payload.drop_front(next - first.begin);
        return std::move(first.payload);
    }
    return {};
}

void reassembly::clear() {
    ranges_.clear();
    size_ = 0;
}

} // namespace tapir::tcp
