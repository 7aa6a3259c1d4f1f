#include <tapir/protocols/tcp/scoreboard.hpp>

#include <algorithm>
#include <cassert>

namespace tapir::tcp {

namespace {
constexpr std::size_t most_idle_bytes =
    64 * 24; ///< of memory that an idle connection may keep for the next burst
} // namespace

scoreboard::holes& scoreboard::with_holes() {
    if (!holes_) {
        holes_ = std::make_unique<holes>();
        holes_->judged = originals_.front().begin;
    }
    return *holes_;
}

// The last hole is gone.
void scoreboard::settle() {
    if (holes_ && holes_->sacked.empty() && holes_->lost.empty() && holes_->ever_again.empty() &&
        (originals_.empty() || holes_->judged <= originals_.front().begin))
        holes_.reset();
}

void scoreboard::clear() {
    originals_.clear();
    holes_.reset();
}

bool scoreboard::was_resent(seq begin, seq end) const {
    if (!holes_) return false;
    std::uint32_t once = 0;
    holes_->ever_again.gaps(begin, end, [&](seq b, seq e) { once += e - b; });
    return once != end - begin;
}

std::size_t scoreboard::size_of_holes() const {
    const holes& h = *holes_;
    const std::size_t nodes = h.sacked.count() + h.lost.count() + h.ever_again.count() + h.again.size();
    return sizeof(holes) + nodes * range_set::node_bytes + h.order.bytes();
}

// --- sending -----------------------------------------------------------------------------------------------

// A burst of one instant is one record.
void scoreboard::sent(seq begin, seq end, instant now) {
    if (begin >= end) return;
    assert(originals_.empty() || originals_.back().end == begin);
    if (!originals_.empty() && originals_.back().at == now)
        originals_.back().end = end;
    else
        originals_.push_back(sending{begin, end, now});
}

void scoreboard::resent(seq begin, seq end, instant now) {
    if (begin >= end) return;
    holes& h = with_holes();
    h.lost.remove(begin, end);
    take_again(begin, end, [](seq, seq, instant) {});
    h.ever_again.add(begin, end);
    h.again.emplace(begin, resending{end, now});
    if (!h.order.empty() && h.order.back().at == now && h.order.back().end == begin)
        h.order.back().end = end;
    else if (!h.order.empty() && h.order.back().begin == begin && h.order.back().end == end)
        h.order.back().at = now; // a probe again: that one is stale
    else
        h.order.push_back(sending{begin, end, now});
}

// --- delivery ----------------------------------------------------------------------------------------------

template <class F>
void scoreboard::take_again(seq begin, seq end, F f) {
    resendings& again = holes_->again;
    auto at = again.upper_bound(begin);
    if (at != again.begin() && std::prev(at)->second.end > begin) --at;
    while (at != again.end() && at->first < end) {
        const seq first = at->first;
        const resending whole = at->second;
        at = again.erase(at);
        if (first < begin) again.emplace_hint(at, first, resending{begin, whole.at});
        if (whole.end > end) again.emplace_hint(at, end, whole);
        f(later(first, begin), earlier(whole.end, end), whole.at);
    }
}

const scoreboard::sending& scoreboard::original_of(seq s) const {
    std::size_t low = 0;
    std::size_t high = originals_.size() - 1;
    while (low < high) {
        const std::size_t middle = (low + high) / 2;
        if (originals_[middle].end <= s)
            low = middle + 1;
        else
            high = middle;
    }
    return originals_[low];
}

void scoreboard::note(instant at, seq end, delivery& d) {
    if (d.has_newest && (at < d.newest_at || (at == d.newest_at && end <= d.newest_end))) return;
    d.has_newest = true;
    d.newest_at = at;
    d.newest_end = end;
}

void scoreboard::count_delivered(seq begin, seq end, delivery& d) {
    d.highest_end = d.bytes == 0 ? end : later(d.highest_end, end);
    d.bytes += end - begin;
}

// Of what arrived and was sent just once: when its first and its last byte went out.
void scoreboard::delivered_once(instant first, instant last, seq end, delivery& d) {
    if (!d.once || first < d.oldest_once) d.oldest_once = first;
    if (!d.once || end < d.lowest_once_end) d.lowest_once_end = end;
    d.once = true;
    note(last, end, d);
}

// [begin, end) was not known to be delivered; there are exceptions, and `originals_` still has it.
void scoreboard::delivered(seq begin, seq end, instant believe, delivery& d) {
    count_delivered(begin, end, d);
    holes& h = *holes_;
    h.lost.remove(begin, end);
    take_again(begin, end, [&](seq, seq e, instant at) {
        d.newest_again = std::max(d.newest_again, at);
        if (at <= believe) note(at, e, d);
    });
    const auto lowest = h.ever_again.find(begin);
    const seq once_begin = lowest ? lowest->end : begin;
    const auto highest = h.ever_again.find(end - 1);
    const seq once_end = highest ? highest->begin : end;
    // Ranges of a set do not touch: next to one there are bytes outside of it.
    d.resent = d.resent || lowest || highest || was_resent(begin, end);
    if (once_begin >= once_end) return;
    const sending& first = original_of(once_begin);
    delivered_once(first.at, once_end <= first.end ? first.at : original_of(once_end - 1).at, once_end, d);
}

void scoreboard::acknowledge(seq una, instant believe, delivery& d) {
    if (originals_.empty() || una <= originals_.front().begin) return;
    const sending oldest = originals_.front();
    const std::uint32_t before = d.bytes;
    if (holes_) holes_->sacked.gaps(oldest.begin, una, [&](seq b, seq e) { delivered(b, e, believe, d); });
    instant newest = oldest.at;
    while (!originals_.empty() && originals_.front().begin < una) {
        sending& first = originals_.front();
        newest = first.at;
        if (first.end > una) {
            first.begin = una;
            break;
        }
        originals_.pop_front();
    }
    if (originals_.empty() && originals_.bytes() > most_idle_bytes) originals_.clear();
    if (!holes_) {
        count_delivered(oldest.begin, una, d);
        delivered_once(oldest.at, newest, una, d);
    }
    d.cumulative += d.bytes - before;
    if (!holes_) return;
    holes& h = *holes_;
    h.sacked.drop_below(una);
    h.ever_again.drop_below(una);
    h.judged = later(h.judged, una);
    while (!h.order.empty() && h.order.front().end <= una) h.order.pop_front();
    settle();
}

bool scoreboard::sack(seq begin, seq end, instant believe, std::size_t most, delivery& d) {
    holes& h = with_holes();
    if (h.sacked.count() >= most && !h.sacked.touches(begin, end)) {
        settle();
        return false;
    }
    h.sacked.gaps(begin, end, [&](seq b, seq e) { delivered(b, e, believe, d); });
    h.sacked.add(begin, end);
    return true;
}

// --- loss --------------------------------------------------------------------------------------------------

void scoreboard::mark_lost(seq begin, seq end) {
    holes& h = with_holes();
    take_again(begin, end, [](seq, seq, instant) {});
    h.sacked.gaps(begin, end, [&](seq b, seq e) { h.lost.add(b, e); });
}

void scoreboard::mark_all_lost() {
    if (originals_.empty()) return;
    const seq begin = originals_.front().begin;
    const seq end = originals_.back().end;
    mark_lost(begin, end);
    holes_->order.clear();
    holes_->judged = end;
}

void scoreboard::unmark_lost() {
    if (!holes_) return;
    range_set& lost = holes_->lost;
    if (!lost.empty())
        holes_->ever_again.gaps(lost.front().begin, originals_.back().end,
                                [&](seq b, seq e) { lost.remove(b, e); });
    settle();
}

void scoreboard::look_again() {
    if (holes_ && !originals_.empty()) holes_->judged = originals_.front().begin;
}

void scoreboard::forget_sacked() {
    if (!holes_) return;
    holes_->sacked.clear();
    settle();
}

scoreboard::judgement scoreboard::judge(instant at, seq end, duration patience, instant now) {
    judgement result;
    if (originals_.empty()) return result;
    holes& h = with_holes();
    const auto look_at = [&](instant sent_at) { // whether it is old enough
        const instant lost_at = after(sent_at, patience);
        if (lost_at <= now) return true;
        result.next_look = std::min(result.next_look, lost_at);
        return false;
    };

    while (h.judged < originals_.back().end) {
        const sending& s = original_of(h.judged);
        if (s.at > at) break;
        const seq stop = s.at == at ? earlier(s.end, end) : s.end;
        if (stop <= h.judged || !look_at(s.at)) break;
        const std::uint32_t before = h.lost.bytes();
        // Those sent again since are judged by that.
        h.sacked.gaps(h.judged, stop, [&](seq b, seq e) {
            h.ever_again.gaps(b, e, [&](seq first, seq last) { h.lost.add(first, last); });
        });
        result.lost += h.lost.bytes() - before;
        h.judged = stop;
    }

    while (!h.order.empty()) {
        sending& front = h.order.front();
        sending s = front;
        if (s.at > at) break;
        if (s.at == at) s.end = earlier(s.end, end);
        if (s.end <= s.begin || !look_at(s.at)) break;
        if (s.end == front.end)
            h.order.pop_front();
        else
            front.begin = s.end;
        // Of it, what is still in flight by this sending.
        take_again(s.begin, s.end, [&](seq b, seq e, instant sent_at) {
            if (sent_at != s.at) {
                h.again.emplace(b, resending{e, sent_at});
                return;
            }
            h.lost.add(b, e);
            result.lost += e - b;
            result.lost_again = true;
            result.oldest_again = result.oldest_again || b == originals_.front().begin;
        });
    }
    settle();
    return result;
}

} // namespace tapir::tcp
