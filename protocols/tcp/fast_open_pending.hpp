// How many connections may be open by a SYN alone. Who has collected cookies, and forges the addresses that
// they are for, can fill no more than this. The victims answer our SYN|ACKs by RST, or a router does by ICMP:
// that ends the connection, and is not to clear the way for the next forgery at once. [RFC 7413 5.1]
#pragma once

#include <tapir/framework/time.hpp>
#include <tapir/protocols/tcp/ring.hpp>

#include <cstdint>

namespace tapir::tcp {

class fast_open_pending {
  public:
    /// At most `bound` at once; one that a victim may have ended counts for `lingers` more.
    fast_open_pending(std::uint32_t bound, duration lingers) : bound_(bound), lingers_(lingers) {}

    bool full(instant now) {
        while (!lingering_.empty() && lingering_.front() <= now) {
            lingering_.pop_front();
            --count_;
        }
        return count_ >= bound_;
    }
    /// Precondition: not full.
    void begin() { ++count_; }
    /// Its handshake is complete, or we have ended it.
    void end() { --count_; }
    /// Somebody else has, before its handshake was complete.
    void refused(instant now) { lingering_.push_back(after(now, lingers_)); }

  private:
    std::uint32_t bound_;
    duration lingers_;
    std::uint32_t count_ = 0; ///< lingering ones included
    ring<instant> lingering_; ///< when they count no more
};

} // namespace tapir::tcp
