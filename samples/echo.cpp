// echo (RFC 862): sends back what comes, and closes when the client has. The same coroutine serves tapir's
// own TCP and the kernel's: --stack tap|kernel.

#include <array>

#include "samples/support/network.hpp"

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

} // namespace

int main(int argc, char** argv) {
    samples::command_line line("echo: sends back what comes");
    samples::network_options options(line, 7);
    if (const auto status = line.parse(argc, argv)) return *status;
    return samples::run_server(options, "echo", [](auto peer) { return echo(std::move(peer)); });
}
