// The proof that a client is where it says it is: a cookie that a server gives to the client's address in one
// handshake, and the client shows in the SYN of the next, which then may have data. The server remembers
// nobody: a cookie is 64 bits of SipHash over both addresses. Secrets rotate; the last one is still known,
// and who shows its cookie is given a new one. [RFC 7413 4.1]
#pragma once

#include <tapir/framework/random.hpp>
#include <tapir/framework/siphash.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/protocols/ip/address.hpp>
#include <tapir/protocols/tcp/header.hpp>
#include <tapir/protocols/tcp/rotating_secret.hpp>

#include <cstdint>

namespace tapir::tcp {

class fast_open_cookies {
  public:
    /// A cookie is believed for the rest of the `period` that made it, and in the next.
    fast_open_cookies(const siphash_key& master, tapir::random r, duration period)
        : secrets_(master, r), period_(period > duration{0} ? period : duration{1}) {}

    /// For `client`, as it reaches us at `server`.
    fast_open_cookie make(const ip::address& server, const ip::address& client, instant now);

    enum class verdict : std::uint8_t {
        wrong,
        good,
        old, ///< good, but soon no more: the client should get a new one
    };
    verdict check(const fast_open_cookie& shown, const ip::address& server, const ip::address& client,
                  instant now);

  private:
    rotating_secret secrets_; ///< generation: periods since the beginning
    duration period_;
};

} // namespace tapir::tcp
