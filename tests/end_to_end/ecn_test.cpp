// Explicit Congestion Notification beside the kernel's TCP, over a real TAP and a queue that marks: who
// agrees, and that each side heeds the marks that the other tells of.
#include <tapir/framework/scope.hpp>
#include <tapir/framework/uring_backend.hpp>
#include <tapir/protocols/host/host.hpp>
#include <tapir/protocols/host/kernel_side.hpp>
#include <tapir/protocols/link/impair.hpp>
#include <tapir/protocols/link/tap.hpp>

#include <doctest/doctest.h>

#include <csignal>
#include <cstddef>
#include <exception>
#include <fstream>
#include <functional>
#include <memory>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/kernel_socket.hpp"
#include "tests/support/on_tap.hpp"
#include "tests/support/process.hpp"
#include "tests/support/tapstat.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

const ip::address own = ip::address::v4(192, 0, 2, 2);
const ip::address kernels = ip::address::v4(192, 0, 2, 1);
constexpr std::uint16_t port = 7000;
constexpr std::size_t size = 6'000'000;

/// 0: the kernel never uses ECN; 1: it asks for it, and agrees when it is asked.
void kernel_ecn(char mode) {
    std::ofstream setting("/proc/sys/net/ipv4/tcp_ecn");
    setting << mode << std::flush;
    if (!setting) throw lacking("net.ipv4.tcp_ecn cannot be set here");
}

/// What the kernel's end says when all is sent or read.
struct kernel_end {
    tcp_info info{};
    std::string error;

    bool ecn() const { return (info.tcpi_options & TCPI_OPT_ECN) != 0; }
    bool saw_ect() const { return (info.tcpi_options & TCPI_OPT_ECN_SEEN) != 0; }
    void look(const kernel_socket& s) {
        socklen_t n = sizeof info;
        expect(::getsockopt(s.fd(), IPPROTO_TCP, TCP_INFO, &info, &n) == 0, "TCP_INFO");
    }
};

/// A tapir host on the TAP, behind a link of 4 MB/s with 10 ms each way, whose queue marks from 60 KB on and
/// drops at 600 KB.
class marking_tap {
  public:
    marking_tap() : reactor_(make_uring_backend()) {
        auto opened = reactor_.run(open_tap(tap_config("tapir0", tap_io::poll)));
        expect(opened.has_value(), opened ? "" : opened.error().message());
        tap_ = std::move(*opened);
        expect(configure_kernel_side("tapir0", ip::prefix(kernels, 24)).has_value(), "the kernel's side");
        impair_config queue;
        for (impairment* way : {&queue.in, &queue.out}) {
            way->rate = 4'000'000;
            way->queue = 600'000;
            way->mark_above = 60'000;
            way->delay = 10ms;
        }
        path_ = std::make_unique<impair>(reactor_, *tap_, queue);
        host_ = std::make_unique<tapir::host>(reactor_);
        expect(host_->add_interface(*path_, ethernet::mac_address(2, 0, 0, 0, 0, 2), ip::prefix(own, 24))
                   .has_value(),
               "an interface");
    }
    tapir::host& host() { return *host_; }
    const tcp::counters& counted() { return host_->tcp().counted(); }
    std::uint64_t faults(fault_kind k) const { return path_->faults()[k]; }
    void run(task<> t) { reactor_.run(std::move(t)); }

  private:
    reactor reactor_;
    std::unique_ptr<tap> tap_;
    std::unique_ptr<impair> path_;
    std::unique_ptr<tapir::host> host_;
};

/// The kernel's part, for a thread of its own.
void with_kernel(kernel_end* told, const std::function<void(kernel_end*)>& part) {
    try {
        part(told);
    } catch (const std::exception& e) {
        told->error = e.what();
    }
}

void kernel_sends(kernel_end* told) {
    const auto c = kernel_socket::connected("192.0.2.2", port);
    c.write(std::string(size, 'k'));
    c.finish();
    expect(c.read_to_end().empty(), "nothing comes back");
    told->look(c);
}

task<> take_all(tcp::listener* listening, tcp::info* last) {
    auto peer = co_await listening->accept();
    expect(peer.has_value(), "accept");
    std::vector<std::byte> room(65536);
    std::size_t got = 0;
    for (;;) {
        const auto n = co_await peer->read(room);
        expect(n.has_value(), n ? "" : n.error().message());
        if (*n == 0) break;
        got += *n;
    }
    expect(got == size, "all of it");
    *last = peer->info();
    (void)co_await peer->close();
}

struct outcome {
    kernel_end kernel;
    tcp::info ours;
};

