// Where frames leave and arrive: a TAP, a wire in memory, or middleware (capture, impair) around another
// link.
//
// A link borrows a frame's buffer until it has been written; middleware that keeps or changes a frame copies
// it first. Links run on one reactor's thread. What a link cannot carry it drops and counts.
#pragma once

#include <tapir/framework/time.hpp>
#include <tapir/framework/visit_counters.hpp>
#include <tapir/protocols/link/frame.hpp>

#include <cstddef>
#include <cstdint>

namespace tapir {

/// Who gets the frames of a link: a host, or middleware.
class frame_receiver {
  public:
    /// `f.arrived` says when it was read. Called while the reactor dispatches; many frames may follow in one
    /// turn.
    virtual void receive(frame&& f) = 0;
    /// The link has room again after ready() was false.
    virtual void writable() {}
    /// Carrier came (true) or went (false); frames sent meanwhile are lost.
    virtual void carrier(bool /*up*/) {}

  protected:
    ~frame_receiver() = default;
};

struct link_capabilities {
    std::size_t mtu = 1500;    ///< largest network-layer packet, in bytes, without the Ethernet header
    bool checksum = false;     ///< completes checksum_state::partial frames
    bool segmentation = false; ///< carries segmentation::tcp4 frames
    bool gather = false;       ///< takes frames with a tail

    static constexpr std::size_t ethernet_header = 14;
    /// The largest frame, in bytes.
    std::size_t max_frame() const { return mtu + ethernet_header; }
};

struct link_counters {
    std::uint64_t frames_in = 0;
    std::uint64_t bytes_in = 0;
    std::uint64_t frames_out = 0;
    std::uint64_t bytes_out = 0;
    std::uint64_t dropped_full = 0;    ///< sent while the link had no room
    std::uint64_t dropped_too_big = 0; ///< larger than the MTU
    std::uint64_t dropped_no_carrier = 0;
    std::uint64_t large_in = 0;     ///< frames that mean several packets (segmentation offload)
    std::uint64_t segments_in = 0;  ///< the packets that these mean
    std::uint64_t large_out = 0;    ///< frames that whoever is below cuts
    std::uint64_t segments_out = 0; ///< in so many packets
    std::uint64_t joined_out = 0;   ///< of these, taken in one packet with the one before
    std::uint64_t bad_offload = 0;  ///< came with a malformed virtio-net header
    std::uint64_t errors = 0;       ///< a read or write that failed otherwise
    // Of a host that is split in shards; zero for others.
    std::uint64_t handed_over = 0;   ///< came in here, for a flow of another shard
    std::uint64_t given_to_all = 0;  ///< came in here, kept, and copied to each other shard
    std::uint64_t taken_over = 0;    ///< came in at another shard
    std::uint64_t handover_full = 0; ///< lost, since the ring to another shard was full

    template <class Self, class F>
    static constexpr void visit(Self& c, F f) {
        f("frames_in", c.frames_in);
        f("bytes_in", c.bytes_in);
        f("frames_out", c.frames_out);
        f("bytes_out", c.bytes_out);
        f("dropped_full", c.dropped_full);
        f("dropped_too_big", c.dropped_too_big);
        f("dropped_no_carrier", c.dropped_no_carrier);
        f("large_in", c.large_in);
        f("segments_in", c.segments_in);
        f("large_out", c.large_out);
        f("segments_out", c.segments_out);
        f("joined_out", c.joined_out);
        f("bad_offload", c.bad_offload);
        f("errors", c.errors);
        f("handed_over", c.handed_over);
        f("given_to_all", c.given_to_all);
        f("taken_over", c.taken_over);
        f("handover_full", c.handover_full);
    }
};
static_assert(visits_every_counter<link_counters>());

class link {
  public:
    link() = default;
    link(const link&) = delete;
    link& operator=(const link&) = delete;
    virtual ~link() = default;

    /// Frames go to `to` from now on; null stops delivery. At most one receiver.
    virtual void attach(frame_receiver* to) = 0;

    virtual link_capabilities capabilities() const = 0;
    virtual link_counters counters() const = 0;

    /// False: what is sent now is dropped (and counted); writable() will follow.
    virtual bool ready() const = 0;

    /// Takes a whole Ethernet frame. Frames keep their order. It may wait for flush().
    virtual void send(frame&& f) = 0;

    /// What was sent goes out now. Hosts call it once at the end of a turn.
    virtual void flush(instant now) = 0;
};

} // namespace tapir
