#include <tapir/framework/log.hpp>
#include <tapir/framework/sim_backend.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/framework/uring_backend.hpp>
#include <tapir/protocols/host/kernel_side.hpp>
#include <tapir/protocols/host/packet_text.hpp>
#include <tapir/protocols/link/tap.hpp>
#include <tapir/protocols/link/tap_paths.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include "tests/skip.hpp"
#include "tests/support/link_end.hpp"
#include "tests/support/netns.hpp"
#include "tests/support/packet_socket.hpp"
#include "tests/support/tap_network.hpp"

using namespace tapir;
using test::expect;
using test::experimental;
using test::network;
using test::numbered_frame;
using test::on_each_path;
using test::opened;
using test::packet_socket;
using test::recording_receiver;
using test::run_for;
using test::skip_if_lacking;
using test::wait_for;

namespace {

bool counts_up(const std::vector<std::uint32_t>& numbers, std::size_t n) {
    if (numbers.size() != n) return false;
    for (std::size_t i = 0; i < n; ++i)
        if (numbers[i] != i) return false;
    return true;
}

bool intact(bytes got, std::size_t size) {
    buffer_pool pool;
    const frame sent = numbered_frame(pool, load_be32(got, 14), size);
    return std::ranges::equal(got, sent.data());
}

/// A datagram to `address` makes the kernel ask for its station.
void make_the_kernel_ask(const char* address) {
    const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(9);
    to.sin_addr.s_addr = ::inet_addr(address);
    (void)::sendto(fd, "?", 1, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to);
    ::close(fd);
}

struct udp_count {
    std::uint64_t in_errors = 0;
    std::uint64_t out = 0;
};
/// What the kernel says of UDP in this network.
udp_count datagrams() {
    std::ifstream of_all("/proc/self/net/snmp");
    std::string line;
    udp_count c;
    while (std::getline(of_all, line)) {
        std::istringstream words(line);
        std::string protocol;
        std::uint64_t in = 0, no_ports = 0;
        if (words >> protocol >> in >> no_ports >> c.in_errors >> c.out && protocol == "Udp:") return c;
    }
    throw std::runtime_error("/proc/self/net/snmp says nothing of UDP");
}

/// Bytes that wait in this network's UDP sockets.
std::uint64_t untaken_datagrams() {
    std::ifstream sockets("/proc/self/net/udp");
    std::string line;
    std::uint64_t bytes = 0;
    std::getline(sockets, line); // what the columns are
    while (std::getline(sockets, line)) {
        std::istringstream words(line);
        std::string slot, local, remote, state, queues;
        words >> slot >> local >> remote >> state >> queues; // sent:received, in hexadecimal
        bytes += std::stoull(queues.substr(queues.find(':') + 1), nullptr, 16);
    }
    return bytes;
}

void delete_device(const std::string& name) {
    expect(std::system(("ip link del " + name).c_str()) == 0, "ip link del");
}

} // namespace

TEST_CASE("tap: the kernel's ARP request arrives, stamped") {
    on_each_path([](tap_io path) {
        network n(path);
        expect(n.device->io() == path, "the path that was asked for");
        const instant before = n.r.now();
        make_the_kernel_ask("192.0.2.2");
        const auto asks = [&] {
            return std::ranges::any_of(n.got.frames, [&](const frame& f) {
                return packet_text(f.data()) == "arp who-has 192.0.2.2 tell 192.0.2.1" &&
                       f.arrived >= before && f.arrived <= n.r.now();
            });
        };
        expect(wait_for(n.r, asks), "ARP request");
    });
}

TEST_CASE("tap: frames that are sent reach the kernel, whole and in order") {
    on_each_path([](tap_io path) {
        network n(path);
        packet_socket kernel("tapir0", experimental);
        std::uint32_t next = 0;
        std::vector<std::uint32_t> numbers;
        // Alone and in batches: the two ways in which a path may write.
        for (const std::uint32_t batch : {1u, 1u, 2u, 60u, 1u, 60u, 60u, 3u}) {
            n.send(next, batch, 1514);
            next += batch;
            run_for(n.r, 1ms);
            for (const auto& f : kernel.received()) {
                expect(intact(f, 1514), "a frame as it was sent");
                numbers.push_back(load_be32(f, 14));
            }
        }
        expect(counts_up(numbers, next), "all frames, in order: " + std::to_string(numbers.size()));
        expect(n.device->counters().frames_out == next, "counted");
        expect(n.device->counters().bytes_out == next * 1514, "bytes counted");
    });
}

