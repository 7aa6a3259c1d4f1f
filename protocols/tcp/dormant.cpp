#include <tapir/framework/prefetch.hpp>
#include <tapir/protocols/tcp/dormant.hpp>
#include <tapir/protocols/tcp/stack.hpp>
#include <tapir/protocols/tcp/tcb.hpp>

#include <array>
#include <cassert>
#include <cstdint>
#include <cstring>
#include <new>
#include <utility>

namespace tapir::tcp {

// --- bytes -------------------------------------------------------------------------------------------------

namespace {
constexpr std::size_t word = 8;

std::uint64_t word_at(std::span<const std::byte> from, std::size_t at) {
    std::uint64_t w = 0;
    std::memcpy(&w, from.data() + at, word);
    return w;
}
} // namespace

// For each word a byte whose bits say which of its bytes follow. Words that are all in common come in runs: a
// byte of zero, and how many more.
std::size_t fold(std::span<const std::byte> plain, std::span<const std::byte> common,
                 std::span<std::byte> to) {
    assert(plain.size() == common.size() && plain.size() % word == 0);
    std::size_t used = 0;
    for (std::size_t at = 0; at < plain.size();) {
        std::uint64_t differ = word_at(plain, at) ^ word_at(common, at);
        at += word;
        if (differ == 0) {
            unsigned more = 0;
            while (more < 0xff && at < plain.size() && word_at(plain, at) == word_at(common, at)) {
                ++more;
                at += word;
            }
            to[used++] = std::byte{0};
            to[used++] = static_cast<std::byte>(more);
            continue;
        }
        const std::size_t tag = used++;
        unsigned which = 0;
        for (unsigned i = 0; i < word; ++i, differ >>= 8) { // no branch: nobody could predict it
            const bool follows = (differ & 0xff) != 0;
            to[used] = static_cast<std::byte>(differ & 0xff);
            used += follows ? 1 : 0;
            which |= (follows ? 1u : 0u) << i;
        }
        to[tag] = static_cast<std::byte>(which);
    }
    return used;
}

void unfold(std::span<const std::byte> folded, std::span<const std::byte> common,
            std::span<std::byte> plain) {
    std::memcpy(plain.data(), common.data(), common.size());
    std::size_t at = 0;
    for (std::size_t i = 0; i < folded.size();) {
        auto which = static_cast<unsigned>(folded[i++]);
        if (which == 0) {
            at += word * (1 + static_cast<std::size_t>(folded[i++]));
            continue;
        }
        std::uint64_t differ = 0;
        for (unsigned shift = 0; which != 0; which >>= 1, shift += 8)
            if ((which & 1) != 0) differ |= std::uint64_t{static_cast<std::uint8_t>(folded[i++])} << shift;
        differ ^= word_at(plain, at);
        std::memcpy(plain.data() + at, &differ, word);
        at += word;
    }
    assert(at == plain.size());
}

// --- connections -------------------------------------------------------------------------------------------

namespace {
struct keepalive_timer : timer {
    keepalive_timer(handler on_fire, endpoint& user) : timer(on_fire), of(&user) {}
    endpoint* of;
};
} // namespace

/// Folded bytes follow it.
struct dormant {
    struct rare {
        std::unique_ptr<recovery> losses;
        std::unique_ptr<mtu_discovery> search;
        std::unique_ptr<keepalive_timer> keepalive;
    };
    std::unique_ptr<rare> apart; ///< null for most
    std::uint32_t send_bound = 0;
    std::uint16_t size = 0;
    std::uint16_t room = 0;  ///< for so many
    std::uint8_t ground = 0; ///< in common_grounds

    std::span<std::byte> bytes() { return {reinterpret_cast<std::byte*>(this + 1), size}; }
};

void dormant_delete::operator()(dormant* d) const noexcept {
    if (d == nullptr) return;
    d->~dormant();
    ::operator delete(static_cast<void*>(d));
}

namespace {
/// A plain_tcb as bytes.
struct alignas(plain_tcb) image {
    std::array<std::byte, sizeof(plain_tcb)> bytes;
    const plain_tcb& plain() const { return *std::launder(reinterpret_cast<const plain_tcb*>(bytes.data())); }
};

using folded_image = std::array<std::byte, folded_at_most(sizeof(image))>;

/// A connection of the same kind, at most some days apart, takes less.
constexpr std::size_t much_in_common = 128;

/// In the room that `d` offers, if that suits.
dormant_ptr folded(const image& plain, common_grounds& common, dormant_ptr d) {
    std::array<folded_image, 2> tries;
    std::size_t ground = d ? d->ground : 0; // as it was the last time, most likely
    std::size_t best = 0;                   // of the tries
    std::size_t size = SIZE_MAX;
    if (!common.grounds[ground].empty()) size = fold(plain.bytes, common.grounds[ground], tries[best]);
    std::size_t n = 0;
    for (; size > much_in_common && n < common.most && !common.grounds[n].empty(); ++n) {
        const std::size_t needed = fold(plain.bytes, common.grounds[n], tries[1 - best]);
        if (needed >= size) continue;
        size = needed;
        best = 1 - best;
        ground = n;
    }
    if (size > much_in_common && n < common.most) {
        common.grounds[n].assign(plain.bytes.begin(), plain.bytes.end());
        size = fold(plain.bytes, common.grounds[n], tries[best]);
        ground = n;
    }
    constexpr std::size_t not_worth_it = 48;
    if (!d || d->room < size || d->room > size + not_worth_it) {
        const std::size_t room = (sizeof(dormant) + size + 15) / 16 * 16;
        d.reset(new (::operator new(room)) dormant);
        d->room = static_cast<std::uint16_t>(room - sizeof(dormant));
    }
    d->size = static_cast<std::uint16_t>(size);
    d->ground = static_cast<std::uint8_t>(ground);
    std::memcpy(d->bytes().data(), tries[best].data(), size);
    return d;
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

// Everything that could tell of it is empty, or comes back: see at_rest().
void stack::lie_dormant(tcb& c) {
    endpoint& user = c.user();
    user.unread_.clear();
    image plain;
    std::memcpy(plain.bytes.data(), static_cast<const void*>(static_cast<plain_tcb*>(&c)), sizeof(plain_tcb));
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
    if (latest_.connection == &c) latest_.connection = nullptr;
    user.tcb_ = nullptr;
    user.dormant_ = std::move(d);
    ++dormant_count_;
    ++counters_.folded;
    c.give_back();
    drop_tcb(c);
}

tcb* stack::wake(endpoint& user) {
    prefetch(user.dormant_.get(), sizeof(dormant) + much_in_common);
    dormant& d = *user.dormant_; // stays, as room for the next time
    image plain;
    unfold(d.bytes(), common_.grounds[d.ground], plain.bytes);
    tcb* const c = make_tcb(user, plain.plain(), d.send_bound);
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
    image plain;
    unfold(d.bytes(), common_.grounds[d.ground], plain.bytes);
    tcb c(*this, user, plain.plain(), d.send_bound);
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
