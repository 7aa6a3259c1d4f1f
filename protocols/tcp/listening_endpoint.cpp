#include <tapir/protocols/tcp/listening_endpoint.hpp>
#include <tapir/protocols/tcp/stack.hpp>

namespace tapir::tcp {

listening_endpoint::~listening_endpoint() {
    observer_ = nullptr;
    if (stack_ != nullptr) close(stack_->now_);
}

std::unique_ptr<endpoint> listening_endpoint::accept() {
    if (accept_queue_.empty()) return nullptr;
    std::unique_ptr<endpoint> oldest = accept_queue_.pop_front();
    oldest->accepted_ = true;
    if (!oldest->open()) oldest->unlink(); // its data is not the stack's to shed any more
    return oldest;
}

std::vector<half_open_connection> listening_endpoint::half_open_connections() const {
    std::vector<half_open_connection> all;
    if (stack_ == nullptr) return all;
    all.reserve(half_open_);
    stack_->half_open_.for_each([&](std::uint32_t, const half_open_entry& e) {
        if (e.listener != index_) return;
        const flow_key flow = stack_->flow_of(e);
        all.emplace_back(flow.local_endpoint(), flow.remote_endpoint(), e.arrived, e.retransmits);
    });
    return all;
}

void listening_endpoint::close(instant now) {
    if (stack_ != nullptr) stack_->close_listener(*this, errc::closed, now);
}

} // namespace tapir::tcp
