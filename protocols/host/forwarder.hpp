// A host with several links may be a router: datagrams for others go on towards where they belong (RFC 1812
// 5.2, 5.3). What ipv4::input let through is a unicast from and to possible addresses, without a source
// route. Nothing above the header is looked at or changed. A packet that comes in may leave by the link it
// came from; no redirect is sent.
//
//     forwarder onward(output);
//     if (const auto error = onward.forward(std::move(f), datagram)) ...    // to be told to the sender
#pragma once

#include <tapir/framework/visit_counters.hpp>
#include <tapir/protocols/host/output.hpp>
#include <tapir/protocols/icmp/message.hpp>
#include <tapir/protocols/ipv4/input.hpp>
#include <tapir/protocols/link/frame.hpp>

#include <cstdint>
#include <optional>

namespace tapir {

class forwarder {
  public:
    explicit forwarder(ip_output& out) : out_(out) {}

    /// `f` is the frame of `d`, from its IPv4 header on; it is taken, and its header changed, only if the
    /// packet goes on. Else what the sender is to be told, without the quote.
    std::optional<icmp::message> forward(frame&& f, const ipv4::datagram& d);

    struct counters {
        std::uint64_t forwarded = 0;
        std::uint64_t ttl_exceeded = 0;         ///< the last hop is used up
        std::uint64_t no_route = 0;             ///< network unreachable
        std::uint64_t fragmentation_needed = 0; ///< larger than the next link, and not to be cut

        template <class Self, class F>
        static constexpr void visit(Self& c, F f) {
            f("forwarded", c.forwarded);
            f("ttl_exceeded", c.ttl_exceeded);
            f("no_route", c.no_route);
            f("fragmentation_needed", c.fragmentation_needed);
        }
    };
    const counters& count() const { return count_; }

  private:
    ip_output& out_;
    counters count_;
};
static_assert(visits_every_counter<forwarder::counters>());

} // namespace tapir
