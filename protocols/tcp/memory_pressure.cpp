// Who pays when memory runs short, in the order that memory.hpp states.
#include <tapir/protocols/tcp/stack.hpp>
#include <tapir/protocols/tcp/tcb.hpp>

#include <algorithm>

namespace tapir::tcp {

namespace {
constexpr std::size_t slack = 4096; // of a queue: its last slab is not full
} // namespace

// --- the account of one connection -------------------------------------------------------------------------

// A byte never costs more than two, so this is what a full window may cost.
std::size_t tcb::receive_bound() const {
    return 2 * std::size_t{limits_.receive_buffer} + slack;
}

std::size_t tcb::held() const {
    return user_->unread_.true_size() + (ahead_ ? ahead_->true_size() : 0);
}

// What may be promised: bytes that are neither in the buffer nor more than memory could hold at its worst.
// What lies beyond a hole is paid already.
std::uint32_t tcb::receive_space() const {
    const std::size_t unread = user_->unread_.size();
    const std::size_t buffer = limits_.receive_buffer;
    const std::size_t by_bytes = unread < buffer ? buffer - unread : 0;
    const std::size_t paid = held();
    const std::size_t by_memory =
        (paid < receive_bound() ? (receive_bound() - paid) / 2 : 0) + (ahead_ ? ahead_->size() : 0);
    std::size_t space = std::min(by_bytes, by_memory);
    if (stack_->memory_->receive.tight()) {
        const std::size_t floor = std::max<std::size_t>(stack_->config_.memory_floor, path_mss());
        space = std::min(space, floor > paid ? floor - paid : 0);
    }
    return static_cast<std::uint32_t>(space);
}

// Whether a payload at `begin` may be kept. In-order data may make others pay, data beyond a hole may not.
bool tcb::may_keep(seq begin, const chunk& payload, instant now) {
    const bool in_order = begin == rcv_nxt_;
    const std::size_t cost = std::min(payload.true_size(), 2 * payload.size() + slack);
    if (held() + cost > receive_bound()) {
        if (!in_order) return false;
        shed_ahead();
    }
    if (held() + cost <= stack_->config_.memory_floor || cost <= stack_->memory_->receive.room()) return true;
    if (!in_order) return false;
    return stack_->make_room(cost, *this, now);
}

// Reneging: the peer has what is not acknowledged. [RFC 2018 8]
void tcb::shed_ahead() {
    if (!ahead_ || ahead_->empty()) return;
    ++stack_->counters_.memory_shed_ahead;
    ahead_->clear();
    settle_ahead();
    charge();
}

void tcb::made_progress(instant now) {
    last_progress_ = now;
    auto& hook = static_cast<list_hook<stack::holder_tag>&>(*this);
    if (!hook.linked()) return;
    hook.unlink();
    stack_->holders_.push_back(*this);
}

void tcb::charge() {
    memory& m = *stack_->memory_;
    const std::size_t ahead = ahead_ ? ahead_->true_size() : 0;
    m.ahead[sack_permitted_ ? 1 : 0] += ahead - ahead_charge_.bytes();
    ahead_charge_.set(m.receive, ahead);
    send_charge_.set(m.send, buffer_.true_size());
    auto& hook = static_cast<list_hook<stack::holder_tag>&>(*this);
    const bool holds = ahead != 0 || !user_->unread_.empty(); // to end others would free nothing received
    if (holds && !hook.linked()) stack_->holders_.push_back(*this);
    if (!holds && hook.linked()) hook.unlink();
}

std::size_t tcb::send_memory_left() const {
    const std::size_t used = buffer_.true_size();
    const std::size_t floor = stack_->config_.memory_floor;
    return std::max(stack_->memory_->send.room(), floor > used ? floor - used : 0);
}

void tcb::give_back() {
    memory& m = *stack_->memory_;
    m.ahead[sack_permitted_ ? 1 : 0] -= ahead_charge_.bytes();
    ahead_charge_.set(m.receive, 0);
    send_charge_.set(m.send, 0);
}

void endpoint::charge() {
    unread_charge_.set(memory_->receive, unread_.true_size());
}

// --- all connections ---------------------------------------------------------------------------------------

bool stack::make_room(std::size_t bytes, const tcb& asking, instant now) {
    memory_budget& budget = memory_->receive;
    for (const int with_sack : {0, 1}) {
        if (!budget.tight() || memory_->ahead[with_sack] == 0) continue;
        for (auto at = holders_.begin(); at != holders_.end() && budget.tight();) {
            tcb& c = *at;
            ++at; // c may leave the list here
            if ((c.sack_permitted_ ? 1 : 0) == with_sack) c.shed_ahead();
        }
    }
    while (budget.tight() && !holders_.empty()) {
        tcb& c = holders_.front(); // without progress for longest
        if (&c == &asking || now - c.last_progress_ < config_.memory_idle_after) break;
        ++counters_.memory_shed_connections;
        endpoint& user = c.user();
        user.report_.unread += user.unread_.size();
        user.unread_.clear();
        user.charge();
        user.peer_fin_ = false; // what came before its FIN is gone: no end, but an error
        c.abort(event::call_abort, ending::out_of_memory, make_error_code(errc::no_memory), now);
        settle(c, now);
    }
    return bytes <= budget.room();
}

} // namespace tapir::tcp
