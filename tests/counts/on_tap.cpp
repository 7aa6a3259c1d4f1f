#include "tests/counts/on_tap.hpp"

#include <tapir/framework/event.hpp>
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/framework/uring_backend.hpp>
#include <tapir/framework/wall_clock.hpp>
#include <tapir/protocols/host/host.hpp>
#include <tapir/protocols/host/kernel_side.hpp>
#include <tapir/protocols/http/server.hpp>
#include <tapir/protocols/link/tap.hpp>

#include <arpa/inet.h>
#include <array>
#include <memory>
#include <netinet/tcp.h>
#include <string_view>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "tests/support/netns.hpp"

namespace tapir::test {
namespace {

constexpr ip::address own = ip::address::v4(192, 0, 2, 2);
constexpr ip::address kernels = ip::address::v4(192, 0, 2, 1);
constexpr std::uint16_t port = 80;
constexpr std::size_t piece = 64 * 1024;

/// io_uring, and how often the run loop has waited for it: once in each turn.
class counting_backend final : public backend {
  public:
    instant now() override { return ring_.now(); }
    duration timer_resolution() const override { return ring_.timer_resolution(); }
    bool wait(instant deadline) override {
        ++turns;
        return ring_.wait(deadline);
    }
    bool look() override { return ring_.look(); }
    void dispatch() override { ring_.dispatch(); }
    void submit(io_operation& operation) override { ring_.submit(operation); }
    void cancel(io_operation& operation) override { ring_.cancel(operation); }
    io_operation::completion retire(io_operation& operation) override { return ring_.retire(operation); }
    void wake() override { ring_.wake(); }
    bool simulated() const override { return false; }
    uring_backend* uring() override { return &ring_; }

    std::uint64_t turns = 0;

  private:
    uring_backend ring_;
};

/// Begins to count behind the warm-up, and ends when all has been done.
class meter {
  public:
    meter(counting_backend& io, const link& frames, host& on, std::uint64_t operations)
        : io_(io), frames_(frames), host_(on), warm_up_(operations / 4), operations_(operations) {}

    /// `n` operations more have been done. False when they are enough.
    bool add(std::uint64_t n) {
        done_ += n;
        if (!counting_ && done_ >= warm_up_) {
            counting_ = true;
            began_ = now();
        } else if (counting_ && done_ - began_.operations >= operations_) {
            const cost end = now();
            total_ = {.done = end.done - began_.done,
                      .made = end.made - began_.made,
                      .enters = end.enters - began_.enters,
                      .turns = end.turns - began_.turns,
                      .frames_in = end.frames_in - began_.frames_in,
                      .frames_out = end.frames_out - began_.frames_out,
                      .payload_out = end.payload_out - began_.payload_out,
                      .operations = end.operations - began_.operations};
            enough = true;
        }
        return !enough;
    }
    const cost& total() const { return total_; }
    bool enough = false;

