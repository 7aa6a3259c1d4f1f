// What half-close is for: the client says all it has to say and finishes; the server counts the lines until
// then and answers from CLOSE_WAIT. Try:  seq 1000 | nc -N 192.0.2.2 7000

#include <algorithm>
#include <array>

#include "samples/support/network.hpp"

using namespace tapir;

namespace {

template <class S>
std::string state_of(const S& peer) {
    if constexpr (requires { peer.state(); }) {
        return std::string(tcp::name(peer.state()));
    } else {
        return "a state that the kernel keeps to itself"; // kernel sockets do not tell
    }
}

template <stream S>
task<> count_lines(S peer) {
    std::array<std::byte, 16 * 1024> buffer;
    std::size_t lines = 0;
    for (;;) {
        const auto n = co_await peer.read(buffer);
        if (!n) co_return;
        if (*n == 0) break;
        lines += static_cast<std::size_t>(std::ranges::count(std::span(buffer).first(*n), std::byte{'\n'}));
    }
    const std::string answer = std::to_string(lines) +
                               " lines; you have finished, I have not: this comes from " + state_of(peer) +
                               "\n";
    if (!co_await peer.write(answer)) co_return;
    (void)co_await peer.close();
}

} // namespace

int main(int argc, char** argv) {
    samples::command_line line("half_close: counts lines until the client's FIN, then answers");
    samples::network_options options(line, 7000);
    if (const auto status = line.parse(argc, argv)) return *status;
    return samples::run_server(options, "counting lines",
                               [](auto peer) { return count_lines(std::move(peer)); });
}
