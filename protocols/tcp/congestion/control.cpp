#include <tapir/protocols/tcp/congestion/control.hpp>
#include <tapir/protocols/tcp/congestion/new_reno.hpp>

#include <algorithm>

namespace tapir::tcp {

std::string_view to_string(congestion_algorithm a) {
    switch (a) {
    case congestion_algorithm::cubic: return "cubic";
    case congestion_algorithm::new_reno: return "new_reno";
    }
    return "unknown";
}

congestion_control::congestion_control(congestion_algorithm algorithm, bool paced)
    : phase_(std::in_place_type<hystart>), algorithm_(algorithm), paced_(paced) {}

bool congestion_control::in_conservative_slow_start() const {
    const hystart* h = std::get_if<hystart>(&phase_);
    return h != nullptr && h->in_css();
}

std::uint32_t congestion_control::initial_window(std::uint32_t mss) const {
    return std::min(initial_segments_ * mss, std::max(2 * mss, initial_segments_ * 1460u)); // [RFC 6928 2]
}

void congestion_control::start(std::uint32_t mss, std::uint32_t initial_segments) {
    initial_segments_ = static_cast<std::uint8_t>(std::clamp(initial_segments, 1u, 255u));
    cwnd_ = initial_window(mss);
}

void congestion_control::start_after_loss(std::uint32_t mss, std::uint32_t initial_segments) {
    start(mss, initial_segments);
    cwnd_ = mss;
}

void congestion_control::after_idle(std::uint32_t mss) {
    if (ssthresh_ != largest) ssthresh_ = std::max(ssthresh_, cwnd_ / 4 * 3);
    cwnd_ = std::min(cwnd_, initial_window(mss)); // the restart window
    counted_ = 0;
    in_round_ = false;
    used_.reset();
    cubic_.end_stage();
    if (std::holds_alternative<snapshot>(phase_)) phase_ = std::monostate(); // undone, it would be a burst
}

void congestion_control::on_new_mss(std::uint32_t mss) {
    cwnd_ = std::max(cwnd_, mss);
    target_ = std::max(target_, mss);
    ssthresh_ = std::max(ssthresh_, 2 * mss);
    cubic_.end_stage(); // its curve is scaled by the MSS
}

// --- growth ---

void congestion_control::on_ack(const ack_sample& s) {
    if (recovering_) return;
    used_.on_delivered(s.delivered);
    std::uint32_t acked = s.delivered;
    if (in_slow_start()) {
        if (hystart* h = std::get_if<hystart>(&phase_); h != nullptr && s.rtt.count() > 0)
            h->on_sample(s.rtt);
        acked = slow_start(s);
        cubic_.end_stage();
    }
    if (!in_slow_start()) avoid_congestion(s, acked);
    close_round(s);
}

// A round is what was in flight at its begin, and takes one round trip to be acknowledged. After idleness it
// is the flight of which this is the first ACK; that may be the last, too.
void congestion_control::close_round(const ack_sample& s) {
    if (!in_round_) round_end_ = s.snd_nxt;
    in_round_ = true;
    if (s.snd_una < round_end_) return;
    round_end_ = s.snd_nxt;
    in_round_ = s.snd_una != s.snd_nxt;
    used_.on_round_end(s.now, s.srtt, cwnd_);
    // Five minutes of a window that is not used: half of it has to do. [RFC 7661 4.4]
    if (used_.expired(s.now)) {
        if (ssthresh_ != largest) ssthresh_ = std::max(ssthresh_, cwnd_ / 4 * 3);
        cwnd_ = std::max(cwnd_ / 2, std::min(cwnd_, initial_window(s.mss)));
    }
    if (hystart* h = std::get_if<hystart>(&phase_); h != nullptr && h->on_round_end()) {
        ssthresh_ = cwnd_; // [RFC 9406 4.2]
        phase_ = std::monostate();
    }
}

// Returns what is left over for congestion avoidance of the bytes acknowledged. [RFC 5681 3.1]
std::uint32_t congestion_control::slow_start(const ack_sample& s) {
    // Half of the window is enough of a proof here: what it doubled to was not there to be used when the data
    // now acknowledged was sent. [RFC 7661 4.3]
    if (!s.cwnd_limited && s.flight_before < cwnd_ / 2) return 0;
    std::uint32_t growth = hystart::limited(s.delivered, s.mss, paced_);
    if (s.after_timeout) growth = std::min(growth, s.mss);
    if (const hystart* h = std::get_if<hystart>(&phase_); h != nullptr) growth = h->growth(growth);
    const std::uint32_t room = ssthresh_ - cwnd_;
    cwnd_ += std::min(growth, room);
    return growth > room ? growth - room : 0;
}

void congestion_control::avoid_congestion(const ack_sample& s, std::uint32_t acked) {
    if (!s.cwnd_limited) { // [RFC 9438 5.8] [RFC 7661 4.1]
        cubic_.pause();
        return;
    }
    if (acked == 0) return;
    const std::uint32_t grown = algorithm_ == congestion_algorithm::cubic
                                    ? cubic_.on_ack(s.now, cwnd_, acked, s.mss, s.srtt)
                                    : reno_grown(cwnd_, acked, s.mss, counted_);
    cwnd_ = std::min(grown, largest);
}

// --- reduction ---

congestion_control::usage congestion_control::use_of(std::uint32_t flight, instant now) const {
    const std::uint32_t window = recovering_ ? target_ : cwnd_;
    return {window, std::min(window, std::max(flight, used_.pipe_ack(now)))};
}

std::uint32_t congestion_control::reduced(std::uint32_t window) const {
    return algorithm_ == congestion_algorithm::cubic ? cubic::reduced(window) : reno_reduced(window);
}

void congestion_control::remember() {
    snapshot& s = phase_.emplace<snapshot>();
    s.cwnd = recovering_ ? target_ : cwnd_;
    s.ssthresh = ssthresh_;
    s.curve = cubic_.save();
    remembered_ = true;
}

// Ends the first slow start. What an earlier reduction remembered is not for this one.
void congestion_control::begin_reduction() {
    if (!remembered_) phase_ = std::monostate();
    remembered_ = false;
    counted_ = 0;
}

void congestion_control::on_congestion(congestion_cause cause, std::uint32_t flight, std::uint32_t mss,
                                       instant now) {
    begin_reduction();
    // Nothing is lost by a mark: whoever has used little of an initial window need not prove that much.
    const bool lost = cause == congestion_cause::loss;
    const usage u = use_of(lost ? flight : std::max(flight, initial_window(mss)), now);
    const std::uint32_t window = reduced(u.used);
    cubic_.on_congestion(u.saturated());
    ssthresh_ = std::max(window, 2 * mss);
    target_ = lost ? ssthresh_ : std::max(window, mss);
    recovering_ = true;
}

void congestion_control::on_recovered() {
    if (!recovering_) return;
    recovering_ = false;
    cwnd_ = target_;
    in_round_ = false;
    used_.reset(); // [RFC 7661 4.4.1]
}

void congestion_control::on_timeout(std::uint32_t flight, std::uint32_t mss, bool first, instant now) {
    if (first) {
        begin_reduction();
        const usage u = use_of(flight, now);
        ssthresh_ = std::max(reduced(u.used), 2 * mss);
        cubic_.on_timeout(u.saturated());
    }
    remembered_ = false;
    recovering_ = false;
    cwnd_ = mss;
    in_round_ = false;
    used_.reset();
}

bool congestion_control::undo() {
    const snapshot* kept = std::get_if<snapshot>(&phase_);
    if (kept == nullptr) return false;
    const snapshot s = *kept;
    if (recovering_ || cwnd_ < s.cwnd) {
        cubic_.restore(s.curve);
        cwnd_ = s.cwnd;
        ssthresh_ = std::max(ssthresh_, s.ssthresh);
    } else { // It has grown beyond already: the newer curve goes on. [RFC 9438 4.9.2]
        ssthresh_ = std::max(ssthresh_, std::min(s.ssthresh, cwnd_));
    }
    remembered_ = false;
    recovering_ = false;
    counted_ = 0;
    in_round_ = false;
    // The first slow start goes on, and may see the delay rise again.
    if (ssthresh_ == largest)
        phase_.emplace<hystart>();
    else
        phase_ = std::monostate();
    return true;
}

} // namespace tapir::tcp
