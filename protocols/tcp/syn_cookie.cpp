#include <tapir/framework/bytes.hpp>
#include <tapir/protocols/tcp/syn_cookie.hpp>

#include <algorithm>
#include <span>

namespace tapir::tcp {

namespace {

constexpr std::uint32_t mss_bits = 3;
constexpr std::uint32_t mss_mask = (1u << mss_bits) - 1;
static_assert(syn_cookies::mss_table.size() == mss_mask + 1);

// The low bits of our timestamp: four for the window scale, one each for SACK-permitted and ECN.
constexpr std::uint32_t clock_bits = 6;
constexpr std::uint32_t clock_mask = (1u << clock_bits) - 1;
constexpr std::uint32_t not_scaled = 0x0f;
constexpr std::uint32_t sack_bit = 0x10;
constexpr std::uint32_t ecn_bit = 0x20;
constexpr std::uint8_t no_timestamps = 0xff; ///< what is sealed in place of those bits

std::uint32_t bits_of(const cookie_options& o) {
    return (o.scaled ? std::min<std::uint32_t>(o.scale, 14) : not_scaled) |
           (o.sack_permitted ? sack_bit : 0) | (o.ecn ? ecn_bit : 0);
}

std::uint8_t index_of(std::uint16_t mss) {
    std::uint8_t i = 0;
    while (i + 1u < syn_cookies::mss_table.size() && syn_cookies::mss_table[i + 1u] <= mss) ++i;
    return i;
}

} // namespace

syn_cookies::syn_cookies(const siphash_key& master, tapir::random r, duration period,
                         std::uint32_t periods_of_a_secret)
    : secrets_(master, r), period_(std::max(period, duration(1))),
      periods_of_a_secret_(std::max<std::int64_t>(periods_of_a_secret, 1)) {}

syn_cookies::cookie syn_cookies::make(const flow_key& flow, seq irs, const cookie_options& keep,
                                      std::uint32_t clock, instant now) {
    const std::int64_t period = period_of(now);
    secrets_.rotate(period / periods_of_a_secret_);
    const std::uint8_t mss = index_of(keep.mss);
    std::uint8_t options = no_timestamps;
    cookie made;
    if (keep.timestamps) {
        options = static_cast<std::uint8_t>(bits_of(keep));
        // Never ahead of the clock: later timestamps of the connection must not seem older. [RFC 7323 4.1]
        made.clock = (clock & ~clock_mask) | options;
        if (static_cast<std::int32_t>(made.clock - clock) > 0) made.clock -= clock_mask + 1;
    }
    made.iss = seq(seal(flow, irs, options, mss, period) | mss);
    return made;
}

std::optional<cookie_options> syn_cookies::check(const flow_key& flow, seq irs, seq iss,
                                                 std::optional<std::uint32_t> echoed, instant now) {
    const std::int64_t period = period_of(now);
    secrets_.rotate(period / periods_of_a_secret_);
    const auto mss = static_cast<std::uint8_t>(iss.value() & mss_mask);
    const std::uint8_t options = echoed ? static_cast<std::uint8_t>(*echoed & clock_mask) : no_timestamps;
    const std::uint32_t sealed = iss.value() & ~mss_mask;
    if (seal(flow, irs, options, mss, period) != sealed &&
        seal(flow, irs, options, mss, period - 1) != sealed)
        return std::nullopt;
    cookie_options kept;
    kept.mss = mss_table[mss];
    kept.timestamps = echoed.has_value();
    if (kept.timestamps) {
        kept.scaled = (options & not_scaled) != not_scaled;
        kept.scale = kept.scaled ? options & not_scaled : 0;
        kept.sack_permitted = (options & sack_bit) != 0;
        kept.ecn = (options & ecn_bit) != 0;
    }
    return kept;
}

std::uint32_t syn_cookies::seal(const flow_key& flow, seq irs, std::uint8_t options, std::uint8_t mss,
                                std::int64_t period) const {
    std::array<std::byte, 50> message{};
    const std::span all(message);
    copy_bytes(all, std::as_bytes(std::span(flow.local.octets())));
    copy_bytes(all.subspan(16), std::as_bytes(std::span(flow.remote.octets())));
    store_be16(all, 32, flow.local_port);
    store_be16(all, 34, flow.remote_port);
    store_be32(all, 36, irs.value());
    store_be32(all, 40, static_cast<std::uint32_t>(static_cast<std::uint64_t>(period) >> 32));
    store_be32(all, 44, static_cast<std::uint32_t>(static_cast<std::uint64_t>(period)));
    store_u8(all, 48, options);
    store_u8(all, 49, mss);
    return static_cast<std::uint32_t>(siphash(secrets_.of(period / periods_of_a_secret_), message)) &
           ~mss_mask;
}

} // namespace tapir::tcp
