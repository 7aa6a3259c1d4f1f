// The scoreboard and its sets against models that know each byte by itself: slow, and too simple to be wrong.
// Sequence numbers begin just before their wrap.
#include <tapir/framework/random.hpp>
#include <tapir/protocols/tcp/range_set.hpp>
#include <tapir/protocols/tcp/scoreboard.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace tapir::test {
namespace {
using namespace std::chrono_literals;
using tcp::byte_range;
using tcp::seq;

constexpr std::uint32_t origin = 0xffffff80; ///< the wrap comes within the first two hundred bytes
seq at(std::size_t offset) {
    return seq(origin + static_cast<std::uint32_t>(offset));
}
std::size_t offset_of(seq s) {
    return s.value() - origin;
}

// --- the set -----------------------------------------------------------------------------------------------

std::vector<std::pair<std::size_t, std::size_t>> runs_of(const std::vector<bool>& bits, std::size_t begin,
                                                         std::size_t end, bool value) {
    std::vector<std::pair<std::size_t, std::size_t>> runs;
    for (std::size_t i = begin; i < end; ++i) {
        if (bits[i] != value) continue;
        if (!runs.empty() && runs.back().second == i)
            ++runs.back().second;
        else
            runs.emplace_back(i, i + 1);
    }
    return runs;
}

TEST_CASE("a range set is what a set of single bytes is, across the wrap of sequence numbers") {
    random draw(11);
    for (int round = 0; round < 30; ++round) {
        constexpr std::size_t size = 260;
        tcp::range_set set;
        std::vector<bool> bits(size);
        for (int step = 0; step < 200; ++step) {
            const std::size_t begin = draw.below(size);
            const std::size_t end = std::min<std::size_t>(size, begin + draw.below(30)); // may be empty
            const std::uint32_t what = draw.below(20);
            if (what < 10) {
                set.add(at(begin), at(end));
                for (std::size_t i = begin; i < end; ++i) bits[i] = true;
            } else if (what < 19) {
                const auto gone = std::count(bits.begin() + static_cast<long>(begin),
                                             bits.begin() + static_cast<long>(end), true);
                CHECK(set.remove(at(begin), at(end)) == static_cast<std::uint32_t>(gone));
                for (std::size_t i = begin; i < end; ++i) bits[i] = false;
            } else {
                set.drop_below(at(begin / 4));
                for (std::size_t i = 0; i < begin / 4; ++i) bits[i] = false;
            }
            const auto members = runs_of(bits, 0, size, true);
            REQUIRE(set.count() == members.size());
            REQUIRE(set.bytes() == static_cast<std::uint32_t>(std::count(bits.begin(), bits.end(), true)));
            const auto range_of = [](const auto& r) { return byte_range{at(r.first), at(r.second)}; };
            if (!members.empty()) REQUIRE(set.front() == range_of(members[0]));
            std::vector<std::pair<std::size_t, std::size_t>> gaps;
            set.gaps(at(begin), at(end),
                     [&](seq b, seq e) { gaps.emplace_back(offset_of(b), offset_of(e)); });
            REQUIRE(gaps == runs_of(bits, begin, end, false));
            REQUIRE(set.contains(at(begin)) == bits[begin]);
            if (bits[begin]) {
                const auto mine = std::find_if(members.begin(), members.end(), [&](const auto& r) {
                    return r.first <= begin && begin < r.second;
                });
                REQUIRE(set.find(at(begin)) == range_of(*mine));
            }
            if (begin < end)
                REQUIRE(set.touches(at(begin), at(end)) ==
                        std::any_of(members.begin(), members.end(),
                                    [&](const auto& r) { return r.first <= end && begin <= r.second; }));
        }
        set.clear();
        CHECK(set.empty());
        CHECK(set.bytes() == 0);
    }
}

// --- the scoreboard ----------------------------------------------------------------------------------------

/// What is known of one byte.
struct one_byte {
    instant first;                ///< when it went out first
    std::optional<instant> again; ///< in flight by a later sending, of this time
    bool ever_again = false;
    bool sacked = false;
    bool lost = false;
    bool in_flight() const { return !sacked && !lost; }
};

struct byte_model {
    std::vector<one_byte> all; ///< by offset
    std::size_t una = 0;
    std::size_t judged = 0;

    std::size_t nxt() const { return all.size(); }
    std::uint32_t count(bool one_byte::* what) const {
        return static_cast<std::uint32_t>(std::count_if(all.begin() + static_cast<long>(una), all.end(),
                                                        [&](const one_byte& b) { return b.*what; }));
    }
    std::size_t sacked_runs() const {
        std::size_t runs = 0;
        for (std::size_t i = una; i < nxt(); ++i) runs += all[i].sacked && (i == una || !all[i - 1].sacked);
        return runs;
    }
    bool touches_sacked(std::size_t begin, std::size_t end) const {
        for (std::size_t i = begin == una ? begin : begin - 1; i <= end && i < nxt(); ++i)
            if (all[i].sacked) return true;
        return false;
    }

