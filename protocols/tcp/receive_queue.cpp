#include <tapir/protocols/tcp/receive_queue.hpp>

#include <algorithm>

namespace tapir::tcp {

namespace {
constexpr std::size_t slab_size = 4096;
} // namespace

void receive_queue::append(chunk payload, buffer_pool& pool) {
    if (payload.empty()) return;
    if (payload.size() * 2 < payload.true_size()) {
        append_copy(payload.data(), pool);
        return;
    }
    slab_ = buffer{};
    size_ += payload.size();
    true_size_ += payload.true_size();
    chunks_.push_back(std::move(payload));
}

void receive_queue::append_copy(bytes payload, buffer_pool& pool) {
    while (!payload.empty()) {
        if (!slab_ || slab_used_ == slab_.capacity()) {
            slab_ = pool.allocate(std::clamp(payload.size(), std::size_t{256}, slab_size));
            slab_used_ = 0;
        }
        const std::size_t n = std::min(payload.size(), slab_.capacity() - slab_used_);
        copy_bytes(slab_.span().subspan(slab_used_), payload.first(n));
        // A slice that ends where this one begins just grows, so that a thousand bytes that came alone are
        // one chunk.
        if (slab_used_ != 0 && !chunks_.empty()) {
            const std::size_t already = chunks_.back().size();
            chunks_.back() = chunk(slab_, slab_used_ - already, already + n);
        } else {
            true_size_ += slab_.capacity();
            chunks_.push_back(chunk(slab_, slab_used_, n));
        }
        slab_used_ += n;
        size_ += n;
        payload = payload.subspan(n);
    }
}

std::size_t receive_queue::read(mutable_bytes to) {
    std::size_t done = 0;
    while (done < to.size() && size_ != 0) {
        const chunk piece = read_chunk(to.size() - done);
        copy_bytes(to.subspan(done), piece.data());
        done += piece.size();
    }
    return done;
}

chunk receive_queue::read_chunk(std::size_t max) {
    if (size_ == 0 || max == 0) return {};
    chunk& first = chunks_.front();
    chunk piece = first.slice(0, std::min(max, first.size()));
    size_ -= piece.size();
    first.drop_front(piece.size());
    if (first.empty()) {
        true_size_ -= first.true_size();
        chunks_.pop_front();
        // The slab was the last chunk's: it has no successor to grow any more.
        if (chunks_.empty()) slab_ = buffer{};
    }
    return piece;
}

void receive_queue::clear() {
    chunks_.clear();
    slab_ = buffer{};
    size_ = true_size_ = 0;
}

} // namespace tapir::tcp