  private:
    cost now() const {
        const link_counters f = frames_.counters();
        return {.done = counted(),
                .made = calls_counted(),
                .enters = io_.uring()->enters(),
                .turns = io_.turns,
                .frames_in = f.frames_in,
                .frames_out = f.frames_out,
                .payload_out = host_.tcp().counted().bytes_out,
                .operations = done_};
    }
    counting_backend& io_;
    const link& frames_;
    host& host_;
    std::uint64_t warm_up_;
    std::uint64_t operations_;
    std::uint64_t done_ = 0;
    bool counting_ = false;
    cost began_;
    cost total_;
};

task<> serve_http(tcp::listener* listener, meter* m, event* over) {
    http::server_control control;
    http::server_config config;
    config.wall_clock = unix_time;
    config.max_requests = UINT64_MAX;
    const http::handler greet = [m, over](const http::request&) -> task<http::response> {
        if (!m->add(1)) over->set();
        co_return http::response(200, "text/plain", "hello, world\n");
    };
    (void)co_await http::serve(*listener, greet, config, control);
}

task<> serve_bytes(load what, tcp::listener* listener, meter* m, event* over) {
    auto peer = co_await listener->accept();
    if (!peer) co_return;
    std::vector<std::byte> buffer(piece);
    for (bool goes_on = true; goes_on;) {
        std::size_t n = 0;
        if (what == load::send) {
            if (!co_await peer->write(bytes(buffer))) break;
            n = piece;
        } else if (what == load::receive_chunks) {
            const auto got = co_await peer->read();
            if (!got || got->empty()) break;
            n = got->size();
        } else {
            const auto got = co_await peer->read(mutable_bytes(buffer));
            if (!got || *got == 0) break;
            n = *got;
            if (what == load::echo && !co_await peer->write(bytes(buffer).first(n))) break;
        }
        goes_on = m->add(what == load::echo ? 1 : n);
    }
    peer->abort();
    over->set();
}

sockaddr_in server_address() {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(own.v4_value());
    return to;
}

/// On connections of its own, one after the other, until one fails.
void connect_and_ask() {
    const sockaddr_in to = server_address();
    const std::string_view request = "GET / HTTP/1.1\r\nHost: 192.0.2.2\r\nConnection: close\r\n\r\n";
    const timeval patience{1, 0}; // nobody refuses who is gone
    std::array<char, 4096> buffer;
    for (bool well = true; well;) {
        const int s = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ::setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        ::setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        well = ::connect(s, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0 &&
               ::send(s, request.data(), request.size(), MSG_NOSIGNAL) > 0;
        ssize_t n = well ? 1 : -1;
        while (n > 0) n = ::recv(s, buffer.data(), buffer.size(), 0);
        well = n == 0; // its FIN
        ::close(s);
    }
}

/// On a thread of its own, until the server ends the connection.
void be_client(load what) {
    if (what == load::http_connect) return connect_and_ask();
    const int s = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    ::setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const sockaddr_in to = server_address();
    std::vector<char> buffer(piece);
    const std::string_view request = what == load::http ? "GET / HTTP/1.1\r\nHost: 192.0.2.2\r\n\r\n" : "x";
    bool well = ::connect(s, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0;
    while (well) {
        if (what == load::receive || what == load::receive_chunks) {
            well = ::send(s, buffer.data(), buffer.size(), MSG_NOSIGNAL) > 0;
        } else {
            if (what != load::send) well = ::send(s, request.data(), request.size(), MSG_NOSIGNAL) > 0;
            well = well && ::recv(s, buffer.data(), buffer.size(), 0) > 0;
        }
    }
    ::close(s);
}

} // namespace

cost measured(load what, const std::string& io, std::uint64_t operations) {
    (void)calls_counted(); // says now that this cannot be done here
    auto made = std::make_unique<counting_backend>();
    counting_backend& counting = *made;
    reactor_config quiet;
    quiet.stall_after = duration::zero();
    reactor r(std::move(made), quiet);
    auto tap = r.run(open_tap(tap_config("tapir0", io == "poll" ? tap_io::poll : tap_io::multishot)));
    if (!tap && tap.error() == tap_errc::no_multishot) throw lacking(tap.error().message());
    expect(tap.has_value(), tap ? "" : tap.error().message());
    expect(configure_kernel_side("tapir0", ip::prefix(kernels, 24)).has_value(), "the kernel's side");
    host h(r);
    expect(h.add_interface(**tap, ethernet::mac_address(2, 0, 0, 0, 0, 2), ip::prefix(own, 24)).has_value(),
           "an interface");
    tcp::listen_options options;
    options.accepted.no_delay = true;
    auto listener = h.listen(ip::endpoint(own, port), options);
    expect(listener.has_value(), "a listener");
    meter m(counting, **tap, h, operations);
    event over;
    auto serve = [&]() -> task<> {
        auto both = [&](scope& s) -> task<> {
            if (what == load::http || what == load::http_connect)
                s.spawn(serve_http, &*listener, &m, &over);
            else
                s.spawn(serve_bytes, what, &*listener, &m, &over);
            (void)co_await over.wait();
            s.request_stop();
        };
        co_await with_scope(both);
    };
    std::thread client(be_client, what);
    r.run(serve());
    h.stop(); // resets the client
    auto last_words = []() -> task<> { (void)co_await sleep_for(1ms); };
    r.run(last_words());
    client.join();
    return m.total();
}

} // namespace tapir::test
