// What a client remembers of Fast Open: which server gave which cookie, and where it is no use to try. A
// cookie is good for every service of the server, and for that address of ours alone to which it was given;
// what does no good may be one service, or the path to it. [RFC 7413 4.1.3, 4.1.3.1]
//
//     if (const auto shown = cache.for_syn(flow, now)) ...       // else a plain SYN
//     cache.learn(flow, cookie, mss, now);                       // of the SYN|ACK
//     cache.conclude(flow, fast_open_outcome::taken, now);
//
// Of a flow the port on our side does not count.
#pragma once

#include <tapir/framework/time.hpp>
#include <tapir/protocols/ip/address.hpp>
#include <tapir/protocols/tcp/flow.hpp>
#include <tapir/protocols/tcp/header.hpp>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>

namespace tapir::tcp {

/// What came of a SYN that asked for a cookie, or showed one.
enum class fast_open_outcome : std::uint8_t {
    granted,   ///< the answer brought a cookie; whatever became of data, the next time promises more
    taken,     ///< data was acknowledged
    accepted,  ///< there was an answer, and no data to be taken
    in_vain,   ///< it was a plain SYN that passed, or data was not taken: once may be chance, not twice in a
               ///< row
    no_cookie, ///< it asked, and the server gave none: it does not do it
    failed, ///< a RST, an ICMP error, or nothing came any more: somebody on the path may not like such SYNs
};

class fast_open_cache {
  public:
    /// At most `bound` cookies are remembered, and so many services that are put off; the one that was asked
    /// for longest ago makes room. A service is put off for `retry_after`.
    fast_open_cache(std::size_t bound, duration retry_after) : bound_(bound), retry_after_(retry_after) {}

    struct cookie_of_server {
        fast_open_cookie cookie{}; ///< empty: none yet
        std::uint16_t mss = 536;   ///< that the server announced last
        instant asked{};           ///< when somebody connected there last
    };
    /// What to put into the SYN: nothing, or a cookie, which is empty to ask for one.
    std::optional<cookie_of_server> for_syn(const flow_key& flow, instant now);
    /// What a SYN|ACK brought; an empty cookie leaves the one that is known.
    void learn(const flow_key& flow, const fast_open_cookie& cookie, std::uint16_t mss, instant now);
    /// Whether there is a cookie of its server.
    bool knows(const flow_key& flow) const;
    /// The only place where something is held against a service, or no more.
    void conclude(const flow_key& flow, fast_open_outcome outcome, instant now);

    std::size_t cookies() const { return cookies_.size(); }
    std::size_t doubtful_services() const { return doubts_.size(); }

  private:
    static constexpr std::uint8_t most_in_vain = 2; ///< in a row

    struct pair_of_addresses {
        explicit pair_of_addresses(const flow_key& f) : own(f.local), server(f.remote) {}
        ip::address own;
        ip::address server;
        auto operator<=>(const pair_of_addresses&) const = default;
    };
    struct service {
        explicit service(const flow_key& f) : addresses(f), port(f.remote_port) {}
        pair_of_addresses addresses;
        std::uint16_t port;
        auto operator<=>(const service&) const = default;
    };
    struct doubt {
        instant not_before{}; ///< neither cookie nor request go in a SYN earlier
        instant asked{};
        std::uint8_t in_vain = 0; ///< in a row
    };

    std::size_t bound_;
    duration retry_after_;
    std::map<pair_of_addresses, cookie_of_server> cookies_;
    std::map<service, doubt> doubts_;
};

} // namespace tapir::tcp
