#include <tapir/protocols/udp/counters.hpp>

namespace tapir::udp {

std::string_view to_string(drop reason) {
    switch (reason) {
    case drop::too_short: return "datagram too short";
    case drop::bad_length: return "bad length";
    case drop::bad_checksum: return "bad checksum";
    case drop::bad_source: return "impossible source address";
    case drop::no_port: return "nobody at that port";
    case drop::broadcast: return "broadcast to a socket that takes none";
    case drop::not_peer: return "not from the connected peer";
    case drop::queue_full: return "socket's queue full";
    case drop::queue_bytes: return "socket's receive memory full";
    case drop::all_queues_full: return "receive memory of all sockets full";
    case drop::closed: return "socket closed before it was received";
    }
    return "unknown";
}

} // namespace tapir::udp