    void sent(std::size_t bytes, instant now) {
        one_byte fresh;
        fresh.first = now;
        all.insert(all.end(), bytes, fresh);
    }
    void resent(std::size_t begin, std::size_t end, instant now) {
        for (std::size_t i = begin; i < end; ++i) {
            all[i].again = now;
            all[i].ever_again = true;
            all[i].lost = false;
        }
    }
    /// [begin, end) are one piece that was not known to have arrived.
    void piece(std::size_t begin, std::size_t end, instant believe, tcp::delivery& d) {
        std::optional<std::size_t> last_once;
        for (std::size_t i = begin; i < end; ++i) {
            one_byte& b = all[i];
            ++d.bytes;
            if (b.ever_again) d.resent = true;
            std::optional<instant> by = b.ever_again ? b.again : b.first;
            if (b.ever_again && by && *by > believe) by.reset();
            if (by &&
                (!d.has_newest || *by > d.newest_at || (*by == d.newest_at && at(i + 1) > d.newest_end))) {
                d.has_newest = true;
                d.newest_at = *by;
                d.newest_end = at(i + 1);
            }
            if (!b.ever_again) {
                if (!d.once || b.first < d.oldest_once) d.oldest_once = b.first;
                last_once = i;
                if (!d.once) d.lowest_once_end = at(nxt()); // an end that every other one is below
                d.once = true;
            }
            b.lost = false;
            b.again.reset();
        }
        if (last_once && at(*last_once + 1) < d.lowest_once_end) d.lowest_once_end = at(*last_once + 1);
    }
    void arrives(std::size_t begin, std::size_t end, instant believe, tcp::delivery& d) {
        for (std::size_t i = begin; i < end;) {
            std::size_t stop = i;
            while (stop < end && !all[stop].sacked) ++stop;
            if (stop > i) piece(i, stop, believe, d);
            i = stop + 1;
        }
    }
    void acknowledge(std::size_t to, instant believe, tcp::delivery& d) {
        const std::uint32_t before = d.bytes;
        arrives(una, to, believe, d);
        d.cumulative += d.bytes - before;
        una = to;
        judged = std::max(judged, una);
    }
    bool sack(std::size_t begin, std::size_t end, instant believe, std::size_t most, tcp::delivery& d) {
        if (sacked_runs() >= most && !touches_sacked(begin, end)) return false;
        arrives(begin, end, believe, d);
        for (std::size_t i = begin; i < end; ++i) all[i].sacked = true;
        return true;
    }
    void mark_lost(std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
            if (all[i].sacked) continue;
            all[i].lost = true;
            all[i].again.reset();
        }
    }
    void unmark_lost(bool look_again) {
        for (one_byte& b : all) b.lost = b.lost && b.ever_again;
        if (look_again) judged = una;
    }
    tcp::scoreboard::judgement judge(instant newest, std::size_t end, duration patience, instant now) {
        tcp::scoreboard::judgement j;
        const auto old = [&](instant sent) {
            if (sent + patience > now) j.next_look = std::min(j.next_look, sent + patience);
            return sent + patience <= now;
        };
        const auto before = [&](instant sent, std::size_t i) {
            return sent < newest || (sent == newest && i < end);
        };
        for (; judged < nxt(); ++judged) {
            one_byte& b = all[judged];
            if (!before(b.first, judged) || !old(b.first)) break;
            if (b.sacked || b.ever_again || b.lost) continue;
            b.lost = true;
            ++j.lost;
        }
        for (std::size_t i = una; i < nxt(); ++i) {
            one_byte& b = all[i];
            if (!b.again || !before(*b.again, i) || !old(*b.again)) continue;
            b.again.reset();
            b.lost = true;
            j.lost_again = true;
            ++j.lost;
        }
        return j;
    }
};

std::string to_text(const tcp::delivery& d) {
    std::string text = std::to_string(d.bytes) + " bytes, " + std::to_string(d.cumulative) + " below una";
    if (d.resent) text += ", some sent again";
    if (d.has_newest)
        text += ", newest " + std::to_string(d.newest_at.time_since_epoch().count()) + " to " +
                std::to_string(offset_of(d.newest_end));
    if (d.once)
        text += ", oldest once " + std::to_string(d.oldest_once.time_since_epoch().count()) +
                ", the lowest ends at " + std::to_string(offset_of(d.lowest_once_end));
    return text;
}

/// Both at once, step by step.
struct compared {
    explicit compared(std::uint64_t seed) : draw(seed) {}

