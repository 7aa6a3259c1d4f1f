// A queue in one lazily allocated block: an idle connection has several and they must cost nothing.
// (std::deque allocates 576 bytes before its first element.) The first block is recycled: among a million
// connections each takes one for a moment, and malloc would find them where no cache has been.
#pragma once

#include <tapir/framework/recycled.hpp>

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace tapir::tcp {

/// Moving a T does not throw.
template <class T>
class ring {
  public:
    ring() = default;
    ring(const ring&) = delete;
    ring& operator=(const ring&) = delete;
    ~ring() { clear(); }

    bool empty() const { return count_ == 0; }
    std::size_t size() const { return count_; }
    std::size_t bytes() const { return capacity_ * sizeof(T); } ///< of memory, the elements' own not counted

    T& operator[](std::size_t i) {
        assert(i < count_);
        return slots_[(head_ + i) & (capacity_ - 1)];
    }
    const T& operator[](std::size_t i) const {
        assert(i < count_);
        return slots_[(head_ + i) & (capacity_ - 1)];
    }
    T& front() { return (*this)[0]; }
    const T& front() const { return (*this)[0]; }
    T& back() { return (*this)[count_ - 1]; }
    const T& back() const { return (*this)[count_ - 1]; }

    void push_back(T element) {
        if (count_ == capacity_) grow();
        std::construct_at(slot(count_++), std::move(element));
    }
    T pop_front() {
        T* const at = slot(0);
        T first = std::move(*at);
        std::destroy_at(at);
        head_ = (head_ + 1) & (capacity_ - 1);
        --count_;
        return first;
    }
    void pop_back() { std::destroy_at(slot(--count_)); }
    /// Before element i; i == size() appends. Moves the elements behind it.
    void insert(std::size_t i, T element) {
        push_back(std::move(element));
        for (std::size_t at = count_ - 1; at > i; --at) std::swap((*this)[at], (*this)[at - 1]);
    }
    void erase(std::size_t i) {
        for (std::size_t at = i; at + 1 < count_; ++at) std::swap((*this)[at], (*this)[at + 1]);
        pop_back();
    }
    /// Gives the memory back as well.
    void clear() {
        for (std::uint32_t i = 0; i < count_; ++i) std::destroy_at(slot(i));
        give_back();
        slots_ = nullptr;
        head_ = count_ = capacity_ = 0;
    }

    /// Of an empty one: gives its memory back, but for the first block.
    void trim() {
        if (capacity_ > few) clear();
    }

  private:
    static constexpr std::uint32_t few = 8;
    struct block : recycled<block> {
        alignas(T) std::byte slots[few * sizeof(T)];
    };

    T* slot(std::uint32_t i) { return slots_ + ((head_ + i) & (capacity_ - 1)); }
    void give_back() {
        if (capacity_ == few)
            block::operator delete(slots_, sizeof(block));
        else if (capacity_ != 0)
            std::allocator<T>().deallocate(slots_, capacity_);
    }
    void grow() {
        const std::uint32_t larger = capacity_ == 0 ? few : capacity_ * 2;
        T* const slots = larger == few ? static_cast<T*>(block::operator new(sizeof(block)))
                                       : std::allocator<T>().allocate(larger);
        for (std::uint32_t i = 0; i < count_; ++i) {
            std::construct_at(slots + i, std::move(*slot(i)));
            std::destroy_at(slot(i));
        }
        give_back();
        slots_ = slots;
        head_ = 0;
        capacity_ = larger;
    }

    T* slots_ = nullptr;
    std::uint32_t head_ = 0;
    std::uint32_t count_ = 0;
    std::uint32_t capacity_ = 0; ///< a power of two, or 0
};

} // namespace tapir::tcp
