// The gate: what a server on a TAP costs in counts, which are the same on every machine. Nanoseconds are in
// bench/, and gate nothing. Where a bound is not yet what it is to become, it says so; it may only be
// lowered.

#include <tapir/framework/system_call.hpp>

#include <doctest/doctest.h>

#include <fcntl.h>
#include <functional>
#include <string>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/counts/counted.hpp"
#include "tests/counts/on_tap.hpp"
#include "tests/skip.hpp"
#include "tests/support/netns.hpp"

using namespace tapir::test;

namespace {

void on_each_path(const std::function<void(const std::string& io)>& body) {
    for (const char* io : {"poll", "multishot"}) {
        const netns_outcome outcome = in_own_network([&] { body(io); }, 60);
        if (!outcome.possible) return skip(outcome.text.c_str());
        CHECK_MESSAGE(outcome.text.empty(), io, ": ", outcome.text);
    }
}

constexpr double little = 0.01; ///< what the kernel's client may do, an ACK of its own now and then

/// "allocations: 2.5 each, at most 2".
void at_most(double most, double each, const std::string& what) {
    expect(each <= most + little,
           what + ": " + std::to_string(each) + " each, at most " + std::to_string(most));
}

void one_enter_each_turn(const cost& c) {
    expect(c.enters <= c.turns, "io_uring_enter: " + std::to_string(c.enters) + " in " +
                                    std::to_string(c.turns) + " turns, at most one in each");
}

} // namespace

TEST_CASE("counts: reads and writes are seen, by whichever way they ask the system") {
    const int fd = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    REQUIRE(fd >= 0);
    char c = 0;
    const iovec one{&c, 1};
    const auto count = [&] {
        const calls before = calls_counted();
        const bool done = tapir::system_read(fd, &c, 1) == 0 && tapir::system_write(fd, &c, 1) == 1 &&
                          ::read(fd, &c, 1) == 0 && ::write(fd, &c, 1) == 1 && ::readv(fd, &one, 1) == 0 &&
                          ::writev(fd, &one, 1) == 1;
        const calls cost = calls_counted() - before; // before doctest writes anything
        CHECK(done);
        CHECK(cost.reads == 3);
        CHECK(cost.writes == 3);
    };
    try {
        count();
    } catch (const lacking& why) {
        skip(why.what());
    }
    ::close(fd);
}

TEST_CASE("counts: a request on a keep-alive connection") {
    on_each_path([](const std::string& io) {
        const cost c = measured(load::http, io, 5'000);
        at_most(0, c.each(c.done.allocations), "allocations");
        one_enter_each_turn(c);
        at_most(1, c.each(c.frames_out), "frames out");
        at_most(1, c.each(c.made.writes), "write()");
        if (io == "poll")
            at_most(2, c.each(c.made.reads), "read()"); // one finds that there is nothing more
        else // one, of the ring or for an answer that is there at once; three for one that is late, of which
             // answer_guess bears a third; and one more with each 16th
            at_most(1.75, c.each(c.made.reads + c.enters), "read() and io_uring_enter");
        at_most(0, c.each(c.done.copied), "bytes copied in large pieces");
    });
}

TEST_CASE("counts: a connection with one request") {
    on_each_path([](const std::string& io) {
        const cost c = measured(load::http_connect, io, 2'000);
        at_most(6, c.each(c.done.allocations), "allocations"); // its queues, and the info that stays
        one_enter_each_turn(c);
        at_most(3, c.each(c.frames_out), "frames out"); // SYN|ACK; response and FIN; the ACK of the client's
        at_most(3, c.each(c.made.writes), "write()");
    });
}

TEST_CASE("counts: a byte there and back") {
    on_each_path([](const std::string& io) {
        const cost c = measured(load::echo, io, 5'000);
        at_most(0, c.each(c.done.allocations), "allocations");
        one_enter_each_turn(c);
        at_most(1, c.each(c.frames_out), "frames out");
        at_most(1, c.each(c.made.writes), "write()");
    });
}

TEST_CASE("counts: copies of a byte that is sent") {
    on_each_path([](const std::string& io) {
        const cost c = measured(load::send, io, 50'000'000);
        // By write(), into the buffer; what is sent in large segments is written from there.
        at_most(1.01, c.each(c.done.copied), "bytes copied");
        at_most(1, c.each(c.done.allocations) * 100'000, "allocations for 100 000 bytes");
    });
}

TEST_CASE("counts: copies of a byte that is received") {
    // Segments of less than half a buffer are copied by right, and a client on a busy machine sends some: of
    // three runs the first that has few of them counts.
    const auto measured_well = [](load what, const std::string& io, double most) {
        cost c = measured(what, io, 50'000'000);
        for (int again = 0; again < 2 && c.each(c.done.copied) > most + little; ++again)
            c = measured(what, io, 50'000'000);
        return c;
    };
    on_each_path([&](const std::string& io) {
        const cost by_span = measured_well(load::receive, io, 1.01);
        at_most(1.01, by_span.each(by_span.done.copied), "bytes copied by read(span)");
        const cost by_chunk = measured_well(load::receive_chunks, io, 0);
        at_most(0, by_chunk.each(by_chunk.done.copied), "bytes copied by read()");
        at_most(1, by_chunk.each(by_chunk.done.allocations) * 100'000, "allocations for 100 000 bytes");
    });
}
