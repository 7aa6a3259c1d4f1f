// Checksums and segmentation left to the kernel, on a real TAP: bulk both ways, with and without, and on
// devices that outlive whoever used them before.
#include <tapir/framework/sleep.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <linux/seccomp.h>
#include <string>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <thread>
#include <vector>

#include "tests/support/kernel_socket.hpp"
#include "tests/support/on_tap.hpp"
#include "tests/support/process.hpp"
#include "tests/support/tap_host.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

constexpr std::uint16_t port = 5001;
constexpr std::uint64_t bulk = 20'000'000;

std::string shell(const std::string& command) {
    const finished f = run({"bash", "-c", command}, seconds(50));
    return f.status == 0 ? std::string() : f.all();
}

std::byte byte_at(std::uint64_t i) {
    return static_cast<std::byte>(i % 251);
}

/// The kernel's program connects; what it sends is counted and looked at, and goes back.
task<> echo_once(host* h, std::uint64_t* came, bool* intact) {
    auto listener = h->listen(ip::endpoint({}, port));
    expect(listener.has_value(), "listening");
    auto accepted = co_await listener->accept();
    expect(accepted.has_value(), "accepted");
    tcp::connection c = std::move(*accepted);
    std::vector<std::byte> room(200'000);
    for (;;) {
        const auto got = co_await c.read(mutable_bytes(room));
        expect(got.has_value(), "read");
        if (*got == 0) break;
        for (std::size_t i = 0; i < *got; ++i) *intact = *intact && room[i] == byte_at(*came + i);
        *came += *got;
        const auto back = co_await c.write(bytes(room).first(*got));
        expect(back.has_value(), "written");
    }
    (void)co_await c.close();
}

// The pattern of byte_at(), sent and compared with what comes back.
const char* const client = R"(
import socket, threading
size = 20000000
data = (bytes(range(251)) * (size // 251 + 1))[:size]
s = socket.create_connection(('192.0.2.2', 5001), 20)
def send():
    s.sendall(data)
    s.shutdown(socket.SHUT_WR)
t = threading.Thread(target=send)
t.start()
got = bytearray()
while True:
    b = s.recv(1 << 20)
    if not b: break
    got += b
t.join()
raise SystemExit(0 if got == data else 'what came back differs: %d bytes' % len(got))
)";

void exchange(tap_host& ours) {
    std::uint64_t came = 0;
    bool intact = true;
    std::string wrong = "not run";
    std::thread kernels([&] {
        const finished f = run({"python3", "-c", client}, seconds(50));
        wrong = f.status == 0 ? std::string() : f.all();
    });
    ours.run(echo_once(&ours.host(), &came, &intact));
    std::this_thread::yield();
    // What the kernel has not yet acknowledged is still to go.
    ours.run([]() -> task<> { (void)co_await sleep_for(500ms); }());
    kernels.join();
    expect(wrong.empty(), wrong);
    expect(came == bulk && intact, "all of it came as it was sent: " + std::to_string(came));
    expect(ours.host().tcp().counted().bad_checksum == 0, "no bad checksum");
    expect(ours.device().counters().bad_offload == 0, "no malformed header");
}

/// From now on the kernel refuses this process `request`, unless its argument is 0.
void refuse_ioctl(std::uint32_t request) {
    constexpr std::uint32_t number = offsetof(seccomp_data, nr);
    constexpr std::uint32_t asked = offsetof(seccomp_data, args[1]); // the lower half; so is the next
    constexpr std::uint32_t argument = offsetof(seccomp_data, args[2]);
    const auto load = [](std::uint32_t at) -> sock_filter { return {BPF_LD | BPF_W | BPF_ABS, 0, 0, at}; };
    const auto unless = [](std::uint32_t value, std::uint8_t skip) -> sock_filter {
        return {BPF_JMP | BPF_JEQ | BPF_K, 0, skip, value};
    };
    const auto answer = [](std::uint32_t what) -> sock_filter { return {BPF_RET | BPF_K, 0, 0, what}; };
    std::array program{load(number),
                       unless(__NR_ioctl, 5),
                       load(asked),
                       unless(request, 3),
                       load(argument),
                       sock_filter{BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 0},
                       answer(SECCOMP_RET_ERRNO | EINVAL),
                       answer(SECCOMP_RET_ALLOW)};
    sock_fprog all{};
    all.len = static_cast<unsigned short>(program.size());
    all.filter = program.data();
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all) != 0)
        throw lacking("no filter of system calls");
}

} // namespace

TEST_CASE("offload: bulk goes both ways in large segments, and arrives intact") {
    on_each_tap_path([](const std::string& io) {
        tap_host ours(io);
        expect(ours.device().offloads(), "the kernel can");
        exchange(ours);
        const link_counters c = ours.device().counters();
        expect(c.large_in > 100 && c.segments_in > 10 * c.large_in, "in: " + std::to_string(c.large_in));
        expect(c.large_out > 100 && c.segments_out > 5 * c.large_out, "out: " + std::to_string(c.large_out));
    });
}

TEST_CASE("offload: bulk that finds few buffers is read in another way, in order, and then as before") {
    on_each_tap_path([](const std::string& io) {
        if (io == "poll") return; // has one buffer at a time
        tap_host ours(io, tap_offload::automatic, 2);
        for (int i = 0; i < 2; ++i) exchange(ours); // a handshake and its small frames are in between
        expect(ours.host().tcp().counted().out_of_order == 0, "a TAP does not reorder");
        expect(ours.device().counters().large_in > 200, "large segments");
        expect(ours.device().counters().errors == 0, "running out of buffers is no error");
    });
}

TEST_CASE("offload: switched off, every frame is a packet") {
    on_each_tap_path([](const std::string& io) {
        tap_host ours(io, tap_offload::off);
        expect(!ours.device().offloads(), "off");
        exchange(ours);
        const link_counters c = ours.device().counters();
        expect(c.large_in == 0 && c.large_out == 0, "none is large");
        expect(c.frames_in > bulk / 1460, "in packets");
    });
}

TEST_CASE("offload: a device that outlives its users does what the latest one asks for") {
    on_each_tap_path(
        [](const std::string& io) {
            const std::string made = shell("ip tuntap add dev tapir0 mode tap");
            expect(made.empty(), made);
            for (const tap_offload how : {tap_offload::automatic, tap_offload::off, tap_offload::automatic}) {
                tap_host ours(io, how);
                const bool on = how == tap_offload::automatic;
                expect(ours.device().offloads() == on, "as asked for");
                exchange(ours);
                expect((ours.device().counters().large_in > 0) == on, "large segments only if asked for");
            }
        },
        120);
}

TEST_CASE("offload: where the kernel refuses it, frames are packets and all is as before") {
    for (const auto request : {TUNSETOFFLOAD, TUNSETVNETHDRSZ, TUNSETVNETLE}) {
        on_each_tap_path([request](const std::string& io) {
            refuse_ioctl(static_cast<std::uint32_t>(request));
            tap_host ours(io);
            expect(!ours.device().offloads(), "refused");
            exchange(ours);
            const link_counters c = ours.device().counters();
            expect(c.large_in == 0 && c.large_out == 0, "none is large");
        });
    }
}
