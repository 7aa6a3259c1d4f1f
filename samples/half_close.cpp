// What half-close is for: the client says all it has to say and finishes; the server counts the lines until
// then and answers from CLOSE_WAIT. Try:  seq 1000 | nc -N 192.0.2.2 7000

#include <tapir/framework/scope.hpp>

#include <algorithm>
#include <array>

#include "network.hpp"

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

template <stream_listener L>
task<> accept_all(L* listener) {
    auto body = [listener](scope& s) -> task<> {
        while (auto peer = co_await listener->accept()) {
            using accepted = std::remove_cvref_t<decltype(*peer)>;
            s.spawn(count_lines<accepted>, std::move(*peer));
        }
    };
    co_await with_supervisor(body);
}

} // namespace

int main(int argc, char** argv) {
    CLI::App app("half_close: counts lines until the client's FIN, then answers");
    samples::network_options options(app, 7000);
    CLI11_PARSE(app, argc, argv);
    auto work = [&options](auto& network) -> task<int> {
        signal_set signals(SIGINT, SIGTERM);
        auto listener = network.listen(options.port);
        if (!listener) {
            log::error("cannot listen on port " + std::to_string(options.port) + ": " +
                       listener.error().message());
            co_return 1;
        }
        std::printf("counting lines on %s port %u; try: seq 1000 | nc -N %s %u\n", network.address().c_str(),
                    options.port, network.address().c_str(), options.port);
        std::fflush(stdout);
        using listener_type = std::remove_cvref_t<decltype(*listener)>;
        co_await race(accept_all<listener_type>(&*listener), samples::interrupt(&signals));
        co_return 0;
    };
    return samples::run(options, work);
}
