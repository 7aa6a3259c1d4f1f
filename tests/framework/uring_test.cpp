#include <tapir/framework/buffer_ring.hpp>
#include <tapir/framework/uring_backend.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <memory>
#include <optional>
#include <poll.h>
#include <string>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include "tests/support/descriptors.hpp"

using namespace tapir;
using test::fds;
using test::open_descriptors;

namespace {

/// Every completion of one operation, as text.
struct recorded : io_operation {
    explicit recorded(kind k) : io_operation(k, &record) {}
    static void record(io_operation& op, const completion& c) {
        auto& self = static_cast<recorded&>(op);
        self.all.push_back(c);
    }
    std::vector<completion> all;
};

/// Turns of a reactor by hand, until `done` or for two seconds.
template <class Done>
bool turn_until(backend& io, Done done) {
    const instant limit = io.now() + 2s;
    while (!done()) {
        if (io.now() > limit) return false;
        io.wait(std::min(limit, io.now() + 100ms));
        io.dispatch();
    }
    return true;
}

/// Runs `body` in a child process; its return value is the child's exit code.
template <class Body>
int in_child(Body body) {
    const pid_t child = ::fork();
    if (child == 0) {
        int code = 99;
        try {
            code = body();
        } catch (...) {
        }
        ::_exit(code);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

} // namespace

TEST_CASE("uring: a look at a passed deadline returns at once and still brings what has completed") {
    uring_backend io;
    const fds p = fds::pipe();
    p.put("x");
    char byte = 0;
    recorded read(io_operation::kind::read);
    read.fd = p.a;
    read.address = &byte;
    read.length = 1;
    io.submit(read);
    const instant before = io.now();
    CHECK(io.wait(before - 1s)); // submits and looks
    io.dispatch();
    CHECK(io.now() - before < 500ms);
    REQUIRE(turn_until(io, [&] { return !read.all.empty(); }));
    CHECK(read.all[0].result == 1);
    CHECK_FALSE(read.in_flight);
    CHECK(byte == 'x');
    CHECK(io.in_flight() == 0);
}

TEST_CASE("uring: a wait ends at its deadline, not before") {
    uring_backend io;
    const instant deadline = io.now() + 20ms;
    while (io.now() < deadline) {
        io.wait(deadline);
        io.dispatch();
    }
    CHECK(io.now() >= deadline);
    CHECK(io.now() < deadline + 1s);
}

TEST_CASE("uring: a deadline before the last one is kept, one behind it wakes up in vain once") {
    uring_backend io;
    const auto wait_for_nothing_until = [&](instant deadline) { // something completes meanwhile
        recorded nothing(io_operation::kind::nop);
        io.submit(nothing);
        while (nothing.in_flight) {
            io.wait(deadline);
            io.dispatch();
        }
    };
    wait_for_nothing_until(io.now() + 3s);
    const instant sooner = io.now() + 5ms;
    while (io.now() < sooner) {
        io.wait(sooner);
        io.dispatch();
    }
    CHECK(io.now() < sooner + 1s);

    wait_for_nothing_until(io.now() + 10ms);
    const instant put_off = io.now() + 40ms;
    int waits = 0;
    for (; io.now() < put_off; ++waits) {
        io.wait(put_off);
        io.dispatch();
    }
    CHECK(waits <= 2);
    CHECK(io.in_flight() == 0);
}

TEST_CASE("uring: with nothing to submit and nothing completed, a look costs no system call") {
    uring_backend io;
    io.wait(io.now() - 1s); // submits the read of the wake-up descriptor
    io.dispatch();
    const std::uint64_t before = io.enters();
    for (int i = 0; i < 100; ++i) {
        io.wait(io.now() - 1s);
        io.dispatch();
    }
    CHECK(io.enters() == before);
}

TEST_CASE("uring: wake() from another thread ends a wait without a deadline") {
    uring_backend io;
    for (int round = 0; round < 20; ++round) {
        std::thread other([&] { io.wake(); });
        io.wait(never);
        io.dispatch();
        other.join();
        io.wait(io.now() + 1ms); // takes what came late
        io.dispatch();
    }
    CHECK(io.in_flight() == 0);
}

TEST_CASE("uring: a cancelled operation completes once, with -ECANCELED") {
    uring_backend io;
    const fds p = fds::pipe();
    char byte = 0;
    recorded read(io_operation::kind::read);
    read.fd = p.a;
    read.address = &byte;
    read.length = 1;
    io.submit(read);
    io.wait(io.now() - 1s);
    io.cancel(read);
    CHECK(read.in_flight); // "cancel found it" is not the end
    REQUIRE(turn_until(io, [&] { return !read.in_flight; }));
    io.cancel(read); // of something that has ended: nothing happens
    io.wait(io.now() + 1ms);
    io.dispatch();
    REQUIRE(read.all.size() == 1);
    CHECK(read.all[0].result == -ECANCELED);
}

TEST_CASE("uring: an operation cancelled before it was submitted completes too") {
    uring_backend io;
    const fds p = fds::pipe();
    char byte = 0;
    recorded read(io_operation::kind::read);
    read.fd = p.a;
    read.address = &byte;
    read.length = 1;
    io.submit(read);
    io.cancel(read);
    REQUIRE(turn_until(io, [&] { return !read.in_flight; }));
    REQUIRE(read.all.size() == 1);
    CHECK(read.all[0].result == -ECANCELED);
}

TEST_CASE("uring: a multishot poll completes again and again, and ends when cancelled") {
    uring_backend io;
    const fds p = fds::pipe();
    recorded poll(io_operation::kind::poll_multishot);
    poll.fd = p.a;
    poll.flags = POLLIN;
    io.submit(poll);
    for (std::size_t round = 1; round <= 3; ++round) {
        p.put("x");
        REQUIRE(turn_until(io, [&] { return poll.all.size() == round; }));
        CHECK((poll.all.back().result & POLLIN) != 0);
        CHECK(poll.all.back().more);
        CHECK(poll.in_flight);
        char byte = 0;
        REQUIRE(::read(p.a, &byte, 1) == 1);
    }
    io.cancel(poll);
    REQUIRE(turn_until(io, [&] { return !poll.in_flight; }));
    CHECK_FALSE(poll.all.back().more);
    CHECK(poll.all.back().result == -ECANCELED);
}

TEST_CASE("uring: a submission queue that overflows submits and goes on") {
    uring_config small;
    small.entries = 4;
    small.completions = 8;
    uring_backend io(small);
    std::vector<std::unique_ptr<recorded>> all;
    for (int i = 0; i < 500; ++i) {
        all.push_back(std::make_unique<recorded>(io_operation::kind::nop));
        io.submit(*all.back());
    }
    CHECK(io.in_flight() == 500);
    REQUIRE(
        turn_until(io, [&] { return io.in_flight() == 0; })); // the completion queue overflowed on the way
    for (const auto& op : all) {
        REQUIRE(op->all.size() == 1);
        CHECK(op->all[0].result == 0);
    }
}

TEST_CASE("uring: a handler that submits again does not keep dispatch() from returning") {
    uring_backend io;
    struct endless : io_operation {
        explicit endless(backend& b)
            : io_operation(kind::nop,
                           [](io_operation& op, const completion& c) {
                               auto& self = static_cast<endless&>(op);
                               ++self.rounds;
                               if (c.result >= 0 && self.rounds < 1000) self.io.submit(self);
                           }),
              io(b) {}
        backend& io;
        int rounds = 0;
    } op(io);
    io.submit(op);
    io.wait(io.now() + 1s);
    io.dispatch();
    CHECK(op.rounds == 1);
    REQUIRE(turn_until(io, [&] { return op.rounds == 1000; }));
}

TEST_CASE("uring: on kernels that refuse the newer ways to set up a ring, the older ones do the same") {
    for (const std::uint32_t skip : {0u, 1u, 2u}) {
        uring_config config;
        config.skip_setups = skip;
        uring_backend io(config);
        const fds p = fds::pipe();
        recorded poll(io_operation::kind::poll_multishot);
        poll.fd = p.a;
        poll.flags = POLLIN;
        io.submit(poll);
        for (std::size_t round = 1; round <= 3; ++round) {
            p.put("x");
            REQUIRE(turn_until(io, [&] { return poll.all.size() >= round; }));
            char byte = 0;
            REQUIRE(::read(p.a, &byte, 1) == 1);
        }
        std::thread other([&] { io.wake(); });
        io.wait(never);
        other.join();
        recorded nop(io_operation::kind::nop);
        io.submit(nop);
        while (nop.in_flight) { // with looks only
            io.wait(io.now() - 1s);
            io.dispatch();
        }
        CHECK(io.retire(poll).result == -ECANCELED);
        CHECK(io.in_flight() == 0);
    }
    uring_config none;
    none.skip_setups = 3;
    CHECK_THROWS_AS(uring_backend{none}, std::system_error);
}

TEST_CASE("uring: retire() returns when the kernel no longer touches the memory, and calls no handler") {
    uring_backend io;
    const fds p = fds::pipe();
    const fds q = fds::pipe();
    auto memory = std::make_unique<std::array<char, 64>>();
    char byte = 0;
    recorded dying(io_operation::kind::read);
    dying.fd = p.a;
    dying.address = memory->data();
    dying.length = 64;
    recorded staying(io_operation::kind::read);
    staying.fd = q.a;
    staying.address = &byte;
    staying.length = 1;
    io.submit(dying);
    io.submit(staying);
    q.put("y");
    const io_operation::completion last = io.retire(dying);
    CHECK(last.result == -ECANCELED);
    CHECK_FALSE(dying.in_flight);
    memory.reset(); // under AddressSanitizer a late write would be seen
    p.put("late");
    REQUIRE(turn_until(io, [&] { return !staying.all.empty(); }));
    CHECK(staying.all[0].result == 1);
    CHECK(dying.all.empty());
}

TEST_CASE("uring: a back end that dies with operations in flight waits for the kernel to let go") {
    const std::size_t before = open_descriptors();
    {
        const fds p = fds::pipe();
        std::vector<std::unique_ptr<std::array<char, 64>>> memory;
        std::vector<std::unique_ptr<recorded>> all;
        {
            uring_backend io;
            for (int i = 0; i < 16; ++i) {
                memory.push_back(std::make_unique<std::array<char, 64>>());
                all.push_back(std::make_unique<recorded>(io_operation::kind::read));
                all.back()->fd = p.a;
                all.back()->address = memory.back()->data();
                all.back()->length = 64;
                io.submit(*all.back());
            }
            all.push_back(std::make_unique<recorded>(io_operation::kind::poll_multishot));
            all.back()->fd = p.a;
            all.back()->flags = POLLIN;
            io.submit(*all.back());
            io.wait(io.now() - 1s);
        }
        for (const auto& op : all) {
            CHECK_FALSE(op->in_flight);
            CHECK(op->all.empty());
        }
        memory.clear();
        p.put("late");
    }
    CHECK(open_descriptors() == before);
}

TEST_CASE("uring: the kernel's operations are probed") {
    const uring_backend io;
    using kind = io_operation::kind;
    for (const kind k :
         {kind::nop, kind::read, kind::write, kind::writev, kind::recv, kind::send, kind::accept,
          kind::connect, kind::shutdown, kind::poll, kind::open, kind::statx, kind::close})
        CHECK(io.supports(k));
}

TEST_CASE("uring: a pooled buffer ring feeds a multishot read; whoever receives a buffer may keep it") {
    uring_backend io;
    if (!io.supports(io_operation::kind::read_multishot)) return;
    buffer_pool pool;
    std::vector<std::string> got;
    std::vector<buffer> kept;
    const fds s = fds::socketpair(SOCK_SEQPACKET);
    {
        pooled_buffer_ring ring(io, pool, 4, 1000);
        recorded read(io_operation::kind::read_multishot);
        read.fd = s.a;
        read.buffer_group = ring.group();
        io.submit(read);
        std::size_t seen = 0;
        for (int i = 0; i < 40; ++i) {
            s.put("message " + std::to_string(i));
            REQUIRE(turn_until(io, [&] { return read.all.size() > seen; }));
            for (; seen < read.all.size(); ++seen) {
                const auto c = read.all[seen];
                REQUIRE(c.result > 0);
                REQUIRE(c.has_buffer);
                CHECK(c.more);
                const bytes content = ring.peek(c.buffer_id).span().first(static_cast<std::size_t>(c.result));
                got.emplace_back(as_text(content));
                if (i % 2 == 0) {
                    const auto* where = ring.peek(c.buffer_id).data();
                    kept.push_back(ring.take(c.buffer_id));
                    CHECK(kept.back().data() == where);
                    CHECK(ring.peek(c.buffer_id).data() != where);
                } else {
                    ring.recycle(c.buffer_id);
                }
                ring.publish();
            }
        }
        io.retire(read);
    }
    REQUIRE(got.size() == 40);
    for (std::size_t i = 0; i < 40; ++i) CHECK(got[i] == "message " + std::to_string(i));
    REQUIRE(kept.size() == 20);
    CHECK(std::string_view(reinterpret_cast<const char*>(kept[3].data()), 9) == "message 6");
    CHECK(pool.live_blocks() == 20);
}

TEST_CASE("uring: a multishot read that runs out of buffers ends with -ENOBUFS and loses nothing") {
    uring_backend io;
    if (!io.supports(io_operation::kind::read_multishot)) return;
    buffer_pool pool;
    pooled_buffer_ring ring(io, pool, 2, 256);
    const fds s = fds::socketpair(SOCK_SEQPACKET);
    for (const char* text : {"one", "two", "three"}) s.put(text);
    recorded read(io_operation::kind::read_multishot);
    read.fd = s.a;
    read.buffer_group = ring.group();
    io.submit(read);
    REQUIRE(turn_until(io, [&] { return !read.in_flight; }));
    REQUIRE(read.all.size() == 3);
    CHECK(read.all[2].result == -ENOBUFS);
    ring.recycle(read.all[0].buffer_id);
    ring.publish();
    io.submit(read);
    REQUIRE(turn_until(io, [&] { return read.all.size() >= 4; }));
    CHECK(read.all[3].result == 5);
    CHECK(as_text(ring.peek(read.all[3].buffer_id).span().first(5)) == "three");
    io.retire(read);
}

TEST_CASE("uring: buffer groups are used again; impossible sizes are refused") {
    uring_backend io;
    std::uint16_t first = 0;
    {
        const buffer_ring one(io, 8);
        const buffer_ring two(io, 8);
        first = one.group();
        CHECK(one.group() != two.group());
    }
    const buffer_ring again(io, 16);
    CHECK(again.group() <= first + 1);
    CHECK_THROWS_AS(buffer_ring(io, 0), std::invalid_argument);
    CHECK_THROWS_AS(buffer_ring(io, 12), std::invalid_argument);
    CHECK_THROWS_AS(buffer_ring(io, 65536), std::invalid_argument);
}

TEST_CASE("uring: memory that the caller owns can be provided, too") {
    uring_backend io;
    if (!io.supports(io_operation::kind::read_multishot)) return;
    std::array<std::byte, 64> left{};
    std::array<std::byte, 64> right{};
    buffer_ring ring(io, 2);
    ring.provide(0, left);
    ring.provide(1, right);
    ring.publish();
    const fds s = fds::socketpair(SOCK_SEQPACKET);
    recorded read(io_operation::kind::read_multishot);
    read.fd = s.a;
    read.buffer_group = ring.group();
    io.submit(read);
    s.put("first");
    s.put("second");
    REQUIRE(turn_until(io, [&] { return read.all.size() >= 2; }));
    CHECK(read.all[0].buffer_id == 0);
    CHECK(as_text(std::span(left).first(5)) == "first");
    CHECK(read.all[1].buffer_id == 1);
    CHECK(as_text(std::span(right).first(6)) == "second");
    io.retire(read);
}

TEST_CASE("uring: a registered file serves by its number, also when its descriptor is closed") {
    uring_backend io;
    fds p = fds::pipe();
    const std::optional<std::int32_t> number = io.register_file(p.a);
    REQUIRE(number.has_value());
    ::close(std::exchange(p.a, -1));
    std::array<char, 8> memory{};
    recorded read(io_operation::kind::read);
    read.fd = *number;
    read.registered = true;
    read.address = memory.data();
    read.length = memory.size();
    p.put("one");
    io.submit(read);
    REQUIRE(turn_until(io, [&] { return !read.all.empty(); }));
    CHECK(read.all[0].result == 3);
    CHECK(std::string_view(memory.data(), 3) == "one");

    io.unregister_file(*number);
    io.submit(read);
    REQUIRE(turn_until(io, [&] { return read.all.size() == 2; }));
    CHECK(read.all[1].result == -EBADF);
}

TEST_CASE("uring: one file is registered at a time") {
    uring_backend io;
    const fds p = fds::pipe();
    for (const int no_file : {-1, -2, 1000}) CHECK_FALSE(io.register_file(no_file));
    for (int i = 0; i < 3; ++i) {
        const auto number = io.register_file(p.a);
        REQUIRE(number.has_value());
        CHECK_FALSE(io.register_file(p.b));
        io.unregister_file(*number);
    }
}

TEST_CASE("uring: io_uring refused by the kernel gives one sentence with the remedy") {
    // In a child: a filter makes io_uring_setup fail, as in most containers.
    const auto refused_with = [](int error) {
        return in_child([error]() -> int {
            std::array<sock_filter, 4> code{
                sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
                sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
                sock_filter BPF_STMT(BPF_RET | BPF_K,
                                     SECCOMP_RET_ERRNO | (static_cast<unsigned>(error) & SECCOMP_RET_DATA)),
                sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
            };
            const sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
            ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) return 2;
            try {
                const auto io = make_uring_backend();
            } catch (const std::system_error& e) {
                const std::string expected = detail::uring_refusal(error, 0);
                const bool named = std::string_view(e.what()).find(expected) != std::string_view::npos;
                return e.code().value() == error && named ? 0 : 3;
            }
            return 4;
        });
    };
    CHECK(refused_with(EPERM) == 0);
    CHECK(refused_with(ENOSYS) == 0);
    CHECK(refused_with(ENOMEM) == 0);
    CHECK(detail::uring_refusal(EPERM, 2).find("sysctl kernel.io_uring_disabled=0") != std::string::npos);
    CHECK(detail::uring_refusal(EPERM, 0).find("seccomp") != std::string::npos);
    CHECK(detail::uring_refusal(ENOSYS, -1).find("6.1") != std::string::npos);
    CHECK(detail::uring_refusal(ENOMEM, 0).find("ulimit -l") != std::string::npos);
}
