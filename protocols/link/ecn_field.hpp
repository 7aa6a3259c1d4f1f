// The ECN field of an IPv4 packet in an Ethernet frame, for whoever plays the router or the middlebox.
// [RFC 3168 5]
#pragma once

#include <tapir/framework/bytes.hpp>

namespace tapir {

/// 0: it must not be marked, or is no IPv4 packet; 1 or 2: it may be; 3: it is.
unsigned ecn_field(bytes frame);
/// Sets it and mends the checksum of the header. Nothing happens to what is no IPv4 packet. [RFC 1624 3]
void set_ecn_field(mutable_bytes frame, unsigned value);
/// A TCP SYN with ECE and CWR, in an IPv4 packet that is no later fragment. [RFC 3168 6.1.1]
bool asks_for_ecn(bytes frame);

} // namespace tapir