outcome kernel_to_us(marking_tap& net, bool willing) {
    outcome o;
    tcp::listen_options options;
    options.accepted.ecn = willing;
    auto listening = net.host().listen(ip::endpoint(own, port), options);
    expect(listening.has_value(), "listen");
    const std::jthread kernel(with_kernel, &o.kernel, kernel_sends);
    net.run(take_all(&*listening, &o.ours));
    return o;
}

void kernel_takes(const kernel_socket* listening, kernel_end* told) {
    const auto peer = listening->accept();
    expect(peer.read_to_end().size() == size, "all of it");
    told->look(peer);
}

task<> give_all(tapir::host* from, bool willing, tcp::info* last) {
    tcp::connection_options options;
    options.ecn = willing;
    auto c = co_await from->connect(ip::endpoint(kernels, port), options);
    expect(c.has_value(), c ? "" : c.error().message());
    const std::vector<std::byte> data(size, std::byte{'t'});
    expect((co_await c->write(bytes(data))).has_value(), "write");
    expect((co_await c->finish()).has_value(), "finish");
    *last = c->info();
    (void)co_await c->close();
}

outcome us_to_kernel(marking_tap& net, bool willing) {
    outcome o;
    const auto listening = kernel_socket::listening("192.0.2.1", port);
    const std::jthread kernel(with_kernel, &o.kernel,
                              [&](kernel_end* told) { kernel_takes(&listening, told); });
    net.run(give_all(&net.host(), willing, &o.ours));
    return o;
}

} // namespace

TEST_CASE("ecn: the kernel connects, and slows down for the marks that we tell it of") {
    on_tap([] {
        marking_tap net;
        kernel_ecn('1');
        const outcome o = kernel_to_us(net, true);
        expect(o.kernel.error.empty(), o.kernel.error);
        expect(o.kernel.ecn() && o.ours.ecn, "both agreed");
        expect(net.counted().ecn_negotiated == 1, "counted");
        expect(net.faults(fault_kind::mark) > 0 && o.ours.ce_received > 0, "marks came");
        expect(net.counted().ecn_echoes_out > 0 && net.counted().ecn_cwr_in > 0, "the kernel heeded them");
        expect(net.faults(fault_kind::tail_drop) == 0, "so nothing was dropped");
        expect(o.kernel.info.tcpi_total_retrans == 0, "nor sent again");
    });
}

TEST_CASE("ecn: we connect to the kernel, and slow down for the marks that it tells us of") {
    on_tap([] {
        marking_tap net;
        kernel_ecn('1');
        const outcome o = us_to_kernel(net, true);
        expect(o.kernel.error.empty(), o.kernel.error);
        expect(o.kernel.ecn() && o.ours.ecn, "both agreed");
        expect(o.kernel.saw_ect(), "our data could be marked");
        expect(net.faults(fault_kind::mark) > 0, "and was");
        expect(o.ours.ecn_reductions > 0 && net.counted().ecn_cwr_out > 0, "we heeded it");
        expect(o.ours.ecn_reductions <= net.faults(fault_kind::mark), "once for each mark at most");
        expect(net.faults(fault_kind::tail_drop) == 0, "so nothing was dropped");
        expect(o.ours.retransmits == 0, "nor sent again: " + std::to_string(o.ours.retransmits));
    });
}

TEST_CASE("ecn: where one side does not want it neither uses it") {
    on_tap([] {
        kernel_ecn('0');
        {
            marking_tap net;
            const outcome refused = us_to_kernel(net, true);
            expect(refused.kernel.error.empty(), refused.kernel.error);
            expect(!refused.ours.ecn && net.counted().ecn_refused == 1, "the kernel does not");
            expect(net.faults(fault_kind::mark) == 0, "nothing could be marked");
        }
        kernel_ecn('1');
        marking_tap net;
        const outcome declined = kernel_to_us(net, false);
        expect(declined.kernel.error.empty(), declined.kernel.error);
        expect(!declined.kernel.ecn() && !declined.ours.ecn && net.counted().ecn_declined == 1, "we do not");
        expect(net.faults(fault_kind::mark) == 0, "nothing could be marked");
    });
}

TEST_CASE("ecn: a sample agrees to it when told to, and tapstat shows it") {
    on_tap([] {
        kernel_ecn('1');
        const auto server = start({sample("echo"), "--port", "7000", "--ecn"}, "echo on");
        const auto c = kernel_socket::connected("192.0.2.2", 7000);
        c.write("hello");
        expect(c.read_exactly(5) == "hello", "it echoes");
        const std::string shown = tapstat({"-nti"}).out;
        expect(lines_with(" ecn ", shown) == 1, shown);
        expect(lines_with("\"ecn\":true", tapstat({"-nti", "--json"}).out) == 1, "in JSON, too");
        expect(counter_in_tapstat("ecn_negotiated") == 1, "counted");
        server->signal(SIGINT);
        expect(server->wait(seconds(10)) == 0, "ends in order: " + server->err());
    });
}
