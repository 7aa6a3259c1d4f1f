// Who pays when memory runs short, in the order that memory.hpp states.
#include <tapir/protocols/tcp/stack.hpp>
#include <tapir/protocols/tcp/tcb.hpp>

#include <algorithm>

namespace tapir::tcp {

// --- the account of one connection -------------------------------------------------------------------------

// So that a full segment can be kept while another is under way, however large.
std::size_t tcb::memory_floor() const {
    return std::max<std::size_t>(stack_->config_.memory_floor, 2u * receive_mss());
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
        const std::size_t floor = memory_floor();
        space = std::min(space, floor > paid ? floor - paid : 0);
    }
    return static_cast<std::uint32_t>(space);
}

bool tcb::fits(std::size_t cost) const {
    return held() + cost <= memory_floor() || cost <= stack_->memory_->receive.room();
}

// Whether a payload at `begin` may be kept. In-order data may make others pay, data beyond a hole may not,
// and is the first to stop when memory runs short.
bool tcb::may_keep(seq begin, const chunk& payload, instant now) {
    const bool in_order = begin == rcv_nxt_;
    const std::size_t cost = std::min(payload.true_size(), 2 * payload.size() + queue_slack);
    const memory_budget& budget = stack_->memory_->receive;
    if (held() + cost > receive_bound()) {
        if (!in_order) return false;
        shed_ahead();
    } else if (!budget.tight_with(cost)) {
        return true;
    }
    if (!in_order) return fits(cost) && (!budget.tight() || held() + cost <= memory_floor());
    if (budget.tight_with(cost)) stack_->make_room_to_receive(cost, *this, now);
    if (!fits(cost)) shed_ahead();
    return fits(cost);
}

// Reneging: the peer has what is not acknowledged. [RFC 2018 8]
void tcb::shed_ahead() {
    if (!ahead_ || ahead_->empty()) return;
    ++stack_->counters_.memory_shed_ahead;
    ahead_->clear();
    settle_ahead();
    charge_received();
}

void tcb::made_progress(instant now) {
    last_progress_ = now;
    auto& hook = static_cast<list_hook<stack::holder_tag>&>(*this);
    if (hook.linked() && &stack_->holders_.back() != this) {
        hook.unlink();
        stack_->holders_.push_back(*this);
    }
    if (ahead_ && ahead_->linked()) {
        ahead_->unlink();
        stack_->ahead_holders_[sack_permitted_ ? 1 : 0].push_back(*ahead_);
    }
}

void tcb::charge_ahead() {
    const std::size_t ahead = ahead_ ? ahead_->true_size() : 0;
    ahead_charge_.set(stack_->memory_->receive, ahead);
    if (ahead_ && ahead == 0) ahead_->unlink();
    if (ahead != 0 && !ahead_->linked()) stack_->ahead_holders_[sack_permitted_ ? 1 : 0].push_back(*ahead_);
}

// A peer makes progress when it has taken what was queued when it did so last, or the first `memory_floor`
// bytes of that. Would less do, a byte now and then could hold a full queue for ever.
void tcb::charge_queued(instant now) {
    send_charge_.set(stack_->memory_->send, queued_memory());
    auto& hook = static_cast<list_hook<stack::writer_tag>&>(*this);
    if (buffer_.size() == 0) {
        if (hook.linked()) hook.unlink();
        return;
    }
    const auto acked = static_cast<std::uint32_t>(bytes_acked_ & 0xffffffff);
    if (hook.linked() && static_cast<std::int32_t>(acked - drain_goal_) < 0) return;
    hook.unlink();
    drain_goal_ = acked + std::min(buffer_.size(), stack_->config_.memory_floor);
    drained_at_ = now;
    stack_->writers_.push_back(*this);
}

// While memory is tight a few ranges have to do: what is not noted goes again.
std::uint32_t tcb::most_sack_ranges() const {
    constexpr std::uint32_t few = 64;
    // An honest peer has no more ranges than we sent segments; one that names single bytes would have each of
    // them sent again in a packet of its own. (CVE-2019-11478)
    const std::uint32_t segments = board_.outstanding() / mss();
    const std::uint32_t most = std::min(stack_->config_.max_sack_ranges, few + 2 * segments);
    return stack_->memory_->send.tight() ? std::min(most, few) : most;
}

// No more than is then left for others; but a last buffer is not cut in ever smaller pieces.
std::size_t tcb::send_memory_left() const {
    const std::size_t used = buffer_.true_size();
    const std::size_t most = std::max(stack_->memory_->send.room(), memory_floor());
    const std::size_t rest = most > used ? most - used : 0;
    return std::max(rest / 2, std::min(rest, send_buffer::largest_chunk));
}

bool tcb::make_room_to_write(instant now) {
    if (!may_queue()) return false;
    if (stack_->memory_->send.tight()) stack_->make_room_to_send(*this, now);
    return room_to_write() != 0;
}

void tcb::give_back() {
    memory& m = *stack_->memory_;
    ahead_charge_.set(m.receive, 0);
    send_charge_.set(m.send, 0);
}

void endpoint::charge() {
    unread_charge_.set(memory_->receive, unread_.true_size());
}

// --- all connections ---------------------------------------------------------------------------------------

void stack::make_room_to_receive(std::size_t bytes, const tcb& asking, instant now) {
    const memory_budget& budget = memory_->receive;
    for (auto& holders : ahead_holders_) {
        for (auto at = holders.begin(); at != holders.end() && budget.tight_with(bytes);) {
            tcb& c = *at->of;
            ++at; // c may leave the list here
            ++counters_.memory_looked_at;
            if (&c != &asking) c.shed_ahead();
        }
    }
    while (budget.tight_with(bytes) && !unaccepted_.empty()) {
        endpoint& user = unaccepted_.pop_front();
        ++counters_.memory_looked_at;
        ++counters_.memory_shed_unaccepted;
        user.lose_unread();
        if (!user.error_) user.error_ = make_error_code(errc::no_memory);
    }
    for (auto at = holders_.begin(); at != holders_.end() && budget.tight_with(bytes);) {
        tcb& c = *at;
        ++at;
        ++counters_.memory_looked_at;
        if (&c == &asking) continue;
        if (now - c.last_progress_ < config_.memory_idle_after) break; // as have all behind it
        ++counters_.memory_shed_connections;
        c.user().lose_unread();
        shed(c, now);
    }
}

// What its peer has sent stays readable: that is in the other budget.
void stack::make_room_to_send(const tcb& asking, instant now) {
    for (auto at = writers_.begin(); at != writers_.end() && memory_->send.tight();) {
        tcb& c = *at;
        ++at;
        ++counters_.memory_looked_at;
        if (&c == &asking) continue;
        if (now - c.drained_at_ < config_.memory_idle_after) break;
        ++counters_.memory_shed_writers;
        shed(c, now);
    }
}

void stack::shed(tcb& c, instant now) {
    c.abort(event::call_abort, ending::out_of_memory, make_error_code(errc::no_memory), now);
    settle(c, now);
}

// What came before its FIN is gone: no end, but an error.
void endpoint::lose_unread() {
    report_.add_unread(unread_.size());
    unread_.clear();
    charge();
    peer_fin_ = false;
}

} // namespace tapir::tcp
