// echo (RFC 862): sends back what comes, and closes when the client has. The same coroutine serves tapir's
// own TCP and the kernel's: --stack tap|kernel.

#include <tapir/framework/scope.hpp>
#include <tapir/framework/stream.hpp>

#include <array>

#include "network.hpp"

using namespace tapir;

namespace {

template <stream S>
task<> echo(S peer) {
    std::array<std::byte, 16 * 1024> buffer;
    for (;;) {
        const auto n = co_await peer.read(buffer);
        if (!n) co_return;  // reset, timed out: destroying the stream ends it
        if (*n == 0) break; // the client's FIN
        if (!co_await peer.write(std::span(buffer).first(*n))) co_return;
    }
    (void)co_await peer.close();
}

template <stream_listener L>
task<> accept_all(L* listener) {
    auto body = [listener](scope& s) -> task<> {
        while (auto peer = co_await listener->accept()) {
            using accepted = std::remove_cvref_t<decltype(*peer)>;
            s.spawn(echo<accepted>, std::move(*peer));
        }
    };
    co_await with_supervisor(body);
}

} // namespace

int main(int argc, char** argv) {
    CLI::App app("echo: sends back what comes");
    samples::network_options options(app, 7);
    CLI11_PARSE(app, argc, argv);
    auto work = [&options](auto& network) -> task<int> {
        signal_set signals(SIGINT, SIGTERM);
        auto listener = network.listen(options.port);
        if (!listener) {
            log::error("cannot listen on port " + std::to_string(options.port) + ": " +
                       listener.error().message());
            co_return 1;
        }
        std::printf("echo on %s port %u; Ctrl-C ends it\n", network.address().c_str(), options.port);
        std::fflush(stdout);
        using listener_type = std::remove_cvref_t<decltype(*listener)>;
        co_await race(accept_all<listener_type>(&*listener), samples::interrupt(&signals));
        co_return 0;
    };
    return samples::run(options, work);
}
