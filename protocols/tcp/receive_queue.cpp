#include <tapir/protocols/tcp/receive_queue.hpp>

#include <algorithm>

namespace tapir::tcp {

namespace {
constexpr std::size_t slab_size = 4096;
} // namespace

void receive_queue::append(chunk payload, buffer_pool& pool) {
    if (payload.empty()) return;
    if (!queued_) queued_ = std::make_unique<contents>();
    // What comes alone, in the smallest of buffers, a copy would not make smaller.
    const bool wasteful = payload.size() * 2 < payload.true_size() &&
                          (payload.true_size() > buffer_pool::smallest || !queued_->chunks.empty());
    if (wasteful) {
        append_copy(payload.data(), pool);
        return;
    }
    contents& q = *queued_;
    q.slab = buffer{};
    q.size += payload.size();
    q.true_size += payload.true_size();
    q.chunks.push_back(std::move(payload));
}

void receive_queue::append_copy(bytes payload, buffer_pool& pool) {
    contents& q = *queued_;
    while (!payload.empty()) {
        if (!q.slab || q.slab_used == q.slab.capacity()) {
            q.slab = pool.allocate(std::clamp(payload.size(), buffer_pool::smallest, slab_size));
            q.slab_used = 0;
        }
        const std::size_t n = std::min(payload.size(), q.slab.capacity() - q.slab_used);
        copy_bytes(q.slab.span().subspan(q.slab_used), payload.first(n));
        // A slice that ends where this one begins just grows, so that a thousand bytes that came alone are
        // one chunk.
        if (q.slab_used != 0 && !q.chunks.empty()) {
            const std::size_t already = q.chunks.back().size();
            q.chunks.back() = chunk(q.slab, q.slab_used - already, already + n);
        } else {
            q.true_size += q.slab.capacity();
            q.chunks.push_back(chunk(q.slab, q.slab_used, n));
        }
        q.slab_used += n;
        q.size += n;
        payload = payload.subspan(n);
    }
}

std::size_t receive_queue::read(mutable_bytes to) {
    std::size_t done = 0;
    while (done < to.size() && !empty()) {
        const chunk piece = read_chunk(to.size() - done);
        copy_bytes(to.subspan(done), piece.data());
        done += piece.size();
    }
    return done;
}

chunk receive_queue::read_chunk(std::size_t max) {
    if (empty() || max == 0) return {};
    contents& q = *queued_;
    chunk& first = q.chunks.front();
    chunk piece = first.slice(0, std::min(max, first.size()));
    q.size -= piece.size();
    first.drop_front(piece.size());
    if (first.empty()) {
        q.true_size -= first.true_size();
        q.chunks.pop_front();
        // The slab was the last chunk's: it has no successor to grow any more.
        if (q.chunks.empty()) q.slab = buffer{};
    }
    return piece;
}

} // namespace tapir::tcp
