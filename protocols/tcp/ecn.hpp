// How far a connection has come with Explicit Congestion Notification. [RFC 3168 6.1] [RFC 8311]
#pragma once

#include <cstdint>

namespace tapir::tcp {

enum class ecn_use : std::uint8_t {
    off,
    offered,   ///< every SYN and SYN|ACK of ours said so; nobody has refused yet
    withdrawn, ///< our SYN went again without: the peer may have seen either
    echoes,    ///< tells the peer of its marks, and sends nothing that may be marked
    on,
};

} // namespace tapir::tcp