    random draw;
    tcp::scoreboard board;
    byte_model model;
    instant now{1s};
    std::size_t resent_to = 0; ///< within this instant; what goes out in one goes out lowest first
    instant newest{};          ///< sending that has arrived
    std::size_t newest_end = 0;
    std::string did;

    std::size_t between(std::size_t least, std::size_t most) { // inclusive
        return least + draw.below(static_cast<std::uint32_t>(most - least + 1));
    }
    void time_passes() {
        if (draw.below(3) == 0) return;
        now += duration(1 + draw.below(20));
        resent_to = 0;
    }
    /// A part of what is outstanding, perhaps all of it.
    std::pair<std::size_t, std::size_t> some() {
        const std::size_t begin = between(model.una, model.nxt() - 1);
        const std::size_t most = draw.below(4) == 0 ? model.nxt() : std::min(model.nxt(), begin + 12);
        return {begin, between(begin + 1, most)};
    }
    void compare(const tcp::delivery& real, const tcp::delivery& expected) {
        REQUIRE_MESSAGE(to_text(real) == to_text(expected), did);
        if (!expected.has_newest) return;
        const std::size_t end = offset_of(expected.newest_end);
        if (std::pair(expected.newest_at, end) <= std::pair(newest, newest_end)) return;
        newest = expected.newest_at;
        newest_end = end;
    }

    void step() {
        time_passes();
        const bool nothing = model.una == model.nxt();
        const std::uint32_t what = nothing ? 0 : draw.below(100);
        // Now and then a sending is too young to be what arrived.
        const instant believe = draw.below(3) == 0 ? now - duration(draw.below(30)) : tapir::never;
        if (what < 25) {
            if (model.nxt() - model.una > 150) return;
            const std::size_t bytes = between(1, 20);
            did = "sent " + std::to_string(bytes);
            board.sent(at(model.nxt()), at(model.nxt() + bytes), now);
            model.sent(bytes, now);
        } else if (what < 45) {
            resend(what < 40);
        } else if (what < 65) {
            const auto [begin, end] = some();
            const std::size_t most = draw.below(4) == 0 ? 3 : 1000;
            did = "sack " + std::to_string(begin) + " to " + std::to_string(end);
            tcp::delivery real;
            tcp::delivery expected;
            const bool taken = board.sack(at(begin), at(end), believe, most, real);
            REQUIRE_MESSAGE(taken == model.sack(begin, end, believe, most, expected), did);
            compare(real, expected);
        } else if (what < 75) {
            const std::size_t to = draw.below(3) == 0 ? model.nxt() : some().first;
            did = "acknowledge " + std::to_string(to);
            tcp::delivery real;
            tcp::delivery expected;
            board.acknowledge(at(to), believe, real);
            model.acknowledge(to, believe, expected);
            compare(real, expected);
        } else if (what < 92) {
            did = "judge";
            const duration patience(draw.below(30));
            const auto real = board.judge(newest, at(newest_end), patience, now);
            const auto expected = model.judge(newest, newest_end, patience, now);
            REQUIRE_MESSAGE(real.lost == expected.lost, did);
            REQUIRE_MESSAGE(real.lost_again == expected.lost_again, did);
            REQUIRE_MESSAGE(real.next_look <= expected.next_look, did); // may look for nothing, not too late
            REQUIRE_MESSAGE(real.next_look > now, did);
        } else if (what < 95) {
            const auto [begin, end] = some();
            did = "mark lost " + std::to_string(begin) + " to " + std::to_string(end);
            board.mark_lost(at(begin), at(end));
            model.mark_lost(begin, end);
        } else if (what < 96) {
            did = "mark all lost";
            board.mark_all_lost();
            model.mark_lost(model.una, model.nxt());
            model.judged = model.nxt();
        } else if (what < 98) {
            did = "unmark lost";
            const bool look_again = draw.below(2) == 0;
            board.unmark_lost();
            if (look_again) board.look_again();
            model.unmark_lost(look_again);
        } else {
            did = "forget sacked";
            board.forget_sacked();
            for (one_byte& b : model.all) b.sacked = false;
        }
        agree();
    }

    // The lowest that is lost, as recovery does it, or else anything in flight, as a probe does.
    void resend(bool lost) {
        std::size_t begin = std::max(model.una, resent_to);
        const auto wanted = [&](const one_byte& b) { return lost ? b.lost : b.in_flight(); };
        if (!lost && begin < model.nxt()) begin = between(begin, model.nxt() - 1);
        while (begin < model.nxt() && !wanted(model.all[begin])) ++begin;
        std::size_t end = begin;
        const std::size_t most = begin + between(1, 15);
        while (end < model.nxt() && end < most && wanted(model.all[end])) ++end;
        if (begin == end) return;
        did = "resent " + std::to_string(begin) + " to " + std::to_string(end);
        board.resent(at(begin), at(end), now);
        model.resent(begin, end, now);
        resent_to = end;
    }

