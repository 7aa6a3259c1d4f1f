// Answers that are there as soon as what they answer has been written, as those of a peer on the same CPU:
// the multishot path reads them by itself, and goes back to the ring when they come no more.
#include <tapir/framework/event.hpp>
#include <tapir/framework/log.hpp>
#include <tapir/framework/uring_backend.hpp>
#include <tapir/protocols/arp/packet.hpp>
#include <tapir/protocols/ethernet/header.hpp>
#include <tapir/protocols/link/answer_guess.hpp>
#include <tapir/protocols/link/tap.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <sched.h>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/packet_socket.hpp"
#include "tests/support/process.hpp"
#include "tests/support/tap_host.hpp"
#include "tests/support/tap_network.hpp"

using namespace tapir;
using test::expect;
using test::network;
using test::numbered_frame;
using test::on_each_path;
using test::packet_socket;
using test::run_for;
using test::wait_for;

namespace {

const ethernet::mac_address our_mac(2, 0, 0, 0, 0, 2);

/// Asks the kernel for its station, by ARP, again and again: the answer is there before write() returns.
struct asker final : frame_receiver {
    explicit asker(network& on) : n(on), next(*this) { n.device->attach(this); }
    ~asker() { n.device->attach(&n.got); }

    /// Each question has another sender, whom the answer names.
    static ip::address sender(std::uint32_t question) {
        return ip::address::v4(192, 0, 2, static_cast<std::uint8_t>(2 + question % 200));
    }
    void ask() {
        frame f(n.pool.allocate(frame::default_headroom + arp::packet::size), frame::default_headroom);
        arp::packet::request(our_mac, sender(asked), ip::address::v4(192, 0, 2, 1))
            .emit(f.push_back(arp::packet::size));
        ethernet::header h;
        h.destination = ethernet::mac_address::broadcast();
        h.source = our_mac;
        h.type = ethernet::ether_type::arp;
        h.emit(f.push_front(ethernet::header::size));
        ++asked;
        n.device->send(std::move(f));
        n.device->flush(n.r.now());
    }
    void receive(frame&& f) override {
        const auto eth = ethernet::view::parse(f.data());
        expect(eth.has_value(), "a frame");
        if (eth->type() != ethernet::ether_type::arp) return n.got.receive(std::move(f));
        const auto answer = arp::view::parse(eth->payload());
        if (!answer || answer->op() != arp::operation::reply) return;
        expect(answer->target_ip() == sender(answered), "answers in order");
        ++answered;
        if (answered == most)
            done.set();
        else
            n.r.at_turn_end(next); // as a host does
    }
    void writable() override {}
    void carrier(bool) override {}

    /// As many more questions, each when the one before has been answered.
    void run(std::uint32_t more) {
        most = answered + more;
        done.reset();
        n.r.run([](asker* self) -> task<> {
            self->ask();
            (void)co_await self->done.wait();
        }(this));
    }

    struct turn_end : turn_hook {
        explicit turn_end(asker& who)
            : turn_hook([](turn_hook& h, instant) { static_cast<turn_end&>(h).of.ask(); }), of(who) {}
        asker& of;
    };
    network& n;
    turn_end next;
    std::uint32_t asked = 0;
    std::uint32_t answered = 0;
    std::uint32_t most = 0;
    event done;
};

} // namespace

TEST_CASE("answer guess: sixteen at once begin it, a third that are late do not end it, one in two does") {
    answer_guess guess;
    const auto answers = [&](int n, bool at_once) {
        for (int i = 0; i < n; ++i) guess.answered(at_once);
        return guess.at_once();
    };
    CHECK_FALSE(answers(15, true));
    CHECK(answers(1, true));
    CHECK(answers(7, false));
    for (int i = 0; i < 100; ++i) CHECK((answers(2, true) && answers(1, false)));
    for (int i = 0; i < 3; ++i) CHECK((answers(1, true), answers(1, false)) == (i < 1));
    for (int i = 0; i < 100; ++i) CHECK_FALSE((answers(1, true) || answers(1, false)));
}

TEST_CASE(
    "answer guess: who was wrong soon asks for twice as many the next time; who was right for long, not") {
    answer_guess guess;
    const auto answers = [&](int n, bool at_once) {
        for (int i = 0; i < n; ++i) guess.answered(at_once);
        return guess.at_once();
    };
    for (int needed = 16; needed <= 1024; needed *= 2) {
        CHECK_FALSE(answers(needed - 1, true));
        CHECK(answers(1, true));
        CHECK_FALSE(answers(8, false));
    }
    CHECK_FALSE(answers(1023, true));
    CHECK(answers(1 + 64, true));
    guess.was_wrong();
    CHECK_FALSE(answers(15, true));
    CHECK(answers(1, true));
    int doubts = 0;
    for (int i = 0; i < 1600; ++i) doubts += guess.to_be_doubted() ? 1 : 0;
    CHECK(doubts == 100);
}