TEST_CASE("tap: a frame alone does not overtake a batch that is still on its way") {
    on_each_path([](tap_io path) {
        network n(path);
        packet_socket kernel("tapir0", experimental);
        n.send(0, 20); // flushed, but the loop has not turned
        n.send(20, 1);
        n.send(21, 5);
        run_for(n.r, 2ms);
        std::vector<std::uint32_t> numbers;
        for (const auto& f : kernel.received()) numbers.push_back(load_be32(f, 14));
        expect(counts_up(numbers, 26), "in order: " + std::to_string(numbers.size()));
    });
}

TEST_CASE("tap: a device that takes no more says so, drops and counts, and calls when it has room") {
    const auto outcome = test::in_own_network([] {
        network n(tap_io::multishot);
        std::uint32_t taken = 0;
        for (; n.device->ready(); ++taken) n.device->send(numbered_frame(n.pool, taken));
        expect(taken >= 64, "a window's worth of frames between two turns");
        n.device->send(numbered_frame(n.pool, taken));
        expect(n.device->counters().dropped_full == 1, "one more is dropped and counted");
        n.device->flush(n.r.now());
        expect(wait_for(n.r, [&] { return n.got.writables == 1; }), "room again, told once");
        run_for(n.r, 1ms);
        expect(n.got.writables == 1 && n.device->ready(), "once");
        expect(n.device->counters().frames_out == taken, "what was taken was sent");
    });
    if (!outcome.possible) return test::skip(outcome.text.c_str());
    CHECK_MESSAGE(outcome.text.empty(), outcome.text);
}

TEST_CASE("tap: each 24th frame with data is followed by a datagram to ourselves, which is taken back") {
    const auto outcome = test::in_own_network([] {
        network n(tap_io::multishot);
        const udp_count before = datagrams();
        n.send(0, 64, 1514); // as one batch
        run_for(n.r, 1ms);
        expect(datagrams().out - before.out == 2, "two in a batch");
        for (std::uint32_t i = 0; i < 300; ++i) {
            n.send(0, 40, 1514);
            run_for(n.r, 1ms);
        }
        const udp_count after = datagrams();
        expect(after.out - before.out == 502, "frames are counted over batches");
        expect(after.in_errors == before.in_errors && untaken_datagrams() == 0, "all are taken back");
        n.send(0, 200, 60);
        run_for(n.r, 1ms);
        expect(datagrams().out == after.out, "acknowledgements do not count");
        for (std::uint32_t i = 0; i < 20; ++i) n.send(i, 1, 1514);
        run_for(n.r, 1ms); // else it would not have gone yet
        expect(datagrams().out == after.out, "nor do frames that go alone");
        expect(n.r.io().uring()->in_flight() == 1, "but the read nothing is in flight");
    });
    if (!outcome.possible) return test::skip(outcome.text.c_str());
    CHECK_MESSAGE(outcome.text.empty(), outcome.text);
}

TEST_CASE("tap: the largest batch has all of its datagrams to ourselves, whatever the one before left over") {
    const auto outcome = test::in_own_network([] {
        network n(tap_io::multishot);
        n.send(0, 23, 1514);
        run_for(n.r, 1ms);
        const udp_count before = datagrams();
        std::uint32_t taken = 0;
        for (; n.device->ready(); ++taken) n.device->send(numbered_frame(n.pool, taken, 1514));
        n.device->flush(n.r.now());
        run_for(n.r, 1ms);
        expect(datagrams().out - before.out == (23 + taken) / 24, "none is left out");
        expect(untaken_datagrams() == 0, "all are taken back");
    });
    if (!outcome.possible) return test::skip(outcome.text.c_str());
    CHECK_MESSAGE(outcome.text.empty(), outcome.text);
}

