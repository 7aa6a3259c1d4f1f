#include <tapir/framework/prefetch.hpp>
#include <tapir/protocols/tcp/dormant.hpp>
#include <tapir/protocols/tcp/stack.hpp>
#include <tapir/protocols/tcp/tcb.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cstdint>
#include <cstring>
#include <new>
#include <utility>

namespace tapir::tcp {

// --- words -------------------------------------------------------------------------------------------------

namespace {
constexpr std::array<std::uint32_t, 32> each_bit = [] {
    std::array<std::uint32_t, 32> bits{};
    for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = 1u << i;
    return bits;
}();

/// Of at most 32 words which differ, a bit for each. No branch depends on what is in them, and compilers make
/// vectors of the whole.
std::uint32_t differing(const std::uint32_t* plain, const std::uint32_t* common, std::size_t size) {
    std::uint32_t which = 0;
    if (size >= each_bit.size())
        for (std::size_t i = 0; i < each_bit.size(); ++i) which |= plain[i] != common[i] ? each_bit[i] : 0;
    else
        for (std::size_t i = 0; i < size; ++i) which |= plain[i] != common[i] ? each_bit[i] : 0;
    return which;
}

std::size_t words_needed(std::span<const std::uint32_t> plain, std::span<const std::uint32_t> common) {
    std::size_t needed = words_of_bits(plain.size());
    for (std::size_t first = 0; first < plain.size(); first += 32)
        needed += static_cast<std::size_t>(
            std::popcount(differing(&plain[first], &common[first], plain.size() - first)));
    return needed;
}
} // namespace

std::size_t fold(std::span<const std::uint32_t> plain, std::span<const std::uint32_t> common,
                 std::span<std::uint32_t> to) {
    assert(plain.size() == common.size());
    std::size_t used = words_of_bits(plain.size());
    for (std::size_t first = 0; first < plain.size(); first += 32) {
        const std::uint32_t which = differing(&plain[first], &common[first], plain.size() - first);
        to[first / 32] = which;
        for (std::uint32_t rest = which; rest != 0; rest &= rest - 1)
            to[used++] = plain[first + static_cast<std::size_t>(std::countr_zero(rest))];
    }
    return used;
}

void unfold(std::span<const std::uint32_t> folded, std::span<const std::uint32_t> common,
            std::span<std::uint32_t> plain) {
    std::ranges::copy(common, plain.begin());
    std::size_t used = words_of_bits(plain.size());
    for (std::size_t first = 0; first < plain.size(); first += 32)
        for (std::uint32_t which = folded[first / 32]; which != 0; which &= which - 1)
            plain[first + static_cast<std::size_t>(std::countr_zero(which))] = folded[used++];
    assert(used == folded.size());
}

// --- connections -------------------------------------------------------------------------------------------

namespace {
struct keepalive_timer : timer {
    keepalive_timer(handler on_fire, endpoint& user) : timer(on_fire), of(&user) {}
    endpoint* of;
};
} // namespace

/// Folded words follow it.
struct dormant {
    struct rare {
        std::unique_ptr<recovery> losses;
        std::unique_ptr<mtu_discovery> search;
        std::unique_ptr<keepalive_timer> keepalive;
    };
    std::unique_ptr<rare> apart; ///< null for most
    std::uint32_t send_bound = 0;
    std::uint16_t size = 0;  ///< in words
    std::uint8_t room = 0;   ///< for so many
    std::uint8_t ground = 0; ///< in common_grounds

