// The host's side of ICMP: answers echo requests, turns received errors into values for the transport that
// they concern, and says "unreachable" when it is allowed to (RFC 1122 3.2.2: never about an error, a
// broadcast, a later fragment or a source that is not one host, and not more often than a limit).
//
//     icmp::responder icmp(icmp::responder_config{});
//     const auto outcome = icmp.on_datagram(datagram);
//     if (auto* answer = std::get_if<icmp::outgoing>(&outcome)) answer->emit(f.push_back(answer->size()));
//     if (auto* error = std::get_if<icmp::received_error>(&outcome)) ...          // hand to tcp
//     if (auto e = icmp.unreachable(datagram, icmp::unreachable_code::protocol, now)) ...
#pragma once

#include <tapir/framework/bytes.hpp>
#include <tapir/framework/count_by.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/framework/token_bucket.hpp>
#include <tapir/framework/visit_counters.hpp>
#include <tapir/protocols/icmp/message.hpp>
#include <tapir/protocols/ip/address.hpp>
#include <tapir/protocols/ipv4/header.hpp>
#include <tapir/protocols/ipv4/input.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>

namespace tapir::icmp {

struct responder_config {
    /// Errors sent per second and at once, at least 1 each. RFC 1812 4.3.2.8 asks for a limit; this one lets
    /// a traceroute or a port scan see answers and makes a poor reflector.
    std::uint32_t errors_per_second = 200;
    std::uint32_t error_burst = 50;
    /// Bytes of an error with its IPv4 header: quotes as much as keeps it under what every host takes.
    /// [RFC 1812 4.3.2.3]
    std::size_t max_error_size = 576;
    /// Of answers and errors.
    std::uint8_t ttl = 64;
};

/// A datagram to send. Its body lies in the datagram that caused it: emit it before that one is gone.
struct outgoing {
    ipv4::header header;
    icmp::message message;

    std::size_t size() const { return ipv4::header::size + message.size(); }
    /// Writes size() bytes, IPv4 header included.
    void emit(mutable_bytes out) const;
};

enum class error_kind : std::uint8_t {
    network_unreachable,
    host_unreachable,
    protocol_unreachable,
    port_unreachable,
    fragmentation_needed, ///< next_hop_mtu says how much passes (0: not told)
    source_route_failed,
    prohibited, ///< by an administrator: communication, or its precedence
    ttl_exceeded,
    reassembly_timed_out,
    parameter_problem,
};
std::string_view to_string(error_kind kind);

/// What somebody on the path, or who pretends to be, says about a datagram of ours. That it belongs to a
/// connection, and how far to trust it, is for the transport to judge [RFC 5927].
struct received_error {
    error_kind kind = error_kind::host_unreachable;
    ip::address reporter;
    ip::protocol protocol = ip::protocol::tcp;
    ip::endpoint local;             ///< source of the quoted datagram
    ip::endpoint remote;            ///< destination of the quoted datagram
    std::uint32_t sequence = 0;     ///< TCP: of the quoted segment
    std::uint16_t next_hop_mtu = 0; ///< fragmentation_needed
    std::size_t total_length = 0;   ///< of the quoted datagram, in bytes, as its header says

    bool operator==(const received_error&) const = default;
};

/// Why a received message has no effect.
enum class drop : std::uint8_t {
    too_short,
    bad_checksum,
    to_broadcast,  ///< echo requests [RFC 1122 3.2.2.6] and errors to a broadcast address
    unknown_type,  ///< [RFC 1122 3.2.2]: silently
    unknown_code,  ///< of a known error
    bad_quote,     ///< the quoted datagram is cut too short, or malformed
    foreign_quote, ///< the quoted datagram did not come from the address that gets the error
    source_quench, ///< obsolete [RFC 6633 3]
    redirect,      ///< ignored: routes are configured, and who sends this is not known
    echo_reply,    ///< nothing here asks
};
std::string_view to_string(drop reason);

/// Why an error was not sent.
enum class suppressed : std::uint8_t {
    about_error,
    about_group,    ///< to a broadcast or multicast address
    about_fragment, ///< not the first
    about_source,   ///< not the address of one host
    rate_limited,
};
std::string_view to_string(suppressed reason);

class responder {
  public:
    explicit responder(const responder_config& config);

    using outcome = std::variant<std::monostate, outgoing, received_error>;
    /// A datagram of protocol ICMP that ipv4::input has accepted.
    outcome on_datagram(const ipv4::datagram& d);

    /// An error about `about`, a datagram that ipv4::input has accepted, unless none may be sent.
    std::optional<outgoing> unreachable(const ipv4::datagram& about, unreachable_code code, instant now);
    /// The same for a message made by `message`'s factories; its body is replaced by the quote. It comes from
    /// the address that the datagram was for, or from `own` when that is not ours [RFC 1812 4.3.2.4].
    std::optional<outgoing> error(const ipv4::datagram& about, const message& m, instant now,
                                  std::optional<ip::address> own = {});

    struct counters {
        std::uint64_t received = 0; ///< all, dropped ones too
        std::uint64_t echo_replies_sent = 0;
        std::uint64_t errors_sent = 0;
        count_by<drop, drop::echo_reply> dropped;
        count_by<error_kind, error_kind::parameter_problem> errors_received;
        count_by<suppressed, suppressed::rate_limited> errors_suppressed;

        template <class Self, class F>
        static constexpr void visit(Self& c, F f) {
            f("received", c.received);
            f("echo_replies_sent", c.echo_replies_sent);
            f("errors_sent", c.errors_sent);
            f("dropped", c.dropped);
            f("errors_received", c.errors_received);
            f("errors_suppressed", c.errors_suppressed);
        }
    };
    const counters& count() const { return count_; }

  private:
    outcome on_error(const view& v, const ipv4::datagram& d);
    outcome ignore(drop reason);
    std::optional<outgoing> suppress(suppressed reason);
    outgoing answer(const ipv4::view& to, std::uint8_t type_of_service, const message& m) const;

    responder_config config_;
    token_bucket bucket_;
    counters count_;
};
static_assert(visits_every_counter<responder::counters>());

} // namespace tapir::icmp
