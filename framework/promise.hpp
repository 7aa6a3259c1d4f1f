// What every tapir coroutine carries: who awaits it, on which reactor it runs, its stop token, where it was
// written and where it waits now. With these, all live coroutines can be listed as a tree
// (coroutine_tree.hpp).
#pragma once

#include <tapir/framework/frame_pool.hpp>
#include <tapir/framework/intrusive_list.hpp>
#include <tapir/framework/stop.hpp>

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <source_location>
#include <utility>

namespace tapir {

class reactor;

struct ready_tag;

class promise_base : public list_hook<ready_tag> {
  public:
    promise_base(const promise_base&) = delete;
    promise_base& operator=(const promise_base&) = delete;

    static void* operator new(std::size_t size) { return allocate_frame(size); }
    static void operator delete(void* frame, std::size_t size) noexcept { free_frame(frame, size); }

    std::coroutine_handle<> handle() const { return handle_; }
    tapir::reactor& reactor() const { return *reactor_; }
    stop_token stop() const { return stop_; }
    /// The coroutine that awaits this one, or owns the scope it was spawned in; null for a reactor's root.
    promise_base* parent() const { return parent_; }
    /// The task that this coroutine awaits, if it is one that it waits for. What it has spawned is not.
    const promise_base* awaited() const { return awaited_; }

    /// From the reactor's counter, never a pointer: the same in every run of the same seed.
    std::uint64_t id() const { return id_; }
    /// The coroutine function.
    const std::source_location& origin() const { return origin_; }
    /// The co_await it was last seen at.
    const std::source_location& at() const { return at_; }
    /// What it waits for ("timer", "tcp read", ...), or null while it runs or awaits another coroutine.
    const char* waits_for() const { return waits_for_; }
    void set_waits_for(const char* what) { waits_for_ = what; }
    /// A frame of the library's own, which a tree of the user's coroutines leaves out.
    bool internal() const { return internal_; }
    void set_internal() { internal_ = true; }
    void set_origin(std::source_location where) { origin_ = at_ = where; }

    /// Called once, before the first resume.
    void start(tapir::reactor& on, promise_base* parent, stop_token stop);
    /// start() by the coroutine that will be resumed when this one has ended.
    void start_awaited(promise_base& parent, stop_token stop);

    /// Every co_await passes here, so that its source line is known while it waits.
    template <class Awaitable>
    Awaitable&& await_transform(Awaitable&& awaitable,
                                std::source_location at = std::source_location::current()) noexcept {
        at_ = at;
        return static_cast<Awaitable&&>(awaitable);
    }

    std::suspend_always initial_suspend() const noexcept { return {}; }

    bool ended() const { return ended_; }

  protected:
    explicit promise_base(std::coroutine_handle<> self, bool internal = false)
        : handle_(self), internal_(internal) {}
    ~promise_base() {
        if (awaited_ != nullptr) awaited_->parent_ = nullptr;
    }

    /// At final suspension.
    void end() noexcept { ended_ = true; }
    /// end() of one that was start_awaited(), also when it is destroyed where it waits. Returns who awaited
    /// it; null if it was the reactor's root, or never started.
    promise_base* end_awaited() noexcept {
        end();
        if (parent_ != nullptr) parent_->awaited_ = nullptr;
        return parent_;
    }

  private:
    std::coroutine_handle<> handle_;
    tapir::reactor* reactor_ = nullptr;
    promise_base* parent_ = nullptr;
    promise_base* awaited_ = nullptr;
    stop_token stop_;
    std::source_location origin_;
    std::source_location at_;
    const char* waits_for_ = nullptr;
    std::uint64_t id_ = 0;
    bool internal_ = false;
    bool ended_ = false;
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
