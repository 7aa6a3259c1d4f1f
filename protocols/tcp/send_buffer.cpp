#include <tapir/protocols/tcp/send_buffer.hpp>

#include <algorithm>
#include <bit>
#include <cassert>

namespace tapir::tcp {

namespace {
constexpr std::size_t smallest_chunk = 2048;
} // namespace

std::uint32_t send_buffer::room(std::size_t memory) const {
    const std::size_t there = spare() + (memory < smallest_chunk ? 0 : memory);
    return static_cast<std::uint32_t>(std::min<std::size_t>(bound_ - size_, there));
}

std::size_t send_buffer::write(bytes data, buffer_pool& pool, std::size_t memory) {
    data = data.first(std::min<std::size_t>(data.size(), bound_ - size_));
    const std::size_t offered = data.size();
    while (!data.empty()) {
        if (spare() == 0) {
            if (memory < smallest_chunk) break;
            // The more is queued already, the larger: few chunks to walk, little wasted.
            const std::size_t wanted =
                std::clamp(std::max<std::size_t>(data.size(), size_), smallest_chunk, largest_chunk);
            tail_ = pool.allocate(std::min(wanted, std::bit_floor(memory)));
            tail_used_ = 0;
            true_size_ += static_cast<std::uint32_t>(tail_.capacity());
            memory -= std::min(memory, tail_.capacity());
        }
        const std::size_t n = std::min<std::size_t>(data.size(), tail_.capacity() - tail_used_);
        copy_bytes(tail_.span().subspan(tail_used_), data.first(n));
        // Bytes behind the last chunk's end are not yet visible to anybody: the chunk just grows.
        if (tail_used_ != 0 && !chunks_.empty()) {
            const std::size_t already = chunks_.back().size();
            chunks_.back() = chunk(tail_, tail_used_ - already, already + n);
        } else {
            chunks_.push_back(chunk(tail_, tail_used_, n));
        }
        tail_used_ += static_cast<std::uint32_t>(n);
        size_ += static_cast<std::uint32_t>(n);
        data = data.subspan(n);
    }
    return offered - data.size();
}

std::size_t send_buffer::write(chunk data, buffer_pool& pool, std::size_t memory) {
    const std::size_t most = bound_ - size_;
    if (data.size() > most) data.drop_back(data.size() - most);
    if (data.size() < smallest_chunk || data.size() * 2 < data.true_size() || data.true_size() > memory)
        return write(data.data(), pool, memory);
    const std::size_t taken = data.size();
    tail_ = buffer{};
    tail_used_ = 0;
    true_size_ += static_cast<std::uint32_t>(data.true_size());
    size_ += static_cast<std::uint32_t>(taken);
    chunks_.push_back(std::move(data));
    return taken;
}

std::size_t send_buffer::gather(std::size_t offset, std::size_t& length, std::span<chunk> parts) {
    assert(length != 0 && offset + length <= size_);
    if (offset < before_last_) last_chunk_ = before_last_ = 0;
    offset -= before_last_;
    std::size_t used = 0;
    std::size_t found = 0;
    while (last_chunk_ < chunks_.size()) {
        const chunk& all = chunks_[last_chunk_];
        if (offset < all.size()) {
            parts[used] = all.slice(offset, std::min(all.size() - offset, length - found));
            found += parts[used].size();
            offset = all.size();
            ++used;
            if (found == length || used == parts.size()) break;
        }
        offset -= all.size();
        before_last_ += static_cast<std::uint32_t>(all.size());
        ++last_chunk_;
    }
    length = found;
    return used;
}

void send_buffer::drop_front(std::uint32_t n) {
    assert(n <= size_);
    size_ -= n;
    before_last_ -= std::min(before_last_, n);
    while (n != 0) {
        chunk& first = chunks_.front();
        const auto part = static_cast<std::uint32_t>(std::min<std::size_t>(n, first.size()));
        first.drop_front(part);
        n -= part;
        if (!first.empty()) continue;
        true_size_ -= static_cast<std::uint32_t>(first.true_size());
        chunks_.pop_front();
        if (last_chunk_ != 0) --last_chunk_;
    }
    // Segments of the tail may still be under way below us, but what is acknowledged is never sent again:
    // an idle connection keeps no buffer.
    if (size_ != 0) return;
    tail_ = buffer{};
    tail_used_ = 0;
}

void send_buffer::clear() {
    chunks_.clear();
    last_chunk_ = before_last_ = 0;
    tail_ = buffer{};
    tail_used_ = 0;
    size_ = 0;
    true_size_ = 0;
}

} // namespace tapir::tcp