TEST_CASE("tap: a device is closed while datagrams to ourselves are under way") {
    const auto outcome = test::in_own_network([] {
        network n(tap_io::multishot);
        n.send(0, 64, 1514); // flushed, but the loop has not turned
        n.device.reset();
        expect(n.r.io().uring()->in_flight() == 0, "nothing is in flight any more");
    });
    if (!outcome.possible) return test::skip(outcome.text.c_str());
    CHECK_MESSAGE(outcome.text.empty(), outcome.text);
}

TEST_CASE("tap: where there can be no datagrams to ourselves, or are to be none, frames go all the same") {
    const auto outcome = test::in_own_network([] {
        const auto all_arrive = [](network& n) {
            packet_socket kernel("tapir0", experimental);
            std::vector<std::uint32_t> numbers;
            for (std::uint32_t i = 0; i < 5; ++i) {
                n.send(i * 40, 40, 1514);
                run_for(n.r, 1ms);
                for (const auto& f : kernel.received()) numbers.push_back(load_be32(f, 14));
            }
            expect(counts_up(numbers, 200), "all frames, in order");
            expect(n.device->counters().errors == 0, "no error of the TAP");
        };
        const auto ip = [](const std::string& what) {
            expect(std::system(("ip " + what).c_str()) == 0, "ip " + what);
        };
        const udp_count before = datagrams();
        {
            tap_config config("tapir0", tap_io::multishot);
            config.frames_per_reclaim = 0;
            network n(config);
            all_arrive(n);
        }
        ip("address del 127.0.0.1/8 dev lo"); // as if it had never been up
        {
            network n(tap_io::multishot);
            all_arrive(n);
        }
        expect(datagrams().out == before.out, "none was sent");

        ip("address add 127.0.0.1/8 dev lo");
        network n(tap_io::multishot);
        all_arrive(n);
        expect(datagrams().out - before.out == 8, "there are again");
        ip("link set lo down"); // they are lost
        all_arrive(n);
        ip("address del 127.0.0.1/8 dev lo"); // they are refused
        const udp_count refused = datagrams();
        all_arrive(n);
        ip("address add 127.0.0.1/8 dev lo");
        ip("link set lo up");
        all_arrive(n);
        expect(datagrams().out == refused.out, "who was refused does not ask again");
    });
    if (!outcome.possible) return test::skip(outcome.text.c_str());
    CHECK_MESSAGE(outcome.text.empty(), outcome.text);
}

TEST_CASE("tap: a burst from the kernel arrives whole and in order") {
    on_each_path([](tap_io path) {
        network n(path);
        packet_socket kernel("tapir0", experimental);
        for (std::uint32_t i = 0; i < 1000; ++i) {
            const frame f = numbered_frame(n.pool, i, i % 2 == 0 ? 60 : 1514);
            kernel.send(f.data());
        }
        expect(wait_for(n.r, [&] { return n.numbers().size() == 1000; }),
               "all frames: " + std::to_string(n.numbers().size()));
        expect(counts_up(n.numbers(), 1000), "in order");
        for (const frame& f : n.got.frames)
            if (load_be16(f.data(), 12) == experimental)
                expect(intact(f.data(), load_be32(f.data(), 14) % 2 == 0 ? 60 : 1514), "as it was sent");
    });
}

TEST_CASE("tap: with few buffers, or few frames a turn, a burst waits in the kernel and nothing is lost") {
    on_each_path([](tap_io path) {
        tap_config config("tapir0", path);
        config.buffers = 8;
        config.frames_per_turn = 3;
        network n(config);
        packet_socket kernel("tapir0", experimental);
        for (std::uint32_t i = 0; i < 900; ++i) kernel.send(numbered_frame(n.pool, i, 1000).data());
        expect(wait_for(n.r, [&] { return n.numbers().size() == 900; }),
               "all frames: " + std::to_string(n.numbers().size()));
        expect(counts_up(n.numbers(), 900), "in order");
        expect(n.device->counters().errors == 0, "running out of buffers is no error");
    });
}

