#include <tapir/framework/coroutine_tree.hpp>
#include <tapir/framework/log.hpp>
#include <tapir/framework/scope.hpp>

namespace tapir {

namespace detail {

void scope_child::promise_type::unhandled_exception() {
    owner->child_failed(*this, std::current_exception());
}

void scope_child::promise_type::final_awaiter::await_suspend(
    std::coroutine_handle<promise_type> h) const noexcept {
    promise_type& child = h.promise();
    child.owner->child_ended(child);
    h.destroy();
}

} // namespace detail

void scope::start(detail::scope_child child) {
    auto& promise = *child.promise;
    promise.owner = this;
    promise.start(owner_.reactor(), &owner_, stop_.token());
    owner_.reactor().strands().push_back(promise);
    children_.push_back(promise);
    ++running_;
    owner_.reactor().ready(promise);
}

void scope::child_failed(promise_base& child, std::exception_ptr e) {
    ++failures_;
    if (policy_ == policy::fail_together) {
        fail(std::move(e));
        return;
    }
    try {
        report(child_failure(e, coroutine_chain(child)));
    } catch (...) { // of the handler: past this, it would end the reactor's run instead of the scope
        fail(std::current_exception());
    }
}

void scope::report(const child_failure& failure) {
    std::string what = "an exception of an unknown type";
    try {
        std::rethrow_exception(failure.error);
    } catch (const std::exception& known) {
        what = known.what();
    } catch (...) { // keeps the text above
    }
    log::error("a supervised coroutine failed: " + what + "; spawned under:\n" + failure.chain);
    if (handler_) handler_(failure);
}

void scope::child_ended(detail::scope_child::promise_type& child) noexcept {
    static_cast<list_hook<detail::child_tag>&>(child).unlink();
    if (--running_ == 0 && joiner_ != nullptr) std::exchange(joiner_, nullptr)->wake();
}

scope::~scope() {
    while (!children_.empty()) children_.pop_front().handle().destroy();
}

} // namespace tapir
