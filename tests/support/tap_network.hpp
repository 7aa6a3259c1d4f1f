// A TAP of its own on a reactor, and the kernel's end of it.
//
//     test::on_each_path([](tap_io path) {
//         test::network n(path);
//         n.send(0, 3);                                     // three numbered frames to the kernel
//         test::expect(test::wait_for(n.r, [&] { return !n.got.frames.empty(); }), "a frame from it");
//     });
#pragma once

#include <tapir/framework/bytes.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/framework/uring_backend.hpp>
#include <tapir/protocols/host/kernel_side.hpp>
#include <tapir/protocols/link/tap.hpp>

#include <doctest/doctest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/skip.hpp"
#include "tests/support/link_end.hpp"
#include "tests/support/netns.hpp"

namespace tapir::test {

inline constexpr std::uint16_t experimental = 0x88b5; // what numbered_frame() uses
inline constexpr tap_io both_paths[] = {tap_io::poll, tap_io::multishot};

inline const char* name_of(tap_io path) {
    return path == tap_io::poll ? "poll" : "multishot";
}

/// Runs `body` in a network of its own, once for each path of I/O that works here.
inline void on_each_path(const std::function<void(tap_io)>& body) {
    for (const tap_io path : both_paths) {
        const auto outcome = in_own_network([&] { body(path); });
        if (!outcome.possible) return skip(outcome.text.c_str());
        CHECK_MESSAGE(outcome.text.empty(), std::string(name_of(path)), ": ", outcome.text);
    }
}

/// What is missing on this machine is a reason to skip, not a failure.
inline void skip_if_lacking(const std::error_code& why) {
    for (const tap_errc absent : {tap_errc::no_tun, tap_errc::no_access, tap_errc::no_multishot})
        if (why == absent) throw lacking(why.message());
}

inline std::unique_ptr<tap> opened(reactor& r, const tap_config& config) {
    auto device = r.run(open_tap(config));
    if (!device) skip_if_lacking(device.error());
    expect(device.has_value(), device ? "" : device.error().message());
    return std::move(*device);
}

/// Runs the reactor until `done`, or 5 s.
inline bool wait_for(reactor& r, const std::function<bool()>& done) {
    auto wait = [&done]() -> task<bool> {
        for (int i = 0; i < 5000 && !done(); ++i) (void)co_await sleep_for(1ms);
        co_return done();
    };
    return r.run(wait());
}

inline void run_for(reactor& r, duration d) {
    r.run(pass_time(d));
}

/// A reactor, a TAP and the kernel's end of it, up, with 192.0.2.1/24.
struct network {
    explicit network(tap_config config) : r(make_uring_backend()), device(opened(r, config)) {
        expect(
            configure_kernel_side(device->name(), ip::prefix(ip::address::v4(192, 0, 2, 1), 24)).has_value(),
            "the kernel's side is configured");
        expect(wait_for(r, [&] { return device->up(); }), "carrier comes with the kernel's side");
        device->attach(&got);
    }
    explicit network(tap_io path) : network(tap_config("tapir0", path)) {}

    void send(std::uint32_t first, std::uint32_t n, std::size_t size = 60) {
        for (std::uint32_t i = 0; i < n; ++i) device->send(numbered_frame(pool, first + i, size));
        device->flush(r.now());
    }
    /// Frames that numbered_frame() made, among what the kernel says on its own.
    std::vector<std::uint32_t> numbers() const {
        std::vector<std::uint32_t> all;
        for (const frame& f : got.frames)
            if (load_be16(f.data(), 12) == experimental) all.push_back(load_be32(f.data(), 14));
        return all;
    }

    reactor r;
    buffer_pool pool;
    std::unique_ptr<tap> device;
    recording_receiver got;
};

} // namespace tapir::test
