// Routers that drop what is too large and say nothing are found by silence: one large segment is lost again
// and again. Smaller ones go then, and probes find out how much the path takes. A probe is a segment of the
// stream that is larger than the others. It is sent only where enough follows to tell whether it was lost,
// and where nothing else is amiss; its loss, when nothing but it was lost, says something of its size and
// nothing of congestion. What it carried goes again in segments of the size that is known to arrive. [RFC
// 4821 7, 10.1] [RFC 8899 4, 5]
#include <tapir/protocols/tcp/tcb.hpp>

#include <algorithm>

namespace tapir::tcp {

std::uint16_t tcb::most_mtu() const {
    const auto of_peer = static_cast<unsigned>(peer_mss_ + network_header_ + header_size);
    return static_cast<std::uint16_t>(std::min<unsigned>(link_mtu_, of_peer));
}

mtu_search tcb::new_mtu_search() const {
    const config& c = stack_->config_;
    mtu_limits l;
    l.least = c.min_path_mtu;
    l.base = c.base_path_mtu;
    l.step = c.mtu_search_step;
    l.probes = c.mtu_probes;
    l.raise_after = c.path_mtu_raise_after;
    const std::uint16_t most = most_mtu();
    return {l, std::min(mtu_, most), most};
}

// Of a connection that always searches: from the base, if there is anything to find.
void tcb::begin_mtu_search() {
    discovery_ = std::make_unique<mtu_discovery>(new_mtu_search(), snd_una_);
    if (discovery_->search.start_low())
        set_mtu(discovery_->search.size());
    else
        discovery_.reset();
}

// --- probes ------------------------------------------------------------------------------------------------

// [RFC 4821 7.4, 7.5, 10.1]
std::optional<bool> tcb::send_mtu_probe(instant now, std::size_t link_takes, gather_list& parts,
                                        outgoing_segment& out) {
    mtu_discovery& d = *discovery_;
    if (phase_ != recovery_phase::none || board_.has_exceptions() || backoff_ != 0 ||
        snd_una_ < d.quiet_until || (recovery_ && recovery_->may_undo) || !is_synchronized(state_))
        return std::nullopt;
    // CWR is not to be lost with a probe; nor is a probe worth a window that comes down. [RFC 3168 6.1.2]
    if (cwr_due_ || ecn_reducing_ || ecn_holds_) return std::nullopt;
    const std::uint16_t size = d.search.next(now);
    if (size == 0) return std::nullopt;
    const std::uint32_t full = mss();
    const std::uint32_t length = payload_in(size);
    const std::uint32_t followers = stack_->config_.mtu_probe_followers * full;
    const std::uint32_t outstanding = snd_nxt_ - snd_una_;
    if (length <= full || (link_takes != 0 && length > link_takes) || unsent() < length + followers ||
        snd_wnd_ < outstanding || snd_wnd_ - outstanding < length + followers)
        return std::nullopt;
    restart_after_idleness(now);
    if (congestion_.cwnd() < length + followers) return std::nullopt;
    const std::uint32_t pipe = in_flight();
    const std::uint32_t by_network = congestion_.cwnd() > pipe ? congestion_.cwnd() - pipe : 0;
    cwnd_limited_ = by_network < length + full;
    if (by_network < length || paced_room(pipe, full, now) < full) return false; // the next ACK makes room

    const seq begin = later(snd_nxt_, data_begin());
    send_range(begin, length, false, now, parts, out);
    if (ecn_ == ecn_use::on) allow_marks(out);
    const auto went = static_cast<std::uint32_t>(out.payload_size); // less, if it was in very small pieces
    if (went <= full) return true;
    out.mss = static_cast<std::uint16_t>(went);
    d.search.sent(static_cast<std::uint16_t>(size - (length - went)));
    d.probe_begin = begin;
    d.probe_end = begin + went;
    ++stack_->counters_.mtu_probes_sent;
    if (stack_->trace_ != nullptr) stack_->trace_->mtu_probe_sent(flow(), begin, d.search.probing(), now);
    return true;
}

bool tcb::mtu_probe_is_oldest() const {
    return discovery_ && discovery_->search.probing() != 0 && discovery_->probe_begin == snd_una_;
}

// Lost together with others, or sent again for another reason: what arrives now says nothing of its size.
// [RFC 4821 7.6.4]
void tcb::forget_mtu_probe() {
    discovery_->search.inconclusive();
    discovery_->quiet_until = snd_nxt_;
}

void tcb::mtu_probe_sent_again(seq begin, seq end) {
    const mtu_discovery& d = *discovery_;
    if (d.search.probing() != 0 && begin < d.probe_end && d.probe_begin < end) forget_mtu_probe();
}

void tcb::conclude_mtu_probe(const ack_outcome& a, instant now) {
    mtu_discovery& d = *discovery_;
    d.quiet_until = later(d.quiet_until, snd_una_ - 1); // keeps up, or half a circle later it would be ahead
    if (a.data >= mss()) d.search.proven(now);
    const std::uint16_t size = d.search.probing();
    if (size == 0) return;
    if (snd_una_ < d.probe_end && !(board_.is_sacked(d.probe_begin) && board_.is_sacked(d.probe_end - 1)))
        return;
    d.search.arrived(now); // [RFC 4821 7.6.1]
    set_mtu(d.search.size());
    congestion_.on_new_mss(mss());
    ++stack_->counters_.mtu_probes_acked;
    if (stack_->trace_ != nullptr) stack_->trace_->mtu_probe_done(flow(), size, true, now);
}

void tcb::mtu_probe_lost(instant now) {
    mtu_discovery& d = *discovery_;
    const std::uint16_t size = d.search.probing();
    d.search.lost(now);
    d.quiet_until = snd_nxt_;
    ++stack_->counters_.mtu_probes_lost;
    if (stack_->trace_ != nullptr) stack_->trace_->mtu_probe_done(flow(), size, false, now);
}

// [RFC 4821 7.6.2]
bool tcb::only_mtu_probe_lost(instant now) {
    if (!discovery_ || phase_ != recovery_phase::none || discovery_->search.probing() == 0) return false;
    if (!board_.lost_is(discovery_->probe_begin, discovery_->probe_end)) return false;
    mtu_probe_lost(now);
    return true;
}

// A router says what it carries. If what it did not carry was a probe, that goes again, and no more.
// [RFC 8899 4.6.2]
void tcb::mtu_refused(std::uint16_t mtu, seq about, instant now) {
    mtu_discovery& d = *discovery_;
    const bool probe = d.search.probing() > mtu && about == d.probe_begin && mtu >= mtu_;
    if (probe) {
        mtu_probe_lost(now);
        board_.mark_lost(d.probe_begin, d.probe_end);
    }
    d.search.limit(mtu, now);
}

// --- black holes -------------------------------------------------------------------------------------------

// The timeout of a probe costs what every timeout costs, and is its loss; of one that is not the oldest it
// says nothing. [RFC 4821 7.6.3]
void tcb::size_timed_out(instant now) {
    if (mtu_probe_is_oldest()) {
        mtu_probe_lost(now);
        return;
    }
    if (discovery_ && discovery_->search.probing() != 0) forget_mtu_probe();
    oldest_lost(now);
}

// What stands at SND.UNA, by a timeout or sent again. Were it smaller, would it arrive? [RFC 4821 7.7]
// [RFC 8899 4.3]
void tcb::oldest_lost(instant now) {
    if (probing_ == mtu_probing::off) return;
    const mtu_search search = discovery_ ? discovery_->search : new_mtu_search();
    const std::uint32_t text = earlier(snd_nxt_, snd_end()) - snd_una_;
    if (std::min(text, mss()) <= payload_in(search.size_below())) return;
    if (++oldest_lost_ < stack_->config_.black_hole_losses) return;
    oldest_lost_ = 0;
    if (!discovery_) discovery_ = std::make_unique<mtu_discovery>(search, snd_una_);
    const std::uint16_t before = mtu_;
    discovery_->search.black_hole();
    set_mtu(discovery_->search.size());
    congestion_.on_new_mss(mss());
    ++stack_->counters_.black_holes_found;
    if (stack_->trace_ != nullptr) stack_->trace_->black_hole_found(flow(), before, mtu_, now);
}

} // namespace tapir::tcp