namespace {

/// Notes at the end of a turn that has brought something how much has arrived by then; and one more frame
/// comes while that turn runs.
struct follower final : frame_receiver {
    follower(network& on, packet_socket& peer) : n(on), kernel(peer), at_end(*this) {
        n.device->attach(this);
    }
    ~follower() { n.device->attach(&n.got); }
    void receive(frame&& f) override {
        n.got.receive(std::move(f));
        n.r.at_turn_end(at_end);
        if (!std::exchange(followed, true))
            n.r.post([this] { kernel.send(numbered_frame(n.pool, 4711).data()); });
    }
    void writable() override {}
    void carrier(bool) override {}

    struct turn_end : turn_hook {
        explicit turn_end(follower& f)
            : turn_hook([](turn_hook& h, instant) {
                  follower& self = static_cast<turn_end&>(h).owner;
                  self.seen.push_back(self.n.numbers().size());
              }),
              owner(f) {}
        follower& owner;
    };
    network& n;
    packet_socket& kernel;
    turn_end at_end;
    bool followed = false;
    std::vector<std::size_t> seen;
};

} // namespace

TEST_CASE("tap: behind 64 KiB it looks for more before they are answered, behind less it does not") {
    const auto outcome = test::in_own_network([] {
        network n(tap_io::poll);
        packet_socket kernel("tapir0", experimental);
        std::size_t total = 0;
        for (const std::size_t frames : {50u, 40u}) { // 75,700 and 60,560 bytes
            for (std::uint32_t i = 0; i < frames; ++i) kernel.send(numbered_frame(n.pool, i, 1514).data());
            follower f(n, kernel);
            const std::size_t before = std::exchange(total, total + frames + 1);
            expect(wait_for(n.r, [&] { return n.numbers().size() == total; }), "all arrive");
            expect(f.seen.front() - before == (frames == 50 ? 51 : 40),
                   std::to_string(f.seen.front() - before) + " of " + std::to_string(frames));
        }
    });
    if (!outcome.possible) return test::skip(outcome.text.c_str());
    CHECK_MESSAGE(outcome.text.empty(), outcome.text);
}

TEST_CASE("tap: received frames may be kept, and outlive the device") {
    on_each_path([](tap_io path) {
        recording_receiver kept;
        {
            tap_config config("tapir0", path);
            config.buffers = 16;
            network n(config);
            packet_socket kernel("tapir0", experimental);
            n.device->attach(&kept);
            for (std::uint32_t i = 0; i < 200; ++i) kernel.send(numbered_frame(n.pool, i, 1514).data());
            expect(wait_for(n.r, [&] { return kept.frames.size() >= 200; }), "all frames");
        }
        std::size_t good = 0;
        for (const frame& f : kept.frames)
            if (load_be16(f.data(), 12) == experimental && intact(f.data(), 1514)) ++good;
        expect(good == 200, "still as they were sent");
    });
}

TEST_CASE("tap: closed with traffic in flight, it can be opened again at once, again and again") {
    on_each_path([](tap_io path) {
        for (int i = 0; i < 20; ++i) {
            network n(path);
            packet_socket kernel("tapir0", experimental);
            for (std::uint32_t f = 0; f < 10; ++f) kernel.send(numbered_frame(n.pool, f).data());
            n.send(0, 10);
        }
    });
}

TEST_CASE("tap: the kernel's side goes down and up, and traffic goes on") {
    on_each_path([](tap_io path) {
        network n(path);
        log::set_level(log::level::error);
        expect(set_kernel_side_up("tapir0", false).has_value(), "down");
        n.send(0, 3);
        run_for(n.r, 5ms);
        expect(!n.device->up(), "noticed at the first write");
        expect(n.device->counters().dropped_no_carrier == 3, "lost frames are counted");
        expect(n.got.carriers == std::vector<bool>{false}, "and the receiver told, once");
        const std::uint64_t resumed = n.r.resumptions();
        run_for(n.r, 20ms);
        expect(n.r.resumptions() - resumed < 10, "it waits without being busy");

        expect(set_kernel_side_up("tapir0", true).has_value(), "up");
        expect(wait_for(n.r, [&] { return n.got.carriers == std::vector<bool>{false, true}; }),
               "told without having written or read");
        packet_socket kernel("tapir0", experimental);
        n.send(10, 1);
        kernel.send(numbered_frame(n.pool, 0).data());
        expect(wait_for(n.r, [&] { return counts_up(n.numbers(), 1); }), "the read has survived");
        expect(kernel.received().size() == 1, "and writes work");
        expect(!n.device->failure(), "nothing has failed");
    });
}

