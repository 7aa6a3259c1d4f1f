#include <tapir/framework/crossing.hpp>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>
#include <utility>

namespace tapir {

namespace {

/// Before each record, in bytes: its length. Records begin at multiples of it.
constexpr std::size_t unit = 8;
/// In the place of a length: the next record is at the front of the ring.
constexpr std::uint64_t at_front = ~std::uint64_t{0};

constexpr std::size_t rounded(std::size_t n) {
    return (n + unit - 1) / unit * unit;
}

} // namespace

record_ring::record_ring(std::size_t size)
    : size_(std::bit_ceil(std::max<std::size_t>(size, 64))),
      memory_(std::make_unique_for_overwrite<std::byte[]>(size_)) {}

bool record_ring::put(std::span<const bytes> parts) {
    std::size_t length = 0;
    for (const bytes part : parts) length += part.size();
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    const std::size_t need = unit + rounded(length);
    std::size_t at = tail % size_;
    const std::size_t skipped = need > size_ - at ? size_ - at : 0;
    if (tail + skipped + need - head_.load(std::memory_order_acquire) > size_) return false;
    if (skipped != 0) {
        std::memcpy(&memory_[at], &at_front, unit);
        at = 0;
    }
    const std::uint64_t written = length;
    std::memcpy(&memory_[at], &written, unit);
    at += unit;
    for (const bytes part : parts) {
        if (!part.empty()) std::memcpy(&memory_[at], part.data(), part.size());
        at += part.size();
    }
    tail_.store(tail + skipped + need, std::memory_order_release);
    return true;
}

std::optional<bytes> record_ring::front(std::uint64_t end) {
    std::uint64_t head = head_.load(std::memory_order_relaxed);
    if (head == end) return std::nullopt;
    std::uint64_t length = 0;
    std::memcpy(&length, &memory_[head % size_], unit);
    if (length == at_front) {
        head += size_ - head % size_;
        head_.store(head, std::memory_order_release);
        std::memcpy(&length, &memory_[0], unit);
    }
    return bytes(&memory_[head % size_ + unit], static_cast<std::size_t>(length));
}

void record_ring::pop() {
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    std::uint64_t length = 0;
    std::memcpy(&length, &memory_[head % size_], unit);
    head_.store(head + unit + rounded(static_cast<std::size_t>(length)), std::memory_order_release);
}

crossing::crossing(std::size_t members, std::size_t ring_size) {
    for (std::size_t to = 0; to < members; ++to) {
        members_.push_back(std::make_unique<member>());
        for (std::size_t from = 0; from < members; ++from)
            members_[to]->from.push_back(from == to ? nullptr : std::make_unique<record_ring>(ring_size));
    }
}

void crossing::open(std::size_t number, reactor& on, std::move_only_function<void(bytes)> receive) {
    member& m = *members_[number];
    m.receive = std::move(receive);
    m.on.store(&on, std::memory_order_release);
    on.post([self = shared_from_this(), &m] { self->look(m); });
}

void crossing::close(std::size_t number) {
    members_[number]->receive = nullptr;
}

bool crossing::put(std::size_t from, std::size_t to, std::span<const bytes> parts) {
    assert(from != to);
    if (!members_[to]->from[from]->put(parts)) return false;
    wake(to);
    return true;
}

// Whoever finds the flag set has written before its reader takes it back, and is seen. Who finds no reader
// yet has set the flag before open() looks.
void crossing::wake(std::size_t to) {
    member& m = *members_[to];
    if (m.woken.exchange(true, std::memory_order_acq_rel)) return;
    reactor* on = m.on.load(std::memory_order_acquire);
    if (on != nullptr) on->post([self = shared_from_this(), &m] { self->look(m); });
}

void crossing::look(member& m) {
    m.woken.exchange(false, std::memory_order_acq_rel);
    for (const auto& ring : m.from) {
        if (!ring) continue;
        const std::uint64_t end = ring->written(); // who writes on meanwhile wakes us again
        while (const auto record = ring->front(end)) {
            if (m.receive) m.receive(*record);
            ring->pop();
        }
    }
}

} // namespace tapir
