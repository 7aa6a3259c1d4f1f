// Large segments that go to the kernel as one packet of over 64 KiB, on a real TAP.
#include <tapir/framework/sleep.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
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

task<> send_all(host* h) {
    auto listener = h->listen(ip::endpoint({}, 5001));
    expect(listener.has_value(), "listening");
    auto accepted = co_await listener->accept();
    expect(accepted.has_value(), "accepted");
    tcp::connection c = std::move(*accepted);
    buffer_pool pool;
    std::vector<std::byte> pattern(piece);
    for (std::size_t i = 0; i < piece; ++i) pattern[i] = static_cast<std::byte>(i % 251);
    // In chunks of 64 KiB, as programs have them, so that a packet is gathered from several.
    for (int i = 0; i < pieces; ++i)
        for (std::size_t at = 0; at < piece; at += 64 * 1024)
            expect((co_await c.write(chunk(pool.copy_of(bytes(pattern).subspan(at, 64 * 1024))))).has_value(),
                   "written");
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

void require_big(const tap& device) {
    if (!device.joins()) throw lacking("this kernel has no IPv4 packets of over 64 KiB");
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

finished ip_tool(const std::string& what) {
    return run({"bash", "-c", "ip " + what}, seconds(10));
}

/// Segments that no TCP has sent.
struct direct {
    explicit direct(std::uint32_t most) {
        auto opened = on.run(open_tap(joining(most)));
        if (!opened && opened.error() == tap_errc::no_multishot) throw lacking(opened.error().message());
        expect(opened.has_value(), "a TAP");
        device = std::move(*opened);
        require_big(*device);
        expect(configure_kernel_side("tapir0", ip::prefix(tap_host::kernels, 24)).has_value(),
               "the kernel's side");
        const auto station = tap_device::takes_big("tapir0");
        expect(station.has_value(), "its station");
        text.station = ethernet::mac_address::load(*station, 0);
    }
    void hand_over(std::size_t count) {
        for (std::size_t n = 0; n < count; ++n) device->send(text.segment(n * size, size));
        device->flush(on.now());
    }
    void send(std::size_t count) {
        hand_over(count);
        run_for(20ms);
    }
    void run_for(duration d) {
        on.run([](duration time) -> task<> { (void)co_await sleep_for(time); }(d));
    }

    static constexpr std::size_t size = 45 * sent_text::mss;
    reactor on{make_uring_backend()};
    std::unique_ptr<tap> device;
    sent_text text{100 * size, 1};
};

} // namespace

TEST_CASE("big segment: bulk to the kernel goes in packets of several large segments, and arrives intact") {
    on_multishot([] {
        tap_host ours(joining(5));
        require_big(ours.device());
        // As soon as the device is there, others may give it another address (udev does).
        expect(ip_tool("link set tapir0 address 02:00:00:00:00:77").status == 0, "another address");
        const link_counters c = transfer(ours);
        expect(c.joined_out * 2 > c.large_out,
               "most have joined: " + std::to_string(c.joined_out) + " of " + std::to_string(c.large_out));
        expect(c.errors == 0, "no errors");
    });
}

TEST_CASE("big segment: with `most_joined` 1, and without offload, none joins") {
    on_multishot([] {
        tap_host ours(joining(1));
        const link_counters c = transfer(ours);
        expect(!ours.device().joins() && c.large_out > 100 && c.joined_out == 0, "none");
    });
    on_multishot([] {
        tap_config how = joining(5);
        how.offload = tap_offload::off;
        tap_host ours(how);
        expect(!ours.device().joins() && transfer(ours).joined_out == 0, "none");
    });
}

TEST_CASE("big segment: who is behind a bridge gets no packet that it may not know") {
    on_multishot([] {
        tap_host ours(joining(5));
        require_big(ours.device());
        if (ip_tool("link add br0 address 02:00:00:00:00:99 type bridge").status != 0)
            throw lacking("no bridges here");
        const finished moved =
            ip_tool("link set br0 up && ip link set tapir0 master br0 && "
                    "ip address del 192.0.2.1/24 dev tapir0 && ip address add 192.0.2.1/24 dev br0");
        expect(moved.status == 0, moved.all());
        const link_counters c = transfer(ours);
        expect(c.large_out > 100 && c.joined_out == 0, "none has joined");
    });
}

TEST_CASE("big segment: each of those that have joined is counted, and those for others do not") {
    on_multishot([] {
        direct d(5);
        sent_text& text = d.text;
        d.send(100);
        link_counters c = d.device->counters();
        expect(c.frames_out == 100 && c.large_out == 100 && c.joined_out == 80, "a fifth is first");
        expect(c.bytes_out == 100 * text.segment(0, d.size).size() && c.errors == 0, "as large as they are");

        text.destination = ip::address::v4(198, 51, 100, 7); // the kernel forwards it, or would
        d.send(100);
        c = d.device->counters();
        expect(c.frames_out == 200 && c.joined_out == 80, "not for others");

        text.destination = sent_text::kernels;
        expect(ip_tool("link set tapir0 down").status == 0, "down");
        d.send(100);
        c = d.device->counters();
        expect(c.dropped_no_carrier == 100 && c.frames_out == 200 && c.joined_out == 80, "lost");
        expect(ip_tool("link set tapir0 up").status == 0, "up");
        d.send(100);
        expect(d.device->counters().joined_out == 160, "and again");

        d.hand_over(100);
        d.device.reset(); // with writes under way
        expect(d.on.io().uring()->in_flight() == 0, "nothing is in flight any more");
    });
}

TEST_CASE("big segment: what the kernel refuses in one packet goes in several") {
    on_multishot([] {
        direct d(1000);
        d.send(100); // 6.5 MB: neither pages nor a slab hold so much of one packet
        link_counters c = d.device->counters();
        expect(c.frames_out == 100 && c.joined_out == 0, "one by one: " + std::to_string(c.frames_out));
        expect(c.errors == 0 && c.dropped_full == 0, "nothing is lost");
        d.send(100);
        c = d.device->counters();
        expect(c.frames_out == 200 && c.joined_out == 0, "none is tried for a while");
        d.run_for(1100ms);
        d.send(4);
        expect(d.device->counters().joined_out == 3, "then they are");
    });
}