    void agree() {
        REQUIRE_MESSAGE(board.empty() == (model.una == model.nxt()), did);
        REQUIRE_MESSAGE(board.outstanding() == model.nxt() - model.una, did);
        REQUIRE_MESSAGE(board.sacked() == model.count(&one_byte::sacked), did);
        REQUIRE_MESSAGE(board.lost() == model.count(&one_byte::lost), did);
        REQUIRE_MESSAGE(board.in_flight() + board.sacked() + board.lost() == board.outstanding(), did);
        REQUIRE_MESSAGE(board.sacked_ranges() == model.sacked_runs(), did);
        bool exceptions = false;
        for (std::size_t i = model.una; i < model.nxt(); ++i) {
            const one_byte& b = model.all[i];
            REQUIRE_MESSAGE(board.is_sacked(at(i)) == b.sacked, did);
            REQUIRE_MESSAGE(board.was_resent(at(i), at(i + 1)) == b.ever_again, did);
            exceptions = exceptions || b.sacked || b.lost || b.ever_again;
        }
        if (exceptions) REQUIRE_MESSAGE(board.has_exceptions(), did);
        if (board.lost() != 0) {
            std::size_t begin = model.una;
            while (!model.all[begin].lost) ++begin;
            std::size_t end = begin;
            while (end < model.nxt() && model.all[end].lost) ++end;
            const byte_range lowest{at(begin), at(end)};
            REQUIRE_MESSAGE(board.first_lost() == lowest, did);
        }
    }
};

TEST_CASE("the scoreboard agrees with a model of single bytes about flight, losses and what an ACK tells") {
    for (std::uint64_t seed = 1; seed <= 150; ++seed) {
        CAPTURE(seed);
        compared both(seed);
        for (int i = 0; i < 150; ++i) {
            CAPTURE(i);
            both.step();
        }
        tcp::delivery last;
        both.board.acknowledge(at(both.model.nxt()), tapir::never, last);
        CHECK(both.board.empty());
        CHECK_FALSE(both.board.has_exceptions()); // all memory of exceptions goes with the last of them
    }
}

// --- what it costs -----------------------------------------------------------------------------------------

TEST_CASE(
    "ten thousand holes cost no more memory than config::max_sack_ranges says, and go when acknowledged") {
    constexpr std::size_t holes = 10'000;
    constexpr std::size_t bytes_each = 200; // what config.hpp promises for each range
    tcp::scoreboard board;
    board.sent(at(0), at(20 * holes), instant(1s));
    const std::size_t without = board.true_size();
    tcp::delivery d;
    const auto hole = [](std::size_t i) { return at(20 * i); };
    const auto held = [](std::size_t i) { return at(20 * i + 10); };
    for (std::size_t i = 0; i < holes; ++i) REQUIRE(board.sack(held(i), hole(i + 1), tapir::never, holes, d));
    CHECK(board.sacked_ranges() == holes);
    CHECK_FALSE(board.sack(hole(5) + 3, hole(5) + 4, tapir::never, holes, d)); // would be one more
    CHECK(board.sack(held(5) + 3, hole(6), tapir::never, holes, d));           // is none
    CHECK(board.sacked() == 10 * holes);
    // All are found lost by one look, go again, one by one, and are lost again.
    for (int times = 0; times < 3; ++times) {
        const auto found = board.judge(instant(9s), at(20 * holes), 0ms, instant(10s) + times * 1s);
        CHECK(found.lost == 10 * holes);
        CHECK(board.in_flight() == 0);
        while (board.lost() != 0) {
            const byte_range first = board.first_lost();
            board.resent(first.begin, first.end, instant(2s) + times * 1s);
        }
        CHECK(board.in_flight() == 10 * holes);
        CHECK(board.true_size() < holes * bytes_each + without);
    }
    SUBCASE("by one ACK") {
        board.acknowledge(at(20 * holes), tapir::never, d);
    }
    SUBCASE("hole by hole") {
        for (std::size_t i = 1; i <= holes; ++i) board.acknowledge(hole(i), tapir::never, d);
    }
    SUBCASE("from the last hole to the first") {
        for (std::size_t i = holes; i-- > 0;) CHECK(board.sack(hole(i), held(i), tapir::never, holes, d));
        CHECK(board.sacked_ranges() == 1);
        board.acknowledge(at(20 * holes), tapir::never, d);
    }
    CHECK(board.true_size() == without);
    CHECK_FALSE(board.has_exceptions());
}

} // namespace
} // namespace tapir::test
