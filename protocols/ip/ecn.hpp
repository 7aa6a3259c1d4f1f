// The two bits of an IP header in which a router says "congestion" without dropping anything. [RFC 3168 5]
#pragma once

#include <cstdint>

namespace tapir::ip {

/// As on the wire: the lower two bits of what was the type of service.
enum class ecn : std::uint8_t {
    not_ect = 0, ///< whoever sent this would not learn of a mark: drop instead
    ect1 = 1,    ///< for experiments [RFC 8311 4.2]
    ect0 = 2,    ///< ECN-capable transport
    ce = 3,      ///< congestion experienced
};

} // namespace tapir::ip
