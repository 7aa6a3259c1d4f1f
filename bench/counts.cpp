// Exact counts: what a request, a round trip and a byte cost tapir's server on a TAP, in allocations, system
// calls, frames and copies. tests/counts/ has the harness, and gates what is to stay as it is.
//
// A line for each: "contender value metric".

#include <cstdio>
#include <string>
#include <utility>

#include "samples/support/command_line.hpp"
#include "tests/counts/on_tap.hpp"
#include "tests/support/netns.hpp"

using namespace tapir::test;

namespace {

void print(double value, const std::string& metric) {
    std::printf("tapir %.4f %s\n", value, metric.c_str());
}

void print_each(const std::string& what, const std::string& io, const cost& c) {
    const auto line = [&](std::uint64_t n, const char* of) {
        print(c.each(n), what + ", " + of + " (" + io + ")");
    };
    line(c.done.allocations, "allocations");
    line(c.enters, "io_uring_enter");
    line(c.made.reads, "read()");
    line(c.made.writes, "write()");
    line(c.frames_in, "frames in");
    line(c.frames_out, "frames out");
    line(c.done.copied, "bytes copied");
    print(static_cast<double>(c.enters) / static_cast<double>(c.turns),
          what + ", io_uring_enter each turn (" + io + ")");
}

void count_all(const std::string& io) {
    print_each("request", io, measured(load::http, io, 20'000));
    print_each("connection", io, measured(load::http_connect, io, 5'000));
    print_each("round trip", io, measured(load::echo, io, 20'000));
    for (const auto& [what, name] :
         {std::pair(load::send, "byte sent"), std::pair(load::receive, "byte read()"),
          std::pair(load::receive_chunks, "byte read() in chunks")}) {
        const cost c = measured(what, io, 200'000'000);
        print(c.each(c.done.copied), std::string(name) + ", bytes copied (" + io + ")");
        print(c.each(c.done.allocations) * 1e6, std::string(name) + ", allocations for 10^6 (" + io + ")");
    }
    std::fflush(stdout);
}

} // namespace

int main(int argc, char** argv) {
    samples::command_line line("counts: what a request costs, in exact counts");
    if (const auto status = line.parse(argc, argv)) return *status;
    for (const char* io : {"poll", "multishot"}) {
        const netns_outcome done = in_own_network([io] { count_all(io); }, 60);
        if (!done.text.empty()) std::fprintf(stderr, "counts, %s: %s\n", io, done.text.c_str());
        if (done.possible && !done.text.empty()) return 1;
    }
    return 0;
}
