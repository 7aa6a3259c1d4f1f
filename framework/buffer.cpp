#include <tapir/framework/buffer.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <new>

namespace tapir {

namespace detail {

constexpr std::size_t smallest_bits = 8;
constexpr std::size_t classes = 10; // 256 B ... 128 KiB
constexpr std::uint32_t kept_per_class = 1024;

struct pool_state {
    struct free_list {
        block* first = nullptr;
        std::uint32_t count = 0;
    };
    std::array<free_list, classes> free;
    std::size_t live_blocks = 0;
    std::size_t live_bytes = 0;
    bool owner_gone = false;
};

namespace {

std::size_t class_of(std::size_t capacity) {
    constexpr std::size_t in_the_first = (std::size_t{1} << smallest_bits) - 1;
    return static_cast<std::size_t>(std::bit_width((std::max<std::size_t>(capacity, 1) - 1) | in_the_first)) -
           smallest_bits;
}

block* new_block(pool_state& state, std::size_t c, std::size_t capacity) {
    const std::size_t size = c < classes ? std::size_t{1} << (c + smallest_bits) : capacity;
    return new (::operator new(sizeof(block) + size))
        block{&state, nullptr, static_cast<std::uint32_t>(size), 0};
}

void free_all(pool_state& state) {
    for (auto& list : state.free)
        while (list.first != nullptr) ::operator delete(std::exchange(list.first, list.first->next_free));
}

} // namespace

void release(block* b) noexcept {
    pool_state& state = *b->pool;
    --state.live_blocks;
    state.live_bytes -= b->capacity;
    const std::size_t c = class_of(b->capacity);
    if (!state.owner_gone && c < classes && state.free[c].count < kept_per_class) {
        b->next_free = state.free[c].first;
        state.free[c].first = b;
        ++state.free[c].count;
        return;
    }
    ::operator delete(b);
    if (state.owner_gone && state.live_blocks == 0) delete &state;
}

} // namespace detail

buffer_pool::buffer_pool() : state_(new detail::pool_state) {}

buffer_pool::~buffer_pool() {
    detail::free_all(*state_);
    state_->owner_gone = true;
    if (state_->live_blocks == 0) delete state_;
}

buffer buffer_pool::allocate(std::size_t capacity) {
    const std::size_t c = detail::class_of(capacity);
    detail::block* b = nullptr;
    if (c < detail::classes && state_->free[c].first != nullptr) {
        b = std::exchange(state_->free[c].first, state_->free[c].first->next_free);
        --state_->free[c].count;
    } else {
        b = detail::new_block(*state_, c, capacity);
    }
    b->refs = 1;
    ++state_->live_blocks;
    state_->live_bytes += b->capacity;
    return buffer(b);
}

buffer buffer_pool::copy_of(bytes b) {
    buffer copy = allocate(b.size());
    copy_bytes(copy.span(), b);
    return copy;
}

std::size_t buffer_pool::live_blocks() const {
    return state_->live_blocks;
}
std::size_t buffer_pool::live_bytes() const {
    return state_->live_bytes;
}

} // namespace tapir
