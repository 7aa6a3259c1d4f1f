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
#include <memory>
#include <span>
#include <utility>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace tapir::tcp {

// --- words -------------------------------------------------------------------------------------------------

namespace {
constexpr std::size_t word_size = sizeof(std::uint32_t);

std::uint32_t word(const std::byte* words, std::size_t i) {
    std::uint32_t w;
    std::memcpy(&w, words + i * word_size, word_size);
    return w;
}

/// Of at most 64 words which differ, a bit for each.
std::uint64_t differing_of_few(const std::byte* plain, const std::byte* common, std::size_t words) {
    std::uint64_t which = 0;
    for (std::size_t i = 0; i < words; ++i) which |= std::uint64_t{word(plain, i) != word(common, i)} << i;
    return which;
}

/// The same of 64. No branch depends on what is in them.
std::uint64_t differing_of_64(const std::byte* plain, const std::byte* common) {
#ifdef __SSE2__
    const auto of_16 = [&](int at) {
        const auto same = [&](int four) {
            const auto of = [&](const std::byte* words) {
                return _mm_loadu_si128(reinterpret_cast<const __m128i*>(words) + at / 4 + four);
            };
            return _mm_cmpeq_epi32(of(plain), of(common));
        };
        const __m128i all =
            _mm_packs_epi16(_mm_packs_epi32(same(0), same(1)), _mm_packs_epi32(same(2), same(3)));
        return std::uint64_t{static_cast<std::uint32_t>(_mm_movemask_epi8(all))} << at;
    };
    return ~(of_16(0) | of_16(16) | of_16(32) | of_16(48));
#else
    return differing_of_few(plain, common, 64);
#endif
}

/// The same of the 64 from `first` on, of which those behind the last do not differ.
[[gnu::always_inline]] inline std::uint64_t differing(const std::byte* plain, const std::byte* common,
                                                      std::size_t words, std::size_t first) {
    if (first >= words) return 0;
    plain += first * word_size;
    common += first * word_size;
    const std::size_t rest = words - first;
    return rest < 64 ? differing_of_few(plain, common, rest) : differing_of_64(plain, common);
}

/// fold(), unless that takes more than `room` words: then nothing is written. The first `own` words, fewer
/// than 64, are skipped.
[[gnu::always_inline]] inline std::size_t fold_within(const std::byte* plain, const std::byte* common,
                                                      std::size_t words, std::uint32_t* to, std::size_t room,
                                                      std::size_t own = 0) {
    assert(words <= 256 && own < 64);
    // Not changed in place: what is written to memory in one size and read in another a processor waits for.
    const std::array<std::uint64_t, 4> which{
        differing(plain, common, words, 0) & ~std::uint64_t{0} << own,
        differing(plain, common, words, 64),
        differing(plain, common, words, 128),
        differing(plain, common, words, 192),
    };
    const std::size_t before = words_of_bits(words);
    std::size_t used = before;
    for (const std::uint64_t of_64 : which) used += static_cast<std::size_t>(std::popcount(of_64));
    if (used > room) return used;
    for (std::size_t i = 0; i < before; ++i) to[i] = static_cast<std::uint32_t>(which[i / 2] >> i % 2 * 32);
    std::uint32_t* next = to + before;
    for (std::size_t i = 0; 64 * i < words; ++i)
        for (std::uint64_t rest = which[i]; rest != 0; rest &= rest - 1)
            *next++ = word(plain, 64 * i + static_cast<std::size_t>(std::countr_zero(rest)));
    return used;
}
} // namespace

std::size_t fold(const std::byte* plain, const std::byte* common, std::size_t words, std::uint32_t* to) {
    return fold_within(plain, common, words, to, SIZE_MAX);
}

void unfold(const std::uint32_t* folded, std::byte* plain, std::size_t words) {
    const std::uint32_t* next = folded + words_of_bits(words);
    for (std::size_t first = 0; first < words; first += 64) {
        std::uint64_t which = folded[first / 32];
        if (first + 32 < words) which |= std::uint64_t{folded[first / 32 + 1]} << 32;
        for (; which != 0; which &= which - 1) {
            const std::size_t at = first + static_cast<std::size_t>(std::countr_zero(which));
            std::memcpy(plain + at * word_size, next++, word_size);
        }
    }
}