TEST_CASE("tap: a deleted device is reported once and read no more") {
    on_each_path([](tap_io path) {
        network n(path);
        int complaints = 0;
        log::set_sink(
            [&](log::level at, std::string_view) { complaints += at == log::level::error ? 1 : 0; });
        delete_device("tapir0");
        expect(wait_for(n.r, [&] { return static_cast<bool>(n.device->failure()); }), "noticed by the read");
        expect(complaints == 1, "one line in the log");
        expect(n.got.carriers == std::vector<bool>{false}, "carrier lost");
        expect(!n.device->ready(), "takes no frames");
        n.send(0, 5);
        run_for(n.r, 5ms);
        expect(n.device->counters().dropped_no_carrier == 5, "what is sent is counted as lost");
        expect(n.r.io().uring()->in_flight() == 0, "nothing is in flight any more");
        log::set_sink({});
    });
}

TEST_CASE("tap: a device that is busy is tried again until it is free") {
    on_each_path([](tap_io path) {
        reactor r(make_uring_backend());
        auto holder = opened(r, tap_config("tapir0", path));
        auto reopen = [&]() -> task<std::error_code> {
            tap_config config("tapir0", path);
            config.busy_for = 30ms;
            auto refused = co_await open_tap(config);
            if (refused) co_return std::error_code();
            co_return refused.error();
        };
        const instant start = r.now();
        expect(r.run(reopen()) == tap_errc::busy, "busy for good");
        expect(r.now() - start >= 30ms, "after it has tried for as long as it was told to");

        r.post([&] { holder.reset(); });
        expect(r.run(open_tap(tap_config("tapir0", path))).has_value(), "and then it is free");
    });
}

TEST_CASE("tap: a killed process's device is taken over at once") {
    on_each_path([](tap_io path) {
        int holding[2];
        expect(::pipe(holding) == 0, "pipe");
        const pid_t pid = ::fork();
        if (pid == 0) {
            try {
                network n(path);
                (void)!::write(holding[1], "!", 1);
                run_for(n.r, 60s);
            } catch (const test::lacking&) { // the parent finds out by itself
                (void)!::write(holding[1], "!", 1);
            } catch (const std::exception&) {
            }
            ::_exit(0);
        }
        ::close(holding[1]);
        char ready = 0;
        const bool held = ::read(holding[0], &ready, 1) == 1;
        ::close(holding[0]);
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
        expect(held, "the other process has the device");
        network n(path);
        make_the_kernel_ask("192.0.2.2");
        expect(wait_for(n.r, [&] { return !n.got.frames.empty(); }), "and frames arrive");
    });
}

TEST_CASE("tap: MTU and queue length are set and kept to") {
    on_each_path([](tap_io path) {
        tap_config config("tapir0", path);
        config.mtu = 9000;
        config.txqueuelen = 2000;
        network n(config);
        expect(n.device->capabilities().mtu == 9000, "MTU");
        packet_socket kernel("tapir0", experimental);
        n.send(0, 1, 9014);
        n.send(1, 1, 9015);
        run_for(n.r, 2ms);
        const auto got = kernel.received();
        expect(got.size() == 1 && got[0].size() == 9014, "a frame of exactly the MTU is sent");
        expect(n.device->counters().dropped_too_big == 1, "a larger one is not");
        kernel.send(numbered_frame(n.pool, 0, 9014).data());
        expect(wait_for(n.r, [&] { return counts_up(n.numbers(), 1); }), "and received");
        for (const frame& f : n.got.frames)
            if (load_be16(f.data(), 12) == experimental) expect(intact(f.data(), 9014), "whole");
    });
}

