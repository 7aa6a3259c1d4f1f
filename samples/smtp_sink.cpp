// smtp_sink: takes every message that it is offered and prints it with its envelope; delivers none. For
// looking at what a program mails. Try:
//     curl smtp://192.0.2.2 --mail-from a@example.org --mail-rcpt b@example.org --upload-file letter --crlf

#include <tapir/framework/sleep.hpp>
#include <tapir/protocols/smtp/server.hpp>

#include <cstdio>
#include <string>

#include "samples/support/network.hpp"

using namespace tapir;

namespace {

constexpr duration stop_within = 3s;

/// What a stranger sent must not move the cursor of whoever looks at it, nor anything else of the terminal.
std::string printable(std::string_view text) {
    static constexpr char digits[] = "0123456789abcdef";
    std::string out;
    unsigned before = 0;
    for (const char c : text) {
        const auto code = static_cast<unsigned char>(c);
        // Of UTF-8 only the control characters U+0080 to U+009F are held back.
        const bool control = code < ' ' || code == 0x7f || (before == 0xc2 && code < 0xa0);
        before = code;
        if (c == '\r') continue;
        if (!control || c == '\n' || c == '\t') {
            out += c;
        } else {
            out += "\\x";
            out += digits[code >> 4];
            out += digits[code & 15];
        }
    }
    return out;
}

void print(const smtp::message& m, std::uint64_t number) {
    std::string all = "message " + std::to_string(number) + " from " + m.client + ", which calls itself " +
                      m.helo + ", " + std::to_string(m.text.size()) + " bytes\n" + "MAIL FROM:<" + m.from +
                      ">\n";
    for (const std::string& to : m.recipients) all += "RCPT TO:<" + to + ">\n";
    all += "\n" + m.text + "-- end of message " + std::to_string(number) + "\n";
    const std::string shown = printable(all);
    std::fwrite(shown.data(), 1, shown.size(), stdout);
    std::fflush(stdout);
}

task<> pause(duration d) {
    (void)co_await sleep_for(d);
}

/// The first signal ends it in order, within a few seconds; the second at once.
task<> until_signals(samples::program_signals* signals, smtp::server_control* control) {
    co_await samples::interrupt(signals);
    control->stop();
    co_await race(samples::interrupt(signals), pause(stop_within));
}

} // namespace

int main(int argc, char** argv) {
    samples::command_line line("smtp_sink: takes mail and prints it");
    samples::network_options options(line, 25);
    smtp::config config;
    config.host_name = "smtp_sink.invalid";
    std::uint64_t limit = config.message_bytes;
    line.option("--name", config.host_name, "how it names itself");
    line.option("--message-bytes", limit, "the largest message it takes");
    if (const auto status = line.parse(argc, argv)) return *status;
    config.message_bytes = limit;
    auto work = [&](auto& network) -> task<int> {
        samples::program_signals signals(network.own_shard());
        auto listener = network.listen(options.port);
        if (!listener) {
            log::error("cannot listen on port " + std::to_string(options.port) + ": " +
                       listener.error().message());
            co_return 1;
        }
        if (!co_await network.meet()) co_return 1;
        if (network.is_first()) {
            std::printf("taking mail on %s port %u; Ctrl-C ends it\n", network.address().c_str(),
                        options.port);
            std::fflush(stdout);
        }
        std::uint64_t taken = 0;
        auto keep = [&taken](const smtp::message& m) -> task<result<>> {
            print(m, ++taken);
            co_return result<>();
        };
        smtp::server_control control;
        const auto ended =
            co_await race(smtp::serve(*listener, keep, config, control), until_signals(&signals, &control));
        log::info("took " + std::to_string(taken) + " messages on " +
                  std::to_string(control.counters().accepted) + " connections");
        if (ended.index() == 0 && !std::get<0>(ended)) {
            log::error("serving failed: " + std::get<0>(ended).error().message());
            co_return 1;
        }
        co_return 0;
    };
    return samples::run(options, work);
}
