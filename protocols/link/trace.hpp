// Shows every frame that passes to a function: a test collects a ladder of what happened, with
// protocols/host/packet_text.hpp to read the bytes.
//
//     tapir::trace seen(r, w.left(), [&](direction d, instant at, const frame& f) {
//         ladder.push_back((d == direction::out ? "-> " : "<- ") + packet_text(f.data()));
//     });
#pragma once

#include <tapir/framework/reactor.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/protocols/link/middleware.hpp>

#include <functional>
#include <utility>

namespace tapir {

class trace final : public middleware {
  public:
    /// Called before the frame goes on; it may look, not keep.
    using sink = std::function<void(direction, instant, const frame&)>;

    trace(reactor& on, link& below, sink to) : middleware(below), reactor_(on), sink_(std::move(to)) {}

    void send(frame&& f) override {
        sink_(direction::out, reactor_.now(), f);
        below().send(std::move(f));
    }

  private:
    void receive(frame&& f) override {
        sink_(direction::in, f.arrived, f);
        pass_up(std::move(f));
    }

    reactor& reactor_;
    sink sink_;
};

} // namespace tapir
