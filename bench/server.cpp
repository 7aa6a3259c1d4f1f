// The server of every network measure: one program, one source, whichever TCP lies below (--stack
// tap|kernel). On --port P it serves HTTP with a fixed response; on P+1 it is a source (sends until the
// client is gone), on P+2 a sink (reads until the client's FIN, then closes), on P+3 it echoes.
//
// Prints "ready" when all four listen. SIGTERM ends it; it then prints what it took of the kernel.

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/stream.hpp>
#include <tapir/framework/uring_backend.hpp>
#include <tapir/framework/wall_clock.hpp>
#include <tapir/protocols/http/server.hpp>

#include <array>
#include <vector>

#include "samples/support/network.hpp"

using namespace tapir;

namespace {

constexpr std::size_t piece = 64 * 1024; // what one read or write of the bulk services moves at most

/// A stream that takes and hands out its own buffers: what goes through as chunks is copied by nobody but the
/// kernel.
template <class S>
concept chunk_stream = stream<S> && requires(S& s, chunk c) {
    s.write(c);
    { std::declval<detail::awaited<decltype(s.read())>>() } -> std::convertible_to<result<chunk>>;
};

template <stream S>
task<> source(S peer) {
    if constexpr (chunk_stream<S>) {
        static thread_local buffer_pool pool; // as peers have it: one for all connections
        static thread_local const chunk zeros = chunk(pool.copy_of(std::vector<std::byte>(piece)));
        while (co_await peer.write(zeros)) {
        }
    } else {
        const std::vector<std::byte> zeros(piece);
        while (co_await peer.write(bytes(zeros))) {
        }
    }
    peer.abort();
}

template <stream S>
task<> sink(S peer) {
    if constexpr (chunk_stream<S>) {
        for (;;) {
            const auto got = co_await peer.read();
            if (!got) co_return;
            if (got->empty()) break;
        }
    } else {
        std::vector<std::byte> buffer(piece);
        for (;;) {
            const auto n = co_await peer.read(mutable_bytes(buffer));
            if (!n) co_return;
            if (*n == 0) break;
        }
    }
    (void)co_await peer.close();
}

template <stream S>
task<> echo(S peer) {
    std::array<std::byte, 4096> buffer;
    for (;;) {
        const auto n = co_await peer.read(buffer);
        if (!n) co_return;
        if (*n == 0) break;
        if (!co_await peer.write(std::span(buffer).first(*n))) co_return;
    }
    (void)co_await peer.close();
}

task<http::response> greet(const http::request&) {
    co_return http::response(200, "text/plain", "hello, world\n");
}

template <stream_listener L, class Serve>
task<> accept_all(L* listener, Serve serve) {
    auto body = [&](scope& s) -> task<> {
        while (auto peer = co_await listener->accept()) s.spawn(serve, std::move(*peer));
    };
    co_await with_supervisor(body);
}

template <class Listener>
task<> serve_all(std::array<Listener, 4>* on, http::server_control* control) {
    using peer = tapir::http::detail::accepted_by<Listener>;
    auto body = [&](scope& s) -> task<> {
        s.spawn(accept_all<Listener, task<> (*)(peer)>, &(*on)[1], &source<peer>);
        s.spawn(accept_all<Listener, task<> (*)(peer)>, &(*on)[2], &sink<peer>);
        s.spawn(accept_all<Listener, task<> (*)(peer)>, &(*on)[3], &echo<peer>);
        http::server_config config;
        config.wall_clock = unix_time;
        config.max_requests = UINT64_MAX;
        config.max_connections = 1'000'000; // idle ones are a measure
        config.idle_time = 1h;
        (void)co_await http::serve((*on)[0], greet, config, *control);
    };
    co_await with_scope(body);
}

/// `buffer` 0: as the library has it. Kernel sockets size their buffers themselves.
template <class Network>
auto listen(Network& network, std::uint16_t port, [[maybe_unused]] std::uint32_t buffer) {
    if constexpr (requires { network.our_host(); }) {
        tcp::listen_options options;
        options.accepted.no_delay = true; // as the kernel's sockets have it here
        if (buffer != 0) options.accepted.send_buffer = options.accepted.receive_buffer = buffer;
        return network.our_host()->listen(ip::endpoint(ip::address(), port), options);
    } else {
        return network.listen(port);
    }
}

} // namespace

int main(int argc, char** argv) {
    samples::command_line line("server: source, sink, echo and HTTP for bench/run");
    samples::network_options options(line, 8000);
    std::uint32_t buffer = 0;
    line.option("--buffer", buffer, "bytes of tapir's send and receive buffers; 0: the default")
        .within(0, 1 << 30);
    if (const auto status = line.parse(argc, argv)) return *status;
    auto work = [&options, buffer](auto& network) -> task<int> {
        promise_base& self = co_await this_coroutine;
        samples::program_signals signals(network.own_shard());
        using listener_type = std::remove_cvref_t<decltype(*listen(network, options.port, buffer))>;
        std::vector<listener_type> open;
        for (std::uint16_t i = 0; i < 4; ++i) {
            const auto port = static_cast<std::uint16_t>(options.port + i);
            auto listener = listen(network, port, buffer);
            if (!listener) {
                log::error("cannot listen on port " + std::to_string(port) + ": " +
                           listener.error().message());
                co_return 1;
            }
            open.push_back(std::move(*listener));
        }
        std::array<listener_type, 4> all{std::move(open[0]), std::move(open[1]), std::move(open[2]),
                                         std::move(open[3])};
        std::string io = "kernel sockets";
        if constexpr (requires { network.our_host(); }) io = network.tap_path();
        if (!co_await network.meet()) co_return 1;
        if (network.is_first()) std::printf("ready %s\n", io.c_str());
        std::fflush(stdout);
        http::server_control control;
        co_await race(serve_all(&all, &control), samples::interrupt(&signals));
        const spin_counters& spun = self.reactor().spun();
        std::printf("enters %llu spins %llu found %llu spent_ns %llu accepted %llu requests %llu\n",
                    static_cast<unsigned long long>(self.reactor().io().uring()->enters()),
                    static_cast<unsigned long long>(spun.spins), static_cast<unsigned long long>(spun.found),
                    static_cast<unsigned long long>(spun.spent_ns),
                    static_cast<unsigned long long>(control.counters().accepted),
                    static_cast<unsigned long long>(control.counters().requests));
        co_return 0;
    };
    return samples::run(options, work);
}
