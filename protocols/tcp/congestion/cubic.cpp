#include <tapir/protocols/tcp/congestion/cubic.hpp>

#include <algorithm>

namespace tapir::tcp {

namespace {

// (2^30 ticks)^3 times an MSS of 16 bits. An extension, but one of both compilers.
__extension__ using wide = unsigned __int128;

constexpr unsigned tick_bits = 20;
constexpr std::uint32_t longest_curve = 1u << 30; ///< ticks, 17 minutes: no curve is as long

/// Whole ticks of 2^-20 s: d * 2^20 / 10^9.
std::uint32_t ticks(duration d) {
    const auto ns = static_cast<std::uint64_t>(std::clamp<std::int64_t>(d.count(), 0, std::int64_t{1} << 40));
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(ns * 16384 / 15'625'000, longest_curve));
}

/// The largest integer whose cube is not above `n`, which is below 2^93.
std::uint32_t cube_root(wide n) {
    std::uint32_t root = 0;
    for (std::uint32_t bit = 1u << 30; bit != 0; bit >>= 1) {
        const wide r = root | bit;
        if (r * r * r <= n) root |= bit;
    }
    return root;
}

} // namespace

void cubic::on_congestion(std::uint32_t window) {
    cwnd_prior_ = window;
    in_stage_ = false;
    at_plateau_ = false;
    // Fast convergence: less than last time means that somebody else is there. (1 + beta) / 2 of it.
    constexpr std::uint32_t numerator = beta_denominator + beta_numerator;
    const auto less = static_cast<std::uint32_t>(std::uint64_t{window} * numerator / (2 * beta_denominator));
    w_max_ = window < w_max_ ? less : window;
}

void cubic::on_timeout(std::uint32_t window) {
    cwnd_prior_ = window;
    in_stage_ = false;
    at_plateau_ = true;
}

// K = cbrt((W_max - cwnd_epoch) / C), in segments. [RFC 9438 4.2, figure 2]
void cubic::begin_stage(std::uint32_t cwnd, std::uint32_t mss) {
    in_stage_ = true;
    running_ = false;
    elapsed_ = duration{0};
    w_est_ = cwnd; // [RFC 9438 4.3]
    w_est_rest_ = 0;
    remainder_ = 0;
    // After a timeout, and after a slow start that lost nothing, there is no W_max to go back to.
    // [RFC 9438 4.8, 4.10]
    if (at_plateau_ || cwnd >= w_max_) w_max_ = cwnd;
    at_plateau_ = false;
    k_ = cube_root((wide{w_max_ - cwnd} * c_denominator << 3 * tick_bits) / (wide{c_numerator} * mss));
}

std::uint32_t cubic::w_cubic(duration t, std::uint32_t mss) const {
    const std::uint32_t at = ticks(t);
    const bool convex = at >= k_;
    const wide d = convex ? at - k_ : k_ - at;
    const auto scaled = static_cast<std::uint64_t>((d * d * d * c_numerator * mss) >> 3 * tick_bits);
    const std::uint64_t away = scaled / c_denominator;
    if (!convex) return static_cast<std::uint32_t>(w_max_ - std::min<std::uint64_t>(away, w_max_));
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(w_max_ + away, 0xffff'ffff));
}

std::uint32_t cubic::on_ack(instant now, std::uint32_t cwnd, std::uint32_t acked, std::uint32_t mss,
                            duration srtt) {
    if (!in_stage_) begin_stage(cwnd, mss);
    if (running_) elapsed_ += now - last_;
    running_ = true;
    last_ = now;
    acked = std::min(acked, cwnd); // at most what one round trip of ACKs would add

    // NewReno's estimate grows by alpha MSS for each window acknowledged; by a whole one when it has come
    // back to where ssthresh was set. [RFC 9438 4.3, figure 4]
    std::uint64_t more = (std::uint64_t{mss} * acked << 16) / cwnd;
    if (w_est_ < cwnd_prior_) more = more * alpha_numerator / alpha_denominator;
    more += w_est_rest_;
    w_est_ = static_cast<std::uint32_t>(std::min<std::uint64_t>(w_est_ + (more >> 16), 0xffff'ffff));
    w_est_rest_ = static_cast<std::uint16_t>(more);

    if (w_cubic(elapsed_, mss) < w_est_) return std::max(cwnd, w_est_); // [RFC 9438 4.3]
    // Where the curve will be one round trip from now; the ACKs until then share the way. [RFC
    // 9438 4.2, 4.4, 4.5]
    const std::uint32_t target = std::clamp(w_cubic(elapsed_ + srtt, mss), cwnd, cwnd + cwnd / 2);
    const std::uint64_t way = std::uint64_t{target - cwnd} * acked + remainder_;
    remainder_ = static_cast<std::uint32_t>(way % cwnd);
    return cwnd + static_cast<std::uint32_t>(way / cwnd);
}

duration cubic::k() const {
    return duration((std::int64_t{k_} * 15'625'000 + 8192) / 16384);
}

cubic::saved cubic::save() const {
    const std::int64_t us = elapsed_.count() / 1000;
    saved s;
    s.elapsed_us = static_cast<std::uint32_t>(std::min<std::int64_t>(us, 0xffff'ffff));
    s.w_max = w_max_;
    s.cwnd_prior = cwnd_prior_;
    s.w_est = w_est_;
    s.k = k_;
    s.in_stage = in_stage_;
    s.at_plateau = at_plateau_;
    return s;
}

void cubic::restore(const saved& s) {
    elapsed_ = std::chrono::microseconds(s.elapsed_us);
    w_max_ = s.w_max;
    cwnd_prior_ = s.cwnd_prior;
    w_est_ = s.w_est;
    w_est_rest_ = 0;
    k_ = s.k;
    remainder_ = 0;
    in_stage_ = s.in_stage;
    running_ = false;
    at_plateau_ = s.at_plateau;
}

} // namespace tapir::tcp
