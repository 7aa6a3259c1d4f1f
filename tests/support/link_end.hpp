// The two things a link test needs: a receiver that keeps what it gets, and frames that tell themselves
// apart.
#pragma once

#include <tapir/framework/reactor.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/framework/task.hpp>
#include <tapir/protocols/link/link.hpp>

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace tapir::test {

struct recording_receiver final : frame_receiver {
    std::vector<frame> frames;
    std::vector<bool> carriers;
    int writables = 0;

    void receive(frame&& f) override { frames.push_back(std::move(f)); }
    void writable() override { ++writables; }
    void carrier(bool up) override { carriers.push_back(up); }

    /// The numbers that numbered_frame() wrote, in order of arrival.
    std::vector<std::uint32_t> numbers() const {
        std::vector<std::uint32_t> all;
        for (const frame& f : frames) all.push_back(load_be32(f.data(), 14));
        return all;
    }
};

/// An Ethernet frame of `size` bytes with an experimental EtherType and `number` behind the header; the rest
/// is made from the number.
inline frame numbered_frame(buffer_pool& pool, std::uint32_t number, std::size_t size = 60) {
    frame f(pool.allocate(size + 16), 16);
    const mutable_bytes b = f.push_back(size);
    for (std::size_t i = 0; i < size; ++i) store_u8(b, i, static_cast<std::uint8_t>(number * 31 + i));
    store_be16(b, 12, 0x88b5);
    store_be32(b, 14, number);
    return f;
}

inline task<> pass_time(duration d) {
    (void)co_await sleep_for(d);
}

} // namespace tapir::test
