// SYN cookies: a SYN queue without room remembers nothing of a SYN. What it would have remembered goes out as
// the initial sequence number, sealed with a secret, and comes back in the ACK that ends the handshake. Only
// somebody who received our SYN|ACK can send that ACK, so forged source addresses cost no memory at all.
//
//     const auto made = cookies.make(flow, syn.seq, wanted, clock, now);       // -> SYN|ACK
//     const auto kept = cookies.check(flow, ack.seq - 1, ack.ack - 1, echoed_clock, now);
//
// A cookie is 29 bits of SipHash over the 4-tuple, the client's initial sequence number, what is kept and a
// count of periods, and 3 bits that index the table of MSS values. The window scale, SACK-permitted and ECN
// have no room there: they stand in the low 6 bits of the timestamp that we send, if the client sends
// timestamps, and are sealed with the rest. The client echoes them.
//
// A cookie is believed in the period that made it and in the next one. Secrets rotate after a number of
// periods; the last one is kept, so that a cookie made just before is still known. A guess is right once in
// 2^28.
//
// What cookies cannot do: the SYN|ACK is not retransmitted, because nobody remembers to (the client's SYN
// is); if the client's ACK is lost and the server speaks first, both wait for ever (if the client speaks
// first, its data carries the ACK again); a duplicate of that ACK opens the connection again when it comes
// after the connection has ended and within the cookie's life, until the client's RST. [RFC 4987 3.6] [RFC
// 7323 3]
#pragma once

#include <tapir/framework/random.hpp>
#include <tapir/framework/siphash.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/protocols/tcp/flow.hpp>
#include <tapir/protocols/tcp/rotating_secret.hpp>
#include <tapir/protocols/tcp/seq.hpp>

#include <array>
#include <cstdint>
#include <optional>

namespace tapir::tcp {

/// What of a SYN a cookie keeps.
struct cookie_options {
    cookie_options() = default;
    std::uint16_t mss = 536; ///< kept as the largest value of syn_cookies::mss_table that is not above it
    bool timestamps = false; ///< without them, nothing below is kept
    bool scaled = false;
    std::uint8_t scale = 0; ///< the client's, at most 14
    bool sack_permitted = false;
    bool ecn = false; ///< our SYN|ACK agreed to it
    bool operator==(const cookie_options&) const = default;
};

class syn_cookies {
  public:
    /// The smallest is what config::min_mss gives to everybody; then the least of IPv4 and of IPv6, and what
    /// tunnels, PPPoE and plain Ethernet leave. Ascending.
    static constexpr std::array<std::uint16_t, 8> mss_table = {88, 536, 1220, 1360, 1380, 1440, 1452, 1460};

    /// A secret, see rotating_secret.hpp, serves `periods_of_a_secret` periods. Both are at least 1 (ns,
    /// period).
    syn_cookies(const siphash_key& master, tapir::random r, duration period,
                std::uint32_t periods_of_a_secret);

    struct cookie {
        seq iss;
        std::uint32_t clock = 0; ///< for our timestamp; not above the clock given, at most 127 ms below
    };
    /// `clock` is our timestamp clock without any offset.
    cookie make(const flow_key& flow, seq irs, const cookie_options& keep, std::uint32_t clock, instant now);

    /// What the cookie `iss` keeps, or nothing if it is none of ours, belongs to another flow, another SYN or
    /// other options, or is too old. `echoed` is the clock of the timestamp that the ACK echoes, if it does.
    std::optional<cookie_options> check(const flow_key& flow, seq irs, seq iss,
                                        std::optional<std::uint32_t> echoed, instant now);

    /// How long a cookie may be believed at most: two periods.
    duration longest_life() const { return 2 * period_; }

  private:
    std::int64_t period_of(instant now) const { return now.time_since_epoch() / period_; }
    std::uint32_t seal(const flow_key& flow, seq irs, std::uint8_t options, std::uint8_t mss,
                       std::int64_t period) const;

    rotating_secret secrets_; ///< generation: period / periods_of_a_secret_
    duration period_;
    std::int64_t periods_of_a_secret_;
};

} // namespace tapir::tcp
