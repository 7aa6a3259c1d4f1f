// The real network: a TAP, whose other side is a network device of the kernel.
//
//     auto opened = co_await tapir::open_tap(tapir::tap_config("tapir0"));
//     if (!opened) log::error("tapir0: " + opened.error().message());        // says the remedy
//     host.add_interface(**opened, ...);
//
// Two ways of moving frames behind one interface, chosen by trial, not by kernel version. `poll`: wait until
// it is readable, read(2) until it is empty, write(2); the reference, on every kernel. `multishot`: one
// io_uring read that fills buffers of ours for as long as it lasts, writes that ride on the loop's system
// call; while large segments come faster than they are taken, it reads as `poll` does; while each frame that
// goes alone is answered at once, as by a peer on the same CPU, it reads by itself when it has written.
//
// The kernel's side being set down shows as carrier(false), being set up again as carrier(true). When the
// device is deleted, failure() is set, carrier(false) follows, and nothing more is read.
#pragma once

#include <tapir/framework/backend.hpp>
#include <tapir/framework/buffer.hpp>
#include <tapir/framework/error.hpp>
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/task.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/protocols/link/link.hpp>
#include <tapir/protocols/link/tap_device.hpp>
#include <tapir/protocols/link/tap_error.hpp>
#include <tapir/protocols/link/vnet_header.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <sys/uio.h>
#include <system_error>
#include <utility>

namespace tapir {

enum class tap_io : std::uint8_t {
    automatic, ///< multishot where it works, else poll
    poll,
    multishot,
};

enum class tap_offload : std::uint8_t {
    automatic, ///< a virtio-net header with checksum and segmentation offload where the kernel can, else
               ///< plain
    off,
};

struct tap_config {
    tap_config() = default;
    explicit tap_config(std::string device, tap_io path = tap_io::automatic)
        : name(std::move(device)), io(path) {}

    std::string name = "tapir0";
    tap_io io = tap_io::automatic;
    tap_offload offload = tap_offload::automatic;
    /// Which of the device's queues, where each shard of a host has its own.
    tap_queue queue = tap_queue::only;
    /// Set when the device is opened; 0 leaves it as it is. Buffers are sized for it once.
    std::size_t mtu = 0;
    /// Frames that the kernel queues towards us, set when the device is opened; 0 leaves it as it is. A full
    /// window of 64 KiB segments from a few connections fits.
    std::size_t txqueuelen = 1024;
    /// Buffers that wait for frames on the multishot path; 0: as many as stay in a core's cache, 128, but 16
    /// with offload, when each has 64 KiB. Running out of them loses nothing.
    std::size_t buffers = 0;
    /// No more frames than this are read by system calls before the rest of the program has its turn.
    std::size_t frames_per_turn = 256;
    /// After so many frames with data, written in batches on the multishot path, an empty datagram goes to
    /// ourselves over the loopback device, which spares us interrupts (tap_reclaim.hpp). 0: never.
    std::uint32_t frames_per_reclaim = 24;
    /// On the multishot path with offload, up to so many large segments of one connection that follow each
    /// other are handed over as one packet (big_segment.hpp), where the kernel can take it and is itself the
    /// receiver (big_receivers.hpp). 8 moved no more than 5. 1: never. A capture on the kernel's side shows
    /// such a packet with an IP length of 0; what filters there by that length (BPF), or copies whole packets
    /// (NFQUEUE), may lose it.
    std::uint32_t most_joined = 5;
    /// A BPF program of two instructions spares Linux a search for each frame of a device with one queue,
    /// where RPS is on and we may load one (tap_steering.hpp).
    bool steering_program = true;
    /// How long a busy device is tried again: after a process that used it through io_uring has ended, it can
    /// stay busy for tens of milliseconds.
    duration busy_for = 2s;
};

class tap : public link {
  public:
    void attach(frame_receiver* to) override { receiver_ = to; }
    link_capabilities capabilities() const override {
        return {.mtu = mtu_, .checksum = offloads(), .segmentation = offloads(), .gather = offloads()};
    }
    link_counters counters() const override { return counters_; }

    const std::string& name() const { return device_.name(); }
    /// tap_io::poll or tap_io::multishot.
    virtual tap_io io() const = 0;
    /// Whether checksums and segmentation are left to the kernel, both ways.
    bool offloads() const { return device_.offloads(); }
    /// Whether large segments that follow each other may go to the kernel as one packet.
    virtual bool joins() const { return false; }
    /// Whether the kernel's side was up when we last heard of it.
    bool up() const { return up_; }
    /// Why nothing can be read or written any more; no error while all is well.
    std::error_code failure() const { return failure_; }

