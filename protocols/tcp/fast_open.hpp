// TCP Fast Open: data in the SYN, for peers that have proved before that they are where they say they are.
// The proof is a cookie that a server gives to a client's address in one handshake, and the client shows in
// the SYN of the next.
//
//     server   fast_open_cookies   makes and knows them; remembers nobody
//     client   fast_open_cache     which server gave which, and where it is no use to try
//
// A cookie is 64 bits of SipHash over both addresses. Secrets rotate; the last one is still known, and who
// shows its cookie is given a new one. [RFC 7413 4.1]
#pragma once

#include <tapir/framework/random.hpp>
#include <tapir/framework/siphash.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/protocols/ip/address.hpp>
#include <tapir/protocols/tcp/header.hpp>
#include <tapir/protocols/tcp/rotating_secret.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>

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

class fast_open_cache {
  public:
    /// At most `bound` servers are remembered; the one that was asked for longest ago makes room.
    explicit fast_open_cache(std::size_t bound) : bound_(bound) {}

    struct entry {
        fast_open_cookie cookie{}; ///< empty: none yet
        std::uint16_t mss = 536;   ///< that the server announced
        instant not_before{};      ///< neither cookie nor request go in a SYN earlier
        instant asked{};           ///< when somebody connected there last
        std::uint8_t lost = 0; ///< SYNs in a row that did not pass, of those that had more than a plain one
    };
    /// What to put into the SYN: nothing, or a cookie, which is empty to ask for one.
    std::optional<entry> for_syn(const ip::address& server, instant now);
    /// A SYN|ACK brought a cookie.
    void learn(const ip::address& server, const fast_open_cookie& cookie, std::uint16_t mss, instant now);
    /// Whether there is a cookie of it.
    bool knows(const ip::address& server) const;
    /// A SYN with data did pass.
    void passed(const ip::address& server);
    /// It was a plain one that passed, after one with more had not: that may have been chance. The second
    /// time in a row it is put off.
    void passed_not(const ip::address& server, instant until, instant now);
    /// It does no good: the server does not do it, or a middlebox drops such SYNs. [RFC 7413 4.1.3.1]
    void put_off(const ip::address& server, instant until, instant now);
    std::size_t size() const { return servers_.size(); }

  private:
    static constexpr std::uint8_t losses_to_put_off = 2;
    entry* room_for(const ip::address& server);

    std::size_t bound_;
    std::map<ip::address, entry> servers_;
};

} // namespace tapir::tcp