// --- connections -------------------------------------------------------------------------------------------

namespace {
struct keepalive_timer : timer {
    keepalive_timer(handler on_fire, endpoint& user) : timer(on_fire), of(&user) {}
    endpoint* of;
};
} // namespace

struct dormant::rare {
    std::unique_ptr<recovery> losses;
    std::unique_ptr<mtu_discovery> search;
    std::unique_ptr<keepalive_timer> keepalive;
    std::unique_ptr<std::uint32_t[]> words; ///< those for which there is no room
};

void dormant::rare_delete::operator()(rare* r) const noexcept {
    delete r;
}

namespace {
constexpr std::size_t plain_words = sizeof(plain_tcb) / word_size;
/// Those with which a plain_tcb begins are in common with nobody, and not even compared. (So many that the
/// others fit with them into dormant::room, if all of those differ that data both ways changes.)
constexpr std::size_t own_words = 26;
using folded_words = std::array<std::uint32_t, own_words + folded_at_most(plain_words)>;
static_assert(sizeof(plain_tcb) % word_size == 0 && folded_words().size() <= 0xff);
/// What is derived from it has nothing in its last word, which unfolding writes.
struct one_byte_more : plain_tcb {
    std::byte more;
};
static_assert(sizeof(one_byte_more) > sizeof(plain_tcb));

std::size_t fold_tcb(const std::byte* plain, const std::byte* common, std::uint32_t* to, std::size_t room) {
    std::memcpy(to, plain, own_words * word_size);
    return own_words + fold_within(plain, common, plain_words, to + own_words, room - own_words, own_words);
}

void unfold_tcb(const std::uint32_t* folded, std::byte* plain) {
    std::memcpy(plain, folded, own_words * word_size);
    unfold(folded + own_words, plain, plain_words);
}

dormant::rare& with_rare(dormant& d) {
    if (!d.apart) d.apart.reset(new dormant::rare);
    return *d.apart;
}

void fold_into(dormant& d, const std::byte* plain, common_grounds& common) {
    const bool was_like_others = d.size <= dormant::room;
    std::size_t size = SIZE_MAX;
    const auto try_ground = [&](std::size_t ground) {
        const std::size_t needed =
            fold_tcb(plain, common.grounds[ground].get(), d.words.data(), dormant::room);
        if (needed >= size) return;
        size = needed;
        d.ground = static_cast<std::uint8_t>(ground);
    };
    // As it was the last time, most likely.
    if (common.grounds[d.ground]) try_ground(d.ground);
    // Who was like none of them the last time is not asked again.
    if (size > dormant::room && was_like_others) {
        std::size_t n = 0;
        for (; size > dormant::room && n < common.most && common.grounds[n]; ++n) try_ground(n);
        if (size > dormant::room && n < common.most) {
            common.grounds[n].reset(new std::byte[sizeof(plain_tcb)]);
            std::memcpy(common.grounds[n].get(), plain, sizeof(plain_tcb));
            try_ground(n);
        }
    }
    d.size = static_cast<std::uint8_t>(size);
    if (size <= dormant::room) return;
    folded_words words;
    fold_tcb(plain, common.grounds[d.ground].get(), words.data(), words.size());
    const auto all = std::span(words).first(size);
    std::ranges::copy(all.first(dormant::room), d.words.begin());
    with_rare(d).words = std::make_unique<std::uint32_t[]>(size - dormant::room);
    std::ranges::copy(all.subspan(dormant::room), d.apart->words.get());
}
} // namespace

tcb::tcb(stack& s, endpoint& user)
    : plain_tcb(*reinterpret_cast<const plain_tcb*>(s.common_.grounds[user.dormant_.ground].get())),
      timer(&fired), stack_(&s), user_(&user), buffer_(0) {
    serve(user);
}

std::byte* tcb::plain() {
    return reinterpret_cast<std::byte*>(static_cast<plain_tcb*>(this));
}

// All but pointers comes from the ground, and what differs from it on top.
void tcb::serve(endpoint& user) {
    const dormant& d = user.dormant_;
    user_ = &user;
    buffer_.reset_bound(d.send_bound);
    constexpr std::size_t own = own_words * word_size;
    std::memcpy(plain() + own, stack_->common_.grounds[d.ground].get() + own, sizeof(plain_tcb) - own);
    if (d.size <= dormant::room) {
        unfold_tcb(d.words.data(), plain());
    } else {
        folded_words all;
        std::ranges::copy(d.words, all.begin());
        std::copy_n(d.apart->words.get(), d.size - dormant::room, all.begin() + dormant::room);
        unfold_tcb(all.data(), plain());
    }
}

