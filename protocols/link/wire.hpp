// A cable in memory: what is sent at one end is received at the other, whole, in order, after a fixed
// latency. Two hosts on two ends are a network without a kernel, in virtual or real time.
//
//     tapir::wire w(r, {.latency = 10ms});
//     host client(r, w.left(), ...), server(r, w.right(), ...);
//
// Nothing is received inside send(): a frame arrives in a later turn of the reactor even when the latency is
// 0. Received frames belong to the receiver alone: a buffer that the sender still shares is copied.
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/framework/timer_wheel.hpp>
#include <tapir/protocols/link/link.hpp>

#include <cstddef>
#include <deque>

namespace tapir {

struct wire_config {
    /// From send() to arrival, each way.
    duration latency{};
    std::size_t mtu = 1500;
    /// Frames under way in one direction; what is sent beyond that is dropped. The kernel's default for a TAP
    /// (txqueuelen) is 500 or 1000.
    std::size_t queue = 1024;
    /// Carries partial checksums and large segments as they are, as between virtual machines.
    bool segmentation = false;
};

class wire {
  public:
    explicit wire(reactor& on, wire_config config = {});
    wire(const wire&) = delete;
    wire& operator=(const wire&) = delete;
    ~wire();

    link& left() { return left_; }
    link& right() { return right_; }

    /// Cuts the cable or mends it and tells both ends. What is under way when it is cut is lost, and so is
    /// what is sent meanwhile; the sender's counters say so.
    void set_carrier(bool up);
    bool carrier() const { return carrier_; }

    /// Another MTU from now on, as when a link is configured anew: who asks for capabilities() learns of it,
    /// larger frames are dropped and counted, and what is under way arrives.
    void set_mtu(std::size_t mtu) { config_.mtu = mtu; }

  private:
    /// One end, and the frames under way from it.
    class end final : public link, timer, turn_hook {
      public:
        end(wire& of, end& peer)
            : timer([](timer& t, instant now) { static_cast<end&>(t).deliver(now); }),
              turn_hook([](turn_hook& h, instant now) { static_cast<end&>(h).deliver(now); }), wire_(of),
              peer_(peer) {}

        void attach(frame_receiver* to) override { receiver_ = to; }
        link_capabilities capabilities() const override;
        link_counters counters() const override { return counters_; }
        bool ready() const override { return under_way_.size() < wire_.config_.queue; }
        void send(frame&& f) override;
        void flush(instant) override {}

        void carrier_changed(bool up);

      private:
        struct sent {
            instant due;
            frame content;
        };
        bool carries(const frame& f) const;
        void deliver(instant now);
        void arrive(frame&& f, instant now);
        void schedule();

        wire& wire_;
        end& peer_;
        frame_receiver* receiver_ = nullptr;
        std::deque<sent> under_way_;
        bool was_full_ = false;
        link_counters counters_;
    };

    reactor& reactor_;
    wire_config config_;
    buffer_pool pool_;
    bool carrier_ = true;
    end left_;
    end right_;
};

} // namespace tapir
