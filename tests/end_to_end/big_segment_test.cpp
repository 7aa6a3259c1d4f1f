// Large segments that go to the kernel as one packet of over 64 KiB, on a real TAP.
#include <tapir/framework/sleep.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/process.hpp"
#include "tests/support/sent_text.hpp"
#include "tests/support/tap_host.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

constexpr std::size_t piece = 4 << 20;
constexpr int pieces = 5;

/// The kernel's program compares what it gets, five times 4 MiB.
const char* const client = R"(
import socket
data = bytes(range(251)) * ((4 << 20) // 251 + 1)
data = data[:4 << 20] * 5
s = socket.create_connection(('192.0.2.2', 5001), 20)
got = bytearray()
while True:
    b = s.recv(1 << 20)
    if not b: break
    got += b
raise SystemExit(0 if got == data else 'what came differs: %d bytes' % len(got))
)";

/// All of it out of one chunk in one piece of memory.
task<> send_all(host* h) {
    auto listener = h->listen(ip::endpoint({}, 5001));
    expect(listener.has_value(), "listening");
    auto accepted = co_await listener->accept();
    expect(accepted.has_value(), "accepted");
    tcp::connection c = std::move(*accepted);
    buffer_pool pool;
    std::vector<std::byte> pattern(piece);
    for (std::size_t i = 0; i < piece; ++i) pattern[i] = static_cast<std::byte>(i % 251);
    const chunk all(pool.copy_of(pattern));
    for (int i = 0; i < pieces; ++i) expect((co_await c.write(all)).has_value(), "written");
    (void)co_await c.close();
    (void)co_await sleep_for(500ms); // what the kernel has not yet acknowledged is still to go
}

/// What the TAP counted.
link_counters transfer(tap_host& ours) {
    std::string wrong = "not run";
    std::thread kernels([&] {
        const finished f = run({"python3", "-c", client}, seconds(50));
        wrong = f.status == 0 ? std::string() : f.all();
    });
    ours.run(send_all(&ours.host()));
    kernels.join();
    expect(wrong.empty(), wrong);
    return ours.device().counters();
}

void require_big(const tap_host& ours) {
    if (!ours.device().joins()) throw lacking("this kernel has no IPv4 packets of over 64 KiB");
}

void on_multishot(const std::function<void()>& body) {
    on_each_tap_path([&](const std::string& io) {
        if (io == "multishot") body();
    });
}

tap_config joining(std::uint32_t most) {
    tap_config how("tapir0", tap_io::multishot);
    how.most_joined = most;
    return how;
}

} // namespace

TEST_CASE("big segment: bulk to the kernel goes in packets of several large segments, and arrives intact") {
    on_multishot([] {
        tap_host ours(joining(5));
        require_big(ours);
        const link_counters c = transfer(ours);
        expect(c.joined_out * 2 > c.large_out,
               "most have joined: " + std::to_string(c.joined_out) + " of " + std::to_string(c.large_out));
        expect(c.frames_out >= c.large_out && c.errors == 0, "each frame is counted as one");
        expect(c.bytes_out > pieces * piece, "and so are its bytes");
        expect(ours.host().tcp().counted().retransmits == 0, "the kernel took all of them");
    });
}

TEST_CASE("big segment: with `most_joined` 1 none joins") {
    on_multishot([] {
        tap_host ours(joining(1));
        expect(transfer(ours).joined_out == 0, "none");
    });
}

TEST_CASE("big segment: who is behind a bridge gets no packet that it may not know") {
    on_multishot([] {
        tap_host ours(joining(5));
        require_big(ours);
        const auto ip = [](const std::string& what) {
            return run({"bash", "-c", "ip " + what}, seconds(10));
        };
        if (ip("link add br0 address 02:00:00:00:00:99 type bridge").status != 0)
            throw lacking("no bridges here");
        const finished moved =
            ip("link set br0 up && ip link set tapir0 master br0 && "
               "ip address del 192.0.2.1/24 dev tapir0 && ip address add 192.0.2.1/24 dev br0");
        expect(moved.status == 0, moved.all());
        const link_counters c = transfer(ours);
        expect(c.large_out > 100 && c.joined_out == 0, "none has joined");
    });
}

TEST_CASE("big segment: a packet that the kernel refuses is counted, and the last one of the kind") {
    on_multishot([] {
        reactor on(make_uring_backend());
        auto opened = on.run(open_tap(joining(1000)));
        if (!opened && opened.error() == tap_errc::no_multishot) throw lacking(opened.error().message());
        expect(opened.has_value(), "a TAP");
        tap& device = **opened;
        if (!device.joins()) throw lacking("this kernel has no IPv4 packets of over 64 KiB");
        expect(configure_kernel_side("tapir0", ip::prefix(tap_host::kernels, 24)).has_value(),
               "the kernel's side");
        constexpr std::size_t size = 45 * sent_text::mss, count = 90;
        sent_text text(count * size, 1);
        const auto station = tap_device::takes_big("tapir0");
        expect(station.has_value(), "the kernel's station");
        text.station = ethernet::mac_address::load(*station, 0);
        const auto send_all = [&] {
            for (std::size_t n = 0; n < count; ++n) device.send(text.segment(n * size, size));
            device.flush(on.now());
            on.run([]() -> task<> { (void)co_await sleep_for(20ms); }());
        };
        send_all(); // 5.8 MB: neither pages nor a slab hold so much of one packet
        const link_counters refused = device.counters();
        expect(refused.joined_out == count - 1 && refused.errors == count, "each frame of it is counted");
        expect(refused.frames_out == 0 && !device.joins(), "no more of the kind");
        send_all();
        const link_counters taken = device.counters();
        expect(taken.joined_out == refused.joined_out && taken.errors == refused.errors, "none has joined");
        expect(taken.frames_out == count, "all have gone");
    });
}
