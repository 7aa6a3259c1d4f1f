// fetch: a client over our own connect(). Gets one page and writes its body to standard output.
//     fetch 192.0.2.1:8000 /index.html

#include <tapir/framework/sleep.hpp>
#include <tapir/protocols/http/client.hpp>

#include "samples/support/network.hpp"

using namespace tapir;

int main(int argc, char** argv) {
    samples::command_line line("fetch: gets one page over tapir's TCP");
    samples::network_options options(line, 80, false);
    std::string server;
    std::string target = "/";
    unsigned seconds = 30;
    line.option("server", server, "address:port, as 192.0.2.1:8000").required();
    line.option("target", target, "what to get");
    line.option("--timeout", seconds, "seconds until it gives up connecting");
    if (const auto status = line.parse(argc, argv)) return *status;
    auto work = [&](auto& network) -> task<int> {
        const auto at = ip::parse_endpoint(server);
        if (options.stack == "tap" && (!at || at->port == 0)) {
            log::error("'" + server + "' is not an IPv4 address with a port, as 192.0.2.1:8000");
            co_return 1;
        }
        auto c = co_await with_timeout(std::chrono::seconds(seconds), network.connect(server));
        if (!c) {
            log::error("cannot connect to " + server + ": " + c.error().message());
            co_return 1;
        }
        auto print = [](bytes piece) -> result<> {
            if (std::fwrite(piece.data(), 1, piece.size(), stdout) != piece.size()) return errno_code(errno);
            return {};
        };
        const auto answer = co_await http::get(*c, server, target, print);
        if (!answer) {
            log::error("cannot get " + target + " from " + server + ": " + answer.error().message());
            co_return 1;
        }
        (void)co_await c->close();
        if (answer->status >= 400) {
            log::error("the server answered " + std::to_string(answer->status));
            co_return 1;
        }
        co_return 0;
    };
    return samples::run(options, work);
}