TEST_CASE("tap: what cannot be opened says why, and what to do") {
    const auto outcome = test::in_own_network([] {
        reactor r(make_uring_backend());
        const auto refusal = [&](const tap_config& config) {
            auto device = r.run(open_tap(config));
            return device ? std::error_code() : device.error();
        };
        for (const char* bad : {"", "sixteen_letters_", "a/b", "tap%d", "a b", "..", "eth:1"})
            expect(refusal(tap_config(bad)) == tap_errc::bad_name, std::string("bad name: ") + bad);
        skip_if_lacking(refusal(tap_config("tapir0")));
        expect(refusal(tap_config("lo")) == tap_errc::not_a_tap, "a device of another kind");

        reactor simulated(make_sim_backend());
        const auto refused = simulated.run(open_tap(tap_config("tapir0")));
        expect(!refused && refused.error() == errc::not_supported, "no TAP in virtual time");
    });
    if (!outcome.possible) return test::skip(outcome.text.c_str());
    CHECK_MESSAGE(outcome.text.empty(), outcome.text);
}

TEST_CASE("tap: when the trial of multishot fails, the poll path goes on with the same device") {
    const auto outcome = test::in_own_network([] {
        reactor r(make_uring_backend());
        const tap_config config("tapir0");
        auto device = tap_device::open("tapir0");
        if (!device) skip_if_lacking(device.error());
        expect(device.has_value(), "opened");
        auto tried = std::make_unique<multishot_tap>(r, std::move(*device), config);
        expect(tried->start().has_value(), "a ring of buffers");
        run_for(r, 1ms);
        tap_device same = tried->take_device();
        tried.reset();

        poll_tap second(r, std::move(same), config);
        recording_receiver got;
        second.attach(&got);
        expect(set_kernel_side_up("tapir0", true).has_value(), "up");
        packet_socket kernel("tapir0", experimental);
        buffer_pool pool;
        kernel.send(numbered_frame(pool, 4711).data());
        const auto arrived = [&] {
            return std::ranges::any_of(got.frames, [](const frame& f) {
                return load_be16(f.data(), 12) == experimental && load_be32(f.data(), 14) == 4711;
            });
        };
        expect(wait_for(r, arrived), "frames arrive on the poll path");
    });
    if (!outcome.possible) return test::skip(outcome.text.c_str());
    CHECK_MESSAGE(outcome.text.empty(), outcome.text);
}

TEST_CASE("tap: the first on a ring is registered with it, others move frames all the same") {
    const auto outcome = test::in_own_network([] {
        network n(tap_io::multishot);
        expect(!n.r.io().uring()->register_file(STDOUT_FILENO), "taken");
        const auto second = opened(n.r, tap_config("tapir1", tap_io::multishot));
        recording_receiver got;
        second->attach(&got);
        expect(set_kernel_side_up("tapir1", true).has_value(), "up");
        packet_socket kernel("tapir1", experimental);
        for (std::uint32_t i = 0; i < 3; ++i) kernel.send(numbered_frame(n.pool, i).data());
        const auto numbered = [](const frame& f) { return load_be16(f.data(), 12) == experimental; };
        expect(wait_for(n.r, [&] { return std::ranges::count_if(got.frames, numbered) == 3; }), "to us");
        for (std::uint32_t i = 0; i < 3; ++i) second->send(numbered_frame(n.pool, i)); // by the ring
        second->flush(n.r.now());
        std::size_t out = 0;
        expect(wait_for(n.r, [&] { return (out += kernel.received().size()) == 3; }), "from us");
    });
    if (!outcome.possible) return test::skip(outcome.text.c_str());
    CHECK_MESSAGE(outcome.text.empty(), outcome.text);
}

TEST_CASE("tap: by itself it takes the multishot path where that works, and poll where it does not") {
    const auto outcome = test::in_own_network([] {
        network n(tap_io::automatic);
        const bool works = n.r.run(open_tap(tap_config("other", tap_io::multishot))).has_value();
        expect((n.device->io() == tap_io::multishot) == works, "the best that works");
    });
    if (!outcome.possible) return test::skip(outcome.text.c_str());
    CHECK_MESSAGE(outcome.text.empty(), outcome.text);
}
