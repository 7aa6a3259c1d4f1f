// Data in the SYN, with the kernel as the other end. [RFC 7413]
#include <doctest/doctest.h>

#include <array>
#include <exception>
#include <string>
#include <thread>

#include "tests/support/kernel_socket.hpp"
#include "tests/support/on_tap.hpp"
#include "tests/support/process.hpp"
#include "tests/support/tap_host.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

constexpr int rounds = 4; // the first has no cookie

void let_the_kernel_open_fast() { // as a client and as a server
    const finished f = run({"sh", "-c", "echo 3 > /proc/sys/net/ipv4/tcp_fastopen"});
    if (f.status != 0) throw lacking("no net.ipv4.tcp_fastopen: " + f.all());
}

/// The kernel's part on a thread of its own, for its sockets block; what it throws is thrown by join().
class beside {
  public:
    template <class F>
    explicit beside(F f)
        : thread_([this, f] {
              try {
                  f();
              } catch (...) {
                  thrown_ = std::current_exception();
              }
          }) {}
    void join() {
        thread_.join();
        if (thrown_) std::rethrow_exception(thrown_);
    }

  private:
    std::exception_ptr thrown_;
    std::thread thread_;
};

task<> answer(tap_host* net) {
    tcp::listen_options o;
    o.fast_open = true;
    auto listener = net->host().listen(ip::endpoint(tap_host::own, 80), o);
    expect(listener.has_value(), "listen");
    for (int i = 0; i < rounds; ++i) {
        auto peer = co_await listener->accept();
        expect(peer.has_value(), "accept");
        std::array<std::byte, 100> room{};
        const auto n = co_await peer->read(room);
        expect(n && as_text(bytes(room).first(*n)) == "hello", "what the kernel has sent");
        expect(peer->info().fast_opened == (i != 0), "with a cookie data comes with the SYN");
        expect((co_await peer->write(as_bytes("answer"))).has_value(), "write");
        (void)co_await peer->close();
    }
    expect(net->host().tcp().counted().fast_open_accepted == rounds - 1, "all but the first");
}

task<> ask(tap_host* net) {
    tcp::connection_options o;
    o.fast_open = true;
    for (int i = 0; i < rounds; ++i) {
        auto c = co_await net->host().connect(ip::endpoint(tap_host::kernels, 80), o, 0, as_bytes("hello"));
        expect(c.has_value(), c ? "" : c.error().message());
        std::array<std::byte, 100> room{};
        const auto n = co_await c->read(room);
        expect(n && as_text(bytes(room).first(*n)) == "answer", "what the kernel has answered");
        expect(c->info().fast_opened == (i != 0), "with a cookie data goes with the SYN");
        (void)co_await c->close();
    }
    expect(net->host().tcp().counted().fast_open_data_refused == 0, "the kernel takes it");
}

} // namespace

TEST_CASE("fast open: the kernel gets a cookie of ours, and its data comes with the SYN") {
    on_each_tap_path([](const std::string& io) {
        let_the_kernel_open_fast();
        tap_host net(io);
        beside kernel([] {
            for (int i = 0; i < rounds; ++i) {
                const auto s = kernel_socket::fast_opened("192.0.2.2", 80, "hello");
                expect(s.read_to_end() == "answer", "the answer");
                expect(s.was_fast_opened() == (i != 0), "the kernel says so too");
            }
        });
        net.run(answer(&net));
        kernel.join();
    });
}

TEST_CASE("fast open: the kernel gives us a cookie, and takes data from our SYN") {
    on_each_tap_path([](const std::string& io) {
        let_the_kernel_open_fast();
        tap_host net(io);
        const auto listener = kernel_socket::listening("192.0.2.1", 80);
        listener.allow_fast_open();
        beside kernel([&] {
            for (int i = 0; i < rounds; ++i) {
                const auto s = listener.accept();
                expect(s.read() == "hello", "what tapir has sent");
                s.write("answer");
                s.finish();
                (void)s.read_to_end();
            }
        });
        net.run(ask(&net));
        kernel.join();
    });
}