bool tcb::holds_nothing() const {
    return !ahead_ && !recovery_ && !discovery_ && board_.empty() && buffer_.true_size() == 0;
}

void tcb::retire() {
    static_cast<list_hook<stack::dirty_tag>&>(*this).unlink();
    static_cast<list_hook<stack::holder_tag>&>(*this).unlink();
    static_cast<list_hook<stack::writer_tag>&>(*this).unlink();
    static_cast<list_hook<stack::drowsy_tag>&>(*this).unlink();
    if (armed()) stack_->wheel_.cancel(*this);
    user_ = nullptr;
    buffer_.trim();
    board_.trim();
}

bool tcb::at_rest() const {
    if (state_ != state::established && state_ != state::close_wait) return false;
    if (static_cast<const list_hook<stack::dirty_tag>&>(*this).linked()) return false;
    if (snd_una_ != snd_nxt_ || !board_.empty() || board_.has_exceptions() || buffer_.size() != 0 ||
        !user_->unread_.empty() || ahead_ || sent_data_ || output_possible())
        return false;
    return timers_.none_but(timer_id::keepalive);
}

bool stack::may_lie_dormant(const tcb& c) const {
    return config_.dormant_after > duration{0} && c.at_rest();
}

// Who was silent for long will be so again, most likely: were it awake until its time is up, it would have to
// be fetched once more, to be folded.
bool stack::may_lie_dormant_now(const tcb& c) const {
    return (crowded() || (c.seldom_heard_ && worth_expecting())) && may_lie_dormant(c);
}

// Everything that could tell of it is empty, or comes back: see at_rest().
void stack::lie_dormant(tcb& c) {
    endpoint& user = c.user();
    user.unread_.clear();
    dormant& d = user.dormant_;
    fold_into(d, c.plain(), common_);
    d.send_bound = c.buffer_.bound();
    const instant keepalive = c.timers_.deadline(timer_id::keepalive);
    if (c.recovery_ || c.discovery_ || keepalive != never) {
        dormant::rare& apart = with_rare(d);
        apart.losses = std::move(c.recovery_);
        apart.search = std::move(c.discovery_);
        if (keepalive != never) {
            apart.keepalive = std::make_unique<keepalive_timer>(
                [](timer& t, instant now) {
                    endpoint& of = *static_cast<keepalive_timer&>(t).of;
                    of.stack_->timer_fired(*of.awake(), now); // `t` is gone
                },
                user);
            wheel_.arm(*apart.keepalive, keepalive);
        }
    }
    forget_connection(c);
    user.tcb_ = nullptr;
    d.asleep = true;
    ++dormant_count_;
    ++counters_.folded;
    c.give_back();
    retire(c);
}

// What TCBs at rest hold and where they hang is alike, so that the next one that wakes need not have it made.
void stack::retire(tcb& c) {
    if (retired_.size() == most_spare || !c.holds_nothing()) return drop_tcb(c);
    c.retire();
    retired_.push_back(&c);
}

tcb* stack::tcb_for(endpoint& sleeper) {
    if (retired_.empty()) return make_tcb(sleeper);
    tcb* const c = retired_.back();
    retired_.pop_back();
    c->serve(sleeper);
    return c;
}

tcb* stack::wake(endpoint& user) {
    has_come(user);
    dormant& d = user.dormant_;
    prefetch(&d, sizeof d);
    tcb* const c = tcb_for(user);
    if (d.apart) {
        c->recovery_ = std::move(d.apart->losses);
        c->discovery_ = std::move(d.apart->search);
        d.apart.reset();
    }
    c->seldom_heard_ = c->idle_for(now_) >= config_.dormant_after;
    user.tcb_ = c;
    known(user.flow_).connection = c; // whatever it says is answered
    d.asleep = false;
    --dormant_count_;
    ++counters_.unfolded;
    return c;
}

// Who only looks wakes nobody.
info stack::info_of(endpoint& user) {
    dormant& d = user.dormant_;
    tcb c(*this, user);
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
