// Spares a CPU that writes to a TAP the interrupts by which other CPUs give skbs back to it.
//
// Linux frees an skb on the CPU that made it: a TCP socket that has been read on another CPU puts it on a
// list of that CPU, which frees what is there whenever it handles received packets (the NET_RX softirq). When
// more than half of net.core.skb_defer_max wait, that is 32, it is interrupted to do so. [Linux 5.19,
// skb_attempt_defer_free()] A network card's driver empties the list in passing. Who hands packets in by a
// TAP does not, unless RPS spreads them, so that each 33rd segment of a local receiver on another CPU costs
// an interrupt: some microseconds in a virtual machine. (With IFF_NAPI each frame runs the softirq, which
// costs more than it spares when connections are short.)
//
// A datagram to ourselves over the loopback device is a received packet. One goes after every few frames; it
// costs about as much as one of them.
#pragma once

#include <tapir/framework/backend.hpp>
#include <tapir/framework/intrusive_list.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>

namespace tapir {

class tap_reclaim {
  public:
    /// `frames`: how many go between two datagrams; 0: there are none. There are none either where 127.0.0.1
    /// is nobody's address, and none any more once one was refused. `in_flight`: no more frames than these
    /// are ever submitted and not yet reported as written.
    tap_reclaim(backend& io, std::uint32_t frames, std::size_t in_flight);
    tap_reclaim(const tap_reclaim&) = delete;
    tap_reclaim& operator=(const tap_reclaim&) = delete;
    ~tap_reclaim();

    /// A frame of that size was submitted to be written; a datagram may be, in consequence. Those under 128
    /// bytes do not count: most are acknowledgements, which are consumed at once, by the CPU that hands them
    /// in.
    void submitted(std::size_t size);

  private:
    struct datagram : io_operation, list_hook<> {
        explicit datagram(tap_reclaim& r);
        tap_reclaim& owner;
    };
    void sent(datagram& d, const io_operation::completion& c);

    backend& io_;
    std::uint32_t every_;
    std::uint32_t frames_ = 0; ///< since the last datagram
    int fd_ = -1;
    std::deque<datagram> datagrams_;
    intrusive_list<datagram> idle_;
};

} // namespace tapir