    std::span<std::uint32_t> words() { return {reinterpret_cast<std::uint32_t*>(this + 1), size}; }
};

void dormant_delete::operator()(dormant* d) const noexcept {
    if (d == nullptr) return;
    d->~dormant();
    ::operator delete(static_cast<void*>(d));
}

namespace {
/// A plain_tcb as words.
using image = std::array<std::uint32_t, sizeof(plain_tcb) / sizeof(std::uint32_t)>;
using folded_image = std::array<std::uint32_t, folded_at_most(image().size())>;
static_assert(sizeof(image) == sizeof(plain_tcb) && folded_image().size() <= 0xff);

/// In words. Most connections of one kind take less.
constexpr std::size_t much_in_common = 40;

/// In the room that `d` offers, if that suits.
dormant_ptr folded(const image& plain, common_grounds& common, dormant_ptr d) {
    folded_image words;
    std::size_t ground = d ? d->ground : 0; // as it was the last time, most likely
    std::size_t size = SIZE_MAX;
    if (!common.grounds[ground].empty()) size = fold(plain, common.grounds[ground], words);
    // Who was like none of them the last time is not asked again.
    if (size > much_in_common && (!d || d->size <= much_in_common)) {
        const std::size_t before = ground;
        std::size_t n = 0;
        for (; size > much_in_common && n < common.most && !common.grounds[n].empty(); ++n) {
            const std::size_t needed = words_needed(plain, common.grounds[n]);
            if (needed >= size) continue;
            size = needed;
            ground = n;
        }
        if (size > much_in_common && n < common.most) {
            common.grounds[n].assign(plain.begin(), plain.end());
            ground = n;
        }
        if (ground != before || size == SIZE_MAX) size = fold(plain, common.grounds[ground], words);
    }
    constexpr std::size_t not_worth_it = 12;
    if (!d || d->room < size || d->room > size + not_worth_it) {
        const std::size_t bytes = (sizeof(dormant) + size * sizeof(std::uint32_t) + 15) / 16 * 16;
        d.reset(new (::operator new(bytes)) dormant);
        d->room = static_cast<std::uint8_t>((bytes - sizeof(dormant)) / sizeof(std::uint32_t));
    }
    d->size = static_cast<std::uint16_t>(size);
    d->ground = static_cast<std::uint8_t>(ground);
    std::ranges::copy(std::span(words).first(size), d->words().begin());
    return d;
}

plain_tcb unfolded(dormant& d, const common_grounds& common) {
    image plain;
    unfold(d.words(), common.grounds[d.ground], plain);
    return std::bit_cast<plain_tcb>(plain);
}
} // namespace

bool tcb::at_rest() const {
    if (state_ != state::established && state_ != state::close_wait) return false;
    if (snd_una_ != snd_nxt_ || !board_.empty() || board_.has_exceptions() || buffer_.size() != 0 ||
        !user_->unread_.empty() || ahead_ || sent_data_ || output_possible())
        return false;
    if (static_cast<const list_hook<stack::dirty_tag>&>(*this).linked()) return false;
    timer_table others = timers_;
    others.clear(timer_id::keepalive);
    return others.next() == never;
}

bool stack::may_lie_dormant(const tcb& c) const {
    return config_.dormant_after > duration{0} && c.at_rest();
}

// Everything that could tell of it is empty, or comes back: see at_rest().
void stack::lie_dormant(tcb& c) {
    endpoint& user = c.user();
    user.unread_.clear();
    image plain;
    std::memcpy(plain.data(), static_cast<const void*>(static_cast<plain_tcb*>(&c)), sizeof(plain_tcb));
    dormant_ptr d = folded(plain, common_, std::move(user.dormant_));
    d->send_bound = c.buffer_.bound();
    const instant keepalive = c.timers_.deadline(timer_id::keepalive);
    if (c.recovery_ || c.discovery_ || keepalive != never) {
        d->apart = std::make_unique<dormant::rare>();
        d->apart->losses = std::move(c.recovery_);
        d->apart->search = std::move(c.discovery_);
        if (keepalive != never) {
            d->apart->keepalive = std::make_unique<keepalive_timer>(
                [](timer& t, instant now) {
                    endpoint& of = *static_cast<keepalive_timer&>(t).of;
                    of.stack_->timer_fired(*of.awake(), now); // `t` is gone
                },
                user);
            wheel_.arm(*d->apart->keepalive, keepalive);
        }
    }
    not_recent(c);
    user.tcb_ = nullptr;
    user.dormant_ = std::move(d);
    ++dormant_count_;
    ++counters_.folded;
    c.give_back();
    drop_tcb(c);
}

// The TCB, awake or not.
void stack::prefetch_rest(const endpoint& user) {
    if (user.tcb_ != nullptr)
        prefetch(user.tcb_, sizeof(tcb));
    else
        prefetch(user.dormant_.get(), sizeof(dormant) + much_in_common * sizeof(std::uint32_t));
}

tcb* stack::wake(endpoint& user) {
    prefetch_rest(user);
    dormant& d = *user.dormant_; // stays, as room for the next time
    tcb* const c = make_tcb(user, unfolded(d, common_), d.send_bound);
    if (d.apart) {
        c->recovery_ = std::move(d.apart->losses);
        c->discovery_ = std::move(d.apart->search);
        d.apart.reset();
    }
    user.tcb_ = c;
    --dormant_count_;
    ++counters_.unfolded;
    arm(*c);
    return c;
}

// Who only looks wakes nobody.
info stack::info_of(endpoint& user) {
    dormant& d = *user.dormant_;
    tcb c(*this, user, unfolded(d, common_), d.send_bound);
    if (d.apart) {
        c.recovery_ = std::move(d.apart->losses);
        c.discovery_ = std::move(d.apart->search);
    }
    const tcp::info found = c.info();
    if (d.apart) {
        d.apart->losses = std::move(c.recovery_);
        d.apart->search = std::move(c.discovery_);
    }
    return found;
}

} // namespace tapir::tcp
