// What UDP asks of the network below: a way to a destination, and to take a datagram. Implemented by host,
// and by tests.
#pragma once

#include <tapir/framework/bytes.hpp>
#include <tapir/framework/error.hpp>
#include <tapir/protocols/ip/address.hpp>
#include <tapir/protocols/udp/header.hpp>

#include <cstddef>
#include <cstdint>

namespace tapir::udp {

struct route {
    ip::address source;          ///< which of our addresses lies on that way
    std::size_t max_payload = 0; ///< bytes of one datagram that can be carried
    bool broadcast = false;      ///< the destination is all of a network
};

struct outgoing {
    udp::header header;
    ip::address source;
    ip::address destination;
    std::uint8_t ttl = 64;
    std::uint8_t type_of_service = 0;
    bytes payload; ///< valid during the call
};

class output_sink {
  public:
    /// Whether the link takes a datagram now. After a false, stack::flush() is called when it does.
    virtual bool ready() = 0;
    /// errc::network_unreachable without a way, errc::invalid_argument for what is nobody's address.
    virtual result<route> route_to(const ip::address& destination) = 0;
    /// Whether datagrams may be sent from that address.
    virtual bool is_own(const ip::address& a) = 0;
    virtual void emit(const outgoing& datagram) = 0;
    /// Asks for a flush() at the end of this turn.
    virtual void want_flush() = 0;

  protected:
    ~output_sink() = default;
};

} // namespace tapir::udp
