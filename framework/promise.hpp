// What every tapir coroutine carries: who awaits it, on which reactor it runs, its stop token, where it was
// written and where it waits now. With these, all live coroutines can be listed as a tree
// (coroutine_tree.hpp).
//
// Most tasks are awaited, run and end without ever waiting. What those need stands in the frame's first cache
// line; all else, from the stop token to the place in the ready queue, is made in the line before it when
// somebody first waits, or asks.
#pragma once

#include <tapir/framework/frame_pool.hpp>
#include <tapir/framework/intrusive_list.hpp>
#include <tapir/framework/stop.hpp>

#include <bit>
#include <cassert>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <source_location>
#include <utility>

namespace tapir {

class reactor;

class promise_base {
  public:
    promise_base(const promise_base&) = delete;
    promise_base& operator=(const promise_base&) = delete;

    static void* operator new(std::size_t size) { return allocate_frame(size); }
    static void operator delete(void* frame, std::size_t size) noexcept { free_frame(frame, size); }

    /// A frame begins with two pointers, and its promise, of which this is the first base, stands behind them
    /// whatever its type, as long as that needs no more alignment (task asserts both).
    std::coroutine_handle<> handle() const { return own_handle(); }
    tapir::reactor& reactor() const { return *reactor_; }
    stop_token stop() const { return aside().stop; }
    /// The coroutine that awaits this one, or owns the scope it was spawned in; null for a reactor's root.
    promise_base* parent() const { return parent_ ? &parent_.promise() : nullptr; }
    /// The task that this coroutine awaits, if that has ever waited (see show()). What it has spawned is not.
    const promise_base* awaited() const { return aside().awaited; }

    /// From the reactor's counter when it is first asked for, never a pointer: the same in every run of the
    /// same seed.
    std::uint64_t id() const;
    /// The coroutine function.
    std::source_location origin() const { return std::bit_cast<std::source_location>(origin_ & ~all_marks); }
    /// The co_await it was last seen at.
    std::source_location at() const { return has_awaited() ? at_ : origin(); }
    /// What it waits for ("timer", "tcp read", ...), or null while it runs or awaits another coroutine.
    const char* waits_for() const { return aside().waits_for; }
    void set_waits_for(const char* what) { aside().waits_for = what; }
    /// A frame of the library's own, which a tree of the user's coroutines leaves out.
    bool internal() const { return aside().internal; }
    void set_internal() { aside().internal = true; }
    void set_origin(std::source_location where) {
        at_ = where;
        origin_ = std::bit_cast<std::uintptr_t>(where) | (origin_ & all_marks);
    }

    /// Of one that nobody awaits: once, before its first resume.
    void start(tapir::reactor& on, promise_base* parent, stop_token stop);
    /// Once, by the coroutine that will be resumed when this one has ended: what its await_suspend() returns.
    std::coroutine_handle<> start_awaited(promise_base& parent);
    /// The same with another stop token than the parent's.
    std::coroutine_handle<> start_awaited(promise_base& parent, stop_token stop) {
        margin& its = aside();
        its.stop = stop;
        parent.aside().awaited = this;
        return start_awaited(parent);
    }

    /// It is going to be looked at: those above it know from here on whom they await. Happens by itself when
    /// it waits; most tasks end before.
    void show() const { (void)aside(); }

    /// Every co_await passes here, so that its source line is known while it waits.
    template <class Awaitable>
    Awaitable&& await_transform(Awaitable&& awaitable,
                                std::source_location at = std::source_location::current()) noexcept {
        at_ = at;
        return static_cast<Awaitable&&>(awaitable);
    }

    std::suspend_always initial_suspend() const noexcept { return {}; }

    bool ended() const { return own_handle().done(); }

  protected:
    promise_base() = default;
    ~promise_base() = default; // one that has not ended must leave() before

    void set_first_origin(std::source_location where) { origin_ = std::bit_cast<std::uintptr_t>(where); }
    /// Ended by an exception.
    void set_failed() noexcept {
        origin_ |= failed_mark;
        at_ = at(); // so that its destructor looks
    }
    bool failed() const { return (origin_ & failed_mark) != 0; }
    /// That there is a value to destroy.
    void set_holds_value(bool holds) { origin_ = (origin_ & ~value_mark) | (holds ? value_mark : 0); }
    bool holds_value() const { return (origin_ & value_mark) != 0; }
    /// If not, nobody but its parent knows of it: it has never waited, nor failed.
    bool has_awaited() const { return std::bit_cast<std::uintptr_t>(at_) != 0; }
    /// At the end of one that was start_awaited(), or is a root. What its await_suspend() returns.
    std::coroutine_handle<> hand_back() noexcept;
    /// For one that is destroyed before its end: where it waits, while it is ready, or never started.
    void leave() noexcept;

