// How large the buffers of a connection grow whose user did not say: large enough that neither is what limits
// it, no larger, and not at all while memory is tight.
//
// Receiving (dynamic right-sizing, as most kernels do it): what the user reads in a round trip is what the
// sender had in flight a round trip ago; it is offered twice that, since it may double it, and more when the
// rate has been rising. Who reads slowly gets no larger buffer. On a path of a few microseconds segments come
// as reactors take turns, many at once and then none: there a rate is what comes in several turns, and a
// round trip half of that time, so that no less is offered than came in it.
//
// Sending: two congestion windows, one in flight and one to follow it.
#include <tapir/protocols/tcp/tcb.hpp>

#include <algorithm>

namespace tapir::tcp {

std::uint32_t tcb::most_receive_buffer() const {
    return tunes_receive_ ? std::max(stack_->config_.most_buffer, limits_.receive_buffer)
                          : limits_.receive_buffer;
}

bool tcb::receive_buffer_may_grow() const {
    return tunes_receive_ && limits_.receive_buffer < stack_->config_.most_buffer;
}

void tcb::tune_receive_buffer(instant now) {
    if (!receive_buffer_may_grow()) return;
    constexpr duration unknown = std::chrono::milliseconds(100); // a round trip never measured
    constexpr duration several_turns = std::chrono::milliseconds(1);
    constexpr duration longest_turn = std::chrono::milliseconds(10); // who takes longer has his reasons
    const duration measured = rtt_.has_sample() ? rtt_.srtt() : unknown;
    const duration passed = now - round_began_;
    if (passed < std::max(measured, several_turns)) return;
    const duration round = std::max(measured, std::min(passed / 2, longest_turn));
    const std::uint64_t read = bytes_received_ - user_->unread_.size();
    const auto us = [](duration d) { return static_cast<std::uint64_t>(d / std::chrono::microseconds(1)); };
    const std::uint64_t this_round = (read - round_began_at_) * us(round) / us(passed);
    std::uint64_t wanted = 2 * this_round + 16 * std::uint64_t{rcv_mss_};
    // A sender in slow start will be twice as fast once what we offer now can matter.
    if (last_round_ != 0 && this_round > last_round_) {
        const std::uint64_t rise = std::min<std::uint64_t>(this_round - last_round_, last_round_);
        wanted += 2 * wanted * rise / last_round_;
    }
    if (wanted > limits_.receive_buffer && !stack_->memory_->receive.tight())
        limits_.receive_buffer =
            static_cast<std::uint32_t>(std::min<std::uint64_t>(wanted, stack_->config_.most_buffer));
    last_round_ = static_cast<std::uint32_t>(std::min<std::uint64_t>(this_round, UINT32_MAX));
    round_began_at_ = read;
    round_began_ = now;
}

void tcb::tune_send_buffer() {
    if (!tunes_send_ || buffer_.bound() >= stack_->config_.most_buffer || stack_->memory_->send.tight())
        return;
    buffer_.raise_bound(std::min(2 * std::min(congestion_.cwnd(), 1u << 29), stack_->config_.most_buffer));
}

} // namespace tapir::tcp
