#include <tapir/protocols/tcp/listener.hpp>
#include <tapir/protocols/tcp/stack.hpp>

namespace tapir::tcp {

listener::~listener() {
    observer_ = nullptr;
    if (stack_ != nullptr) close(stack_->now_);
}

std::unique_ptr<endpoint> listener::accept() {
    if (accept_queue_.empty()) return nullptr;
    return accept_queue_.pop_front();
}

void listener::close(instant now) {
    if (stack_ != nullptr) stack_->close_listener(*this, errc::closed, now);
}

} // namespace tapir::tcp
