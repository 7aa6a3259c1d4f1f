// UDP against the kernel's, over a real TAP: datagrams whole and in fragments, and what ICMP says when nobody
// is there.
#include <tapir/framework/scope.hpp>
#include <tapir/framework/sleep.hpp>

#include <doctest/doctest.h>

#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <cstring>
#include <netinet/in.h>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

#include "tests/support/on_tap.hpp"
#include "tests/support/tap_host.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

const ip::address own = tap_host::own;
const ip::address kernels = tap_host::kernels;

/// Over and under what one packet holds (1472), some that take several, and the largest there is.
constexpr std::size_t sizes[] = {0, 1, 1472, 1473, 2952, 2953, 8000, 65507};

/// `size` bytes that show any that are lost or moved.
std::vector<std::byte> numbered(std::size_t size) {
    std::vector<std::byte> b(size);
    for (std::size_t i = 0; i < size; ++i) b[i] = static_cast<std::byte>(i * 131 ^ (i >> 8));
    return b;
}

sockaddr_in address_of(const ip::endpoint& e) {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_port = htons(e.port);
    a.sin_addr.s_addr = htonl(e.addr.v4_value());
    return a;
}

/// A UDP socket of the kernel at 192.0.2.1, on the same thread: it never blocks.
class kernel_udp {
  public:
    explicit kernel_udp(std::uint16_t port)
        : fd_(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
        const sockaddr_in at = address_of(ip::endpoint(kernels, port));
        expect(::bind(fd_, reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0, "bind");
    }
    kernel_udp(const kernel_udp&) = delete;
    kernel_udp& operator=(const kernel_udp&) = delete;
    ~kernel_udp() { ::close(fd_); }

    void connect(const ip::endpoint& to) const {
        const sockaddr_in a = address_of(to);
        expect(::connect(fd_, reinterpret_cast<const sockaddr*>(&a), sizeof a) == 0, "connect");
    }
    void send(bytes payload, const ip::endpoint& to) const {
        const sockaddr_in a = address_of(to);
        const ssize_t n =
            ::sendto(fd_, payload.data(), payload.size(), 0, reinterpret_cast<const sockaddr*>(&a), sizeof a);
        expect(n == static_cast<ssize_t>(payload.size()), std::string("sendto: ") + std::strerror(errno));
    }
    struct datagram {
        std::vector<std::byte> payload;
        ip::endpoint from;
        int error = 0;
    };
    /// Waits for one, or for an error.
    task<datagram> receive() const {
        datagram d;
        d.payload.resize(65536);
        for (int i = 0; i < 10'000; ++i) {
            sockaddr_in from{};
            socklen_t size = sizeof from;
            const ssize_t n = ::recvfrom(fd_, d.payload.data(), d.payload.size(), 0,
                                         reinterpret_cast<sockaddr*>(&from), &size);
            if (n < 0 && errno == EAGAIN) {
                (void)co_await sleep_for(1ms);
                continue;
            }
            d.error = n < 0 ? errno : 0;
            d.payload.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
            d.from = ip::endpoint(ip::address::v4(ntohl(from.sin_addr.s_addr)), ntohs(from.sin_port));
            co_return d;
        }
        d.error = ETIMEDOUT;
        co_return d;
    }

  private:
    int fd_;
};

udp::socket bound(tap_host* net, std::uint16_t port) {
    auto s = net->host().bind_udp(ip::endpoint(ip::address(), port));
    expect(s.has_value(), s ? "" : s.error().message());
    return std::move(*s);
}

task<> echo(udp::socket* s) {
    std::vector<std::byte> room(65536);
    while (const auto d = co_await s->receive_from(room)) {
        expect(!d->truncated && d->to == own, "whole, and to us");
        (void)co_await s->send_to(bytes(room).first(d->size), d->from, d->to);
    }
}

task<> kernel_asks(tap_host* net) {
    udp::socket server = bound(net, 7);
    const kernel_udp client(40000);
    auto body = [&](scope& s) -> task<> {
        s.spawn(echo, &server);
        for (const std::size_t size : sizes) {
            const auto sent = numbered(size);
            client.send(sent, ip::endpoint(own, 7));
            const auto got = co_await client.receive();
            expect(got.error == 0, std::to_string(size) + " bytes: " + std::strerror(got.error));
            expect(got.payload == sent, std::to_string(size) + " bytes come back as they were sent");
            expect(got.from == ip::endpoint(own, 7), "from whom it was sent to");
        }
        server.close();
    };
    co_await with_scope(body);
}

task<> tapir_asks(tap_host* net) {
    udp::socket client = bound(net, 0);
    const kernel_udp server(7);
    std::vector<std::byte> room(65536);
    for (const std::size_t size : sizes) {
        const auto sent = numbered(size);
        const auto out = co_await client.send_to(sent, ip::endpoint(kernels, 7));
        expect(out.has_value(), out ? "" : out.error().message());
        const auto asked = co_await server.receive();
        expect(asked.error == 0 && asked.payload == sent, std::to_string(size) + " bytes reach the kernel");
        expect(asked.from == client.local() || asked.from.port == client.local().port, "from our port");
        server.send(asked.payload, asked.from);
        const auto got = co_await client.receive_from(room);
        expect(got && got->size == size, "and come back");
        const std::vector<std::byte> back(room.begin(), room.begin() + static_cast<std::ptrdiff_t>(size));
        expect(back == sent, "as they were sent");
    }
}

} // namespace

TEST_CASE("a UDP datagram over the MTU is fragmented and reassembled both ways") {
    on_each_tap_path([](const std::string& io) {
        tap_host net(io);
        net.run(kernel_asks(&net));
        net.run(tapir_asks(&net));
        const auto& out = net.host().output().count();
        const auto& in = net.host().reassembly().count();
        // Five of the eight sizes, asked and answered.
        expect(out.fragmented == 10, "cut by us: " + std::to_string(out.fragmented));
        expect(in.reassembled == 10, "cut by the kernel: " + std::to_string(in.reassembled));
        expect(in.dropped.total() == 0 && in.abandoned_datagrams.total() == 0, "and none is missing");
        expect(net.host().udp().counted().dropped.total() == 0, "none is dropped");
    });
}

TEST_CASE("udp: where nobody is bound, the kernel hears it from us and we from the kernel") {
    on_tap([] {
        tap_host net("poll");
        auto scenario = [&]() -> task<> {
            const kernel_udp client(40000);
            client.connect(ip::endpoint(own, 9));
            client.send(numbered(10), ip::endpoint(own, 9));
            const auto refused = co_await client.receive();
            expect(refused.error == ECONNREFUSED, std::strerror(refused.error));

            udp::socket ours = bound(&net, 0);
            expect(ours.connect(ip::endpoint(kernels, 9)).has_value(), "connect");
            const auto sent = co_await ours.send("anybody there?");
            expect(sent.has_value(), "the first is sent");
            std::vector<std::byte> room(100);
            const auto got = co_await ours.receive_from(room);
            expect(!got && got.error() == errc::refused, got ? "received" : got.error().message());
        };
        net.run(scenario());
    });
}
