#include <tapir/protocols/tcp/listening_endpoint.hpp>
#include <tapir/protocols/tcp/stack.hpp>

namespace tapir::tcp {

listening_endpoint::~listening_endpoint() {
    observer_ = nullptr;
    if (stack_ != nullptr) close(stack_->now_);
}

std::unique_ptr<endpoint> listening_endpoint::accept() {
    if (accept_queue_.empty()) return nullptr;
    return accept_queue_.pop_front();
}

void listening_endpoint::close(instant now) {
    if (stack_ != nullptr) stack_->close_listener(*this, errc::closed, now);
}

} // namespace tapir::tcp