TEST_CASE("tap: answers that are there at once are read in order, and without the ring being entered") {
    on_each_path([](tap_io path) {
        network n(path);
        asker a(n);
        a.run(100);
        const std::uint64_t before = n.r.io().uring()->enters();
        a.run(1000);
        if (path == tap_io::multishot)
            expect(n.r.io().uring()->enters() - before < 100,
                   "the ring is entered seldom: " + std::to_string(n.r.io().uring()->enters() - before));
        expect(a.answered == 1100, "all answers");
    });
}

TEST_CASE("tap: when nobody answers any more, what comes by itself arrives") {
    on_each_path([](tap_io path) {
        network n(path);
        packet_socket kernel("tapir0", test::experimental);
        asker a(n);
        std::uint32_t came = 0;
        for (const std::uint32_t alone : {0u, 1u, 2u, 8u, 30u}) {
            a.run(40);
            for (std::uint32_t i = 0; i < alone; ++i) {
                n.send(i, 1); // nobody answers these
                run_for(n.r, 1ms);
            }
            for (const std::uint32_t burst : {1u, 50u, 2u}) {
                run_for(n.r, 2ms);
                for (std::uint32_t i = 0; i < burst; ++i)
                    kernel.send(numbered_frame(n.pool, came + i).data());
                came += burst;
                expect(wait_for(n.r, [&] { return n.numbers().size() == came; }),
                       "a burst of " + std::to_string(burst) + " behind " + std::to_string(alone));
            }
        }
        const auto numbers = n.numbers();
        for (std::uint32_t i = 0; i < came; ++i) expect(numbers[i] == i, "in order");
    });
}

namespace {

/// Answers with one frame at the end of each turn that has brought something.
struct obliging final : frame_receiver {
    explicit obliging(network& on) : n(on), answer(on) { n.device->attach(this); }
    ~obliging() { n.device->attach(&n.got); }
    void receive(frame&& f) override {
        n.got.receive(std::move(f));
        n.r.at_turn_end(answer);
    }
    void writable() override {}
    void carrier(bool) override {}

    struct turn_end : turn_hook {
        explicit turn_end(network& on)
            : turn_hook([](turn_hook& h, instant) {
                  auto& self = static_cast<turn_end&>(h);
                  self.n.send(self.given++, 1);
              }),
              n(on) {}
        network& n;
        std::uint32_t given = 0;
    };
    network& n;
    turn_end answer;
};

} // namespace

TEST_CASE("tap: where more waits than answers, a turn takes more than one frame") {
    on_each_path([](tap_io path) {
        network n(path);
        packet_socket kernel("tapir0", test::experimental);
        asker(n).run(40);
        for (std::uint32_t i = 0; i < 800; ++i) kernel.send(numbered_frame(n.pool, i).data());
        obliging us(n);
        expect(wait_for(n.r, [&] { return n.numbers().size() == 800; }), "all of it");
        const auto numbers = n.numbers();
        for (std::uint32_t i = 0; i < 800; ++i) expect(numbers[i] == i, "in order");
        expect(us.answer.given < 200, "turns: " + std::to_string(us.answer.given));
    });
}

TEST_CASE("tap: the kernel's side goes down and up while answers are there at once") {
    on_each_path([](tap_io path) {
        network n(path);
        log::set_level(log::level::error);
        asker a(n);
        a.run(40);
        expect(set_kernel_side_up("tapir0", false).has_value(), "down");
        n.send(0, 1);
        run_for(n.r, 5ms);
        expect(!n.device->up() && !n.device->failure(), "down, and no more than that");
        expect(set_kernel_side_up("tapir0", true).has_value(), "up");
        expect(wait_for(n.r, [&] { return n.device->up(); }), "noticed");
        packet_socket kernel("tapir0", test::experimental);
        kernel.send(numbered_frame(n.pool, 0).data());
        expect(wait_for(n.r, [&] { return n.numbers().size() == 1; }), "frames arrive");
        a.run(40);
    });
}

namespace {

struct thrower final : frame_receiver {
    void receive(frame&&) override { throw std::runtime_error("no"); }
    void writable() override {}
    void carrier(bool) override {}
};

} // namespace

