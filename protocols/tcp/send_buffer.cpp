#include <tapir/protocols/tcp/send_buffer.hpp>

#include <algorithm>

namespace tapir::tcp {

namespace {
constexpr std::size_t smallest_chunk = 2048;
constexpr std::size_t largest_chunk = 64 * 1024;
} // namespace

std::size_t send_buffer::write(bytes data, buffer_pool& pool) {
    data = data.first(std::min<std::size_t>(data.size(), room()));
    const std::size_t taken = data.size();
    while (!data.empty()) {
        if (!tail_ || tail_used_ == tail_.capacity()) {
            // The more is queued already, the larger: few chunks to walk, little wasted.
            tail_ = pool.allocate(
                std::clamp(std::max<std::size_t>(data.size(), size_), smallest_chunk, largest_chunk));
            tail_used_ = 0;
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
    return taken;
}

std::size_t send_buffer::write(chunk data, buffer_pool& pool) {
    if (data.size() < smallest_chunk || data.size() * 2 < data.true_size()) return write(data.data(), pool);
    if (data.size() > room()) data.drop_back(data.size() - room());
    const std::size_t taken = data.size();
    if (taken == 0) return 0;
    tail_ = buffer{};
    size_ += static_cast<std::uint32_t>(taken);
    chunks_.push_back(std::move(data));
    return taken;
}

std::size_t send_buffer::gather(std::size_t offset, std::size_t& length, std::span<bytes> parts) const {
    std::size_t used = 0;
    std::size_t found = 0;
    for (std::size_t i = 0; i < chunks_.size() && used < parts.size() && found < length; ++i) {
        const bytes all = chunks_[i].data();
        if (offset >= all.size()) {
            offset -= all.size();
            continue;
        }
        parts[used] = all.subspan(offset, std::min(all.size() - offset, length - found));
        found += parts[used].size();
        ++used;
        offset = 0;
    }
    length = found;
    return used;
}

void send_buffer::drop_front(std::uint32_t n) {
    assert(n <= size_);
    size_ -= n;
    while (n != 0) {
        chunk& first = chunks_.front();
        const auto part = static_cast<std::uint32_t>(std::min<std::size_t>(n, first.size()));
        first.drop_front(part);
        n -= part;
        if (first.empty()) chunks_.pop_front();
    }
    // Segments of the tail may still be under way below us, but what is acknowledged is never sent again:
    // an idle connection keeps no buffer.
    if (size_ == 0) tail_ = buffer{};
}

void send_buffer::clear() {
    chunks_.clear();
    tail_ = buffer{};
    size_ = 0;
}

} // namespace tapir::tcp
