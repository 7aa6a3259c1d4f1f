// An Ethernet frame as one line of text, for the ladders that failing tests and traces print:
//
//     arp who-has 192.0.2.2 tell 192.0.2.1
//     icmp 192.0.2.1 > 192.0.2.2 echo request id 7 seq 1 len 56
//     tcp 192.0.2.1:40000 > 192.0.2.2:80 SYN,ACK seq 100 ack 301 win 65535 len 0 mss 1460 ws 7 sack-ok
//
// It reads the bytes by itself, not through the layers that it shows, so that a bug in one of them is not
// hidden by the same bug here. Whatever the bytes are, it answers with some line.
#pragma once

#include <tapir/framework/bytes.hpp>

#include <string>

namespace tapir {

std::string packet_text(bytes ethernet_frame);

/// A TCP segment without its IP header: "SYN,ACK seq 100 ack 301 ...".
std::string segment_text(bytes tcp_segment);

} // namespace tapir
