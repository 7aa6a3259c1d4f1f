// Several senders beside each other in front of one bottleneck: a learning hub, which is one link made of
// many, and a bridge, which joins two links as a cable would.
//
//     hub left(r, seed);                              // a link: what any port receives comes up
//     left.add(kernel_tap); left.add(tapir_wire.left());
//     impair path(r, right_tap, faults);
//     bridge joined(r, left, path);                   // left's ports <-> path <-> right_tap
#pragma once

#include <tapir/framework/random.hpp>
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/timer_wheel.hpp>
#include <tapir/protocols/ethernet/mac_address.hpp>
#include <tapir/protocols/link/link.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <utility>
#include <vector>

namespace bench {

/// What is sent goes to the port at which its destination was seen, to all if it was not. Ports do not see
/// each other's frames. They must outlive the hub.
///
/// What several ports receive between two ticks of the timer wheel came at the same time, as far as the path
/// can tell: it goes up at the tick, each port's in order, merged by chance. Senders that are clocked by the
/// ACKs of one bottleneck answer in one order otherwise, the same ever again, and who comes second to a short
/// queue finds it full (phase effects: Floyd and Jacobson, 1992). A port alone does not wait.
class hub final : public tapir::link, tapir::timer {
  public:
    hub(tapir::reactor& on, std::uint64_t seed)
        : timer([](timer& t, tapir::instant) { static_cast<hub&>(t).merge(); }), on_(on), chance_(seed) {}

    void add(tapir::link& below) {
        ports_.push_back(std::make_unique<port>(*this, below, ports_.size()));
        below.attach(ports_.back().get());
    }
    ~hub() override {
        for (const auto& p : ports_) p->below.attach(nullptr);
    }

    void attach(tapir::frame_receiver* to) override { above_ = to; }
    tapir::link_capabilities capabilities() const override;
    /// Of all ports together.
    tapir::link_counters counters() const override;
    bool ready() const override;
    void send(tapir::frame&& f) override;
    void flush(tapir::instant now) override {
        for (const auto& p : ports_) p->below.flush(now);
    }

  private:
    struct port final : tapir::frame_receiver {
        port(hub& h, tapir::link& l, std::size_t n) : of(h), below(l), number(n) {}
        void receive(tapir::frame&& f) override { of.received(number, std::move(f)); }
        hub& of;
        tapir::link& below;
        std::size_t number;
        std::deque<tapir::frame> came;
    };
    void received(std::size_t from, tapir::frame&& f);
    void merge();

    tapir::reactor& on_;
    tapir::random chance_;
    std::size_t waiting_ = 0; ///< frames that came since the last tick, at all ports
    std::vector<std::unique_ptr<port>> ports_;
    std::map<tapir::ethernet::mac_address, std::size_t> stations_;
    tapir::frame_receiver* above_ = nullptr;
};

/// What one link receives is sent over the other, and flushed at the end of the turn. Both must outlive it.
class bridge {
  public:
    bridge(tapir::reactor& on, tapir::link& left, tapir::link& right)
        : to_right_(on, right), to_left_(on, left), left_(left), right_(right) {
        left_.attach(&to_right_);
        right_.attach(&to_left_);
    }
    bridge(const bridge&) = delete;
    bridge& operator=(const bridge&) = delete;
    ~bridge() {
        left_.attach(nullptr);
        right_.attach(nullptr);
    }

  private:
    struct half final : tapir::frame_receiver, tapir::turn_hook {
        half(tapir::reactor& r, tapir::link& l)
            : turn_hook([](turn_hook& h, tapir::instant now) { static_cast<half&>(h).to.flush(now); }), on(r),
              to(l) {}
        void receive(tapir::frame&& f) override {
            to.send(std::move(f));
            on.at_turn_end(*this);
        }
        tapir::reactor& on;
        tapir::link& to;
    };

    half to_right_;
    half to_left_;
    tapir::link& left_;
    tapir::link& right_;
};

} // namespace bench