  private:
    friend class tapir::reactor;
    friend class ready_queue;
    /// Stands before the frame, in the cache line of its own that allocate_frame() leaves there: a task that
    /// never waits does not touch it. Made when it is first asked for, and then of those above it, too, so
    /// that each knows whom it awaits.
    struct alignas(frame_margin) margin {
        explicit margin(stop_token s) : stop(s) {}
        promise_base* awaited = nullptr;
        margin* ready_before; ///< in the ready queue
        margin* ready_behind;
        const char* waits_for = nullptr;
        std::uint64_t id = 0; ///< 0: never asked for
        stop_token stop;
        bool internal = false;
        bool spawned = false; ///< or a reactor's root: nobody awaits it
        bool ready = false;
    };
    static_assert(sizeof(margin) == frame_margin);

    std::coroutine_handle<promise_base> own_handle() const {
        return std::coroutine_handle<promise_base>::from_promise(const_cast<promise_base&>(*this));
    }
    bool has_aside() const { return (origin_ & aside_mark) != 0; }
    margin* aside_place() const {
        void* frame = own_handle().address();
        asm("" : "+r"(frame)); // in a coroutine's ramp the compiler may see the promise alone
        return static_cast<margin*>(frame) - 1;
    }
    margin& aside() const {
        if (!has_aside()) make_aside();
        return *aside_place();
    }
    TAPIR_KEEPS_REGISTERS void make_aside() const noexcept;

    // Together with a small value and small arguments one cache line.
    std::coroutine_handle<promise_base> parent_;
    std::source_location at_;
    // A source_location is a pointer to what lives as long as the program; its lowest bits are our own.
    mutable std::uintptr_t origin_ = 0;
    static constexpr std::uintptr_t aside_mark = 1;
    static constexpr std::uintptr_t failed_mark = 2;
    static constexpr std::uintptr_t value_mark = 4;
    static constexpr std::uintptr_t all_marks = 7;
    static_assert(sizeof(std::source_location) == sizeof(std::uintptr_t));
    tapir::reactor* reactor_; ///< once started
};

/// Those that will be resumed, in the order in which they became ready.
class ready_queue {
  public:
    ready_queue() = default;
    ready_queue(const ready_queue&) = delete;
    ready_queue& operator=(const ready_queue&) = delete;
    ~ready_queue() {
        while (!empty()) pop_front();
    }
    bool empty() const { return first_ == nullptr; }
    void push_back(promise_base& p) {
        place& its = p.aside();
        assert(!its.ready);
        its.ready = true;
        its.ready_before = last_;
        its.ready_behind = nullptr;
        (last_ != nullptr ? last_->ready_behind : first_) = &its;
        last_ = &its;
    }
    promise_base& pop_front() {
        place& its = *first_;
        its.ready = false;
        first_ = its.ready_behind;
        (first_ != nullptr ? first_->ready_before : last_) = nullptr;
        return std::coroutine_handle<promise_base>::from_address(&its + 1).promise();
    }
    void remove(promise_base& p) {
        place& its = p.aside();
        assert(its.ready);
        its.ready = false;
        (its.ready_before != nullptr ? its.ready_before->ready_behind : first_) = its.ready_behind;
        (its.ready_behind != nullptr ? its.ready_behind->ready_before : last_) = its.ready_before;
    }

  private:
    using place = promise_base::margin;
    place* first_ = nullptr;
    place* last_ = nullptr;
};

struct strand_tag;

/// A coroutine that nobody awaits: its reactor knows it, and those below it by awaited().
class strand : public promise_base, public list_hook<strand_tag> {
  protected:
    using promise_base::promise_base;
};

/// What a coroutine must be to await tapir's awaitables: a task, or one of the library's own kinds.
template <class P>
concept tapir_promise = std::derived_from<P, promise_base>;

/// `promise_base& self = co_await this_coroutine;` does not suspend.
struct this_coroutine_t {
    class awaiter {
      public:
        bool await_ready() const noexcept { return false; }
        template <tapir_promise P>
        bool await_suspend(std::coroutine_handle<P> h) noexcept {
            self_ = &h.promise();
            self_->show();
            return false;
        }
        promise_base& await_resume() const noexcept { return *self_; }

      private:
        promise_base* self_ = nullptr;
    };
    awaiter operator co_await() const noexcept { return {}; }
};
inline constexpr this_coroutine_t this_coroutine{};

} // namespace tapir
