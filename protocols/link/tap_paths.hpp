// The two ways in which a tap moves frames; open_tap() chooses.
#pragma once

#include <tapir/framework/backend.hpp>
#include <tapir/framework/buffer_ring.hpp>
#include <tapir/framework/intrusive_list.hpp>
#include <tapir/protocols/link/answer_guess.hpp>
#include <tapir/protocols/link/big_receivers.hpp>
#include <tapir/protocols/link/big_segment.hpp>
#include <tapir/protocols/link/tap.hpp>
#include <tapir/protocols/link/tap_reclaim.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace tapir {

class poll_tap final : public tap {
  public:
    poll_tap(reactor& on, tap_device device, const tap_config& config);
    ~poll_tap() override;

    tap_io io() const override { return tap_io::poll; }
    bool ready() const override { return !failed() && !blocked(); }
    void send(frame&& f) override;
    void flush(instant) override {}

  private:
    void readable() override;
    void arm();

    poll_in poll_;
};

class multishot_tap final : public tap {
  public:
    multishot_tap(reactor& on, tap_device device, const tap_config& config);
    ~multishot_tap() override;

    tap_io io() const override { return tap_io::multishot; }
    bool joins() const override { return big_.has_value(); }
    bool ready() const override { return !failed() && !blocked() && !idle_writes_.empty(); }
    void send(frame&& f) override;
    void flush(instant now) override;

    /// Begins to read, on trial. The error: the kernel refuses the ring of buffers.
    result<> start();
    /// A read on trial was refused: this kernel cannot do it on a TAP.
    bool refused() const { return refused_; }
    /// The trial is over: errors of a read are the device's from now on.
    void trust() { on_trial_ = false; }
    using tap::take_device;

  private:
    struct read : io_operation {
        explicit read(multishot_tap& t);
        multishot_tap& owner;
    };
    struct write : io_operation, list_hook<> {
        explicit write(multishot_tap& t);
        multishot_tap& owner;
        frame content;
        std::optional<big_segment> parts; ///< of content and of what joined it, for the kernel
        intrusive_list<write> joined;     ///< whose contents go with this one's
    };
    /// How the next frame is read.
    enum class reading : std::uint8_t {
        ring,    ///< by read_, which is in flight
        batches, ///< by system calls, when poll_ says so, until the device is empty: while large segments
                 ///< come
        answers, ///< by a system call when a frame has gone alone, and when poll_ says so: see answer_guess
    };
    struct point : turn_hook { ///< of a turn
        point(multishot_tap& t, handler f) : turn_hook(f), owner(t) {}
        multishot_tap& owner;
    };
    void readable() override;
    void arm();
    /// An exception of `take`, that is of the receiver, is not the end of reading.
    template <class F>
    void go_on_after(F take);
    void on_read(const io_operation::completion& c);
    void received(std::uint16_t buffer_id, std::size_t size);
    /// `may_join`: with those frames behind `w` in the queue that can go with it.
    void submit(write& w, bool may_join, instant now);
    void join(write& w);
    void on_write(write& w, const io_operation::completion& c);
    /// Whether a packet of several frames was, for being that; then there is none for a while, or no more.
    bool refused(std::int64_t outcome);
    void submit_apart(write& w);
    void has_gone(bool alone);
    /// While it is answers that are read: one if it was asked for; the next frame, whatever it is; and what
    /// is to follow.
    void read_answer();
    bool read_next();
    void look_on(bool came);
    /// Since it was asked the last time.
    bool large_came();

    std::uint32_t entries_;
    std::optional<std::int32_t> registered_; ///< the device, as operations name it
    std::optional<pooled_buffer_ring> ring_;
    read read_;
    poll_in poll_; ///< instead of read_
    reading reading_ = reading::ring;
    answer_guess guess_;
    point turn_ends_;
    point input_ends_;
    bool asked_ = false;             ///< a frame has gone alone since the last look for an answer
    std::uint64_t large_before_ = 0; ///< frames that had come when large_came() was asked
    std::vector<std::unique_ptr<write>> writes_;
    intrusive_list<write> idle_writes_;
    intrusive_list<write> queued_; ///< sent, not yet flushed
    std::size_t writes_in_flight_ = 0;
    std::optional<big_receivers> big_; ///< while the kernel takes packets so large
    instant join_from_{};
    std::uint32_t most_joined_;
    tap_reclaim reclaim_;
    bool was_full_ = false;
    bool on_trial_ = true;
    bool refused_ = false;
};

} // namespace tapir