    /// With offload the kernel hands over no larger frame, as long as it does as it is told.
    static constexpr std::size_t offload_buffer = 65'536;
    static_assert(offload_buffer >= buffer_pool::page_aligned_from); // short frames are read faster into such
    static constexpr std::size_t gso_max_size = offload_buffer - vnet_header::size - 1;

    ~tap() override;

  protected:
    tap(reactor& on, tap_device device, const tap_config& config);

    reactor& on() const { return reactor_; }
    const tap_device& device() const { return device_; }
    int fd() const { return device_.fd(); }
    buffer_pool& pool() { return pool_; }
    /// Room for a frame and one byte more, which tells a frame that was cut off.
    /// With offload, room for the largest segment behind its header: 64 KiB hold it, since the device is told
    /// so, and are a size of the pool.
    std::size_t buffer_size() const { return buffer_size_; }
    bool failed() const { return static_cast<bool>(failure_); }
    bool blocked() const { return blocked_; }

    /// Ready to be written, with its virtio-net header; false when it cannot be, which is counted.
    bool prepare(frame& f);
    using frame_parts = std::array<iovec, 1 + frame::most_parts>;
    static frame_parts parts_of(const frame& f);
    /// Writes it here and now: bytes, or -errno.
    std::int64_t write_now(const frame& f) const;
    /// What a write of so many frames, with `size` bytes, came to: bytes, or -errno.
    void wrote(std::int64_t outcome, std::size_t size, std::size_t frames = 1);
    /// What a read failed with; true when reading may go on.
    bool read_failed(int error);

    /// Small enough to be copied out of its buffer, which then serves again. A copy takes the smallest block
    /// of the pool instead of one for a full frame, so that acknowledgements that wait pin little memory.
    /// With offload a frame under half of its 64 KiB is copied, too, once: nobody above has to.
    bool small(std::size_t size) const { return size <= 256 || (offloads() && size <= buffer_size() / 2); }
    /// A frame of what was read, in a buffer of its own with room in front.
    frame copied(bytes read);
    /// What was read, the virtio-net header in front.
    void deliver(frame&& f);
    /// One look whether there is something to be read, when readable() is called.
    struct poll_in : io_operation {
        explicit poll_in(tap& t);
        tap& owner;
    };
    virtual void readable() = 0;
    /// Reads and delivers until the device is empty, or a turn's share is used up: frames_per_turn, or as
    /// many bytes as stay in a core's cache until they have been looked at. After more than one large segment
    /// it says more_input_waits() also when the device is empty: their sender mostly goes on, and looking
    /// again takes less than acknowledging twice.
    void read_batch();
    /// False when there is nothing more to read now, or the device has failed. (What was read may have been
    /// no frame.)
    bool read_one();
    void no_memory() { ++counters_.errors; } ///< for a frame that came in
    void no_room() { ++counters_.dropped_full; }
    void writable_again();

    /// Gives the descriptor to another tap, when a trial has failed. Only ~tap() may follow.
    tap_device take_device() { return std::move(device_); }

  private:
    struct watch : io_operation {
        explicit watch(tap& t);
        tap& owner;
    };
    frame taken(std::size_t size);
    void put_header(frame& f);
    bool take_header(frame& f);
    void watch_output();
    void output_possible(std::int32_t events);
    void carrier(bool now_up);
    void fail(int error);

    // What each frame asks comes first, to be on few cache lines.
    reactor& reactor_;
    frame_receiver* receiver_ = nullptr;
    tap_device device_;
    buffer_pool pool_;
    std::size_t frames_per_turn_;
    std::size_t mtu_;
    std::size_t buffer_size_;
    buffer next_; ///< where read_one() will read to
    std::error_code failure_;
    link_counters counters_;
    unsigned failures_in_a_row_ = 0;
    bool up_ = true;
    bool reported_down_ = false;
    bool blocked_ = false; ///< a write would block
    watch watch_;          ///< POLLOUT: the device came up, or takes frames again
};

/// Opens the TAP `config.name`, making it if there is none. tap_errc tells why it could not be done;
/// errc::not_supported: not in virtual time; errc::cancelled: stopped while it waited for a busy device.
task<result<std::unique_ptr<tap>>> open_tap(tap_config config);

} // namespace tapir
