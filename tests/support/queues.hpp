// A link with several queues, as a TAP has with IFF_MULTI_QUEUE: what comes from below goes to one of them,
// what any of them is given goes below.
//
//     test::queues q(wire.left(), 3, [&](bytes) { return draws.below(3); });     // any queue, at random
//     test::queues q(wire.left(), 3);         // like Linux: by flow, that which wrote to the flow last
//     host.add_interface(q[0], ...);
#pragma once

#include <tapir/framework/bytes.hpp>
#include <tapir/protocols/link/link.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

namespace tapir::test {

class queues final : private frame_receiver {
  public:
    using chooser = std::function<std::size_t(bytes frame)>;

    queues(link& below, std::size_t count, chooser choose = {}) : below_(below), choose_(std::move(choose)) {
        for (std::size_t i = 0; i < count; ++i) all_.push_back(std::make_unique<queue>(*this, i));
        below_.attach(this);
    }
    ~queues() { below_.attach(nullptr); }

    link& operator[](std::size_t number) { return *all_[number]; }

  private:
    struct queue final : link {
        queue(queues& in, std::size_t n) : of(in), number(n) {}
        void attach(frame_receiver* to) override { receiver = to; }
        link_capabilities capabilities() const override { return of.below_.capabilities(); }
        link_counters counters() const override { return counted; }
        bool ready() const override { return of.below_.ready(); }
        void send(frame&& f) override {
            ++counted.frames_out;
            of.last_writer_[flow(f.data())] = number;
            of.below_.send(std::move(f));
        }
        void flush(instant now) override { of.below_.flush(now); }

        queues& of;
        std::size_t number;
        frame_receiver* receiver = nullptr;
        link_counters counted;
    };

    /// The same for both directions of a TCP or UDP flow; 0 for what is none.
    static std::uint64_t flow(bytes f) {
        constexpr std::size_t ports = 34;
        if (f.size() < ports + 4 || load_be16(f, 12) != 0x0800) return 0;
        const auto end = [&](std::size_t address, std::size_t port) {
            return (std::uint64_t{load_be32(f, address)} << 16 | load_be16(f, port)) * 0x9e3779b97f4a7c15u;
        };
        return end(26, ports) ^ end(30, ports + 2);
    }

    void receive(frame&& f) override {
        std::size_t to = 0;
        if (choose_) {
            to = choose_(f.data());
        } else {
            const std::uint64_t key = flow(f.data());
            const auto known = last_writer_.find(key);
            to = known != last_writer_.end() ? known->second : (key >> 32) % all_.size();
        }
        queue& q = *all_[to];
        ++q.counted.frames_in;
        if (q.receiver != nullptr) q.receiver->receive(std::move(f));
    }
    void writable() override {
        for (const auto& q : all_)
            if (q->receiver != nullptr) q->receiver->writable();
    }
    void carrier(bool up) override {
        for (const auto& q : all_)
            if (q->receiver != nullptr) q->receiver->carrier(up);
    }

    link& below_;
    chooser choose_;
    std::vector<std::unique_ptr<queue>> all_;
    std::map<std::uint64_t, std::size_t> last_writer_;
};

} // namespace tapir::test
