// What every tapir coroutine carries: who awaits it, on which reactor it runs, its stop token, where it was
// written and where it waits now. With these, all live coroutines can be listed as a tree
// (coroutine_tree.hpp).
//
// Most tasks are awaited, run and end without ever waiting: what is here costs each of them a store or two.
// What only few need (an id, leaving lists when torn down) is done when it is needed.
#pragma once

#include <tapir/framework/frame_pool.hpp>
#include <tapir/framework/intrusive_list.hpp>
#include <tapir/framework/stop.hpp>

#include <array>
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
    tapir::reactor& reactor() const { return *under_.reactor; }
    stop_token stop() const { return under_.stop; }
    /// The coroutine that awaits this one, or owns the scope it was spawned in; null for a reactor's root.
    promise_base* parent() const { return parent_ ? &parent_.promise() : nullptr; }
    /// The task that this coroutine awaits, once that is linked_to_parents(). What it has spawned is not.
    const promise_base* awaited() const { return awaited_; }

    /// From the reactor's counter when it is first asked for, never a pointer: the same in every run of the
    /// same seed.
    std::uint64_t id() const;
    /// The coroutine function.
    const std::source_location& origin() const { return origin_; }
    /// The co_await it was last seen at.
    const std::source_location& at() const { return awaits_ever() ? at_ : origin_; }
    /// What it waits for ("timer", "tcp read", ...), or null while it runs or awaits another coroutine.
    const char* waits_for() const { return waits_ ? waits_for_ : nullptr; }
    void set_waits_for(const char* what) {
        waits_for_ = what;
        waits_ = what != nullptr;
    }
    /// A frame of the library's own, which a tree of the user's coroutines leaves out.
    bool internal() const { return internal_; }
    void set_internal() { internal_ = true; }
    void set_origin(std::source_location where) { origin_ = at_ = where; }

    /// Of one that nobody awaits: once, before its first resume.
    void start(tapir::reactor& on, promise_base* parent, stop_token stop) {
        assert(!spawned_ && !parent_ && "a coroutine is started once");
        if (parent != nullptr) parent_ = parent->own_handle();
        spawned_ = true;
        at_ = origin_;
        under_.stop = stop;
        under_.reactor = &on;
    }
    /// Once, by the coroutine that will be resumed when this one has ended: what its await_suspend() returns.
    std::coroutine_handle<> start_awaited(promise_base& parent) {
        return start_awaited(parent, parent.under_);
    }
    /// The same with another stop token than the parent's.
    std::coroutine_handle<> start_awaited(promise_base& parent, stop_token stop) {
        return start_awaited(parent, surroundings(stop, parent.under_.reactor));
    }

    /// It is going to wait, or to be looked at: from here on those above it know whom they await. Most tasks
    /// end before.
    void link_to_parents() noexcept {
        for (promise_base* p = this; !p->spawned_ && p->parent_;) {
            promise_base& awaits = p->parent_.promise();
            if (awaits.awaited_ == p) return; // and so are those above it
            awaits.awaited_ = p;
            p = &awaits;
        }
    }

    /// Every co_await passes here, so that its source line is known while it waits.
    template <class Awaitable>
    Awaitable&& await_transform(Awaitable&& awaitable,
                                std::source_location at = std::source_location::current()) noexcept {
        at_ = at;
        return static_cast<Awaitable&&>(awaitable);
    }

    std::suspend_always initial_suspend() const noexcept { return {}; }

    bool ended() const { return end_ != outcome::none; }

  protected:
    enum class outcome : std::uint8_t { none, returned, failed };

    promise_base() {}
    ~promise_base() = default; // one that has not ended must leave() before

    void set_first_origin(std::source_location where) { origin_ = where; }
    /// Where it returns or throws: what is left of it to do is to destroy its locals.
    void end(outcome how) noexcept { end_ = how; }
    outcome how_ended() const { return end_; }
    /// At the end of one that was start_awaited(), or is a root. What its await_suspend() returns.
    std::coroutine_handle<> hand_back() noexcept;
    /// For one that is destroyed before its end: where it waits, while it is ready, or never started.
    void leave() noexcept;

  private:
    friend class tapir::reactor;
    friend class ready_queue;
    /// What a task inherits from whoever awaits it. Copied as one.
    struct alignas(16) surroundings {
        surroundings(stop_token s, tapir::reactor* r) : stop(s), reactor(r) {}
        stop_token stop;
        tapir::reactor* reactor;
    };
    std::coroutine_handle<> start_awaited(promise_base& parent, const surroundings& under);

    std::coroutine_handle<promise_base> own_handle() const {
        return std::coroutine_handle<promise_base>::from_promise(const_cast<promise_base&>(*this));
    }
    /// Whether it can have waited: those that never awaited anything are not linked_to_parents().
    bool awaits_ever() const { return std::bit_cast<const void*>(at_) != nullptr; }

    // What each must set when it is made stands together and is nothing but zeroes.
    std::coroutine_handle<promise_base> parent_;
    promise_base* awaited_ = nullptr;
    std::source_location at_;
    outcome end_ = outcome::none;
    bool internal_ = false;
    bool spawned_ = false;
    bool ready_ = false;
    bool waits_ = false;
    mutable bool numbered_ = false;
    std::array<bool, 2> none_{}; // so that two stores set all
    // The others mean something when those say so.
    union {
        surroundings under_; ///< once started
    };
    std::source_location origin_;
    promise_base* ready_before_; ///< in the ready queue
    promise_base* ready_behind_;
    const char* waits_for_;
    mutable std::uint64_t id_;
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
        assert(!p.ready_);
        p.ready_ = true;
        p.ready_before_ = last_;
        p.ready_behind_ = nullptr;
        (last_ != nullptr ? last_->ready_behind_ : first_) = &p;
        last_ = &p;
    }
    promise_base& pop_front() {
        promise_base& p = *first_;
        remove(p);
        return p;
    }
    void remove(promise_base& p) {
        assert(p.ready_);
        p.ready_ = false;
        (p.ready_before_ != nullptr ? p.ready_before_->ready_behind_ : first_) = p.ready_behind_;
        (p.ready_behind_ != nullptr ? p.ready_behind_->ready_before_ : last_) = p.ready_before_;
    }

  private:
    promise_base* first_ = nullptr;
    promise_base* last_ = nullptr;
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
            self_->link_to_parents();
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
