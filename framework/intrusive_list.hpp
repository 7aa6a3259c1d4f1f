// A doubly linked list whose links live in the elements: no allocation, O(1) removal from the middle, and an
// element that dies leaves its list by itself. Timers, waiters, stop callbacks and live coroutines hang on
// these.
//
//     struct waiter : tapir::list_hook<> { ... };
//     tapir::intrusive_list<waiter> waiters;
//
// An element that must stand in two lists derives from two hooks with different tags.
#pragma once

#include <cassert>
#include <cstddef>

namespace tapir {

template <class Tag = void>
class list_hook {
  public:
    list_hook() = default;
    /// An element may be moved only while it is in no list: awaiters are, on their way into a coroutine's
    /// frame.
    list_hook([[maybe_unused]] list_hook&& other) noexcept { assert(!other.linked()); }
    list_hook& operator=(const list_hook&) = delete;
    ~list_hook() { unlink(); }

    bool linked() const { return next_ != nullptr; }

    void unlink() {
        if (linked()) remove();
    }
    /// For one that is in a list.
    void remove() {
        assert(linked());
        list_hook* const next = next_;
        prev_->next_ = next;
        next->prev_ = prev_;
        next_ = nullptr; // and nobody reads prev_ then
    }

  private:
    template <class, class>
    friend class intrusive_list;
    list_hook* prev_ = nullptr;
    list_hook* next_ = nullptr;
};

template <class T, class Tag = void>
class intrusive_list {
    using hook = list_hook<Tag>;

  public:
    intrusive_list() { head_.prev_ = head_.next_ = &head_; }
    intrusive_list(const intrusive_list&) = delete;
    intrusive_list& operator=(const intrusive_list&) = delete;
    ~intrusive_list() {
        while (!empty()) pop_front();
        head_.prev_ = head_.next_ = nullptr;
    }

    bool empty() const { return head_.next_ == &head_; }
    T& front() { return *static_cast<T*>(head_.next_); }
    T& back() { return *static_cast<T*>(head_.prev_); }

    void push_back(T& element) { insert(head_.prev_, element); }
    void push_front(T& element) { insert(&head_, element); }

    T& pop_front() {
        assert(!empty());
        T& first = front();
        static_cast<hook&>(first).unlink();
        return first;
    }

    /// Moves all of `other` behind the last element of this list.
    void splice_back(intrusive_list& other) {
        if (other.empty()) return;
        hook* const first = other.head_.next_;
        hook* const last = other.head_.prev_;
        other.head_.prev_ = other.head_.next_ = &other.head_;
        first->prev_ = head_.prev_;
        head_.prev_->next_ = first;
        last->next_ = &head_;
        head_.prev_ = last;
    }

    class iterator {
      public:
        explicit iterator(hook* at) : at_(at) {}
        T& operator*() const { return *static_cast<T*>(at_); }
        T* operator->() const { return static_cast<T*>(at_); }
        iterator& operator++() {
            at_ = at_->next_;
            return *this;
        }
        bool operator==(const iterator&) const = default;

      private:
        hook* at_;
    };
    /// The element at an iterator may be removed only after the iterator has moved on.
    iterator begin() { return iterator(head_.next_); }
    iterator end() { return iterator(&head_); }

    std::size_t size() {
        std::size_t n = 0;
        for (auto at = begin(); at != end(); ++at) ++n;
        return n;
    }

  private:
    static void insert(hook* after, T& element) {
        hook& h = element;
        assert(!h.linked());
        h.prev_ = after;
        h.next_ = after->next_;
        after->next_->prev_ = &h;
        after->next_ = &h;
    }

    hook head_;
};

} // namespace tapir