TEST_CASE("tap: a receiver that throws ends a run, and reading goes on in the next") {
    on_each_path([](tap_io path) {
        for (const std::uint32_t answers : {0u, 40u}) {
            network n(path);
            packet_socket kernel("tapir0", test::experimental);
            if (answers != 0) asker(n).run(answers);
            for (std::uint32_t i = 0; i < 3; ++i) {
                thrower no;
                n.device->attach(&no);
                kernel.send(numbered_frame(n.pool, i).data());
                bool thrown = false;
                try {
                    run_for(n.r, 1s);
                } catch (const std::runtime_error&) {
                    thrown = true;
                }
                expect(thrown, "it ends the run");
                n.device->attach(&n.got);
                kernel.send(numbered_frame(n.pool, 100 + i).data());
                expect(wait_for(n.r, [&] { return std::ranges::count(n.numbers(), 100 + i) == 1; }),
                       "the next frame, behind " + std::to_string(answers));
            }
        }
    });
}

TEST_CASE(
    "tap: it is closed, and is deleted, at any point of a conversation whose answers are there at once") {
    on_each_path([](tap_io path) {
        for (std::uint32_t questions = 1; questions < 40; ++questions) {
            network n(path);
            asker(n).run(questions);
            if (questions % 2 == 0) run_for(n.r, 1ms); // asleep, or not yet
        }
        log::set_sink([](log::level, std::string_view) {});
        for (const bool asks : {false, true}) {
            network n(path);
            asker a(n);
            a.run(40);
            if (!asks) run_for(n.r, 2ms); // it sleeps meanwhile
            expect(std::system("ip link del tapir0") == 0, "ip link del");
            if (asks) a.ask();
            expect(wait_for(n.r, [&] { return static_cast<bool>(n.device->failure()); }), "noticed");
            expect(n.r.io().uring()->in_flight() == 0, "nothing is in flight any more");
        }
        log::set_sink({});
    });
}

namespace {

task<> echo(host* h) {
    auto listener = h->listen(ip::endpoint({}, 5001));
    expect(listener.has_value(), "listening");
    auto accepted = co_await listener->accept();
    expect(accepted.has_value(), "accepted");
    tcp::connection c = std::move(*accepted);
    std::vector<std::byte> room(200'000);
    for (;;) {
        const auto got = co_await c.read(mutable_bytes(room));
        expect(got.has_value(), "read");
        if (*got == 0) break;
        expect((co_await c.write(bytes(room).first(*got))).has_value(), "written");
    }
    (void)co_await c.close();
}

// Bytes to and fro, then a flood to and fro, and again.
const char* const client = R"(
import socket, threading
s = socket.create_connection(('192.0.2.2', 5001), 20)
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
def exchange(data):
    t = threading.Thread(target=s.sendall, args=(data,))
    t.start()
    got = bytearray()
    while len(got) < len(data):
        b = s.recv(1 << 20)
        if not b: raise SystemExit('closed early')
        got += b
    t.join()
    if got != data: raise SystemExit('what came back differs')
def pings(n):
    for i in range(n):
        s.sendall(bytes([i % 256]))
        if s.recv(10) != bytes([i % 256]): raise SystemExit('another answer')
for round in range(3):
    pings(500)
    exchange((bytes(range(251)) * 20000)[:3000000])
s.shutdown(socket.SHUT_WR)
raise SystemExit(0 if s.recv(1) == b'' else 'more than was sent')
)";

} // namespace

TEST_CASE("tap: on one CPU with its peer, a conversation goes over into floods and back") {
    const auto outcome = test::in_own_network(
        [] {
            cpu_set_t one;
            CPU_ZERO(&one);
            CPU_SET(static_cast<unsigned>(::sched_getcpu()), &one);
            expect(::sched_setaffinity(0, sizeof one, &one) == 0, "on one CPU");
            test::tap_host ours("multishot");
            std::string wrong = "not run";
            {
                const std::jthread kernels([&] {
                    const test::finished f = test::run({"python3", "-c", client}, test::seconds(50));
                    wrong = f.status == 0 ? std::string() : f.all();
                });
                ours.run(echo(&ours.host()));
                ours.run(test::pass_time(500ms));
            }
            expect(wrong.empty(), wrong);
        },
        60);
    if (!outcome.possible) return test::skip(outcome.text.c_str());
    CHECK_MESSAGE(outcome.text.empty(), outcome.text);
}
