// One coroutine parked in one place. The thing it waits for wakes it once, or its stop token does; either way
// it continues from the reactor's ready queue, never inside the call that woke it.
//
//     struct wait_op : tapir::parked {
//         bool await_suspend(std::coroutine_handle<P> h) {
//             if (h.promise().stop().stop_requested()) { cancelled = true; return false; }
//             waiters.push_back(*this);
//             park(h.promise(), "event", [](parked& p) {
//                 static_cast<wait_op&>(p).cancelled = true;
//                 p.wake();
//             });
//             return true;
//         }
//     };
#pragma once

#include <tapir/framework/intrusive_list.hpp>
#include <tapir/framework/promise.hpp>
#include <tapir/framework/stop.hpp>

namespace tapir {

class parked : public list_hook<>, private stop_callback {
  public:
    using stop_handler = void (*)(parked&);

    parked()
        : stop_callback([](stop_callback& c) {
              auto& self = static_cast<parked&>(c);
              self.on_stop_(self);
          }) {}

    bool waiting() const { return who_ != nullptr; }

    /// `who` suspends here, shown in the tree as waiting for `what`. `on_stop` (may be null: not cancellable)
    /// is called when its token is stopped; it must make sure that wake() follows, now or later. Returns at
    /// once when the token is stopped already: check first.
    void park(promise_base& who, const char* what, stop_handler on_stop) {
        who_ = &who;
        who.set_waits_for(what);
        if (on_stop != nullptr) {
            on_stop_ = on_stop;
            who.stop().add(*this);
        }
    }

    /// Leaves every list and puts the coroutine on the ready queue. Nothing happens if nobody waits.
    void wake();

    promise_base* who() const { return who_; }

  private:
    promise_base* who_ = nullptr;
    stop_handler on_stop_ = nullptr;
};

} // namespace tapir
