#include <tapir/framework/timer_wheel.hpp>

#include <algorithm>
#include <bit>
#include <limits>

namespace tapir {

namespace {
constexpr std::int64_t no_tick = std::numeric_limits<std::int64_t>::max();

int width(std::uint64_t v) {
    return static_cast<int>(std::bit_width(v));
}
} // namespace

timer::~timer() {
    if (wheel_ != nullptr) wheel_->cancel(*this);
}

timer_wheel::timer_wheel(duration resolution, instant start)
    : shift_(width(static_cast<std::uint64_t>(std::max<std::int64_t>(resolution.count(), 1))) - 1),
      now_(start.time_since_epoch().count() >> shift_), target_(now_) {}

timer_wheel::~timer_wheel() {
    for (level& l : slot_)
        for (auto& s : l)
            while (!s.empty()) s.pop_front().wheel_ = nullptr;
    while (!never_.empty()) never_.pop_front().wheel_ = nullptr;
}

std::int64_t timer_wheel::ticks_up(instant at) const {
    const std::int64_t ns = at.time_since_epoch().count();
    const std::int64_t whole = ns >> shift_;
    return whole + ((whole << shift_) != ns ? 1 : 0);
}

void timer_wheel::arm(timer& t, instant deadline) {
    if (t.armed()) t.wheel_->cancel(t);
    t.deadline_ = deadline;
    t.wheel_ = this;
    ++armed_;
    if (deadline == never) {
        t.level_ = levels;
        never_.push_back(t);
        return;
    }
    t.tick_ = std::max(ticks_up(deadline), target_ + 1);
    place(t);
}

void timer_wheel::cancel(timer& t) {
    if (!t.armed()) return;
    forget(t);
    t.wheel_ = nullptr;
    --armed_;
}

// A timer stands at the lowest level on which its tick and the wheel's differ only in that level's digit or
// below. A tick further away than the top level reaches waits in the farthest slot and is placed again from
// there.
void timer_wheel::place(timer& t) {
    const std::int64_t reach = (std::int64_t{1} << (slot_bits * levels)) - 1;
    const std::int64_t tick = std::clamp(t.tick_, now_ + 1, now_ + reach - (reach >> slot_bits));
    const auto differ = static_cast<std::uint64_t>(tick ^ now_);
    const auto at = static_cast<std::size_t>(std::min((width(differ) - 1) / slot_bits, levels - 1));
    const auto slot = static_cast<std::size_t>((tick >> (at * slot_bits)) & (slots - 1));
    t.level_ = static_cast<std::uint8_t>(at);
    t.slot_ = static_cast<std::uint8_t>(slot);
    slot_[at][slot].push_back(t);
    occupied_[at] |= std::uint64_t{1} << slot;
}

void timer_wheel::forget(timer& t) {
    static_cast<list_hook<timer>&>(t).unlink();
    if (t.level_ == levels) return;
    if (slot_[t.level_][t.slot_].empty()) occupied_[t.level_] &= ~(std::uint64_t{1} << t.slot_);
}

// The first tick at which a slot comes due: on level 0 exactly its timers' tick, above that the tick at which
// the slot is spread over the levels below.
std::int64_t timer_wheel::next_tick() const {
    std::int64_t best = no_tick;
    for (int at = 0; at < levels; ++at) {
        const std::uint64_t occupied = occupied_[static_cast<std::size_t>(at)];
        if (occupied == 0) continue;
        const int bits = at * slot_bits;
        const std::int64_t position = now_ >> bits;
        const auto digit = static_cast<int>(position & (slots - 1));
        const int ahead = std::countr_zero(std::rotr(occupied, (digit + 1) & (slots - 1))) + 1;
        best = std::min(best, (position + ahead) << bits);
    }
    return best;
}

instant timer_wheel::next() const {
    const std::int64_t tick = next_tick();
    return tick == no_tick ? never : instant(duration(tick << shift_));
}

std::size_t timer_wheel::advance(instant now) {
    const std::int64_t target = now.time_since_epoch().count() >> shift_;
    target_ = std::max(target_, target); // a handler that arms for the past must not be called again in here
    std::size_t fired = 0;
    while (armed_ != 0) {
        const std::int64_t tick = next_tick();
        if (tick == no_tick || tick > target) break;
        now_ = tick - 1;
        // From the top level down, spread each slot that begins at this tick; level 0's slot then holds what
        // is due.
        intrusive_list<timer, timer> due;
        for (int at = levels - 1; at >= 0; --at) {
            const int bits = at * slot_bits;
            if ((tick & ((std::int64_t{1} << bits) - 1)) != 0) continue;
            const auto slot = static_cast<std::size_t>((tick >> bits) & (slots - 1));
            std::uint64_t& occupied = occupied_[static_cast<std::size_t>(at)];
            if ((occupied & (std::uint64_t{1} << slot)) == 0) continue;
            intrusive_list<timer, timer> spread;
            spread.splice_back(slot_[static_cast<std::size_t>(at)][slot]);
            occupied &= ~(std::uint64_t{1} << slot);
            while (!spread.empty()) {
                timer& t = spread.pop_front();
                if (t.tick_ <= tick) {
                    due.push_back(t);
                } else {
                    now_ = tick;
                    place(t);
                    now_ = tick - 1;
                }
            }
        }
        now_ = tick;
        while (!due.empty()) {
            timer& t = due.pop_front();
            t.wheel_ = nullptr;
            --armed_;
            ++fired;
            t.on_fire_(t, now);
        }
    }
    if (target > now_) now_ = target;
    return fired;
}

} // namespace tapir
