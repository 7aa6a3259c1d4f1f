#include <tapir/framework/buffer.hpp>

#include <cstdint>
#include <limits>
#include <new>

namespace tapir {

namespace detail {

namespace {

std::size_t live_blocks(const pool_state& state) {
    std::size_t live = 0;
    for (const auto& same : state.by_class) live += same.count - same.free_count;
    return live;
}

// A block in which a whole batch or a large segment fits starts a page. Little of it may ever be written to;
// and a short frame that is read to the last bytes before a page that nobody has touched yet takes the
// processor much longer, 85 ns on a Xeon: the `rep movsb` with which Linux copies to a reader looks ahead
// into that page, as it seems, and finds none each time. Smaller blocks are not aligned: of those of 4 KiB it
// would waste half.
constexpr std::size_t page = 4096;

void* allocate_memory(std::size_t capacity) {
    const std::size_t size = sizeof(block) + capacity;
    return capacity < buffer_pool::page_aligned_from ? ::operator new(size)
                                                     : ::operator new(size, std::align_val_t(page));
}

void free_memory(block* b) noexcept {
    if (b->capacity < buffer_pool::page_aligned_from) return ::operator delete(b);
    ::operator delete(b, std::align_val_t(page));
}

} // namespace

block* new_block(pool_state& state, std::size_t c, std::size_t capacity) {
    if (capacity > std::numeric_limits<std::uint32_t>::max())
        throw std::bad_alloc(); // see chunk::place_, too
    const std::size_t size = c < kept_classes ? std::size_t{1} << (c + smallest_bits) : capacity;
    block* const b = new (allocate_memory(size))
        block{.pool = &state, .size_class = c, .capacity = static_cast<std::uint32_t>(size), .refs = 1};
    ++state.by_class[c].count;
    if (c == kept_classes) state.large_bytes += size;
    return b;
}

void free_block(block* b) noexcept {
    pool_state& state = *b->pool;
    --state.by_class[b->size_class].count;
    if (b->size_class == kept_classes) state.large_bytes -= b->capacity;
    free_memory(b);
    if (state.keep == 0 && live_blocks(state) == 0) delete &state;
}

} // namespace detail

buffer_pool::buffer_pool() : state_(new detail::pool_state) {}

buffer_pool::~buffer_pool() {
    for (auto& same : state_->by_class) {
        same.count -= std::exchange(same.free_count, 0);
        while (same.free != nullptr) detail::free_memory(std::exchange(same.free, same.free->next_free));
    }
    state_->keep = 0;
    if (live_blocks() == 0) delete state_;
}

buffer buffer_pool::copy_of(bytes b) {
    buffer copy = allocate(b.size());
    copy_bytes(copy.span(), b);
    return copy;
}

std::size_t buffer_pool::live_blocks() const {
    return detail::live_blocks(*state_);
}
std::size_t buffer_pool::live_bytes() const {
    std::size_t live = state_->large_bytes;
    for (std::size_t c = 0; c < detail::kept_classes; ++c) {
        const auto& same = state_->by_class[c];
        live += std::size_t{same.count - same.free_count} << (c + detail::smallest_bits);
    }
    return live;
}

} // namespace tapir
