// What a connection does about Fast Open; see fast_open.cpp. That it was opened by a SYN with a cookie is
// said by opening::fast.
#pragma once

#include <cstdint>

namespace tapir::tcp {

enum class fast_open_use : std::uint8_t {
    off,
    // of a client
    wanted, ///< the first SYN is to have the option, unless it has done no good there lately
    asked,  ///< it has asked for a cookie
    shown,  ///< it has shown one, and brought data if there was any
    taken,  ///< of that data the SYN|ACK acknowledged something
    // of a server
    gives, ///< the SYN|ACK has a cookie for the next time
};

} // namespace tapir::tcp
