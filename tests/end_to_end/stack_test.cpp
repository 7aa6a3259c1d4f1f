// One program, one test, two stacks: echo and half_close over tapir's TCP on a TAP, and over the kernel's on
// the loopback. What the client sees must be the same.
#include <doctest/doctest.h>

#include <chrono>
#include <csignal>
#include <functional>
#include <memory>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <vector>

#include "tests/skip.hpp"
#include "tests/support/kernel_socket.hpp"
#include "tests/support/on_tap.hpp"
#include "tests/support/process.hpp"

using namespace tapir::test;

namespace {

struct stack_choice {
    std::string name;
    std::vector<std::string> options;
    std::string address;
};

void on_each_stack(const std::function<void(const stack_choice&)>& body) {
    const stack_choice ours_polled{"tap, poll", {"--tap-io", "poll"}, "192.0.2.2"};
    const stack_choice ours{"tap, multishot", {"--tap-io", "multishot"}, "192.0.2.2"};
    const stack_choice kernels{"kernel", {"--stack", "kernel", "--address", "127.0.0.1"}, "127.0.0.1"};
    // The kernel's stack needs no TAP, only a network of its own.
    const auto outcome = in_own_network([&] { body(kernels); }, 60);
    if (!outcome.possible) return tapir::test::skip(outcome.text.c_str());
    CHECK_MESSAGE(outcome.text.empty(), kernels.name, ": ", outcome.text);
    on_each_tap_path([&](const std::string& io) { body(io == "poll" ? ours_polled : ours); });
}

std::unique_ptr<process> start_on(const stack_choice& stack, const std::string& name,
                                  const std::string& ready) {
    std::vector<std::string> arguments{sample(name), "--port", "7000"};
    arguments.insert(arguments.end(), stack.options.begin(), stack.options.end());
    return start(std::move(arguments), ready);
}

void end_in_order(process& server) {
    server.signal(SIGINT);
    expect(server.wait(seconds(10)) == 0, "ends in order: " + server.err());
}

/// `size` characters in an order that shows any that are lost, doubled or moved.
std::string numbered_lines(std::size_t size) {
    std::string text;
    for (std::size_t i = 0; text.size() < size; ++i) text += std::to_string(i) + '\n';
    text.resize(size);
    return text;
}

/// For a thread of its own. Should it fail, whoever reads misses something.
void send_all(const kernel_socket* to, const std::string* text) {
    try {
        to->write(*text);
        to->finish();
    } catch (const std::exception&) {
        ::shutdown(to->fd(), SHUT_RDWR);
    }
}

} // namespace

TEST_CASE("echo: what is sent comes back, byte by byte, and the end after the client's") {
    on_each_stack([](const stack_choice& stack) {
        const auto server = start_on(stack, "echo", "echo on");
        const auto c = kernel_socket::connected(stack.address, 7000);
        for (const std::string text : {"a", "few", "words"}) {
            c.write(text);
            expect(c.read_exactly(text.size()) == text, text);
        }
        c.write("last");
        c.finish();
        expect(c.read_to_end() == "last", "what came before the FIN, and then the end");
        end_in_order(*server);
    });
}

TEST_CASE("echo: 20 MB both ways at once") {
    on_each_stack([](const stack_choice& stack) {
        const auto server = start_on(stack, "echo", "echo on");
        const std::string sent = numbered_lines(20'000'000);
        const auto c = kernel_socket::connected(stack.address, 7000);
        std::jthread writer(send_all, &c, &sent);
        expect(c.read_to_end() == sent, "as it was sent");
        writer.join();
        end_in_order(*server);
    });
}

TEST_CASE("echo: a client that does not read is waited for, and then gets everything") {
    on_each_stack([](const stack_choice& stack) {
        const auto server = start_on(stack, "echo", "echo on");
        const std::string sent = numbered_lines(8'000'000);
        const auto c = kernel_socket::connected(stack.address, 7000);
        std::jthread writer(send_all, &c, &sent);
        std::this_thread::sleep_for(std::chrono::milliseconds(1500)); // windows close, probes are sent
        const auto other = kernel_socket::connected(stack.address, 7000);
        other.write("meanwhile");
        expect(other.read_exactly(9) == "meanwhile", "others are served while it sleeps");
        expect(c.read_to_end() == sent, "as it was sent");
        writer.join();
        end_in_order(*server);
    });
}

TEST_CASE("echo: 100 connections, in turn and at once") {
    on_each_stack([](const stack_choice& stack) {
        const auto server = start_on(stack, "echo", "echo on");
        std::vector<kernel_socket> clients;
        for (int i = 0; i < 100; ++i) {
            clients.push_back(kernel_socket::connected(stack.address, 7000));
            clients.back().write("I am " + std::to_string(i));
        }
        for (std::size_t i = clients.size(); i-- > 0;) {
            clients[i].finish();
            expect(clients[i].read_to_end() == "I am " + std::to_string(i), "its own words");
        }
        end_in_order(*server);
    });
}

TEST_CASE("echo: Ctrl-C ends open connections") {
    on_each_stack([](const stack_choice& stack) {
        const auto server = start_on(stack, "echo", "echo on");
        const auto c = kernel_socket::connected(stack.address, 7000);
        c.write("hello");
        expect(c.read_exactly(5) == "hello", "it echoes");
        end_in_order(*server);
        std::string outcome;
        try {
            outcome = c.read_to_end().empty() ? "end" : "more";
        } catch (const std::exception& e) {
            outcome = e.what();
        }
        expect(outcome == "end" || outcome == "recv: Connection reset by peer", outcome);
    });
}

TEST_CASE("half_close: the answer comes after the client's FIN, from CLOSE_WAIT") {
    on_each_stack([](const stack_choice& stack) {
        const auto server = start_on(stack, "half_close", "counting lines");
        const auto c = kernel_socket::connected(stack.address, 7000);
        std::string lines;
        for (int i = 0; i < 100'000; ++i) lines += "line\n";
        c.write(lines);
        c.finish();
        const std::string answer = c.read_to_end();
        expect(answer.starts_with("100000 lines; "), answer);
        if (stack.name != "kernel") expect(answer.ends_with("from CLOSE_WAIT\n"), answer);
        end_in_order(*server);
    });
}

TEST_CASE("half_close: netcat counts lines, as its help says") {
    on_each_stack([](const stack_choice& stack) {
        const auto server = start_on(stack, "half_close", "counting lines");
        const finished f = run({"sh", "-c", "seq 1000 | nc -N " + stack.address + " 7000"});
        expect(f.status == 0 && f.out.starts_with("1000 lines; "), f.all());
        end_in_order(*server);
    });
}
